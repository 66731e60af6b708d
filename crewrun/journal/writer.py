"""The journal's writer: a thread that commits, as one group, everything that was queued since its last commit.

A caller waits until its entry is committed. A commit costs about the same for one entry as for a hundred, so the more
rows are in flight, the less each pays. Only this thread uses the database, for reading too.
"""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from crewrun.errors import JournalDamaged, JournalFailed, OutputFailed
from crewrun.journal.changes import (
    Change,
    FinishedRows,
    HighWater,
    SessionEnd,
    write,
)
from crewrun.journal.database import failure, open_journal
from crewrun.journal.keys import storable
from crewrun.journal.schema import CallEntry, RowEntry

T = TypeVar("T")

# How often the writer checks that the file still exists. A `stat` per commit would cost a few percent of the time of a
# group, and noticing a second later loses nothing more: the rows are still in the open file.
_LOOK_EVERY_S: Final = 1.0


class _Read(NamedTuple):
    function: Callable[[sqlite3.Connection], Any]


class _LatestAnswer(NamedTuple):
    value: Any
    error: JournalFailed | JournalDamaged | None = None


_COMMITTED: Final = _LatestAnswer(None)


class _Entry(NamedTuple):
    """A job for a transaction, and the future of the caller that waits for it, if any."""

    job: CallEntry | FinishedRows | Change | _Read
    future: "asyncio.Future[Any] | None"


class JournalWriter:
    """Commits to one open journal for one session. Event loops of several threads may append at once.

    `log` appends the lines passed to `say` to the log, after the commit of the entries that they describe. `rescue`
    writes the other files of the run's folder when the folder was deleted.
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
        self._queue: list[_Entry] = []
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

    def append(self, entry: CallEntry) -> "asyncio.Future[None]":
        """Commit a call; the future is done when it is committed. It raises JournalFailed, and so do all later ones."""
        return self._queued(entry)

    async def append_all(self, entries: Sequence[RowEntry], *, is_counted: bool = True) -> None:
        """Commit rows, as `append` does. `is_counted` is false for rows that an earlier session ran."""
        await self._queued(FinishedRows(entries, is_counted))

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` with the database. Raises JournalFailed, and JournalDamaged for this caller alone."""
        future: asyncio.Future[T] = self._queued(_Read(function))
        return await future

    def note(self, change: Change) -> None:
        """Write a change with the next commit, without waiting for it."""
        self._put(_Entry(change, None))

    def high_water(self, usd: float) -> "asyncio.Future[None]":
        """Commit the most that the session may have been billed, as `append` does."""
        return self._queued(HighWater(usd))

    def say(self, line: bytes) -> None:
        """Write a line to the log with the next commit; a line alone does not cause one."""
        self._lines.append(line)

    async def close(self, stopped: str | None, exit_code: int) -> None:
        """Commit what is left, end the session and close the database. Raises JournalFailed."""
        try:
            await self._queued(SessionEnd(stopped and storable(stopped), exit_code))  # it may quote a server
        finally:
            self._closing = True
            self._awake.release()
            await asyncio.to_thread(self._thread.join)
        if self._failed:
            raise self._failed

    def _queued(self, job: CallEntry | FinishedRows | Change | _Read) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(_Entry(job, future))
        return future

    def _put(self, entry: _Entry) -> None:
        if self._failed is not None:
            if entry.future is not None:
                entry.future.set_exception(self._failed)
            return
        with self._lock:
            self._queue.append(entry)
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
        except Exception as error:
            self._failed = self._failed or self._failure(error)

    def _take(self) -> list[_Entry]:
        with self._lock:
            group, self._queue = self._queue, []
            self._idle = not group
        return group

    def _commit(self, group: Sequence[_Entry]) -> None:
        """Commit all of `group` or nothing; after a failure everything later fails too."""
        answers: dict[asyncio.Future[Any], _LatestAnswer] = {}
        if self._failed is None:
            try:
                self._look_for_file()
                self._db.execute("begin immediate")
                write(self._db, self._session, [job for job, _ in group if not isinstance(job, _Read)])
                for job, future in group:
                    if isinstance(job, _Read) and future is not None:
                        answers[future] = self._answer(job)
                self._db.execute("commit")
                self._flush_log()
            except Exception as error:  # a caller without an answer would wait forever
                self._failed = self._failure(error)
                with suppress(sqlite3.Error):
                    self._db.rollback()
        _settle([entry.future for entry in group if entry.future is not None], answers, self._failed)

    def _answer(self, job: _Read) -> _LatestAnswer:
        try:
            return _LatestAnswer(job.function(self._db))
        except (JournalDamaged, JournalFailed) as error:
            return _LatestAnswer(None, error)
        except sqlite3.Error as error:
            return _LatestAnswer(None, failure(self._path, error))

    def _flush_log(self) -> None:
        lines = self._lines[:]
        if lines:
            del self._lines[: len(lines)]  # other threads may append between these statements
            self._log(lines)

    def _look_for_file(self) -> None:
        """Raise JournalFailed when the file is gone: SQLite would go on writing to an unlinked file."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        try:
            is_there = os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            is_there = False
        if not is_there:
            raise JournalFailed(f"{self._path}: was deleted or replaced while the run was going{self._rescue()}")

    def _rescue(self) -> str:
        """Copy the deleted file's content to a new file, unless another file has its name.

        Returns a clause to report.
        """
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
        return "; its content has been written there again"

    def _failure(self, error: Exception) -> JournalFailed:
        if isinstance(error, JournalFailed):
            return error
        if isinstance(error, sqlite3.Error):
            cause = failure(self._path, error)
            return cause if isinstance(cause, JournalFailed) else JournalFailed(str(cause))
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return JournalFailed(f"{self._path}: cannot be written: {why}")


def _settle(
    futures: "Sequence[asyncio.Future[Any]]",
    answers: "dict[asyncio.Future[Any], _LatestAnswer]",
    failed: JournalFailed | None,
) -> None:
    """Wake the callers, each in its own loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[Any]]] = {}
    for future in futures:
        by_loop.setdefault(future.get_loop(), []).append(future)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_wake, waiting, answers, failed)
        except RuntimeError:
            continue  # a tool's own loop, closed by now: its callers are gone


def _wake(
    futures: "Sequence[asyncio.Future[Any]]",
    answers: "dict[asyncio.Future[Any], _LatestAnswer]",
    failed: JournalFailed | None,
) -> None:
    for future in futures:
        if future.done():  # the caller was cancelled; the entry is in the journal all the same
            continue
        answer = answers.get(future, _COMMITTED)
        if error := failed or answer.error:
            future.set_exception(error)
        else:
            future.set_result(answer.value)
