"""Splits chunks of bytes into lines, with a limit on the length of a line."""

from typing import NamedTuple

MAX_LINE_BYTES = 64 * 1024 * 1024  # a row with images fits; a file that is one endless line does not fill the memory


class Line(NamedTuple):
    """One line without its newline. `number` counts from 1. The text of a `too_long` line is dropped."""

    number: int
    text: bytes
    too_long: bool = False


class LineSplitter:
    """`feed` takes chunks and returns whole lines; `end` returns the last line when it has no newline.

    Only `\\n` ends a line; a `\\r` before it is left to the parser, which treats it as white space. A line longer than
    `max_bytes` is dropped up to its newline and reported as too long, so hostile input cannot fill the memory.
    """

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._held = 0
        self._overlong = False
        self._number = 0

    @property
    def lines(self) -> int:
        """How many lines have been returned."""
        return self._number

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that `chunk` completes."""
        *whole, rest = chunk.split(b"\n")
        lines = [self._complete(piece) for piece in whole]
        self._hold(rest)
        return lines

    def end(self) -> list[Line]:
        """The last line, if it has no newline."""
        return [self._complete(b"")] if self._held or self._overlong else []

    def _hold(self, piece: bytes) -> None:
        if self._overlong or not piece:
            return
        self._parts.append(piece)
        self._held += len(piece)
        if self._held > self._max_bytes:
            self._parts.clear()
            self._overlong = True

    def _complete(self, piece: bytes) -> Line:
        self._number += 1
        if self._parts or self._overlong:
            self._hold(piece)
            line = Line(self._number, b"".join(self._parts), self._overlong)
            self._parts, self._held, self._overlong = [], 0, False
            return line
        return Line(self._number, piece, len(piece) > self._max_bytes)
