"""The engine: at most `max_concurrent` rows at once from a source through an executor to a sink.

Workers pull rows, so what is held is bounded by what is in flight, whatever the input's length. Each row that is taken
starts the next worker until there are enough: the first calls are on the wire before the last worker exists.
"""

from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from crewrun.batch.order import AsTheyFinish, InInputOrder, Order
from crewrun.batch.progress import Progress
from crewrun.batch.sink import Sink
from crewrun.batch.source import Source
from crewrun.batch.stop import FailureLimit, Stop, StopReason
from crewrun.errors import OutputClosed, OutputFailed
from crewrun.executors import Executor
from crewrun.row import Outcome

_CLOSED = StopReason("closed", "standard output was closed")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`first` is the index of the first row; `grace_s` is how long a stop waits for rows in flight."""

    max_concurrent: int = 8
    ordered: bool = False
    first: int = 0
    failure_limit: FailureLimit | None = None
    grace_s: float = 20.0


class Engine:
    """Runs one batch once."""

    def __init__(
        self, source: Source, executor: Executor, sink: Sink, progress: Progress, stop: Stop, options: EngineOptions
    ) -> None:
        self._source = source
        self._executor = executor
        self._sink = sink
        self._progress = progress
        self._stop = stop
        self._options = options
        # How far finished rows may run ahead of an unfinished one: enough that one slow row does not idle the others.
        window = max(64, 8 * options.max_concurrent)
        self._workers = 0
        self._failure: Exception | None = None
        self._order: Order = InInputOrder(window, options.first) if options.ordered else AsTheyFinish()

    async def run(self) -> None:
        """Run until the input ends or `stop` is turned. Raises OutputFailed when results cannot be written."""
        async with anyio.create_task_group() as around:
            around.start_soon(self._source.fill)
            rows, writing = anyio.CancelScope(), anyio.CancelScope()
            around.start_soon(self._obey_stop, rows, writing)
            with rows:
                async with anyio.create_task_group() as workers:
                    workers.start_soon(self._work, workers)
            with writing:
                await self._flush()
            around.cancel_scope.cancel()
        if self._failure:
            raise self._failure

    async def _work(self, workers: TaskGroup) -> None:
        self._workers += 1
        try:
            while not self._stop.requested.is_set() and await self._run_next(workers):
                pass
        except OutputClosed:
            self._stop.now(_CLOSED)
        except Exception as broken:
            # Whatever one worker cannot go on with, no other can: the results cannot be written, or this is a bug.
            self._failure = self._failure or broken
            workers.cancel_scope.cancel()

    async def _run_next(self, workers: TaskGroup) -> bool:
        """Take one row to its written line. False when there is none."""
        row = await self._source.read()
        if row is None:
            return False
        if self._workers < self._options.max_concurrent:
            workers.start_soon(self._work, workers)
        await self._order.admit(row.index)
        if self._stop.requested.is_set():
            return False
        self._progress.in_flight += 1
        try:
            outcome = await self._executor.run(row)
        except BaseException:
            self._progress.abandoned += 1
            raise
        finally:
            self._progress.in_flight -= 1
        line = outcome.to_line()
        self._count(outcome)
        await self._write(self._order.release(row.index, line))
        return True

    def _count(self, outcome: Outcome) -> None:
        """What the row used is counted when it is known, whether or not its line can be written."""
        self._progress.add(outcome)
        self._progress.unwritten += 1
        limit = self._options.failure_limit
        if outcome.error and limit and limit.reached(self._progress.failed, self._progress.done):
            why = f"{self._progress.failed} of {self._progress.done} finished rows failed"
            self._stop.request(StopReason("failures", f"{why} ({limit})"))

    async def _write(self, lines: list[bytes]) -> None:
        # The sink takes what waits in the order in which it was given: no await stands between `release` and it.
        if lines:
            await self._sink.write(lines)
            self._progress.unwritten -= len(lines)

    async def _flush(self) -> None:
        """Write what waited for rows that were given up, unless writing is what failed."""
        if self._failure or (self._stop.reason and self._stop.reason.kind == "closed"):
            return
        try:
            await self._write(self._order.flush())
        except OutputClosed:
            self._stop.now(_CLOSED)
        except OutputFailed as full:
            self._failure = full

    async def _obey_stop(self, rows: anyio.CancelScope, writing: anyio.CancelScope) -> None:
        await self._stop.requested.wait()
        self._source.close()
        for scope in (rows, writing):
            with anyio.move_on_after(self._options.grace_s):
                await self._stop.at_once.wait()
            scope.cancel()
