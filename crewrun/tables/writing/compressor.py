"""Compressors of files that are written piece by piece."""

import zlib
from typing import Final, Protocol

from crewrun.tables.suffixes import Compression

_GZIP: Final = 16 + zlib.MAX_WBITS  # a gzip header and trailer: https://docs.python.org/3/library/zlib.html
_LEVEL: Final = 6  # what `gzip` takes


class Compressor(Protocol):
    """Compresses one file."""

    def compress(self, data: bytes, /) -> bytes:
        """Take `data`. Returns what is ready, which may be nothing."""
        ...

    def flush(self) -> bytes:
        """The rest of the file."""
        ...


def open_compressor(compression: Compression) -> Compressor:
    """A compressor for one file."""
    if compression == "gzip":
        return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    if compression == "bzip2":
        import bz2

        return bz2.BZ2Compressor()
    if compression == "xz":
        import lzma

        return lzma.LZMACompressor()
    import zstandard

    return zstandard.ZstdCompressor().compressobj()
