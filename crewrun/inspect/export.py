"""The results of a run for other programs: those lines that the journal knows.

Where they are not in a results file any more they come from a spool, made again from the journal and the input. Results
without a run folder are in `loose`, lines as CSV in `table`.
"""

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from crewrun.inspect.table import Columns
from crewrun.inspect.verify import surely_missing
from crewrun.inspect.view import View
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.keys import line_digest
from crewrun.row import Row

Status = Literal["ok", "failed"]

# In a text of JSON the quotes would have backslashes: only the line's own key is written so.
_INDEX = re.compile(rb',"index":(\d+),')
_GROUP_BYTES = 1 << 18
_BEHIND = 1 << 40  # no input has so many rows


@dataclass(slots=True)
class LeftOut:
    """Lines of the results that are not exported, by what is wrong with them."""

    torn: int = 0
    strange: int = 0
    doubled: int = 0
    foreign: int = 0

    def __str__(self) -> str:
        reasons = (
            f"{self.torn} not whole" if self.torn else "",
            f"{self.strange} not as the journal has them" if self.strange else "",
            f"{self.doubled} standing there twice" if self.doubled else "",
            f"{self.foreign} that are no results" if self.foreign else "",
        )
        return ", ".join(reason for reason in reasons if reason)


class Lines:
    """Result lines in a file, by where they begin and end: an array each, so a million rows take a few megabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts, self._ends = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """A line that begins at `start`, and the next one at `end`."""
        self._starts.append(start)
        self._ends.append(end)

    def sort(self, place: Callable[[int], int]) -> None:
        """Put them in the order of their places, which `place` knows by their numbers."""
        order = array("q", sorted(range(len(self)), key=place))
        self._starts = array("q", (self._starts[i] for i in order))
        self._ends = array("q", (self._ends[i] for i in order))

    def __iter__(self) -> Iterator[bytes]:
        return (line for _, line in self.placed())

    def placed(self) -> Iterator[tuple[int, bytes]]:
        """Each line behind the position where it begins."""
        position = -1
        for start, end in zip(self._starts, self._ends, strict=True):
            if start != position:
                self._file.seek(start)
            position = end
            yield start, self._file.read(end - start)


class Written:
    """What stands in a results file: the `lines` that are their rows' last ones, and how many are `left_out`.

    `columns` are shown all of them, whatever their `status`. Rows of the input are given to `see`. Then `missing` rows
    are done and have no line, and `sort` knows the order.
    """

    def __init__(
        self, view: View, file: BinaryIO, status: Status | None, left_out: LeftOut, columns: Columns | None = None
    ) -> None:
        self._view = view
        self._status = status
        self._columns = columns
        self.lines, self.left_out, self.missing = Lines(file), left_out, 0
        self._positions, self._indexes = array("q"), array("q")
        # A run commits its rows before it writes them: all lines that were there before the journal is read are known.
        size_bytes = os.fstat(file.fileno()).st_size
        self._done = DoneIndex.load(view.db, view.definition())
        start = 0
        while start < size_bytes and (line := file.readline(size_bytes - start)):
            self._add(start, line)
            start += len(line)

    @property
    def may_lack(self) -> bool:
        """Whether rows are done that have no line, be it that the input does not have them any more."""
        return any(not written and self._is_asked(at) for at, written in enumerate(self._done.written))

    def see(self, row: Row, *, wanted: bool) -> None:
        """A row of the input, and whether the run was asked for it."""
        position = self._done.find(row)
        if position is not None:
            self._done.see(position, row.index)
            self.missing += wanted and not self._done.written[position] and self._is_asked(position)

    def end_without_input(self) -> None:
        """The input cannot be read."""
        self.missing = sum(1 for position in surely_missing(self._view, self._done) if self._is_asked(position))

    def sort(self) -> None:
        """Put the lines in the input's order; those that it does not have, or all, by the places that they once had."""
        done, positions, indexes = self._done, self._positions, self._indexes

        def place(number: int) -> int:
            position = positions[number]
            return done.places[position] if done.seen[position] else _BEHIND + indexes[number]

        self.lines.sort(place)

    def _add(self, start: int, line: bytes) -> None:
        position = self._done.find_line(line_digest(line))
        if not line.endswith(b"\n"):
            self.left_out.torn += 1
        elif position is None:
            self.left_out.strange += 1
        elif self._done.written[position]:
            self.left_out.doubled += 1
        else:
            self._done.written[position] = 1
            if self._columns is not None:
                self._columns.see(line)
            if self._is_asked(position):
                self.lines.add(start, start + len(line))
                self._positions.append(position)
                match = _INDEX.search(line)
                self._indexes.append(int(match[1]) if match else 0)

    def _is_asked(self, position: int) -> bool:
        return _ended_so(self._done, position, self._status)


class Spool:
    """Result lines made again: a temporary file of those rows of the input that are done, in its order.

    `columns` are shown all of them, whatever their `status`.
    """

    def __init__(self, view: View, file: BinaryIO, status: Status | None, columns: Columns | None = None) -> None:
        self._view = view
        self._file = file
        self._status = status
        self._columns = columns
        self._done = DoneIndex.load(view.db, view.definition())
        self._position = 0
        self.lines = Lines(file)

    def add(self, row: Row) -> None:
        """A row of the input."""
        position = self._done.find(row)
        if position is None:
            return
        is_asked = _ended_so(self._done, position, self._status)
        if not is_asked and self._columns is None:
            return
        line = self._view.outcome(self._done.seq(position), row).to_line()
        if self._columns is not None:
            self._columns.see(line)
        if is_asked:
            self._file.write(line)
            start, self._position = self._position, self._position + len(line)
            self.lines.add(start, self._position)


def _ended_so(done: DoneIndex, position: int, status: Status | None) -> bool:
    """Whether a row ended with `status`, which is None for any."""
    return status is None or done.is_ok(position) == (status == "ok")


def grouped(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines in pieces of some hundred kilobytes."""
    pieces: list[bytes] = []
    size_bytes = 0
    for piece in lines:
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes >= _GROUP_BYTES:
            yield b"".join(pieces)
            pieces, size_bytes = [], 0
    if pieces:
        yield b"".join(pieces)
