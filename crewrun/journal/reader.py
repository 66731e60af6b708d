"""`JournalReader`: calls and outcomes from a journal, for resuming a run and for commands that read one."""

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
    """Reads an open journal, in the thread of `db`. `name` returns the name behind a number."""

    def __init__(self, db: sqlite3.Connection, path: Path, name: Callable[[int | str], str]) -> None:
        self._db = db
        self._path = path
        self._name = name

    def calls(self, where: str, values: Sequence[Any]) -> list[CallEntry]:
        """The call entries that meet an SQL condition, oldest first. Raises JournalDamaged."""
        columns = ", ".join(CallEntry._fields)
        rows = self._db.execute(f"select {columns} from calls where {where} order by seq", values)  # noqa: S608  (both are ours)
        entries = []
        for entry in map(CallEntry._make, rows):
            with self.legible(entry.seq):
                read_text(entry)
            entries.append(entry)
        return entries

    def record(self, seq: int) -> bytes:
        """The encoded outcome in a row's entry, by its number. Raises JournalDamaged."""
        with self.legible(seq):
            (record,) = self._db.execute("select record from rows where seq = ?", (seq,)).fetchone()
        return bytes(record)

    def outcome(self, seq: int, row: Row) -> Outcome:
        """The outcome of `row`, by the number of its entry. Raises JournalDamaged."""
        record = self.record(seq)
        with self.legible(seq):
            return decode(record, row, lambda number: read_text(self.calls("seq = ?", (number,))[0]), self._name)

    @contextmanager
    def legible(self, seq: int) -> Iterator[None]:
        """Raise JournalDamaged when an entry cannot be decoded in the block: SQLite has no checksums to show damage."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise JournalDamaged(f"{self._path}: is damaged: its entry {seq} cannot be read") from error
