"""`manifest.json`: what a run was asked to do, written whole before anything else and again by every session."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from crewrun._version import __version__
from crewrun.errors import OutputFailed, UsageError

SCHEMA = "crewrun.run/1"

_CHUNK_BYTES = 1 << 20
_MAX_TEXT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """`inputs`, `crew` and `output` are as the user named them, from the folder `cwd`; `options` the batch's settings.

    `definition` has the crew's fingerprint and the text of its files, `input_digest` is the input file's (None: a
    pipe), `command` the words of the command line.
    """

    inputs: str
    crew: str
    output: str | None
    cwd: str
    command: list[str]
    options: dict[str, Any]
    definition: dict[str, Any]
    input_digest: str | None
    created_at: str = ""
    crewrun: str = __version__
    python: str = platform.python_version()
    schema: str = SCHEMA

    def write(self, path: Path) -> None:
        """Write it, whole or not at all. Raises OutputFailed."""
        write_whole(path, json.dumps(asdict(self), indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    @property
    def results(self) -> Path | None:
        """The results file, None when results went to a stream."""
        return None if self.output is None else Path(self.cwd) / self.output

    @property
    def input_file(self) -> Path | None:
        """The input file, None when rows came through a pipe."""
        return None if self.input_digest is None else Path(self.cwd) / self.inputs


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. Raises UsageError when it is missing, damaged, or made by a newer crewrun."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            newer = isinstance(data, dict) and str(data.get("schema", "")).startswith("crewrun.run/")
            why = f"is of schema {data['schema']!r}, this crewrun knows {SCHEMA}" if newer else "is no manifest"
            raise UsageError(f"{path}: {why}")
        return Manifest(**{name: data[name] for name in Manifest.__dataclass_fields__})
    except FileNotFoundError:
        raise UsageError(f"{path}: is missing; repeat the command of the run, which writes it anew") from None
    except OSError as refused:
        raise UsageError(f"{path}: cannot be read: {refused.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as damaged:
        raise UsageError(
            f"{path}: is damaged ({type(damaged).__name__}: {damaged}); "
            "repeat the command of the run, which writes it anew"
        ) from None


def created_at(path: Path) -> str:
    """When the run began, if its manifest still says so; else now."""
    try:
        return read_manifest(path).created_at
    except UsageError:
        return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def digest_of(inputs: Path) -> str:
    """32 hex digits over the bytes of a file. Raises UsageError."""
    digest = blake2b(digest_size=16)
    try:
        with inputs.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as refused:
        raise UsageError(f"{inputs}: cannot be read: {refused.strerror}") from None
    return digest.hexdigest()


def texts_of(path: Path) -> dict[str, str]:
    """The text of a crew's file, or of the YAML, JSON and Python files of its folder, by name."""
    if path.is_file():
        return {str(path): path.read_text(encoding="utf-8", errors="replace")}
    texts: dict[str, str] = {}
    left = _MAX_TEXT_BYTES
    patterns = ("*.yaml", "*.yml", "*.jsonc", "*.json", "*.py", "config/*.yaml", "src/**/*.py", "src/**/*.yaml")
    for file in sorted({file for pattern in patterns for file in path.glob(pattern)} if path.is_dir() else ()):
        if file.is_file() and (left := left - file.stat().st_size) > 0:
            texts[str(file)] = file.read_text(encoding="utf-8", errors="replace")
    return texts


def options_of(settings: Any, defaults: Any) -> dict[str, Any]:
    """The settings that are not the defaults."""
    given: Mapping[str, Any] = asdict(settings)
    standard = asdict(defaults)
    return {name: value for name, value in given.items() if value != standard[name]}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, readable by its owner only. Raises OutputFailed."""
    part = path.with_name(f".{path.name}.part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        part.replace(path)
    except OSError as full:
        part.unlink(missing_ok=True)
        raise OutputFailed(f"{path}: cannot be written: {full.strerror}") from full
