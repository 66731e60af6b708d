"""Compressed inputs: gzip, bzip2, xz and Zstandard, by suffix or, for standard input, by their first bytes."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, cast

from crewrun.errors import UsageError
from crewrun.tables.reading.byte_input import ByteInput
from crewrun.tables.reading.records import missing_extra
from crewrun.tables.suffixes import COMPRESSIONS, Compression

# The most compressed bytes that zstandard gets at once. A block of four bytes can become 128 KiB, so that this much
# becomes 32 MiB at most; see RLE blocks in https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.2
_ZSTD_BYTES: Final = 1024
MAGIC_BYTES: Final = 6
_MAGIC: Final[dict[bytes, Compression]] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def decompressed(
    packed: ByteInput, name: str, expected: Compression | None, *, is_named: bool
) -> tuple[ByteInput, Compression | None]:
    """The input without its compression, and what that is. Reading it raises OSError, EOFError and `errors()`.

    `expected` is what the name says. Without `is_named` the first bytes alone decide. Raises UsageError when they
    disagree, and for
    Zstandard without its library.
    """
    start = packed.head(MAGIC_BYTES)
    actual = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if is_named and start and actual != expected:
        if expected is not None:
            raise UsageError(f"{name}: is not {expected} data, whatever its name says")
        named = next(suffix for suffix, kind in COMPRESSIONS.items() if kind == actual)
        raise UsageError(f"{name}: is compressed with {actual}; name it {Path(name).suffix}{named}, or unpack it")
    kind = actual or expected
    if kind is None or not start:
        return packed, None
    if packed.raw.is_seekable:
        # To zlib, zeros in the middle of data are data. A sound archive may end with up to eight: length and CRC.
        packed.raw.leave_out_zeros(but=8)
    return ByteInput(packed.raw, _OPENERS[kind](packed, name)), kind


def errors() -> tuple[type[Exception], ...]:
    """What reading a text raises when its bytes, their compression or their encoding are damaged."""
    import lzma
    import zlib

    return UnicodeDecodeError, OSError, EOFError, zlib.error, lzma.LZMAError, _ZstdDamaged


def is_untrustworthy(broken: Exception) -> bool:
    """Whether what was decompressed before the error may be wrong: gzip's checksum comes last."""
    return type(broken).__name__ == "error" or "CRC" in str(broken) or "Incorrect length" in str(broken)


class _ZstdDamaged(Exception):
    """Data that zstandard cannot decompress."""


def _gzip(packed: ByteInput, name: str) -> Callable[[int], bytes]:
    import gzip

    return gzip.GzipFile(fileobj=_File(packed), mode="rb").read1  # `read` would discard the data before the damage


def _bzip2(packed: ByteInput, name: str) -> Callable[[int], bytes]:
    import bz2

    return bz2.BZ2File(_File(packed)).read1


def _xz(packed: ByteInput, name: str) -> Callable[[int], bytes]:
    import lzma

    return lzma.LZMAFile(cast("IO[bytes]", _File(packed))).read1


def _zstd(packed: ByteInput, name: str) -> Callable[[int], bytes]:
    try:
        import zstandard  # noqa: F401
    except ImportError:
        raise missing_extra(name, ".zst", "zstandard", "zstd") from None
    return _Zstd(packed).read


class _File(io.RawIOBase):
    """The compressed bytes as a file, for the standard library's decompressors."""

    def __init__(self, packed: ByteInput) -> None:
        self._packed = packed

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._packed.read(size)


class _Zstd:
    """Frames of Zstandard, one behind another. zstandard's own reader takes a frame that is cut off for its end."""

    def __init__(self, packed: ByteInput) -> None:
        self._packed = packed
        self._frame: Any = None
        self._ready = b""
        self._taken = 0  # bytes of `_ready`

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`. Raises EOFError when the data ends in a frame."""
        import zstandard

        while self._taken >= len(self._ready):
            self._taken = 0
            chunk = self._packed.read(_ZSTD_BYTES)
            if self._frame is None:
                chunk = self._next_frame(chunk)
            if not chunk:
                if self._frame is not None:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                self._ready = b""
                return b""
            try:
                self._ready = self._decompress(chunk)
            except zstandard.ZstdError as damaged:
                raise _ZstdDamaged(str(damaged)) from None
        self._taken += size
        return self._ready[self._taken - size : self._taken]

    def _next_frame(self, chunk: bytes) -> bytes:
        """What is left of `chunk` behind padding with zeros, which gzip passes over too; begins a frame with it."""
        import zstandard

        while chunk and not (chunk := chunk.lstrip(b"\0")):
            chunk = self._packed.read(_ZSTD_BYTES)
        if chunk:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        return chunk

    def _decompress(self, chunk: bytes) -> bytes:
        parts = []
        while chunk:
            parts.append(self._frame.decompress(chunk))
            if not self._frame.eof:
                break
            chunk, self._frame = self._frame.unused_data, None
            chunk = self._next_frame(chunk) if chunk.strip(b"\0") else b""
        return b"".join(parts)


_OPENERS: Final = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz, "zstd": _zstd}
