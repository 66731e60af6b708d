"""The engine: at most `max_concurrent` rows at once from a source through an executor to a sink.

Rows that the run's history knows as done pass by. Those that have ended go to one publisher, which has them kept by the
history and then written.

Workers pull rows, so what is held is bounded by what is in flight, whatever the input's length. Each row that is taken
starts the next worker until there are enough: the first calls are on the wire before the last worker exists.
"""

from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from crewrun.batch.breaker import Breaker
from crewrun.batch.canary import CanarySource
from crewrun.batch.history import History
from crewrun.batch.order import AsTheyFinish, InInputOrder, Order
from crewrun.batch.progress import Progress
from crewrun.batch.sink import Sink
from crewrun.batch.source import Source
from crewrun.batch.stop import FailureLimit, Stop, StopReason
from crewrun.errors import OutputClosed
from crewrun.executors import Executor
from crewrun.row import Outcome, Row
from crewrun.runs.state import StoredRow

_CLOSED = StopReason("closed", "standard output was closed")
# However little time a stop has, what has ended already gets this much to be written.
_LAST_WRITES_S = 2.0
_GROW_S = 0.05


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`first` is the index of the first row; `grace_s` is how long a stop waits for rows in flight. `is_room` says
    whether one more row at once is of use, `breaker` whether those that failed say that all would.
    """

    max_concurrent: int = 8
    is_room: Callable[[], bool] | None = None
    breaker: Breaker | None = None
    ordered: bool = False
    first: int = 0
    failure_limit: FailureLimit | None = None
    grace_s: float = 20.0


class Engine:
    """Runs one batch once."""

    def __init__(
        self,
        source: Source | CanarySource,
        executor: Executor,
        history: History,
        sink: Sink,
        progress: Progress,
        stop: Stop,
        options: EngineOptions,
    ) -> None:
        self._source = source
        self._executor = executor
        self._history = history
        self._sink = sink
        self._progress = progress
        self._stop = stop
        self._options = options
        # How far finished rows may run ahead of an unfinished one: enough that one slow row does not idle the others.
        window = max(64, 8 * options.max_concurrent)
        self._workers = self._at_work = self._reading = 0
        self._left_rows = False
        self._failure: Exception | None = None
        self._order: Order = InInputOrder(window, options.first) if options.ordered else AsTheyFinish()
        # Rows that have ended and are not yet published. Workers go on until as many rows wait here as there are
        # workers: what nobody reads is not paid for without end.
        self._ended: list[_EndedRow] = []
        self._publishing = 0
        self._is_finished = False
        self._row_ended, self._room = anyio.Event(), anyio.Event()

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input has been run to its end and written, or was done before."""
        return not (self._left_rows or self._failure or self._progress.abandoned or self._progress.unwritten)

    async def run(self) -> None:
        """Run until the input ends or `stop` is turned. Raises OutputFailed when results cannot be written."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._source.fill)
            rows, writing = anyio.CancelScope(), anyio.CancelScope()
            tasks.start_soon(self._obey_stop, rows, writing)
            with writing:
                async with anyio.create_task_group() as publishing:
                    publishing.start_soon(self._publish, rows)
                    with rows:
                        async with anyio.create_task_group() as workers:
                            tasks.start_soon(self._grow, workers)
                            self._start_worker(workers)
                    self._is_finished = True
                    self._row_ended.set()
            tasks.cancel_scope.cancel()
        if self._failure:
            raise self._failure

    def _start_worker(self, workers: TaskGroup) -> None:
        # Counted here and not by itself: until it runs, others that take a row must know of it.
        self._workers += 1
        workers.start_soon(self._work, workers)

    async def _grow(self, workers: TaskGroup) -> None:
        """One more worker now and then, when there is room: it may come without that a row has ended."""
        while self._options.is_room is not None and not self._source.is_drained:
            await anyio.sleep(_GROW_S)
            is_wanted = self._at_work and not self._reading and self._workers < self._options.max_concurrent
            if is_wanted and self._is_room():
                self._start_worker(workers)

    async def _work(self, workers: TaskGroup) -> None:
        self._at_work += 1
        try:
            while not self._stop.requested.is_set() and await self._run_next(workers):
                pass
        except Exception as broken:
            # Whatever one worker cannot go on with, no other can: nothing can be recorded, or this is a bug.
            self._failure = self._failure or broken
            workers.cancel_scope.cancel()
        finally:
            self._at_work -= 1

    async def _run_next(self, workers: TaskGroup) -> bool:
        """Take one row to its end. False when there is none, or the run stops."""
        self._reading += 1
        row = await self._source.read()
        self._reading -= 1
        if row is None:
            return False
        stored = self._history.find(row)
        if stored is not None and stored.is_written:
            await self._pass_by(row, stored)
            return True
        if self._workers < self._options.max_concurrent and self._is_room():
            self._start_worker(workers)
        await self._order.admit(row.index)
        if self._stop.requested.is_set():
            self._left_rows = True
            return False
        if stored is not None:
            await self._restore(row, stored)
            return True
        return await self._run_row(row)

    async def _pass_by(self, row: Row, stored: StoredRow) -> None:
        """A row that the results have already: lines that waited for it are due now."""
        self._progress.count_stored(stored.status)
        await self._order.admit(row.index)
        if due := self._order.release(row.index, b""):
            await self._hand_on(_EndedRow(row, lines=due))

    async def _restore(self, row: Row, stored: StoredRow) -> None:
        """A row that only the journal has."""
        line = await self._history.restore(row, stored)
        self._progress.count_stored(stored.status)
        self._progress.unwritten += 1
        await self._hand_on(_EndedRow(row, line=line))

    async def _run_row(self, row: Row) -> bool:
        """Run a row. False when no row should follow it."""
        if self._options.breaker is not None:
            self._options.breaker.begin(row.index)
        self._progress.in_flight += 1
        try:
            outcome = await self._executor.run(row)
        except BaseException:
            self._progress.abandoned += 1
            self._history.forget(row)
            raise
        finally:
            self._progress.in_flight -= 1
        if reason := self._reason_to_stop(outcome):
            self._progress.add_pending(outcome)
            self._history.forget(row)
            self._left_rows = True
            self._stop.request(reason)
            return False
        self._count(outcome)
        await self._hand_on(_EndedRow(row, outcome))
        return True

    def _is_room(self) -> bool:
        is_room = self._options.is_room
        return is_room is None or is_room()

    def _reason_to_stop(self, outcome: Outcome) -> StopReason | None:
        """Why no row should follow this one, which then has no result either: it is run again when the rest is."""
        if outcome.stopped is not None:
            return StopReason.of(outcome.stopped)
        breaker = self._options.breaker
        if breaker is None:
            return None
        failed_before = outcome.error is not None and self._history.has_failed(outcome.row)
        trip = breaker.observe(outcome, failed_before=failed_before)
        return StopReason("breaker", trip.why) if trip is not None else None

    def _count(self, outcome: Outcome) -> None:
        """What the row used is counted when it is known, whether or not its line can be written."""
        self._progress.add(outcome)
        self._progress.unwritten += 1
        limit = self._options.failure_limit
        if outcome.error and limit and limit.reached(self._progress.failed, self._progress.done):
            why = f"{self._progress.failed} of {self._progress.done} finished rows failed"
            self._stop.request(StopReason("failures", f"{why} ({limit})"))

    async def _hand_on(self, ended: "_EndedRow") -> None:
        """Give a row to the publisher, and wait while too many are ahead of it."""
        self._ended.append(ended)
        self._row_ended.set()
        while len(self._ended) + self._publishing >= self._options.max_concurrent:
            await self._room.wait()

    async def _publish(self, rows: anyio.CancelScope) -> None:
        """Keep and write what has ended, all of it that there is at a time: one commit and one write for many rows."""
        try:
            while self._ended or not self._is_finished:
                if not self._ended:
                    self._row_ended = anyio.Event()
                    await self._row_ended.wait()
                ended, self._ended = self._ended, []
                self._publishing = len(ended)
                await self._publish_all(ended)
                self._publishing = 0
                self._room.set()
                self._room = anyio.Event()
            await self._write(self._order.flush())
        except OutputClosed:
            self._stop.now(_CLOSED)
        except Exception as full:
            self._failure = self._failure or full
            rows.cancel()

    async def _publish_all(self, ended: "list[_EndedRow]") -> None:
        outcomes = [row.outcome for row in ended if row.outcome is not None]
        recorded = iter(await self._history.keep(outcomes) if outcomes else ())
        due: list[bytes] = []
        for row in ended:
            if row.lines is not None:
                due += row.lines
            else:
                due += self._order.release(row.row.index, row.line or next(recorded))
        await self._write(due)

    async def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        before = self._sink.lines_written
        try:
            await self._sink.write(lines)
        finally:
            self._progress.unwritten -= self._sink.lines_written - before

    async def _obey_stop(self, rows: anyio.CancelScope, writing: anyio.CancelScope) -> None:
        await self._stop.requested.wait()
        self._left_rows = self._left_rows or not self._source.is_drained
        self._source.close()
        with anyio.move_on_after(self._options.grace_s):
            await self._stop.at_once.wait()
        rows.cancel()
        with anyio.move_on_after(max(self._options.grace_s, _LAST_WRITES_S)):
            await self._stop.at_once.wait()
            await anyio.sleep(_LAST_WRITES_S)
        writing.cancel()


@dataclass(slots=True)
class _EndedRow:
    """A row on its way to the sink: with its outcome, or with the line that the journal had of it.

    `lines` are those that were held up for a row which needs none itself.
    """

    row: Row
    outcome: Outcome | None = None
    line: bytes | None = None
    lines: list[bytes] | None = None
