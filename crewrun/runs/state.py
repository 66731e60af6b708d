"""`RunState`: a run's folder, lock, journal and results file, opened for one session of a batch.

For each row of the input it knows whether the row is done (`find`), gives its line again (`restore`) or the recorder
for its calls (`recall`), and keeps its outcome (`keep`).
"""

import os
import shlex
import sqlite3
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio
import anyio.to_thread

from crewrun.errors import Category, JournalDamaged, UsageError
from crewrun.row import Outcome, Row
from crewrun.runs import journal
from crewrun.runs.done import DoneRows
from crewrun.runs.folder import RunFolder, set_aside
from crewrun.runs.lock import LockMode, RunLock
from crewrun.runs.log import EventLog
from crewrun.runs.manifest import Manifest, created_at
from crewrun.runs.names import Names
from crewrun.runs.outcomes import decode, encode
from crewrun.runs.recording import Journaling, Recording, read_text
from crewrun.runs.results import Settled, arrange, settle, spent_in
from crewrun.runs.writer import Heartbeat, JournalWriter

# So many of the last results may be missing from the journal without it being damaged: a machine that lost its power
# had written them, and not yet what SQLite committed before.
_MAY_BE_LOST = 64


@dataclass(frozen=True, slots=True)
class StateOptions:
    """`output` is the results file, None for a stream; `aside` what goes with it when `fresh` begins anew.

    `only` redoes the rows that failed so, and no others. `definition` is the crew's fingerprint.
    """

    folder: RunFolder
    output: Path | None
    manifest: Manifest
    definition: str
    fresh: bool = False
    lock: LockMode = "fail"
    aside: tuple[Path, ...] = ()
    only: Category | None = None
    log_prompts: bool = False


class Kept(NamedTuple):
    """A row that is not run: done before, or left alone. `is_written` says that its line is in the results."""

    position: int
    status: Literal["ok", "failed", "pending"]
    is_written: bool


class Opened(NamedTuple):
    """What `open_state` finds and does before the first row. `lost` results are not in the journal any more."""

    state: "RunState"
    aside: Path | None
    lost: int


async def open_state(options: StateOptions) -> Opened:
    """Take the run, and bring its results in order.

    Raises RunHeld when another process has it, UsageError when it cannot be opened, JournalDamaged when its journal
    cannot be read.
    """
    _refuse_unknown(options)
    options.folder.make()
    lock = RunLock(options.folder.lock)
    await lock.acquire(wait=options.lock == "wait")
    try:
        return await anyio.to_thread.run_sync(_open, options, lock)
    except BaseException:
        lock.release()
        raise


def _open(options: StateOptions, lock: RunLock) -> Opened:
    folder, output = options.folder, options.output
    aside = set_aside(output, folder, *options.aside) if options.fresh else None
    _refuse_unknown(options)  # what another process did before we had the lock
    has_results = _has_lines(output)
    is_known = folder.is_used
    began = created_at(folder.manifest) if is_known else created_at(Path(os.devnull))
    manifest = _dated(options.manifest, began)
    if not is_known:
        manifest.write(folder.manifest)
    db: sqlite3.Connection | None = None
    try:
        # The log is begun after the journal, so where it has lines there was one.
        db = journal.open_journal(folder.journal, expected=has_results or _has_lines(folder.log))
        if is_known:
            manifest.write(folder.manifest)
        return _opened(options, lock, db, aside, shlex.join(manifest.command))
    except BaseException as wrong:
        if db is not None:
            db.close()
        error = journal.failure(folder.journal, wrong) if isinstance(wrong, sqlite3.DatabaseError) else wrong
        if isinstance(error, JournalDamaged):
            raise JournalDamaged(f"{error}\n{_cost_of_fresh(output)}") from wrong
        if error is not wrong:
            raise error from wrong
        raise


def _has_lines(output: Path | None) -> bool:
    return output is not None and output.is_file() and output.stat().st_size > 0


def _refuse_unknown(options: StateOptions) -> None:
    """Raise UsageError for results of which the run folder is not there: they would be lost, or paid for again."""
    if options.output is not None and _has_lines(options.output) and not options.fresh and not options.folder.is_used:
        output, folder = os.path.relpath(options.output), os.path.relpath(options.folder.path)
        raise UsageError(
            f"{output}: exists, and there is no {folder} with the state of its run; "
            "--fresh moves it aside, -o names another file"
        )


def _opened(options: StateOptions, lock: RunLock, db: sqlite3.Connection, aside: Path | None, command: str) -> Opened:
    definition = _definition_id(db, options.definition)
    session = _begin_session(db, definition, command)
    done = DoneRows.load(db, definition)
    lost = 0
    if options.output is not None and options.output.is_file():
        only = None if options.only is None else journal.ended_of(options.only)
        others = db.execute("select digest from rows where definition != ? order by digest", (definition,))
        settled = settle(options.output, _keeper(done, only, array("q", (digest for (digest,) in others))))
        lost = _lost(db, settled, options.folder)
    done.forget_search()
    log = EventLog(options.folder.log)
    return Opened(RunState(options, lock, db, session, definition, done, log), aside, lost)


