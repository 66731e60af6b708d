"""`RowJoin`: finds the result of a row of A in B, by the row's id, and remembers what became of it."""

import re
from array import array
from collections.abc import Iterator
from typing import Final

from crewrun.compare.row_changes import RowChange
from crewrun.inspect.export import Lines
from crewrun.journal.done_index import Positions
from crewrun.journal.keys import row_key
from crewrun.tables.writing.column_names import Record
from crewrun.tables.writing.columns import decoded

# How crewrun's own lines begin; an id with escapes, or a line by another program, is decoded.
_ID: Final = re.compile(rb'\{"schema":"crewrun\.result/\d+","id":"([^"\\]*)",')
_CODES: Final[tuple[RowChange, ...]] = ("only_b", "same", "changed", "fixed", "broken")
_CODE_OF: Final = {change: code for code, change in enumerate(_CODES)}


class RowJoin:
    """The lines of B by the ids of their rows: 17 to 25 bytes per row, and those of `lines`."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._keys = array("q", map(_key_of, lines))
        self._positions = Positions(self._keys, len(self._keys))
        self._changes = bytearray(len(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, row_id: str) -> int | None:
        """The number of a row's line, None when B does not have the row."""
        return self._positions.find(row_key(row_id))

    def record(self, number: int) -> Record:
        """The result in a line, decoded."""
        record: Record = decoded(self._lines.at(number))
        return record

    def note(self, number: int, change: RowChange) -> None:
        """Note what became of the row in a line."""
        self._changes[number] = _CODE_OF[change]

    def changes(self) -> Iterator[RowChange]:
        """What became of each row of B in the order of its lines, after all rows of A were noted."""
        return (_CODES[code] for code in self._changes)

    def count_only_b(self) -> int:
        """How many rows A does not have, after all of its rows were noted."""
        return self._changes.count(_CODE_OF["only_b"])


def _key_of(line: bytes) -> int:
    match = _ID.match(line)
    return row_key(match[1].decode()) if match else row_key(decoded(line)["id"])
