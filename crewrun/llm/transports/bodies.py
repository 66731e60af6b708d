"""A reply's body, read up to a limit of bytes after decompression, for both transports.

The clients' own decompression makes of each piece that the network hands over whatever comes out, which for one piece
may be a thousand times as much. Here what comes out is bounded, and reading ends at the limit.
"""

import zlib
from collections.abc import AsyncIterable, Iterator
from typing import Final

MOST_BYTES: Final = 64 * 1024 * 1024
MOST_ERROR_BYTES: Final = 64 * 1024
# What can be decompressed here, for the request's Accept-Encoding.
ENCODINGS: Final = "gzip, deflate"

# A value takes 30 times its bytes when it is parsed. No completion has so many, and texts that have as many brackets
# and commas are not written in one reply. What is smaller than the first does no harm.
_FEW_BYTES: Final = 1024 * 1024
_MOST_BRACKETS: Final = 1_000_000
_MOST_COMMAS: Final = 5_000_000
_PIECE_BYTES: Final = 256 * 1024
# https://docs.python.org/3/library/zlib.html#zlib.decompressobj: a gzip or zlib header is found out, or there is none.
_ANY_HEADER, _NO_HEADER = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS


class BodyRefused(Exception):
    """A body that is not read to its end: it is too large, or cannot be decompressed, or parsed. Says which."""


def limit_of(status: int) -> int:
    """How many bytes the body of a reply with this status may have."""
    return MOST_BYTES if 200 <= status < 300 else MOST_ERROR_BYTES


async def read_body(pieces: AsyncIterable[bytes], encoding: str, status: int) -> bytes:
    """The body in `pieces`, decompressed as its Content-Encoding says. Raises BodyRefused."""
    most = limit_of(status)
    encoding = encoding.strip().lower()
    inflater = _Inflater(encoding) if encoding and encoding != "identity" else None
    found: list[bytes] = []
    size = 0
    async for piece in pieces:
        for part in inflater.inflate(piece) if inflater is not None else (piece,):
            size += len(part)
            if size > most:
                raise too_large(status)
            found.append(part)
    return found[0] if len(found) == 1 else b"".join(found)


def too_large(status: int) -> BodyRefused:
    """The refusal of a body beyond its limit."""
    most = limit_of(status)
    size = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
    return BodyRefused(f"HTTP {status}: the reply is larger than {size}")


def refuse_too_many_values(body: bytes) -> None:
    """Raises BodyRefused for JSON of so many values that to parse it would take the memory of everybody."""
    if len(body) <= _FEW_BYTES:
        return
    if body.count(b"{") + body.count(b"[") > _MOST_BRACKETS or body.count(b",") > _MOST_COMMAS:
        raise BodyRefused(f"the reply is not a chat completion: {len(body) >> 20} MiB of small JSON values")


class _Inflater:
    """Decompresses gzip, of one member or several, and deflate, with zlib's header or without."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise BodyRefused(f"the reply is compressed as {encoding[:50]!r}, which was not asked for")
        self._encoding = encoding
        self._stream = zlib.decompressobj(_ANY_HEADER)
        self._has_begun = False

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """What comes out of `data`, in pieces of at most 256 KiB."""
        try:
            while data:
                if self._stream.eof:
                    self._stream = zlib.decompressobj(_ANY_HEADER)
                yield self._decompress(data)
                data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        except zlib.error as broken:
            raise BodyRefused(f"the reply cannot be decompressed: {broken}") from broken

    def _decompress(self, data: bytes) -> bytes:
        try:
            found = self._stream.decompress(data, _PIECE_BYTES)
        except zlib.error:
            if self._has_begun or self._encoding != "deflate":
                raise
            self._stream = zlib.decompressobj(_NO_HEADER)
            found = self._stream.decompress(data, _PIECE_BYTES)
        self._has_begun = True
        return found
