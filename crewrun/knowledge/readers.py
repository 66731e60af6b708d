"""`read`: a file as text for a model, by the reader for its ending or for the ending that the caller names.

Raises DefinitionError, with the file and what to do, for a file that cannot be read.
"""

import csv
import io
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from crewrun.errors import DefinitionError, suggest
from crewrun.references import shown

# The largest file. Text of this size is ten million tokens: data for a search tool, not for prompts.
MAX_BYTES = 32 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
# How many files are cached, for flows that create the same crew for each row.
_MAX_FILES = 8


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one file. `heading` is put before each passage of it: the file's name, and a table's columns."""

    heading: str
    text: str


def read(file: Path, kind: str | None = None) -> Document:
    """The content of `file`, read as `kind`, an ending such as `.csv`; by default, its own ending."""
    if file.is_dir():
        raise DefinitionError(f"{shown(str(file))}: is a folder; name the files in it")
    ending = kind or file.suffix.lower()
    if ending not in _READERS:
        names = ", ".join(_READERS)
        raise DefinitionError(
            f"{shown(str(file))}: crewrun reads no {ending or 'files without an ending'}"
            f"{suggest(ending, list(_READERS))}; save it as one of {names}"
        )
    try:
        about = os.stat(file)
    except OSError as absent:
        raise DefinitionError(f"{shown(str(file))}: cannot be read: {absent.strerror}") from None
    return _read(file, ending, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=_MAX_FILES)
def _read(file: Path, kind: str, mtime_ns: int, size_bytes: int) -> Document:
    name = shown(str(file))
    document = _READERS[kind](_bytes(file, name), name)
    if not document.text.strip():
        raise DefinitionError(f"{name}: is empty; fill it or leave it out")
    return document


def _bytes(file: Path, name: str) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO that has no writer would wait forever.
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise DefinitionError(f"{name}: is not a regular file")
            content = stream.read(MAX_BYTES + 1)
    except OSError as unreadable:
        raise DefinitionError(f"{name}: cannot be read: {unreadable.strerror}") from None
    if len(content) > MAX_BYTES:
        raise DefinitionError(
            f"{name}: is larger than {MAX_BYTES // 1024**2} MiB; take a part of it, or give the agent a tool that "
            "searches it"
        )
    return content


def decode(content: bytes, name: str) -> str:
    """`content` as text. Raises DefinitionError if it is not UTF-8."""
    content = content.removeprefix(_BOM)
    if b"\0" in content:
        raise DefinitionError(f"{name}: is a binary file; save what it says as text")
    try:
        return content.decode()
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        byte = f"byte 0x{content[wrong.start]:02x}"
        raise DefinitionError(f"{name}:{line}: is not UTF-8 ({byte}); save it as UTF-8") from None


def _text(content: bytes, name: str) -> Document:
    return Document(os.path.basename(name), decode(content, name))


def _csv(content: bytes, name: str) -> Document:
    reader = csv.reader(io.StringIO(decode(content, name), newline=""))
    try:
        rows = [", ".join(cell.strip() for cell in row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as wrong:
        raise DefinitionError(f"{name}:{reader.line_num}: is not valid CSV: {wrong}") from None
    columns, lines = (rows[0], rows[1:]) if len(rows) > 1 else ("", rows)
    heading = os.path.basename(name)
    return Document(f"{heading}: {columns}" if columns else heading, "\n".join(lines))


def _json(content: bytes, name: str) -> Document:
    text = decode(content, name)
    try:
        return Document(os.path.basename(name), "\n".join(_lines(json.loads(text), "")))
    except json.JSONDecodeError as wrong:
        raise DefinitionError(f"{name}:{wrong.lineno}: column {wrong.colno}: is not valid JSON: {wrong.msg}") from None
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        raise DefinitionError(f"{name}: is nested too deep, or has a number that is too long") from None


def _lines(value: Any, indent: str) -> list[str]:
    """A JSON value as indented lines, `key: value` and `- item`."""
    if isinstance(value, dict):
        entries = [(f"{key}:", inner) for key, inner in value.items()]
    elif isinstance(value, list):
        entries = [("-", inner) for inner in value]
    else:
        return [f"{indent}{value}"]
    lines: list[str] = []
    for label, inner in entries:
        if isinstance(inner, dict | list):
            lines += [f"{indent}{label}", *_lines(inner, f"{indent}  ")]
        else:
            lines.append(f"{indent}{label} {inner}")
    return lines


def _pdf(content: bytes, name: str) -> Document:
    from crewrun.knowledge.pdf import text_of

    return Document(os.path.basename(name), text_of(content, name))


_READERS: Mapping[str, Callable[[bytes, str], Document]] = {
    ".txt": _text,
    ".md": _text,
    ".markdown": _text,
    ".rst": _text,
    ".csv": _csv,
    ".json": _json,
    ".pdf": _pdf,
}
