"""`ResultsFile`: results without a run folder, for example merged or copied ones. Only the lines themselves are
checked.

`export` checks the lines of a run against its journal.
"""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from crewrun.inspect.export import LeftOut, Lines, Status
from crewrun.inspect.merge import read_line
from crewrun.journal.done_index import Positions
from crewrun.journal.keys import row_key
from crewrun.runs.folder import folder_of, is_lines_of_run
from crewrun.tables.writing.columns import Columns


def find_results_file(run: str) -> Path | None:
    """The results file without a run folder that `run` names; None for a run, and when there is no such file."""
    path = Path(os.path.realpath(run))
    try:
        is_results_file = os.path.isfile(path) and not folder_of(path).is_used and not folder_of(Path(run)).is_used
        is_results_file = is_results_file and not is_lines_of_run(path)
    except OSError:  # the caller then looks for a run, and that error says what is wrong
        return None
    return path if is_results_file else None


def whole_lines(file: BinaryIO, left_out: LeftOut) -> Iterator[tuple[int, bytes]]:
    """The offset and the bytes of each line that ends in a newline. A line that does not is counted in `left_out`."""
    start = 0
    for line in file:
        if line.endswith(b"\n"):
            yield start, line
        else:
            left_out.torn += 1
        start += len(line)


class ResultsFile:
    """The results in a file: the last line of each id, if the row ended with `status`. Other lines are `left_out`.

    `columns` sees all results, whatever their status. Ids are compared by 64-bit digests: a million take a few dozen
    megabytes.
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
        """The lines in the order of the file, or with `ordered` in the order that the rows had in their input."""
        lines = Lines(self._file)
        positions = (i for i in range(len(self)) if self._status is None or bool(self._ok[i]) == (self._status == "ok"))
        places = self._indexes if ordered else self._starts
        for position in sorted(positions, key=places.__getitem__):
            lines.add(self._starts[position], self._ends[position])
        return lines

    def _take(self, start: int, line: bytes) -> bool:
        """Note a line, replacing an earlier one of the same row. False when it is not a result."""
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
        """Make a position for a new row."""
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
