"""The journal's writer: one thread, which commits in groups what has come since its last commit.

Whoever appends waits until its entry is committed; a group costs about the same whether it holds one entry or a
hundred, so the more rows are at work the less each pays. The database is used in that thread alone, for reading too.
"""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from crewrun.errors import JournalDamaged, JournalFailed, OutputFailed
from crewrun.journal.database import failure, open_journal
from crewrun.journal.keys import storable
from crewrun.journal.schema import FAILURE, OK, TOOL, TOOL_FAILURE, CallEntry, RowEntry
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.unknown_bills import Owed

T = TypeVar("T")

# Rows of one INSERT. Each statement is one trip out of Python's lock and back, and they wait there for the event loop.
_CHUNKS = (64, 16, 4, 1)
_LOOK_EVERY_S = 1.0


class Heartbeat(NamedTuple):
    """How far a run is, for who looks from outside: rows, and the share of the input that is done."""

    in_flight: int
    kept: int
    share: float | None
    elapsed_s: float


class _Read(NamedTuple):
    function: Callable[[sqlite3.Connection], Any]


class _Rows(NamedTuple):
    entries: Sequence[RowEntry]
    is_counted: bool


class _Name(NamedTuple):
    number: int
    name: str


class _Answer(NamedTuple):
    value: Any
    error: JournalFailed | JournalDamaged | None = None


class _Refusal(NamedTuple):
    definition: int
    endpoint: str
    what: str


class _HighWater(NamedTuple):
    usd: float


class _Bounds(NamedTuple):
    model: str
    bounds: LearnedBounds


_NOTHING = _Answer(None)

Job = CallEntry | _Rows | _Read | _Name | _Refusal | _HighWater | _Bounds | Owed | Heartbeat


