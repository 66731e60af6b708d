"""The lines of a text that comes in chunks of bytes, for a parser whose records may span lines."""

import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from crewrun.tables.reading.byte_input import ByteInput
from crewrun.tables.reading.encodings import decoder_of
from crewrun.tables.reading.line_splitter import MAX_LINE_BYTES
from crewrun.tables.reading.records import CHUNK_BYTES

# Bytes that could not be decoded; a byte order mark inside; a NUL.
_ODD: Final = re.compile("[\udc80-\udcff\ufeff\0]")


class Overlong(Exception):
    """A line with more characters than a line may have bytes."""


class TextLines:
    """`lines` yields lines with their ends, which are LF, CRLF or CR. It raises Overlong, UnicodeDecodeError, and what
    reading raises.

    `is_odd` says that the text so far had characters that are in no sound text.
    """

    def __init__(self, source: ByteInput, encoding: str) -> None:
        self.is_odd = False
        self._source = source
        self._decoder = decoder_of(encoding)
        self._is_first, self._has_ended = True, False
        self._return = ""  # a CR at the end of a chunk, which may be half of a CRLF
        self._ready: Iterator[str] = iter(())
        self._lines: list[str] = []
        self._held: list[str] = []
        self._held_chars = 0

    @property
    def has_lines(self) -> bool:
        """Whether there are lines that need no reading."""
        return self._left > 0

    @property
    def _left(self) -> int:
        return int(self._ready.__length_hint__())  # type: ignore[attr-defined]  # lists' iterators have it

    def lines(self) -> Iterator[str]:
        """The lines from here on. After an exception, another call goes on behind it."""
        while True:
            yield from self._ready
            pieces = self._read_pieces()
            if pieces is None:
                last, self._held = "".join(self._held), []
                if last:
                    yield last
                return
            self._keep(pieces)

    def skip_record(self, *, is_quoted: bool) -> tuple[int, bool]:
        """Pass over the rest of a record, from the line on at which a parser or `lines` gave up. `is_quoted` says that
        this line begins in quotes. Returns the number of lines, and whether the record ended before the text did.
        """
        count = 0
        first = self._held or self._lines[len(self._lines) - self._left - 1 :][:1]
        self._held, self._held_chars = [], 0
        pieces: Iterator[str] | None = chain(first, self._ready)
        while pieces is not None:
            for piece in pieces:
                is_quoted ^= bool(piece.count('"') & 1)
                if piece.endswith(("\n", "\r")):
                    count += 1
                    if not is_quoted:
                        self._keep(list(pieces))
                        return count, True
            read = self._read_pieces()
            pieces = None if read is None else iter(read)
        return count, not is_quoted

    def _keep(self, pieces: list[str]) -> None:
        """Make lines of pieces, of which the last may go on in the next chunk. Raises Overlong."""
        rest = pieces.pop() if pieces and not pieces[-1].endswith(("\n", "\r")) else ""
        if pieces:
            pieces[0] = "".join((*self._held, pieces[0]))
            self._held, self._held_chars = [], 0
        self._lines, self._ready = pieces, iter(pieces)
        if rest:
            self._held.append(rest)
            self._held_chars += len(rest)
            if self._held_chars > MAX_LINE_BYTES:
                raise Overlong

    def _read_pieces(self) -> list[str] | None:
        """What comes next, in pieces that end where lines do; None at the end."""
        while not self._has_ended:
            chunk = self._source.read(CHUNK_BYTES)
            self._has_ended = not chunk
            text = self._return + self._decoder.decode(chunk, not chunk)
            self._return = "\r" if chunk and text.endswith("\r") else ""
            text = text.removesuffix(self._return)
            if self._is_first and text:
                text = text.lstrip("\ufeff")
                self._is_first = False
            if text:
                may_be_odd = not text.isascii() or "\0" in text
                self.is_odd = self.is_odd or (may_be_odd and _ODD.search(text) is not None)
                return io.StringIO(text, newline="").readlines()
        return None
