"""The engine: moves rows from a source through an executor to a sink, at most `max_concurrent` at once.

Rows that are done according to the run's history are skipped. Rows that have ended go to one publisher, which commits
them to the history and then writes their lines.

Worker tasks pull rows, so memory is bounded by the rows in flight, whatever the input's length. Each task that takes a
row starts the next task until there are enough: the first calls are on the wire before the last task exists.
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

CLOSED = StopReason("closed", "standard output was closed")
# However short the grace period of a stop is, rows that have ended get this long to be written.
_LAST_WRITES_S = 2.0
# How often to look whether rows in flight can still end; they get this long at least. Not felt after a Ctrl-C.
_STUCK_S = 0.3
# How often to look for room for one more row: at most 20 rows more per second without an ended one.
_GROW_S = 0.05


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`first` is the index of the first row; `grace_s` is how long a stop waits for rows in flight. `is_room` says
    whether one more row at once would be useful; None means always. `is_stuck` says whether no row in flight can end
    within the seconds that it gets; then a stop does not wait for them. `rows_in_jobs` is how many wait for batch jobs.
    """

    max_concurrent: int = 8
    is_room: Callable[[], bool] | None = None
    breaker: Breaker | None = None
    ordered: bool = False
    first: int = 0
    failure_limit: FailureLimit | None = None
    grace_s: float = 20.0
    is_stuck: Callable[[float], bool] = lambda _: False
    rows_in_jobs: Callable[[], int] = lambda: 0


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
        # How far finished rows may run ahead of an unfinished one, so that one slow row does not make the others idle.
        window = max(64, 8 * options.max_concurrent)
        self._workers = self._at_work = self._reading = self._held = 0
        self._left_rows = False
        self._failure: Exception | None = None
        self._order: Order = InInputOrder(window, options.first) if options.ordered else AsTheyFinish()
        # Rows that have ended and are not yet published. Workers wait once there are `max_concurrent` of them, so that
        # rows are not paid for without bound while the reader of the results is slow.
        self._ended: list[_EndedRow] = []
        self._publishing = 0
        self._is_finished = False
        self._row_ended, self._room = anyio.Event(), anyio.Event()

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input has ended and is written, or was done before."""
        return not (self._left_rows or self._failure or self._progress.abandoned or self._progress.unwritten)

    async def run(self) -> None:
        """Run until the input ends or a stop is requested. Raises OutputFailed when results cannot be written."""
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

    def is_waiting(self, rows: int) -> bool:
        """Whether nothing else can happen while `rows` of the rows in flight wait: no other one is in flight, or can
        start. Not before there are any.
        """
        in_flight = self._progress.in_flight
        held = self._held + (self._reading if self._source.is_holding else 0)
        return 0 < in_flight <= rows and self._at_work == in_flight + held

    def _start_worker(self, workers: TaskGroup) -> None:
        # Counted here and not in the task: other tasks must count it before it runs.
        self._workers += 1
        self._at_work += 1
        workers.start_soon(self._work, workers)

    async def _grow(self, workers: TaskGroup) -> None:
        """Start one more worker from time to time when there is room, which may appear without a row ending."""
        while self._options.is_room is not None and not self._source.is_drained:
            await anyio.sleep(_GROW_S)
            is_wanted = self._at_work and not self._reading and self._workers < self._options.max_concurrent
            if is_wanted and self._is_room():
                self._start_worker(workers)

    async def _work(self, workers: TaskGroup) -> None:
        try:
            while not self._stop.requested.is_set() and await self._run_next(workers):
                pass
        except Exception as broken:
            # What stops one worker would stop every other: nothing can be recorded, or this is a bug.
            self._failure = self._failure or broken
            workers.cancel_scope.cancel()
        finally:
            self._at_work -= 1

    async def _run_next(self, workers: TaskGroup) -> bool:
        """Run the next row to its end. False when there is no row left, or the run stops."""
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
        self._held += 1
        await self._order.admit(row.index)
        self._held -= 1
        if self._stop.requested.is_set():
            self._left_rows = True
            return False
        if stored is not None:
            await self._restore(row, stored)
            return True
        return await self._run_row(row)

    async def _pass_by(self, row: Row, stored: StoredRow) -> None:
        """Skip a row that is in the results already; lines that waited for it are due now."""
        self._progress.count_stored(stored.status)
        await self._order.admit(row.index)
        if due := self._order.release(row.index, b""):
            await self._hand_on(_EndedRow(row, lines=due))

    async def _restore(self, row: Row, stored: StoredRow) -> None:
        """Publish a row that is done in the journal but not in the results."""
        line = await self._history.restore(row, stored)
        self._progress.count_stored(stored.status)
        self._progress.unwritten += 1
        await self._hand_on(_EndedRow(row, line=line))

    async def _run_row(self, row: Row) -> bool:
        """Run a row. False when no other row should start after it."""
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
        """Why no row should start after this one. If so, this row gets no result and runs again with the rest."""
        if outcome.stopped is not None:
            return StopReason.of(outcome.stopped)
        breaker = self._options.breaker
        if breaker is None:
            return None
        failed_before = outcome.error is not None and self._history.has_failed(outcome.row)
        trip = breaker.observe(outcome, failed_before=failed_before)
        return StopReason("breaker", trip.why) if trip is not None else None

    def _count(self, outcome: Outcome) -> None:
        """Count a row as soon as its usage is known, whether or not its line can be written."""
        self._progress.add(outcome)
        self._progress.unwritten += 1
        limit = self._options.failure_limit
        if outcome.error and limit and limit.reached(self._progress.failed, self._progress.done):
            why = f"{self._progress.failed} of {self._progress.done} finished rows failed"
            self._stop.request(StopReason("failures", f"{why} ({limit})"))

    async def _hand_on(self, ended: "_EndedRow") -> None:
        """Hand a row to the publisher, and wait while too many are ahead of it."""
        self._ended.append(ended)
        self._row_ended.set()
        while len(self._ended) + self._publishing >= self._options.max_concurrent:
            await self._room.wait()

    async def _publish(self, rows: anyio.CancelScope) -> None:
        """Commit and write rows that have ended, all that are there at once: one commit and one write for many rows."""
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
            self._stop.now(CLOSED)
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
        with anyio.move_on_after(self._options.grace_s) as grace:
            while not self._stop.at_once.is_set():
                with anyio.move_on_after(_STUCK_S):
                    await self._stop.at_once.wait()
                if self._options.is_stuck(grace.deadline - anyio.current_time()):
                    break
        self._progress.left_to_jobs = self._options.rows_in_jobs()
        rows.cancel()
        with anyio.move_on_after(max(self._options.grace_s, _LAST_WRITES_S)):
            await self._stop.at_once.wait()
            await anyio.sleep(_LAST_WRITES_S)
        writing.cancel()


@dataclass(slots=True)
class _EndedRow:
    """A row on its way to the sink, with its outcome or with its `line` from the journal.

    `lines` are lines that waited for a row which has no line to write itself.
    """

    row: Row
    outcome: Outcome | None = None
    line: bytes | None = None
    lines: list[bytes] | None = None
