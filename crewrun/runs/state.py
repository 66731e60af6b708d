"""`RunState`: one session of a run, between its opening (`opening`) and its end.

For each row of the input it knows whether the row is done (`find`), gives its line again (`restore`) or the recorder
for its calls (`recall`), and keeps its outcome (`keep`).
"""

import shlex
import sqlite3
from array import array
from asyncio import Future
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import anyio.to_thread

from crewrun.errors import Category, OutputFailed
from crewrun.journal.changes import Heartbeat, ModelBounds, NewName, UnknownBills
from crewrun.journal.codec import encode
from crewrun.journal.database import read_journal
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.event_log import EventLog
from crewrun.journal.keys import done_key, line_digest, pack_id
from crewrun.journal.names import Names
from crewrun.journal.reader import JournalReader
from crewrun.journal.recorder import JournalRecorder, SessionJournal
from crewrun.journal.replay_index import ReplayIndex
from crewrun.journal.schema import TOOL, TOOL_FAILURE, RowEntry, category_of, ended_of
from crewrun.journal.spending import total_spent
from crewrun.journal.writer import JournalWriter
from crewrun.library_warnings import LibraryWarning
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.unknown_bills import Owed
from crewrun.redaction.redactor import redact_line
from crewrun.row import Outcome, Row
from crewrun.runs.folder import RunFolder
from crewrun.runs.lock import LockMode, RunLocks
from crewrun.runs.manifest import Manifest
from crewrun.runs.rebuild import Rebuild, Rebuilt, Visit
from crewrun.runs.results import arrange

# From so many the budget learns what an answer takes.
_LATEST_ANSWERS = 2000


