"""`EarlierRows`: the rows of a run that succeeded under other definitions than the present one, and what they cost."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from crewrun.errors import JournalDamaged, UsageError
from crewrun.journal.database import failure, read_journal
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.keys import id_key
from crewrun.journal.schema import OK
from crewrun.llm.providers import OFFLINE
from crewrun.row import Row

# Definitions that are looked at, the latest first: each is an index in memory.
_MAX_DEFINITIONS: Final = 8
# Rows whose records are read: their mean cost stands for all.
_MAX_RECORDS: Final = 500


class EarlierRow(NamedTuple):
    """A row that was done: under the definition with this fingerprint, by the journal's entry `seq`."""

    definition: str
    seq: int


class EarlierRows:
    """The rows that are in the journal at `path` under other definitions, by their `indexes`, the latest first."""

    def __init__(self, path: Path = Path(), indexes: Sequence[tuple[str, DoneIndex]] = ()) -> None:
        self._path = path
        self._indexes = indexes

    @classmethod
    def load(cls, path: Path, now: str, *, by_id: bool) -> "EarlierRows":
        """Those of all definitions but `now`. `by_id` is for ids from a field. Raises as `read_journal` does."""
        latest = (
            "select names.id, names.name from sessions join names on names.id = sessions.definition "
            "where names.name != ? group by names.id order by max(sessions.id) desc limit ?"
        )
        try:
            with closing(read_journal(path)) as db:
                numbers = db.execute(latest, (now, _MAX_DEFINITIONS)).fetchall()
                loaded = [(str(name), DoneIndex.load(db, int(number), by_id=by_id)) for number, name in numbers]
        except sqlite3.Error as error:
            raise failure(path, error) from error
        return cls(path, [(name, index) for name, index in loaded if len(index)])

    def __bool__(self) -> bool:
        return bool(self._indexes)

    def find(self, row: Row) -> EarlierRow | None:
        """Where the row succeeded with the same content; None if it did not."""
        for definition, index in self._indexes:
            position = index.find(row)
            if position is not None and index.is_ok(position):
                return EarlierRow(definition, index.seq(position))
        return None

    def has_failed(self, row: Row) -> bool:
        """Whether the row ended with the same content and did not succeed."""
        return any(index.find(row) is not None for _, index in self._indexes) and self.find(row) is None

    def has_changed(self, row: Row) -> bool:
        """Whether a row with the same id was done with other content."""
        return any(index.find_changed(row) is not None for _, index in self._indexes)

    def of_latest(self) -> tuple[str, list[int]]:
        """The latest definition under which any row succeeded, empty without one, and the entries of these rows."""
        for definition, index in self._indexes:
            if index.count_ok():
                return definition, _succeeded(index)
        return "", []

    def real_models(self) -> list[str]:
        """The models behind the rows of the latest definition under which any succeeded, without the offline model."""
        _, seqs = self.of_latest()
        try:
            with closing(read_journal(self._path)) as db:
                codes = {code for seq in _sample(seqs) for code in _record(db, seq)[6]}
                names = dict(db.execute("select id, name from names"))
        except sqlite3.Error as error:
            raise failure(self._path, error) from error
        return sorted({str(names.get(code, code)) for code in codes} - {OFFLINE})

    def cost_usd(self, seqs: Sequence[int]) -> float | None:
        """What the rows of these entries cost, replayed calls included, in US dollars, from a sample; None if a price
        is unknown.
        """
        try:
            with closing(read_journal(self._path)) as db:
                costs = [_cost_of(_record(db, seq)) for seq in _sample(seqs)]
        except (sqlite3.Error, JournalDamaged, ValueError, LookupError, TypeError):
            return None
        priced = [cost for cost in costs if cost is not None]
        return sum(priced) / len(priced) * len(seqs) if priced and len(priced) == len(costs) else None

    def share_of(self, tasks: Sequence[str], seqs: Sequence[int]) -> float:
        """The share (0 to 1) of these tasks in the cost of the calls that are recorded of these entries' rows."""
        sample = _sample(seqs)
        try:
            with closing(read_journal(self._path)) as db:
                ids = [db.execute("select id from rows where seq = ?", (seq,)).fetchone()[0] for seq in sample]
                rows = ", ".join(str(id_key(packed)) for packed in ids)
                costs = "select task, sum(cost_usd) from calls where cost_usd > 0 and row in"
                by_task = db.execute(f"{costs} ({rows}) group by task").fetchall()
                names = dict(db.execute("select id, name from names"))
        except (sqlite3.Error, JournalDamaged, LookupError, TypeError):
            return 1.0
        own = sum(cost for code, cost in by_task if str(names.get(code, code)).partition("/")[0] in tasks)
        whole = sum(cost for _, cost in by_task)
        return own / whole if whole else 1.0


def latest_definition(path: Path) -> str | None:
    """The fingerprint of the latest session's definition in the journal at `path`; None if there is none."""
    query = "select names.name from sessions join names on names.id = definition order by sessions.id desc limit 1"
    try:
        with closing(read_journal(path)) as db:
            row = db.execute(query).fetchone()
    except (sqlite3.Error, JournalDamaged, UsageError):  # opening the run reports it
        return None
    return str(row[0]) if row else None


def count_done(path: Path, definition: str) -> int:
    """How many entries of rows that succeeded the journal at `path` has under the definition with this fingerprint."""
    number = "(select id from names where name = ?)"
    query = f"select count(*) from rows where definition = {number} and ended = {OK}"  # noqa: S608  (ours)
    try:
        with closing(read_journal(path)) as db:
            return int(db.execute(query, (definition,)).fetchone()[0])
    except (sqlite3.Error, JournalDamaged, UsageError):  # opening the run reports it
        return 0


def _succeeded(index: DoneIndex) -> list[int]:
    return [index.seq(position) for position in range(len(index)) if index.is_ok(position)]


def _sample(seqs: Sequence[int]) -> Sequence[int]:
    return seqs[:: max(1, -(-len(seqs) // _MAX_RECORDS))]


def _record(db: sqlite3.Connection, seq: int) -> list[Any]:
    """What `codec.encode` wrote."""
    (record,) = db.execute("select record from rows where seq = ?", (seq,)).fetchone()
    fields: list[Any] = json.loads(record)
    return fields


def _cost_of(record: Sequence[Any]) -> float | None:
    """The cost of a row, with that of its replayed calls."""
    replayed = record[11] if len(record) > 11 and record[11] else [0, 0, [], 0.0]
    return None if record[5] is None or replayed[3] is None else float(record[5] + replayed[3])
