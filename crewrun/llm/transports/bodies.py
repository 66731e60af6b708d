"""Reads a reply's body up to a size limit after decompression, for both transports.

The clients' own decompression expands each chunk from the network completely, which may be a thousand times its size.
Here the output is bounded, and reading stops at the limit.
"""

import zlib
from collections.abc import AsyncIterable, Iterator
from typing import Final

# A completion of 100,000 tokens has under a megabyte; replies with embeddings or generated images have tens.
MOST_BYTES: Final = 64 * 1024 * 1024
# No more of an error is ever used, and some proxies send whole pages.
MOST_ERROR_BYTES: Final = 64 * 1024
# The supported encodings, for the request's Accept-Encoding.
ENCODINGS: Final = "gzip, deflate"

# A small value takes 30 times its bytes once it is parsed. No completion has this many values, and no text in a reply
# this many brackets and commas. Bodies below the first limit do no harm.
_FEW_BYTES: Final = 1024 * 1024
_MOST_BRACKETS: Final = 1_000_000
_MOST_COMMAS: Final = 5_000_000
_PIECE_BYTES: Final = 256 * 1024
# https://docs.python.org/3/library/zlib.html#zlib.decompressobj: detect a gzip or zlib header, or expect none.
_ANY_HEADER, _NO_HEADER = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS


class BodyRefused(Exception):
    """A body that was rejected, since it is too large or cannot be decompressed or parsed. The message says which."""


def limit_of(status: int) -> int:
    """The size limit for the body of a reply with this status, in bytes."""
    return MOST_BYTES if 200 <= status < 300 else MOST_ERROR_BYTES


async def read_body(pieces: AsyncIterable[bytes], encoding: str, status: int) -> bytes:
    """Join `pieces` and decompress them by their Content-Encoding. Raises BodyRefused."""
    most = limit_of(status)
    encoding = encoding.strip().lower()
    inflater = _Inflater(encoding) if encoding and encoding != "identity" else None
    parts: list[bytes] = []
    size = 0
    async for piece in pieces:
        for part in inflater.inflate(piece) if inflater is not None else (piece,):
            size += len(part)
            if size > most:
                raise too_large(status)
            parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(status: int) -> BodyRefused:
    """The error for a body above its limit."""
    most = limit_of(status)
    size = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
    return BodyRefused(f"HTTP {status}: the reply is larger than {size}")


def refuse_too_many_values(body: bytes) -> None:
    """Raise BodyRefused for JSON with too many values, since parsing it would exhaust the memory."""
    if len(body) <= _FEW_BYTES:
        return
    if body.count(b"{") + body.count(b"[") > _MOST_BRACKETS or body.count(b",") > _MOST_COMMAS:
        raise BodyRefused(f"the reply is not a chat completion: {len(body) >> 20} MiB of small JSON values")


class _Inflater:
    """Decompresses gzip, with one member or several, and deflate, with or without a zlib header."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise BodyRefused(f"the reply is compressed as {encoding[:50]!r}, which was not asked for")
        self._encoding = encoding
        self._stream = zlib.decompressobj(_ANY_HEADER)
        self._has_begun = False

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Decompress `data`, in pieces of at most 256 KiB."""
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
            output = self._stream.decompress(data, _PIECE_BYTES)
        except zlib.error:
            if self._has_begun or self._encoding != "deflate":
                raise
            self._stream = zlib.decompressobj(_NO_HEADER)
            output = self._stream.decompress(data, _PIECE_BYTES)
        self._has_begun = True
        return output