@dataclass(frozen=True, slots=True)
class StateOptions:
    """`output` is the results file, None for a stream; `aside` what goes with it when `fresh` begins anew.

    `only` redoes the rows that failed so, and no others. `definition` is the crew's fingerprint. `is_mixed` says that
    lines are written in another order than the input's and are to be sorted in the end. `is_ours` says which rows
    the run is to do, None for all. `is_named` says that rows have their ids from a field, `is_replay` that nothing but
    the journal may answer.
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
    is_mixed: bool = False
    is_ours: Callable[[Row], bool] | None = None
    is_named: bool = False
    is_replay: bool = False


class StoredRow(NamedTuple):
    """A row that is not run: done before, left alone, or not of this run. `is_written` says that no line of it is to be
    written.
    """

    position: int
    status: Literal["ok", "failed", "pending", "elsewhere"]
    is_written: bool


ELSEWHERE: Final = StoredRow(-1, "elsewhere", is_written=True)


class RunState:
    """One session of a run. Closed with `close`, which gives the lock back."""

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
        self._options = options
        self._locks = locks
        self._done = done
        self._log = log
        self._session = session
        self._definition = definition
        self._row_numbers = count(_next(db, "rows"))
        last_call = _next(db, "calls")
        self.refused: set[tuple[str, str]] = set(
            db.execute("select endpoint, what from refusals where definition = ?", (definition,))
        )
        known = dict(db.execute("select id, name from names"))
        rescue = partial(options.manifest.write, options.folder.manifest)
        self._writer = JournalWriter(db, options.folder.journal, session, log.write, rescue)
        names = Names(known, lambda number, name: self._writer.note(NewName(number, name)))
        self._journal = SessionJournal(
            self._writer, names, log, session, definition, count(last_call), options.log_prompts
        )
        self._entries = JournalReader(db, options.folder.journal, names.name)
        self._earlier: ReplayIndex | None = None
        if last_call > 1:
            self._earlier = ReplayIndex(self._writer, self._entries, names, with_unusable=options.is_replay)
        self._recordings: dict[str, JournalRecorder] = {}
        # New lines and the places of their rows, kept for what has to be sorted in the end.
        self._keeps_places = len(done) > 0 or options.is_mixed
        self._new_digests, self._new_places = array("q"), array("q")
        self._restored = array("q")  # lines of earlier sessions that are written again
        self.results_bytes = _size(options.output)
        self._say("run", session=session, command=shlex.join(options.manifest.command), done=sum(done.written))

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._options.folder.path

    @property
    def rows_done(self) -> int:
        """How many rows have ended in earlier sessions, well or not."""
        return len(self._done)

    @property
    def has_calls(self) -> bool:
        """Whether calls of earlier sessions are in the journal."""
        return self._earlier is not None

    @property
    def has_results(self) -> bool:
        """Whether lines of earlier sessions are in the results."""
        return any(self._done.written)

    def find(self, row: Row) -> StoredRow | None:
        """The row as it was kept, None when it has to be run."""
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
        """Whether the row has to be run."""
        return self.find(row) is None

    def has_failed(self, row: Row) -> bool:
        """Whether the row failed in an earlier session."""
        position = self._done.find(row)
        return position is not None and not self._done.is_ok(position)

    def find_changed(self, row: Row) -> int | None:
        """Where the row is kept that has this one's id, says something else and is in the results."""
        position = self._done.find_changed(row)
        return position if position is not None and self._done.written[position] else None

    def take_out(self, positions: Sequence[int]) -> None:
        """Take the lines of kept rows out of the results, all at once. Raises OutputFailed."""
        done, output = self._done, self._options.output
        for position in positions:
            done.written[position] = 0

        def place(digest: int) -> int | None:
            position = done.find_line(digest)
            return 0 if position is not None and done.written[position] else None

        if positions and output is not None:
            arrange(output, place, ordered=False)
            self._locks.renew()
            self.results_bytes = _size(output)
        done.forget_search()

    async def restore(self, row: Row, kept: StoredRow) -> bytes:
        """The line of a row that is done, made again from the journal. Raises JournalDamaged."""
        seq = self._done.seq(kept.position)
        outcome = await self._writer.read(lambda _: self._entries.outcome(seq, row))
        line = outcome.to_line()
        if line_digest(line) != self._done.digest(kept.position):  # the input's keys stand in another order
            record = await self._writer.read(lambda _: self._entries.record(seq))
            await self._writer.append_all([self._entry(outcome, line, record)], is_counted=False)
        else:
            self._restored.append(self._done.digest(kept.position))
        return line

    async def recall(self, row: Row) -> JournalRecorder:
        """The recorder of a row, with what earlier sessions recorded of it. Raises JournalDamaged."""
        known = await self._earlier.of(row) if self._earlier is not None else ()
        recording = self._recordings[row.id] = JournalRecorder(row, self._journal, known)
        return recording

    async def keep(self, outcomes: Sequence[Outcome]) -> list[bytes]:
        """Commit what became of some rows; their lines for the results."""
        lines, entries = [], []
        for outcome in outcomes:
            line = outcome.to_line()
            recording = self._recordings.pop(outcome.row.id, None)
            record = encode(outcome, recording.replies if recording else {}, self._journal.names.code)
            self._writer.say(self._log.row(outcome))
            lines.append(line)
            entries.append(self._entry(outcome, line, record))
        await self._writer.append_all(entries)
        return lines

    def forget(self, row: Row) -> None:
        """A row was given up: what it recorded stays in the journal."""
        self._recordings.pop(row.id, None)

    def warned(self, warning: LibraryWarning) -> None:
        """Log what a library warned of."""
        self._say("warning", **warning._asdict())

    def heartbeat(self, beat: Heartbeat) -> None:
        """Tell those who look from outside how far the run is."""
        self._writer.note(beat)

    def arrange(self, *, complete: bool, ordered: bool) -> int:
        """Bring the results into their last form: sorted, if that is asked for, and with `complete`, when the whole
        input was read, without the rows that it does not have any more. Returns how many those were.
        """
        output, done = self._options.output, self._done
        if output is None or not output.is_file():
            return 0
        stale = done.count_stale() if complete else 0
        if not stale and not (ordered and (self._options.is_mixed or any(done.written))):
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

    async def rebuild(self, fd: int, visit: Visit | None, *, ordered: bool, unwritten: int) -> Rebuilt | None:
        """Make the results whole, which are not any more what was written to `fd`. None when they are after all.

        `visit` reads the input again, None where that cannot be; `unwritten` rows have no line yet. Raises OutputFailed
        when lines are lost, with the results as whole as they can be.
        """
        path = self._options.output
        if path is None:
            return None
        work = Rebuild(path, await self._wanted())
        try:
            await anyio.to_thread.run_sync(work.copy, fd)
            if work.missing and visit is not None:
                await self._restore_missing(work, visit)
        except BaseException:
            work.discard()
            raise
        missing = work.missing
        rebuilt = await anyio.to_thread.run_sync(partial(work.publish, fd, ordered=ordered))
        if missing > unwritten:
            raise OutputFailed(f"{path}: {missing} of its lines are lost; the journal has them")
        return rebuilt

    async def _wanted(self) -> "array[int]":
        """The digests of the lines that the results should have, sorted."""
        query = "select digest from rows where session = ?"
        new = await self._writer.read(lambda db: [digest for (digest,) in db.execute(query, (self._session,))])
        done = self._done
        before = (done.digest(position) for position, written in enumerate(done.written) if written)
        return array("q", sorted({*before, *self._restored, *new}))

    async def _restore_missing(self, work: Rebuild, visit: Visit) -> None:
        """Make the lines that are missing again, from the journal and the input."""
        by_id, definition = self._options.is_named, self._definition
        done = await self._writer.read(lambda db: DoneIndex.load(db, definition, by_id=by_id))
        changed: list[RowEntry] = []
        journal_path = self._options.folder.journal
        with closing(read_journal(journal_path)) as db:
            entries = JournalReader(db, journal_path, self._journal.names.name)

            def see(row: Row) -> None:
                position = done.find(row)
                if position is None or not work.is_missing(done.digest(position), row.index):
                    return
                outcome = entries.outcome(done.seq(position), row)
                line = outcome.to_line()
                if line_digest(line) != done.digest(position):  # as in `restore`
                    changed.append(self._entry(outcome, line, entries.record(done.seq(position))))
                work.restore(done.digest(position), line)

            await visit(see)
        if changed:
            await self._writer.append_all(changed, is_counted=False)

    async def in_all(self) -> dict[str, Any]:
        """What all sessions of the run spent together."""
        return await self._writer.read(lambda db: total_spent(db, current=self._session))

    def raise_high_water(self, usd: float) -> "Future[None]":
        """Commit what this session may have been billed at most. Raises JournalFailed where that cannot be."""
        return self._writer.high_water(usd)

    def keep_owed(self, owed: Owed) -> None:
        """Keep what attempts of this session may cost whose bill is not known."""
        self._writer.note(UnknownBills(owed))

    def keep_bounds(self, model: str, bounds: LearnedBounds) -> None:
        """Keep how far a provider counts beyond what bounds a call."""
        self._writer.note(ModelBounds(model, bounds))

    async def bounds(self) -> dict[str, LearnedBounds]:
        """What `keep_bounds` kept, by model."""
        query = "select model, extra_prompt_tokens, answer_factor from learned_bounds"
        found = await self._writer.read(lambda db: db.execute(query).fetchall())
        return {model: LearnedBounds(tokens, factor) for model, tokens, factor in found}

    async def latest_answers(self) -> list[tuple[str, str, int]]:
        """Model, task and completion tokens of the last answers, in their order."""
        query = "select name, task, completion_tokens from calls where kind not in (?, ?) order by seq desc limit ?"
        values = (TOOL, TOOL_FAILURE, _LATEST_ANSWERS)
        found = await self._writer.read(lambda db: db.execute(query, values).fetchall())
        name = self._journal.names.name
        return [(name(model), name(task), int(tokens)) for model, task, tokens in reversed(found)]

    async def close(self, stopped: str | None, exit_code: int, elsewhere: int) -> None:
        """End the session, which left so many rows to other shards. Raises JournalFailed when it cannot be written."""
        stopped = None if stopped is None else redact_line(stopped)
        self._say("stop", why=stopped, exit_code=exit_code, elsewhere=elsewhere)
        try:
            await self._writer.close(stopped, exit_code)
        finally:
            self._log.close()
            self._locks.release()

    def _entry(self, outcome: Outcome, line: bytes, record: bytes) -> RowEntry:
        row = outcome.row
        digest = line_digest(line)
        if self._keeps_places:  # else the lines are written in their last order
            self._new_digests.append(digest)
            self._new_places.append(row.index)
        return RowEntry(
            next(self._row_numbers),
            self._session,
            self._definition,
            done_key(row.id, row.content, self._definition),
            pack_id(row.id),
            digest,
            ended_of(outcome.error.category if outcome.error else None),
            record,
        )

    def _say(self, event: str, **fields: Any) -> None:
        self._writer.say(self._log.event(event, **fields))


def _size(output: Path | None) -> int:
    """How large the results are."""
    return output.stat().st_size if output is not None and output.is_file() else 0


def _next(db: sqlite3.Connection, table: str) -> int:
    (last,) = db.execute(f"select max(seq) from {table}").fetchone()  # noqa: S608  (the table is ours)
    return (last or 0) + 1