def _keeper(done: DoneRows, only: int | None, others: "array[int]") -> Callable[[int], bool | None]:
    """Which lines stay: each row's last one if it succeeded, or is not to be redone; each once.

    `others` are the lines of earlier definitions, sorted: their rows run again, through the journal.
    """

    def keep(digest: int) -> bool | None:
        position = done.find_line(digest)
        if position is None:
            at = bisect_left(others, digest)
            return False if at < len(others) and others[at] == digest else None
        stays = done.is_ok(position) or (only is not None and done.ended(position) != only)
        if not stays or done.written[position]:
            return False
        done.written[position] = 1
        return True

    return keep


class RunState:
    """One session of a run. Closed with `close`, which gives the lock back."""

    def __init__(
        self,
        options: StateOptions,
        lock: RunLock,
        db: sqlite3.Connection,
        session: int,
        definition: int,
        done: DoneRows,
        log: EventLog,
    ) -> None:
        self._options = options
        self._lock = lock
        self._done = done
        self._log = log
        self._session = session
        self._definition = definition
        self._row_numbers = count(_next(db, "rows"))
        last_call = _next(db, "calls")
        self._has_calls = last_call > 1
        self._called: array[int] | None = None
        self._calling = anyio.Lock()  # the array above is made once
        self.refused: set[tuple[str, str]] = set(db.execute("select endpoint, error from refusals"))
        names = dict(db.execute("select id, name from names"))
        self._writer = JournalWriter(db, options.folder.journal, session, log.write)
        self._journaling = Journaling(
            self._writer, Names(names, self._writer.name), log, session, count(last_call), options.log_prompts
        )
        self._recordings: dict[str, Recording] = {}
        # New lines and the places of their rows, kept for what has to be sorted in the end.
        self._has_done = len(done) > 0
        self._new_digests, self._new_places = array("q"), array("q")
        self._say("run", session=session, command=shlex.join(options.manifest.command), done=sum(done.written))

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._options.folder.path

    def find(self, row: Row) -> Kept | None:
        """The row as it was kept, None when it has to be run."""
        only = self._options.only
        position = self._done.find(row) if self._done and (row.problem is None or only is not None) else None
        if position is None:
            return None if only is None else Kept(-1, "pending", is_written=True)
        self._done.see(position, row.index)
        if self._done.is_ok(position):
            return Kept(position, "ok", bool(self._done.written[position]))
        if only is None or journal.category_of(self._done.ended(position)) == only:
            return None
        return Kept(position, "failed", bool(self._done.written[position]))

    async def restore(self, row: Row, kept: Kept) -> bytes:
        """The line of a row that is done, made again from the journal."""
        seq = self._done.seq(kept.position)
        record, outcome = await self._writer.read(lambda db: _read_outcome(db, seq, row, self._journaling.names))
        line = outcome.to_line()
        if journal.line_digest(line) != self._done.digest(kept.position):  # the input's keys stand in another order
            await self._writer.append_all([self._entry(outcome, line, record)])
        return line

    async def recall(self, row: Row) -> Recording:
        """The recorder of a row, with all that earlier sessions recorded of it."""
        known: list[journal.CallEntry] = []
        if self._has_calls and await self._was_called(row):
            key = journal.row_key(row.id)
            known = await self._writer.read(lambda db: _calls(db, _OF_EARLIER_ROW, key))
        recording = self._recordings[row.id] = Recording(row, self._journaling, known)
        return recording

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Commit what became of some rows; their lines for the results."""
        lines, entries = [], []
        for outcome in outcomes:
            line = outcome.to_line()
            recording = self._recordings.pop(outcome.row.id, None)
            record = encode(outcome, recording.replies if recording else {}, self._journaling.names.code)
            self._writer.say(self._log.row(outcome))
            lines.append(line)
            entries.append(self._entry(outcome, line, record))
        await self._writer.append_all(entries)
        return lines

    def forget(self, row: Row) -> None:
        """A row was given up: what it recorded stays in the journal."""
        self._recordings.pop(row.id, None)

    def heartbeat(self, beat: Heartbeat) -> None:
        """Tell those who look from outside how far the run is."""
        self._writer.heartbeat(beat)

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """Bring the results into their last form: sorted, if that is asked for, and with `complete`, when the whole
        input was read, without the rows that it does not have any more. Returns how many those were.
        """
        output, done = self._options.output, self._done
        if output is None or not output.is_file():
            return 0
        stale = done.count_stale() if complete else 0
        if not stale and not (ordered and any(done.written)):
            return 0
        new = sorted(range(len(self._new_digests)), key=self._new_digests.__getitem__)
        digests = array("q", (self._new_digests[i] for i in new))

        def place(digest: int) -> int | None:
            at = bisect_left(digests, digest)
            if at < len(digests) and digests[at] == digest:
                return self._new_places[new[at]]
            position = done.find_line(digest)
            if position is None or (complete and not done.seen[position]):
                return None
            return done.places[position]

        return arrange(output, place, ordered=ordered)

    async def in_all(self) -> dict[str, Any]:
        """What all sessions of the run spent together."""
        return await self._writer.read(journal.all_spent)

    async def close(self, stopped: str | None, exit_code: int) -> None:
        """End the session. Raises JournalFailed when its end cannot be written."""
        self._say("stop", why=stopped, exit_code=exit_code)
        try:
            await self._writer.close(stopped, exit_code)
        finally:
            self._log.close()
            self._lock.release()

    def _entry(self, outcome: Outcome, line: bytes, record: bytes) -> journal.RowEntry:
        row = outcome.row
        digest = journal.line_digest(line)
        if self._has_done:  # else the lines are written in their last order
            self._new_digests.append(digest)
            self._new_places.append(row.index)
        return journal.RowEntry(
            next(self._row_numbers),
            self._session,
            self._definition,
            journal.done_key(row.id, row.content, self._definition),
            journal.pack_id(row.id),
            digest,
            journal.ended_of(outcome.error.category if outcome.error else None),
            record,
        )

    async def _was_called(self, row: Row) -> bool:
        async with self._calling:
            if self._called is None:
                self._called = await self._writer.read(_index_calls)
        key = journal.row_key(row.id)
        at = bisect_left(self._called, key)
        return at < len(self._called) and self._called[at] == key

    def _say(self, event: str, **fields: Any) -> None:
        self._writer.say(self._log.event(event, **fields))


_OF_EARLIER_ROW = "where seq in (select seq from temp.called where row = ?)"


def _index_calls(db: sqlite3.Connection) -> "array[int]":
    """Note on disk which calls each row has, in a table that is gone with the session: most never need it."""
    db.execute("create temp table called (row integer, seq integer, primary key (row, seq)) without rowid")
    db.execute("insert into temp.called select row, seq from calls order by row, seq")
    return array("q", (row for (row,) in db.execute("select distinct row from temp.called order by row")))


def _calls(db: sqlite3.Connection, where: str, key: int) -> list[journal.CallEntry]:
    columns = ", ".join(journal.CallEntry._fields)
    found = db.execute(f"select {columns} from calls {where} order by seq", (key,))  # noqa: S608  (both are ours)
    return [journal.CallEntry(*entry) for entry in found]


def _read_outcome(db: sqlite3.Connection, seq: int, row: Row, names: Names) -> tuple[bytes, Outcome]:
    """The record with this number, and the outcome that it keeps."""
    (record,) = db.execute("select record from rows where seq = ?", (seq,)).fetchone()

    def reply(number: int) -> str:
        (call,) = _calls(db, "where seq = ?", number)
        return read_text(call)

    return record, decode(record, row, reply, names.name)


def _next(db: sqlite3.Connection, table: str) -> int:
    (last,) = db.execute(f"select max(seq) from {table}").fetchone()  # noqa: S608  (the table is ours)
    return (last or 0) + 1


def _definition_id(db: sqlite3.Connection, fingerprint: str) -> int:
    found = db.execute("select id from names where name = ?", (fingerprint,)).fetchone()
    if found:
        return int(found[0])
    (last,) = db.execute("select count(*) from names").fetchone()
    db.execute("insert into names values (?, ?)", (last + 1, fingerprint))
    return int(last) + 1


def _begin_session(db: sqlite3.Connection, definition: int, command: str) -> int:
    now = time.time()
    cursor = db.execute(
        "insert into sessions (started_at, updated_at, pid, command, definition) values (?, ?, ?, ?, ?)",
        (now, now, os.getpid(), command, definition),
    )
    return int(cursor.lastrowid or 0)


def _lost(db: sqlite3.Connection, settled: Settled, folder: RunFolder) -> int:
    """How many results the journal does not know the rows of. Raises JournalDamaged when it must have lost them."""
    if not settled.strange_ids:
        return 0
    known = {journal.unpack_id(row_id) for (row_id,) in db.execute("select id from rows")}
    lost = sum(1 for row_id in settled.strange_ids if row_id not in known)
    if lost > _MAY_BE_LOST and lost * 100 > settled.kept:
        raise JournalDamaged(f"{folder.journal}: has lost {lost} rows that the results have")
    return lost


def _cost_of_fresh(output: Path | None) -> str:
    keeps = "--fresh moves it aside, with the results, and runs every row again"
    if output is None or not output.exists():
        return keeps
    rows, calls, cost_usd = spent_in(output)
    return (
        f"{keeps}: for the {rows} rows that {output} has, {calls} calls (${cost_usd:.2f}) would be paid a second time"
    )


def _dated(manifest: Manifest, began: str) -> Manifest:
    from dataclasses import replace

    return replace(manifest, created_at=began)
