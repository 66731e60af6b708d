"""The results of a run for other programs: the lines that the journal has a record of.

Lines that are no longer in the results file are rebuilt from the journal and the input into a spool. Results without a
run folder are read by `results_file`; `tables.writing` writes lines in other formats.
"""

import os
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from crewrun.inspect.verify import surely_missing
from crewrun.inspect.view import View
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.keys import line_digest
from crewrun.row import Row
from crewrun.tables.writing.columns import Columns

Status = Literal["ok", "failed"]

# Inside a JSON string the quotes would be escaped, so this matches the line's own key only.
_INDEX = re.compile(rb',"index":(\d+),')
_BEHIND = 1 << 40  # larger than any row index


@dataclass(slots=True)
class LeftOut:
    """How many lines of the results are not exported, by what is wrong with them."""

    torn: int = 0
    strange: int = 0
    doubled: int = 0
    foreign: int = 0

    def __str__(self) -> str:
        reasons = (
            f"{self.torn} incomplete" if self.torn else "",
            f"{self.strange} different from the journal" if self.strange else "",
            f"{self.doubled} duplicated" if self.doubled else "",
            f"{self.foreign} that are not results" if self.foreign else "",
        )
        return ", ".join(reason for reason in reasons if reason)


class Lines:
    """The offsets of result lines in a file, in two arrays: 16 bytes per line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts, self._ends = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add the line from `start` up to `end`."""
        self._starts.append(start)
        self._ends.append(end)

    def sort(self, place: Callable[[int], int]) -> None:
        """Sort the lines by `place`, a function of a line's number."""
        order = array("q", sorted(range(len(self)), key=place))
        self._starts = array("q", (self._starts[i] for i in order))
        self._ends = array("q", (self._ends[i] for i in order))

    def __iter__(self) -> Iterator[bytes]:
        return (line for _, line in self.placed())

    def at(self, number: int) -> bytes:
        """The line with this number, from 0; also while they are iterated over. The file's buffer has to be flushed."""
        start = self._starts[number]
        return os.pread(self._file.fileno(), self._ends[number] - start, start)

    def placed(self) -> Iterator[tuple[int, bytes]]:
        """Each line with the offset at which it begins."""
        position = -1
        for start, end in zip(self._starts, self._ends, strict=True):
            if start != position:
                self._file.seek(start)
            position = end
            yield start, self._file.read(end - start)


class Written:
    """What is in a results file: the `lines` that are the latest of their rows, and the counts of those `left_out`.

    `columns` sees all of them, whatever their `status`. After every row of the input was passed to `see`, `missing` is
    the number of rows that are done but have no line, and `sort` can put the lines in the input's order.
    """

    def __init__(
        self, view: View, file: BinaryIO, status: Status | None, left_out: LeftOut, columns: Columns | None = None
    ) -> None:
        self._view = view
        self._status = status
        self._columns = columns
        self.lines, self.left_out, self.missing = Lines(file), left_out, 0
        self._positions, self._indexes = array("q"), array("q")
        # A run commits its rows before it writes them, so the journal has every line up to the size taken here.
        size_bytes = os.fstat(file.fileno()).st_size
        self._done = DoneIndex.load(view.db, view.definition())
        start = 0
        while start < size_bytes and (line := file.readline(size_bytes - start)):
            self._add(start, line)
            start += len(line)

    @property
    def may_lack(self) -> bool:
        """Whether any row is done but has no line, counting rows that the input no longer has."""
        return any(not written and self._is_asked(at) for at, written in enumerate(self._done.written))

    def see(self, row: Row, *, wanted: bool) -> None:
        """Take a row of the input into account; `wanted` says whether it belongs to the run."""
        position = self._done.find(row)
        if position is not None:
            self._done.see(position, row.index)
            self.missing += wanted and not self._done.written[position] and self._is_asked(position)

    def end_without_input(self) -> None:
        """Count `missing` without the input, which cannot be read."""
        self.missing = sum(1 for position in surely_missing(self._view, self._done) if self._is_asked(position))

    def sort(self) -> None:
        """Put the lines in the input's order; those not in the input come last, by the index they had when they ran."""
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
    """Result lines rebuilt from the journal: a temporary file of the input's rows that are done, in the input's order.

    `columns` sees all of them, whatever their `status`.
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
        """Add the line of a row of the input, if the row is done."""
        position = self._done.find(row)
        if position is not None:
            self._add(position, row)

    def add_rest(self) -> None:
        """Add the lines of all other rows that are done, in the order in which they were, without their inputs."""
        for position, is_added in enumerate(self._done.written):
            if not is_added:
                self._add(position, Row(position, 0, self._view.row_id(self._done.seq(position)), None))

    def _add(self, position: int, row: Row) -> None:
        self._done.written[position] = 1
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
    """Whether a row ended with `status`; None means any."""
    return status is None or done.is_ok(position) == (status == "ok")