class JournalWriter:
    """Commits to one open journal for one session. Used from event loops; several threads' loops may append at once.

    `log` takes the lines for log.jsonl that `say` gave, after the commit of what they tell of. `rescue` writes what
    else a run needs, when its folder was deleted.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        session: int,
        log: Callable[[Sequence[bytes]], None],
        rescue: Callable[[], None],
    ) -> None:
        self._db = db
        self._path = path
        self._session = session
        self._log = log
        self._rescue_others = rescue
        self._queue: list[tuple[Job, asyncio.Future[Any] | None]] = []
        self._lines: list[bytes] = []
        self._awake = threading.Semaphore(0)
        self._idle = True
        self._lock = threading.Lock()  # protects the queue and `_idle`
        self._failed: JournalFailed | None = None
        self._closing = False
        self._file = os.stat(path)
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="crewrun journal", daemon=True)
        self._thread.start()

    def append(self, entry: CallEntry) -> asyncio.Future[None]:
        """Commit a call: done when it is. Raises JournalFailed when that cannot be, now and for every later entry."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(entry, future)
        return future

    async def append_all(self, entries: Sequence[RowEntry], *, is_counted: bool = True) -> None:
        """Commit some rows, as `append` does. Rows that the session has not run are not counted as its own."""
        future = asyncio.get_running_loop().create_future()
        self._put(_Rows(entries, is_counted), future)
        await future

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` reads out of the database. Raises JournalFailed, and JournalDamaged for this reader alone."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Read(function), future)
        return await future

    def name(self, number: int, name: str) -> None:
        """Keep a name, with the next entry."""
        self._put(_Name(number, name), None)

    def refusal(self, definition: int, endpoint: str, what: str) -> None:
        """Keep what an endpoint does not take of a definition's requests."""
        self._put(_Refusal(definition, endpoint, what), None)

    def high_water(self, usd: float) -> asyncio.Future[None]:
        """Commit the most that the session may have been billed, as `append` does; marks only rise."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(_HighWater(usd), future)
        return future

    def owed(self, owed: Owed) -> None:
        """Keep what attempts of the session may cost whose bill is not known, all of them together."""
        self._put(owed, None)

    def bounds(self, model: str, bounds: LearnedBounds) -> None:
        """Keep how far a model's provider counts beyond what bounds a call."""
        self._put(_Bounds(model, bounds), None)

    def heartbeat(self, beat: Heartbeat) -> None:
        """Tell how far the run is."""
        self._put(beat, None)

    def say(self, line: bytes) -> None:
        """A line for the log. It is written with the next commit; alone it is nothing to hurry for."""
        self._lines.append(line)

    async def close(self, stopped: str | None, exit_code: int) -> None:
        """Commit what is left, end the session and close the database. Raises JournalFailed."""
        why = stopped and storable(stopped)  # it may be a server's words

        def end(db: sqlite3.Connection) -> None:
            db.execute(
                "update sessions set ended_at = ?, stopped = ?, exit_code = ?, in_flight = 0 where id = ?",
                (time.time(), why, exit_code, self._session),
            )

        try:
            await self.read(end)
        finally:
            self._closing = True
            self._awake.release()
            await asyncio.to_thread(self._thread.join)
        if self._failed:
            raise self._failed

    def _put(self, job: Job, future: asyncio.Future[Any] | None) -> None:
        if self._failed is not None:
            if future is not None:
                future.set_exception(self._failed)
            return
        with self._lock:
            self._queue.append((job, future))
            wake, self._idle = self._idle, False
        if wake:
            self._awake.release()

    def _run(self) -> None:
        while True:
            self._awake.acquire()
            while group := self._take():
                self._commit(group)
            if self._closing:
                break
        try:
            self._flush_log()
            if self._failed is None:
                self._db.execute("pragma wal_checkpoint(truncate)")
            self._db.close()
        except Exception as full:
            self._failed = self._failed or self._failure(full)

    def _take(self) -> list[tuple[Job, asyncio.Future[Any] | None]]:
        with self._lock:
            group, self._queue = self._queue, []
            self._idle = not group
        return group

    def _commit(self, group: list[tuple[Job, asyncio.Future[Any] | None]]) -> None:
        """Commit `group`, or nothing of it: then it has failed, as all that comes after it."""
        answers: dict[asyncio.Future[Any], _Answer] = {}
        if self._failed is None:
            try:
                self._look_for_file()
                self._db.execute("begin immediate")
                self._insert([job for job, _ in group])
                for job, future in group:
                    if isinstance(job, _Read) and future is not None:
                        answers[future] = self._answer(job)
                self._db.execute("commit")
                self._flush_log()
            except Exception as wrong:  # whoever waits for an answer would wait for ever
                self._failed = self._failure(wrong)
                with suppress(sqlite3.Error):
                    self._db.rollback()
        _settle([future for _, future in group if future is not None], answers, self._failed)

    def _answer(self, job: _Read) -> _Answer:
        try:
            return _Answer(job.function(self._db))
        except (JournalDamaged, JournalFailed) as wrong:
            return _Answer(None, wrong)
        except sqlite3.Error as wrong:
            return _Answer(None, failure(self._path, wrong))

    def _insert(self, jobs: Sequence[Job]) -> None:
        calls = [job for job in jobs if isinstance(job, CallEntry)]
        added = [job for job in jobs if isinstance(job, _Rows)]
        for job in jobs:
            if isinstance(job, _Name):
                self._db.execute("insert or ignore into names values (?, ?)", job)
            elif isinstance(job, _Refusal):
                self._db.execute("insert or ignore into refusals values (?, ?, ?)", job)
            elif isinstance(job, _Bounds):
                self._db.execute("insert or replace into learned_bounds values (?, ?, ?)", (job.model, *job.bounds))
            elif isinstance(job, _HighWater):
                self._db.execute("update sessions set high_water_usd = ? where id = ?", (job.usd, self._session))
            elif isinstance(job, Owed):
                self._db.execute(
                    "update sessions set owed_calls = ?, owed_usd = ?, owed_unpriced = ? where id = ?",
                    (*job, self._session),
                )
        _insert_all(self._db, "calls", calls)
        _insert_all(self._db, "rows", [entry for job in added for entry in job.entries])
        beat = next((job for job in reversed(jobs) if isinstance(job, Heartbeat)), None)
        if beat is not None:
            self._db.execute(
                "update sessions set in_flight = ?, kept = ?, share = ?, elapsed_s = ?, updated_at = ? where id = ?",
                (*beat, time.time(), self._session),
            )
        if calls or added:
            self._count(calls, [entry for job in added if job.is_counted for entry in job.entries])

    def _count(self, calls: Sequence[CallEntry], rows: Sequence[RowEntry]) -> None:
        billed = [call for call in calls if call.kind not in (TOOL, TOOL_FAILURE)]
        failed = sum(1 for row in rows if row.ended != OK)
        self._db.execute(
            "update sessions set attempts = attempts + ?, calls = calls + ?, prompt_tokens = prompt_tokens + ?, "
            "cached_prompt_tokens = cached_prompt_tokens + ?, completion_tokens = completion_tokens + ?, "
            "reasoning_tokens = reasoning_tokens + ?, cache_write_prompt_tokens = cache_write_prompt_tokens + ?, "
            "cost_usd = cost_usd + ?, unpriced = unpriced + ?, ok = ok + ?, failed = failed + ?, updated_at = ? "
            "where id = ?",
            (
                sum(call.attempts for call in billed),
                sum(1 for call in billed if call.kind != FAILURE),
                sum(call.prompt_tokens for call in billed),
                sum(call.cached_prompt_tokens for call in billed),
                sum(call.completion_tokens for call in billed),
                sum(call.reasoning_tokens for call in billed),
                sum(call.cache_write_prompt_tokens for call in billed),
                sum(call.cost_usd or 0.0 for call in billed),
                sum(1 for call in billed if call.cost_usd is None),
                len(rows) - failed,
                failed,
                time.time(),
                self._session,
            ),
        )

    def _flush_log(self) -> None:
        lines = self._lines[:]
        if lines:
            del self._lines[: len(lines)]  # others may append meanwhile
            self._log(lines)

    def _look_for_file(self) -> None:
        """Notice that the file is gone: SQLite would go on writing into what has no name any more."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        try:
            there = os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            there = False
        if not there:
            raise JournalFailed(f"{self._path}: was deleted or replaced while the run was going{self._rescue()}")

    def _rescue(self) -> str:
        """Write what the deleted file held to a new one, unless another took its place. What became of it, in words."""
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            if self._path.exists():
                return ""
            copy = open_journal(self._path, expected=False)
            self._db.backup(copy)
            copy.close()
            self._rescue_others()
        except (sqlite3.Error, OSError, OutputFailed):
            return ""
        return "; what it held has been written there again"

    def _failure(self, error: Exception) -> JournalFailed:
        if isinstance(error, JournalFailed):
            return error
        if isinstance(error, sqlite3.Error):
            found = failure(self._path, error)
            return found if isinstance(found, JournalFailed) else JournalFailed(str(found))
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return JournalFailed(f"{self._path}: cannot be written: {why}")


def _insert_all(db: sqlite3.Connection, table: str, entries: Sequence[CallEntry | RowEntry]) -> None:
    start = 0
    while start < len(entries):
        left = len(entries) - start
        size = next(chunk for chunk in _CHUNKS if chunk <= left)
        values = [value for entry in entries[start : start + size] for value in entry]
        db.execute(_statement(table, len(entries[0]), size), values)
        start += size


def _statement(table: str, columns: int, rows: int) -> str:
    one = f"({', '.join('?' * columns)})"
    return f"insert into {table} values {', '.join([one] * rows)}"  # noqa: S608  (the table is ours)


def _settle(
    futures: Sequence[asyncio.Future[Any]], answers: dict[asyncio.Future[Any], _Answer], failed: JournalFailed | None
) -> None:
    """Wake who waits, each in its own loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[Any]]] = {}
    for future in futures:
        by_loop.setdefault(future.get_loop(), []).append(future)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_wake, waiting, answers, failed)
        except RuntimeError:
            continue  # a loop of a tool's own that has closed: nobody waits any more


def _wake(
    futures: Sequence[asyncio.Future[Any]], answers: dict[asyncio.Future[Any], _Answer], failed: JournalFailed | None
) -> None:
    for future in futures:
        if future.done():  # who waited was cancelled; the entry is kept all the same
            continue
        answer = answers.get(future, _NOTHING)
        if error := failed or answer.error:
            future.set_exception(error)
        else:
            future.set_result(answer.value)
