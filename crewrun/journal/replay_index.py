"""`ReplayIndex`: finds the calls of a row that earlier sessions of the run recorded."""

import sqlite3
from array import array

import anyio

from crewrun.errors import Category
from crewrun.journal.done_index import is_among
from crewrun.journal.keys import id_key, pack_id, row_key
from crewrun.journal.names import Names
from crewrun.journal.reader import JournalReader
from crewrun.journal.schema import ANSWER, TURN, CallEntry, ended_of
from crewrun.journal.writer import JournalWriter
from crewrun.row import Row

# A row that failed with one of these had answers that could not be used: the same answers would fail it again.
_UNUSABLE = (Category.OUTPUT_INVALID, Category.GUARDRAIL)


class ReplayIndex:
    """The calls of one journal. Unless `with_unusable`, answers that made their row fail are left out.

    It is built for the first row. Most rows that a resumed run still has to do have no calls; an array of 8 bytes per
    row tells these, so that they never wait for the writer's thread.
    """

    def __init__(self, writer: JournalWriter, reader: JournalReader, names: Names, *, with_unusable: bool) -> None:
        self._writer = writer
        self._reader = reader
        self._names = names
        self._with_unusable = with_unusable
        self._rows: array[int] | None = None
        self._indexing = anyio.Lock()  # `_rows` is built once

    async def calls_of(self, row: Row) -> list[CallEntry]:
        """The recorded calls of `row` that may be replayed, oldest first. Raises JournalDamaged and JournalFailed."""
        async with self._indexing:
            if self._rows is None:
                self._rows = await self._writer.read(_index)
        key = row_key(row.id)
        if not is_among(self._rows, key):
            return []
        return await self._writer.read(lambda db: self._read(db, row, key))

    def _read(self, db: sqlite3.Connection, row: Row, key: int) -> list[CallEntry]:
        calls = self._reader.calls("seq in (select seq from temp.called where row = ?)", (key,))
        if self._with_unusable:
            return calls
        failures = "select seq, session from temp.unusable where row = ?"
        for seq, session in db.execute(failures, (id_key(pack_id(row.id)),)).fetchall():
            error = self._reader.outcome(seq, row).error
            task = (error.task if error else None) or ""
            calls = [call for call in calls if call.session > session or not self._is_answer(call, task)]
        return calls

    def _is_answer(self, call: CallEntry, task: str) -> bool:
        """Whether it is a model's answer in `task`, or in a crew that was started in it."""
        name = self._names.name(call.task)
        return call.kind in (ANSWER, TURN) and (name == task or name.startswith(f"{task}/"))


def _index(db: sqlite3.Connection) -> "array[int]":
    """Index the calls by their rows, in temporary tables on disk. Returns the keys of all rows with calls.

    An index in the journal would cost every run, and most are never resumed: the keys are digests, so each call would
    write a page of its own.
    """
    db.execute("create temp table called (row integer, seq integer, primary key (row, seq)) without rowid")
    db.execute("insert into temp.called select row, seq from calls order by row, seq")
    db.execute("create temp table unusable (row integer, seq integer, session integer, primary key (row, seq))")
    ended = [ended_of(category) for category in _UNUSABLE]
    failures = db.execute("select id, seq, session from rows where ended in (?, ?)", ended)
    keys = ((id_key(packed), seq, session) for packed, seq, session in failures)
    db.executemany("insert into temp.unusable values (?, ?, ?)", keys)
    return array("q", (row for (row,) in db.execute("select distinct row from temp.called order by row")))
