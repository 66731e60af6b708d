"""`RunState`: one session of a run, between its opening (`opening`) and its end.

For each row of the input it tells whether the row is done (`find`), makes its line again (`restore`) or gives the
recorder for its calls (`recall`), and commits its outcome (`keep`). `results` is its results file, `accounts` what the
run spent, `jobs` its batch jobs.
"""

import shlex
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from crewrun.errors import Category
from crewrun.journal.accounts import RunAccounts
from crewrun.journal.changes import Heartbeat, NewName
from crewrun.journal.codec import encode
from crewrun.journal.database import read_journal
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.event_log import EventLog
from crewrun.journal.jobs import JournalJobs
from crewrun.journal.keys import done_key, line_digest, pack_id
from crewrun.journal.names import Names
from crewrun.journal.reader import JournalReader
from crewrun.journal.recorder import JournalRecorder, SessionJournal
from crewrun.journal.replay_index import ReplayIndex
from crewrun.journal.schema import RowEntry, category_of, ended_of
from crewrun.journal.writer import JournalWriter
from crewrun.library_warnings import LibraryWarning
from crewrun.redaction.redactor import redact_line
from crewrun.row import Outcome, Row
from crewrun.runs.folder import RunFolder
from crewrun.runs.lock import LockMode, RunLocks
from crewrun.runs.manifest import Manifest
from crewrun.runs.progress_file import remove_progress, write_progress
from crewrun.runs.projection import Projection
from crewrun.runs.rebuild import Rebuild, RestoredResults, Visit


@dataclass(frozen=True, slots=True)
class StateOptions:
    """`output` is the file that lines are appended to, None for a stream; `table` is the user's file where that is made
    of it. `companions` are files that `fresh` moves with the user's file.

    `only` runs the rows that failed with that category again, and no others. `definition` is the crew's fingerprint.
    `is_mixed` says that lines are not written in the input's order and are sorted at the end. `is_ours` says which rows
    belong to this run's shard, None for all of them. `is_named` says that rows have their ids from a field, `is_replay`
    that calls are answered from the journal only.
    """

    folder: RunFolder
    output: Path | None
    manifest: Manifest
    definition: str
    fresh: bool = False
    lock: LockMode = "fail"
    companions: tuple[Path, ...] = ()
    only: Category | None = None
    log_prompts: bool = False
    is_mixed: bool = False
    is_ours: Callable[[Row], bool] | None = None
    is_named: bool = False
    is_replay: bool = False
    table: Path | None = None

    @property
    def named(self) -> Path | None:
        """The file that the user named, None for a stream."""
        return self.table or self.output


class StoredRow(NamedTuple):
    """A row that does not run: it is done, not selected by `only`, or another shard's.

    `is_written` says that no line has to be written for it.
    """

    position: int
    status: Literal["ok", "failed", "pending", "elsewhere"]
    is_written: bool


ELSEWHERE: Final = StoredRow(-1, "elsewhere", is_written=True)


