"""`ResultsFile`: results without a run folder, merged or copied. Which lines count follows from the lines alone.

The lines of a run are checked against its journal, in `export`.
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


def find_results_file(run: str) -> Path | None:
    """The file that a user names, None for anything else and for the results of a run."""
    path = Path(os.path.realpath(run))
    try:
        is_results_file = os.path.isfile(path) and not beside(path).is_used and not beside(Path(run)).is_used
    except OSError:  # the caller then looks for a run, which says what is wrong
        return None
    return path if is_results_file else None


def whole_lines(file: BinaryIO, left_out: LeftOut) -> Iterator[tuple[int, bytes]]:
    """The start and the bytes of each line that ends in a newline. One that does not is counted in `left_out`."""
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
        positions = (i for i in range(len(self)) if self._status is None or bool(self._ok[i]) == (self._status == "ok"))
        places = self._indexes if ordered else self._starts
        for position in sorted(positions, key=places.__getitem__):
            lines.add(self._starts[position], self._ends[position])
        return lines

    def _take(self, start: int, line: bytes) -> bool:
        """Note a line, in the place of an earlier one of its row. False when it is no result."""
        result = read_line(line)
        if result is None:
            return False
        key = row_key(result.id)
        position = self._by_key.find(key)
        if position is None:
            position = self._add(key)
        else:
            self.left_out.doubled += 1
        self._starts[position], self._ends[position] = start, start + len(line)
        self._indexes[position], self._ok[position] = result.place, result.is_ok
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
