"""`manifest.json`: what a run was asked to do. It is written before anything else, and again by every session."""

import errno
import json
import os
import platform
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from crewrun._version import __version__
from crewrun.errors import OutputFailed, UsageError
from crewrun.unfinished import replacement

SCHEMA = "crewrun.run/1"

_FAMILY = "crewrun.run/"
_REMEDY = "repeat the command of the run, which writes a new one"
_CHUNK_BYTES = 1 << 20
_MAX_TEXT_BYTES = 4 << 20  # the texts are for people; a crew's folder may contain data files too


@dataclass(frozen=True, slots=True)
class Manifest:
    """`inputs`, `crew` and `output` are paths as the user wrote them, relative to `cwd`; `options` the batch's
    settings.

    `table` is the format of an output that is no JSONL of whole lines, such as `csv.gz`.
    `definition` has the crew's fingerprint, the text of its files and the `endpoints` of its calls. `input_digest` is
    that of the input file (None for rows that cannot be read again), `command` the words of the command line, or what
    else continues the run of a Python program. None of them contains a secret.
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
    table: str | None = None

    def write(self, path: Path) -> None:
        """Write it to `path`, all or nothing. Raises OutputFailed."""
        write_whole(path, json.dumps(asdict(self), indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    @property
    def results(self) -> Path | None:
        """The file that the user named for the results, None when they went to a stream."""
        return None if self.output is None else Path(self.cwd) / self.output

    @property
    def is_of_program(self) -> bool:
        """Whether a Python program runs it, and not the command."""
        return is_of_program(self.command)

    @property
    def source_of_rows(self) -> str:
        """Where rows that cannot be read again came from."""
        return "came from a Python program" if self.is_of_program else "came through a pipe"

    @property
    def input_file(self) -> Path | None:
        """The input file, None when the rows cannot be read again."""
        return None if self.input_digest is None else Path(self.cwd) / self.inputs


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. Raises UsageError when it is missing, damaged, or written by a newer crewrun."""
    from pydantic import TypeAdapter, ValidationError

    try:
        data = _load(path)
        if not _is_ours(data):
            raise UsageError(f"{path}: is not a manifest")
        _refuse_newer(path, data)
        return TypeAdapter(Manifest).validate_python(data)
    except FileNotFoundError:
        raise UsageError(f"{path}: is missing; {_REMEDY}") from None
    except OSError as refused:
        raise UsageError(f"{path}: cannot be read: {refused.strerror}") from None
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: is damaged ({place}: {first['msg']}); {_REMEDY}") from None
    except (ValueError, RecursionError) as damaged:
        raise UsageError(f"{path}: is damaged ({type(damaged).__name__}: {damaged}); {_REMEDY}") from None


def created_at(path: Path) -> str:
    """When the run began, if its manifest can be read, else now. Raises UsageError for one of a newer crewrun."""
    with suppress(OSError, ValueError, RecursionError):
        data = _load(path)
        if _is_ours(data):
            _refuse_newer(path, data)
            if isinstance(data.get("created_at"), str):
                return str(data["created_at"])
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def is_foreign(path: Path, *, torn: bool) -> bool:
    """Whether the file at `path` belongs to another program. `torn` is the answer for a file that is not JSON."""
    try:
        return not _is_ours(_load(path))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    except (ValueError, RecursionError):
        return torn


def without(flag: Literal["fresh", "replay"], command: Sequence[str], *, is_set: bool) -> list[str]:
    """`command` for repeating it, without a flag that has had its effect; `is_set` says whether the run had the flag.

    A flag that came from the environment or from the crew file is switched off with `--no-FLAG`. What a program does
    can only be told in words.
    """
    if is_of_program(command):
        return [*command, "without", f"{flag}=True"] if is_set else [*command]
    words = [word for word in command if word != f"--{flag}"]
    is_elsewhere = len(words) == len(command) or os.environ.get(f"CREWRUN_{flag.upper()}")
    return [*words, f"--no-{flag}"] if is_set and is_elsewhere else words


def with_fresh(command: Sequence[str]) -> list[str]:
    """`command` for starting over."""
    return [*command, "with", "fresh=True"] if is_of_program(command) else [*command, "--fresh"]


def is_of_program(command: Sequence[str]) -> bool:
    """Whether `command` is that of a Python program. Those of the command line begin with its name."""
    return bool(command) and command[0] != "crewrun"


def digest_of(inputs: Path) -> str:
    """The digest of a file's bytes, 32 hex digits. Raises UsageError."""
    digest = blake2b(digest_size=16)
    try:
        with inputs.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as refused:
        raise UsageError(f"{inputs}: cannot be read: {refused.strerror}") from None
    return digest.hexdigest()


def texts_of(path: Path) -> dict[str, str]:
    """The text of a crew file, or of the YAML, JSON and Python files of a crew's folder, by path."""
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
    """The settings that differ from the defaults."""
    values: Mapping[str, Any] = asdict(settings)
    standard = asdict(defaults)
    return {name: value for name, value in values.items() if value != standard[name]}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, all or nothing, readable by its owner only. Raises OutputFailed."""
    write_pieces(path, [content])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """As `write_whole`, piece by piece: into a file that replaces `path` at the end."""
    try:
        with replacement(path) as part:
            write_part(part, pieces)
            part.replace(path)
    except OSError as full:
        raise OutputFailed(f"{path}: cannot be written: {full.strerror}") from full


def write_part(part: Path, pieces: Iterable[bytes]) -> None:
    """Fill the file that is to replace another, on the disk. Raises OSError."""
    fd = os.open(part, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _load(path: Path) -> Any:
    """The JSON in a file. Raises OSError and ValueError; does not wait for a pipe that nobody writes to."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a file")
        return json.load(file)


def _is_ours(data: Any) -> bool:
    return isinstance(data, dict) and str(data.get("schema")).startswith(_FAMILY)


def _refuse_newer(path: Path, data: Mapping[str, Any]) -> None:
    if data["schema"] != SCHEMA:
        raise UsageError(
            f"{path}: is of schema {data['schema']!r}, this crewrun knows {SCHEMA}; use the crewrun that made it"
        )
