"""`ResultsFile`: results without a run folder, merged or copied from elsewhere. Which of their lines count, only they
say.

The lines of runs are held against their journals, in `export`.
"""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from crewrun.inspect.export import LeftOut, Lines, Status
from crewrun.inspect.merge import read_line
from crewrun.inspect.table import Columns
from crewrun.journal.done_index import Positions
from crewrun.journal.keys import row_key
from crewrun.runs.folder import beside


def find_loose(run: str) -> Path | None:
    """The file that a user names, None when it is none, or has a run folder beside it."""
    path = Path(os.path.realpath(run))
    try:
        is_loose = os.path.isfile(path) and not beside(path).is_used and not beside(Path(run)).is_used
    except OSError:  # who looks for a run says what is wrong
        return None
    return path if is_loose else None


def whole_lines(file: BinaryIO, left_out: LeftOut) -> Iterator[tuple[int, bytes]]:
    """Each line with its newline behind the position where it begins; one that has none is counted."""
    start = 0
    for line in file:
        if line.endswith(b"\n"):
            yield start, line
        else:
            left_out.torn += 1
        start += len(line)


class ResultsFile:
    """The results in a file: of each id the last line, if it ended with `status`. The others are `left_out`.

    `columns` are shown all results, whatever their status. Ids are told apart by 64 bits of each: a million take a few
    dozen megabytes.
    """

    def __init__(self, file: BinaryIO, status: Status | None, columns: Columns | None) -> None:
        self.left_out = LeftOut()
        self._file = file
        self._status = status
        self._keys, self._starts, self._ends, self._indexes = array("q"), array("q"), array("q"), array("q")
        self._ok = bytearray()
        self._by_key = Positions(self._keys, most=0)
        self._room = 0
        for start, line in whole_lines(file, self.left_out):
            if not self._take(start, line):
                self.left_out.foreign += 1
            elif columns is not None:
                columns.see(line)

    def __len__(self) -> int:
        return len(self._keys)

    def lines(self, *, ordered: bool) -> Lines:
        """The lines as they stand in the file, or in the order that their rows had when they ran."""
        lines = Lines(self._file)
        asked = (i for i in range(len(self)) if self._status is None or bool(self._ok[i]) == (self._status == "ok"))
        places = self._indexes if ordered else self._starts
        for position in sorted(asked, key=places.__getitem__):
            lines.add(self._starts[position], self._ends[position])
        return lines

    def _take(self, start: int, line: bytes) -> bool:
        """Note a line, in the place of an earlier one of its row. False when it is no result."""
        said = read_line(line)
        if said is None:
            return False
        key = row_key(said.id)
        position = self._by_key.find(key)
        if position is None:
            position = self._add(key)
        else:
            self.left_out.doubled += 1
        self._starts[position], self._ends[position] = start, start + len(line)
        self._indexes[position], self._ok[position] = said.place, said.is_ok
        return True

    def _add(self, key: int) -> int:
        """The position of a row that is new."""
        position = len(self._keys)
        self._keys.append(key)
        for column in (self._starts, self._ends, self._indexes):
            column.append(0)
        self._ok.append(0)
        if position < self._room:
            self._by_key.enter(position)
        else:
            self._room = 2 * (position + 1)
            self._by_key = Positions(self._keys, self._room)
        return position