class RunState:
    """One session of a run. `close` ends it and releases the lock; then it `is_closed`.

    `refused` is what endpoints refused in earlier sessions, as (endpoint, feature).
    """

    def __init__(
        self,
        options: StateOptions,
        locks: RunLocks,
        db: sqlite3.Connection,
        session: int,
        definition: int,
        done: DoneIndex,
        log: EventLog,
    ) -> None:
        folder = options.folder
        self._options = options
        self._locks = locks
        self._done = done
        self._row_numbers = count(_next(db, "rows"))
        first_call = _next(db, "calls")
        self.refused: set[tuple[str, str]] = set(
            db.execute("select endpoint, what from refusals where definition = ?", (definition,))
        )
        entries = dict(db.execute("select id, name from names"))
        rescue = partial(options.manifest.write, folder.manifest)
        self._writer = writer = JournalWriter(db, folder.journal, session, log.write, rescue)
        names = Names(entries, lambda number, name: writer.note(NewName(number, name)))
        self._journal = SessionJournal(writer, names, log, session, definition, count(first_call), options.log_prompts)
        self._reader = JournalReader(db, folder.journal, names.name)
        self._replay_index: ReplayIndex | None = None
        if first_call > 1:
            self._replay_index = ReplayIndex(writer, self._reader, names, with_unusable=options.is_replay)
        self._recorders: dict[str, JournalRecorder] = {}
        self.is_closed = False
        self.accounts = RunAccounts(writer, names, session)
        self.jobs = JournalJobs(writer, session)
        self.results = Projection(options.output, done, locks, is_mixed=options.is_mixed)
        self._journal.say("run", session=session, command=shlex.join(options.manifest.command), done=sum(done.written))

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._options.folder.path

    @property
    def results_bytes(self) -> int:
        """How large the results file was when the session began."""
        return self.results.size_bytes

    @property
    def rows_done(self) -> int:
        """How many rows have succeeded or failed in earlier sessions."""
        return len(self._done)

    @property
    def has_calls(self) -> bool:
        """Whether the journal has calls of earlier sessions."""
        return self._replay_index is not None

    def find(self, row: Row) -> StoredRow | None:
        """What is stored of the row, None when it has to run."""
        only = self._options.only
        position = self._done.find(row) if self._done and (row.problem is None or only is not None) else None
        if position is not None:
            self._done.see(position, row.index)
        if self._options.is_ours is not None and not self._options.is_ours(row):
            return ELSEWHERE
        if position is None:
            return None if only is None else StoredRow(-1, "pending", is_written=True)
        if self._done.is_ok(position):
            return StoredRow(position, "ok", bool(self._done.written[position]))
        if only is None or category_of(self._done.ended(position)) == only:
            return None
        return StoredRow(position, "failed", bool(self._done.written[position]))

    def is_due(self, row: Row) -> bool:
        """Whether the row has to run."""
        return self.find(row) is None

    def has_failed(self, row: Row) -> bool:
        """Whether the row failed in an earlier session."""
        position = self._done.find(row)
        return position is not None and not self._done.is_ok(position)

    def is_done(self, row: Row) -> bool:
        """Whether the row succeeded in an earlier session."""
        stored = self.find(row)
        return stored is not None and stored.status == "ok"

    def has_changed(self, row: Row) -> bool:
        """Whether a row with the same id was done with other content."""
        return self._done.find_changed(row) is not None

    def totals(self) -> tuple[int, int]:
        """How many rows succeeded and failed in earlier sessions, whether the input still has them or not."""
        ok = self._done.count_ok()
        return ok, len(self._done) - ok

    def find_changed(self, row: Row) -> int | None:
        """The position of the row with the same id, different inputs and a line in the results; None without one."""
        position = self._done.find_changed(row)
        return position if position is not None and self._done.written[position] else None

    async def restore(self, row: Row, stored: StoredRow) -> bytes:
        """The line of a row that is done, rebuilt from the journal. Raises JournalDamaged."""
        seq = self._done.seq(stored.position)
        outcome = await self._writer.read(lambda _: self._reader.outcome(seq, row))
        line = outcome.to_line()
        if line_digest(line) != self._done.digest(stored.position):  # the input's keys are in another order now
            record = await self._writer.read(lambda _: self._reader.record(seq))
            await self._writer.append_all([self._entry(outcome, line, record)], is_counted=False)
        else:
            self.results.add_restored(self._done.digest(stored.position))
        return line

    async def recall(self, row: Row) -> JournalRecorder:
        """The recorder for a row, with the calls that earlier sessions recorded. Raises JournalDamaged."""
        entries = await self._replay_index.calls_of(row) if self._replay_index is not None else ()
        recorder = self._recorders[row.id] = JournalRecorder(row, self._journal, entries)
        return recorder

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Commit outcomes. Returns their lines for the results."""
        lines, entries = [], []
        for outcome in outcomes:
            line = outcome.to_line()
            recorder = self._recorders.pop(outcome.row.id, None)
            record = encode(outcome, recorder.replies if recorder else {}, self._journal.names.code)
            self._writer.say(self._journal.log.row(outcome))
            lines.append(line)
            entries.append(self._entry(outcome, line, record))
        await self._writer.append_all(entries)
        return lines

    def forget(self, row: Row) -> None:
        """Drop the recorder of a row that was given up. Its recorded calls stay in the journal."""
        self._recorders.pop(row.id, None)

    def warned(self, warning: LibraryWarning) -> None:
        """Log a library's warning."""
        self._journal.say("warning", **warning._asdict())

    def heartbeat(self, beat: Heartbeat) -> None:
        """Write the session's progress."""
        self._writer.note(beat)

    def publish(self, progress: Mapping[str, Any]) -> None:
        """Write `progress.json`, in any thread."""
        write_progress(self._options.folder.progress, progress)

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """See `Projection.arrange`."""
        return self.results.arrange(complete=complete, ordered=ordered)

    async def rebuild(self, fd: int, visit: Visit | None, *, ordered: bool, unwritten: int) -> RestoredResults | None:
        """See `Projection.rebuild`. `visit` reads the input again, None where it cannot be read twice."""
        query, session = "select digest from rows where session = ?", self._journal.session
        digests = await self._writer.read(lambda db: [digest for (digest,) in db.execute(query, (session,))])
        restore = partial(self._restore_missing, visit) if visit is not None else None
        return await self.results.rebuild(fd, digests, restore, ordered=ordered, unwritten=unwritten)

    async def _restore_missing(self, visit: Visit, rebuild: Rebuild) -> None:
        """Add the missing lines, rebuilt from the journal and the input."""
        by_id, definition = self._options.is_named, self._journal.definition
        done = await self._writer.read(lambda db: DoneIndex.load(db, definition, by_id=by_id))
        rewritten: list[RowEntry] = []
        path = self._options.folder.journal
        with closing(read_journal(path)) as db:
            reader = JournalReader(db, path, self._journal.names.name)

            def see(row: Row) -> None:
                position = done.find(row)
                if position is None or not rebuild.is_missing(done.digest(position), row.index):
                    return
                outcome = reader.outcome(done.seq(position), row)
                line = outcome.to_line()
                if line_digest(line) != done.digest(position):  # as in `restore`
                    rewritten.append(self._entry(outcome, line, reader.record(done.seq(position))))
                rebuild.restore(done.digest(position), line)

            await visit(see)
        if rewritten:
            await self._writer.append_all(rewritten, is_counted=False)

    async def in_all(self) -> dict[str, Any]:
        """What all sessions of the run have spent together."""
        return await self.accounts.total()

    async def close(self, stopped: str | None, exit_code: int, elsewhere: int = 0, gone: int = 0) -> None:
        """End the session. `elsewhere` rows belong to other shards, `gone` results were removed from the file. Raises
        JournalFailed when it cannot be recorded.
        """
        stopped = None if stopped is None else redact_line(stopped)
        self._journal.say("stop", why=stopped, exit_code=exit_code, elsewhere=elsewhere, gone=gone)
        try:
            await self._writer.close(stopped, exit_code)
        finally:
            self.is_closed = True
            self._journal.log.close()
            remove_progress(self._options.folder.progress)
            self._locks.release()

    def _entry(self, outcome: Outcome, line: bytes, record: bytes) -> RowEntry:
        row, definition = outcome.row, self._journal.definition
        digest = line_digest(line)
        self.results.add(digest, row.index)
        return RowEntry(
            next(self._row_numbers),
            self._journal.session,
            definition,
            done_key(row.id, row.content, definition),
            pack_id(row.id),
            digest,
            ended_of(outcome.error.category if outcome.error else None),
            record,
        )


def _next(db: sqlite3.Connection, table: str) -> int:
    (last,) = db.execute(f"select max(seq) from {table}").fetchone()  # noqa: S608  (the table is ours)
    return (last or 0) + 1
