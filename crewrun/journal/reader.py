"""`JournalReader`: calls and outcomes read back out of a journal, for the batch that goes on and for who looks at a
run.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crewrun.errors import JournalDamaged
from crewrun.journal.codec import decode
from crewrun.journal.replies import read_text
from crewrun.journal.schema import CallEntry
from crewrun.row import Outcome, Row


class JournalReader:
    """What an open journal has, used in the thread of `db`. `name` gives the word behind a number."""

    def __init__(self, db: sqlite3.Connection, path: Path, name: Callable[[int | str], str]) -> None:
        self._db = db
        self._path = path
        self._name = name

    def calls(self, where: str, values: Sequence[Any]) -> list[CallEntry]:
        """The call entries that an SQL condition is true of, in their order. Raises JournalDamaged."""
        columns = ", ".join(CallEntry._fields)
        found = self._db.execute(f"select {columns} from calls where {where} order by seq", values)  # noqa: S608  (both are ours)
        entries = []
        for entry in map(CallEntry._make, found):
            with self.legible(entry.seq):
                read_text(entry)
            entries.append(entry)
        return entries

    def record(self, seq: int) -> bytes:
        """What `outcomes.encode` made of a row, by the number of its entry. Raises JournalDamaged."""
        with self.legible(seq):
            (record,) = self._db.execute("select record from rows where seq = ?", (seq,)).fetchone()
        return bytes(record)

    def outcome(self, seq: int, row: Row) -> Outcome:
        """What became of `row`, by the number of its entry. Raises JournalDamaged."""
        record = self.record(seq)
        with self.legible(seq):
            return decode(record, row, lambda number: read_text(self.calls("seq = ?", (number,))[0]), self._name)

    @contextmanager
    def legible(self, seq: int) -> Iterator[None]:
        """Raise JournalDamaged when an entry is not what was written: SQLite keeps no checksums that would tell."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as wrong:
            raise JournalDamaged(f"{self._path}: is damaged: its entry {seq} cannot be read") from wrong
