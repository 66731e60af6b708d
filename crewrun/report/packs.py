"""Packs: JSON that is compressed and encoded for a page, and a temporary file that holds them until it is written."""

import re
import tempfile
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any, BinaryIO, Final, NamedTuple

from pydantic_core import PydanticSerializationError, to_json

from crewrun.errors import OutputFailed

# Smaller by 1 % at level 9, in three times the time.
_LEVEL: Final = 6
_GZIP: Final = 31  # zlib's largest window, with the head and the tail of gzip
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_DEEPEST: Final = 200
_LARGEST_INTEGER: Final = (1 << 53) - 1


class Pack(NamedTuple):
    """A pack as it stands in the page: base64 of gzip of UTF-8 JSON."""

    name: str
    content: bytes


def encoded(value: Any) -> bytes:
    """`value` as compact UTF-8 JSON that every browser reads: lone surrogates are written out, as `\\ud800` in words,
    and numbers that JSON does not have are null.
    """
    try:
        return to_json(value, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError, RecursionError):
        return to_json(clean(value), inf_nan_mode="null")


def clean(value: Any, depth: int = 0) -> Any:
    """`value` with what `encoded` would replace replaced, and integers that are too large as text; at a `depth` in
    another one.
    """
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if is_too_large(value):
        return str(value)
    if isinstance(value, dict | list | tuple) and depth == _DEEPEST:
        return "… (nested too deeply to be shown)"
    if isinstance(value, dict):
        return {plain(str(key)): clean(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner, depth + 1) for inner in value]
    return value


def is_too_large(value: Any) -> bool:
    """Whether a browser would show an integer with other digits: its numbers have 53 bits."""
    return isinstance(value, int) and abs(value) > _LARGEST_INTEGER


def plain(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 does not have, written out."""
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def pack(name: str, pieces: Iterable[bytes]) -> Pack:
    """A pack of the JSON that `pieces` make together."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    compressed = bytearray()
    for piece in pieces:
        compressed += compressor.compress(piece)
    compressed += compressor.flush()
    return Pack(name, b64encode(compressed))


class PackFile:
    """Packs in a temporary file, in the order in which they were added. `size_bytes` is that of all of them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places: list[tuple[str, int]] = []
        self.size_bytes = 0

    def add(self, added: Pack) -> None:
        """Add a pack at the end. Raises OutputFailed when the disk is full."""
        try:
            self._file.write(added.content)
        except OSError as full:
            raise _failure(full) from full
        self._places.append((added.name, len(added.content)))
        self.size_bytes += len(added.content)

    def clear(self) -> None:
        """Remove all packs."""
        self._file.seek(0)
        self._file.truncate()
        self._places, self.size_bytes = [], 0

    def __iter__(self) -> Iterator[Pack]:
        self._file.seek(0)
        for name, size_bytes in self._places:
            yield Pack(name, self._file.read(size_bytes))


@contextmanager
def pack_file() -> Iterator[PackFile]:
    """An empty `PackFile`, which is removed at the end of the block. Raises OutputFailed."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
    except OSError as full:
        raise _failure(full) from full
    with file:
        yield PackFile(file)


def _failure(full: OSError) -> OutputFailed:
    return OutputFailed(f"the temporary file of the report cannot be written: {full.strerror}")
