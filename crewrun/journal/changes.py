"""What a session writes to its journal, as SQL: call entries, row entries, and updates of its own record.

`writer` decides when. Everything here runs in the writer's thread, inside its transaction.
"""

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from crewrun.journal.schema import FAILURE, OK, TOOL, TOOL_FAILURE, CallEntry, RowEntry
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.unknown_bills import Owed

# Rows per INSERT. Each statement releases the GIL and competes with the event loop to get it back, so a few large
# statements are cheaper than many small ones; a fixed set of sizes lets sqlite3 reuse its prepared statements.
_CHUNKS: Final = (64, 16, 4, 1)

Statement = tuple[str, Sequence[Any]]


class Change(Protocol):
    """A change of the journal other than a call or a row."""

    def statement(self, session: int) -> Statement:
        """The SQL with its values, for the session with this number."""
        ...


class NewName(NamedTuple):
    """A name that later entries refer to by its number."""

    number: int
    name: str

    def statement(self, session: int) -> Statement:
        return "insert or ignore into names values (?, ?)", self


class Refusal(NamedTuple):
    """A feature of a definition's requests that an endpoint refuses."""

    definition: int
    endpoint: str
    what: str

    def statement(self, session: int) -> Statement:
        return "insert or ignore into refusals values (?, ?, ?)", self


class ModelBounds(NamedTuple):
    """By how much the counts of a model's provider exceed the bounds of a call."""

    model: str
    bounds: LearnedBounds

    def statement(self, session: int) -> Statement:
        return "insert or replace into learned_bounds values (?, ?, ?)", (self.model, *self.bounds)


class HighWater(NamedTuple):
    """The most that the session may have been billed. It only rises."""

    usd: float

    def statement(self, session: int) -> Statement:
        return "update sessions set high_water_usd = ? where id = ?", (self.usd, session)


class UnknownBillsChange(NamedTuple):
    """What all attempts of the session with an unknown bill may cost together."""

    owed: Owed

    def statement(self, session: int) -> Statement:
        columns = "owed_calls = ?, owed_usd = ?, owed_unpriced = ?"
        return f"update sessions set {columns} where id = ?", (*self.owed, session)  # noqa: S608  (columns are ours)


class Heartbeat(NamedTuple):
    """The session's progress, for readers in other processes: rows, and the share of the input that is done."""

    in_flight: int
    kept: int
    share: float | None
    elapsed_s: float

    def statement(self, session: int) -> Statement:
        columns = "in_flight = ?, kept = ?, share = ?, elapsed_s = ?, updated_at = ?"
        return f"update sessions set {columns} where id = ?", (*self, time.time(), session)  # noqa: S608  (columns are ours)


class SessionEnd(NamedTuple):
    """The end of the session; `stopped` says why it ended early, None when it finished."""

    stopped: str | None
    exit_code: int

    def statement(self, session: int) -> Statement:
        columns = "ended_at = ?, stopped = ?, exit_code = ?, in_flight = 0"
        return f"update sessions set {columns} where id = ?", (time.time(), *self, session)  # noqa: S608  (columns are ours)


class FinishedRows(NamedTuple):
    """Rows with an outcome. `is_counted` says that this session ran them, so they count in its sums."""

    entries: Sequence[RowEntry]
    is_counted: bool


def write(db: sqlite3.Connection, session: int, changes: Sequence[CallEntry | FinishedRows | Change]) -> None:
    """Write the changes, and add calls and rows to the session's sums.

    Of several heartbeats only the last is written.
    """
    calls: list[CallEntry] = []
    finished: list[FinishedRows] = []
    heartbeat: Heartbeat | None = None
    others: list[Change] = []
    for change in changes:
        if isinstance(change, CallEntry):
            calls.append(change)
        elif isinstance(change, FinishedRows):
            finished.append(change)
        elif isinstance(change, Heartbeat):
            heartbeat = change
        else:
            others.append(change)
    _insert(db, "calls", calls)
    _insert(db, "rows", [entry for rows in finished for entry in rows.entries])
    if calls or finished:
        _count(db, session, calls, [entry for rows in finished if rows.is_counted for entry in rows.entries])
    # The heartbeat first, for the session's end overrides it.
    for change in (heartbeat, *others) if heartbeat is not None else others:
        db.execute(*change.statement(session))


def _insert(db: sqlite3.Connection, table: str, entries: Sequence[CallEntry | RowEntry]) -> None:
    start = 0
    while start < len(entries):
        left = len(entries) - start
        size = next(chunk for chunk in _CHUNKS if chunk <= left)
        values = [value for entry in entries[start : start + size] for value in entry]
        row = f"({', '.join('?' * len(entries[0]))})"
        db.execute(f"insert into {table} values {', '.join([row] * size)}", values)  # noqa: S608  (the table is ours)
        start += size


def _count(db: sqlite3.Connection, session: int, calls: Sequence[CallEntry], rows: Sequence[RowEntry]) -> None:
    billed = [call for call in calls if call.kind not in (TOOL, TOOL_FAILURE)]
    failed = sum(1 for row in rows if row.ended != OK)
    sums = {
        "attempts": sum(call.attempts for call in billed),
        "calls": sum(1 for call in billed if call.kind != FAILURE),
        "prompt_tokens": sum(call.prompt_tokens for call in billed),
        "cached_prompt_tokens": sum(call.cached_prompt_tokens for call in billed),
        "completion_tokens": sum(call.completion_tokens for call in billed),
        "reasoning_tokens": sum(call.reasoning_tokens for call in billed),
        "cache_write_prompt_tokens": sum(call.cache_write_prompt_tokens for call in billed),
        "cost_usd": sum(call.cost_usd or 0.0 for call in billed),
        "unpriced": sum(1 for call in billed if call.cost_usd is None),
        "ok": len(rows) - failed,
        "failed": failed,
    }
    added = ", ".join(f"{column} = {column} + ?" for column in sums)
    db.execute(
        f"update sessions set {added}, updated_at = ? where id = ?",  # noqa: S608  (columns are ours)
        (*sums.values(), time.time(), session),
    )
