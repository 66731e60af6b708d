"""`WorkerPool`: an executor over workers elsewhere.

A row goes to the worker with the fewest rows. When a worker dies, its rows run again on other workers, replaying what
was recorded of them, and a new worker replaces it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from itertools import count
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from crewrun.errors import Category, CrewrunError, RunStopped, UsageError
from crewrun.executors.remote.assignment import Assignment
from crewrun.executors.remote.client import WorkerClient
from crewrun.executors.remote.connection import Connection, ConnectionLost
from crewrun.executors.remote.messages import RecordedAnswer
from crewrun.executors.run_spec import RunSpec
from crewrun.row import ErrorRecord, Outcome, Row

# How many workers may die with a row in flight before the row is considered the cause.
_DEATHS = 3
# The limit for a row that had a call waiting for a permit each time. It is hardly the cause, but it may have had other
# calls or code running.
_MOST_DEATHS = 30
# How long to wait for the other workers once the first has started, and how long for the first.
_OTHERS_S = 3.0
_FIRST_S = 600.0
_SAY_AFTER_S = 5.0
_SAY_EVERY_S = 30.0
# How long rows wait for a new worker when all have died: a node that is replaced takes minutes.
_PATIENCE_S = 300.0
_PAUSES_S = (0.0, 0.5, 2.0, 10.0, 30.0)
_CLOSE_S = 3.0
# Between two bundles in one direction, times the number of workers: at most 500 bundles per second in both directions
# for all workers together. With Ray a bundle costs 0.7 ms of CPU here and 0.8 ms there, whatever is in it; a whole row
# costs half a millisecond.
_INTERVAL_S = 0.004
_LONGEST_INTERVAL_S = 0.1
_SHOWN_CHARS = 300


class Provisioner(Protocol):
    """Starts workers in some place, such as a Ray cluster."""

    async def start_worker(self) -> Connection:
        """Start a worker, once there is room for one, and open its server.

        Raises UsageError or DefinitionError when the crew cannot run there, ConnectionLost when the worker died.
        """
        ...

    def shortage(self) -> str:
        """What workers that have not started yet are waiting for, as the end of a sentence."""
        ...

    async def wait_gone(self) -> str:
        """Return when no more workers can start and the existing ones are lost too, with the reason in words.

        Never returns where that cannot happen.
        """
        ...


@asynccontextmanager
async def open_pool(run_spec: RunSpec, provisioner: Provisioner, size: int) -> AsyncIterator["WorkerPool"]:
    """A pool of `size` workers during the block, which begins as soon as the first ones have started.

    Raises UsageError when a worker cannot run the crew, or none starts.
    """
    failed: Exception | None = None
    async with anyio.create_task_group() as tasks:
        pool = WorkerPool(run_spec, provisioner, size, tasks)
        try:
            await pool.assemble()
            yield pool
        except Exception as error:
            failed = error  # raised below: the group would wrap it
        finally:
            tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed


class WorkerPool:
    """See `open_pool`."""

    def __init__(self, run_spec: RunSpec, provisioner: Provisioner, size: int, tasks: TaskGroup) -> None:
        self._run_spec = run_spec
        self._provisioner = provisioner
        self._size = size
        self._tasks = tasks
        self._numbers = count()
        self._clients: list[WorkerClient] = []
        self._refusal: CrewrunError | None = None
        self._last_death = ""
        self._deaths = 0
        self._is_assembled = False
        self._gone: str | None = None  # why no worker can start any more
        self._last_chance = anyio.Lock()  # a row with which two workers have died runs only while it holds this
        self._news = anyio.Event()

    async def assemble(self) -> None:
        """Start the workers, and wait for the first ones. Raises UsageError."""
        for _ in range(self._size):
            self._tasks.start_soon(self._keep_started)
        self._tasks.start_soon(self._watch)
        with anyio.move_on_after(_FIRST_S):
            while not (self._clients or self._refusal):  # repeats if the first workers die while others start
                await self._wait_first()
                with anyio.move_on_after(_OTHERS_S):
                    while self._clients and len(self._clients) < self._size and not self._refusal:
                        await self._news_come()
        if self._refusal is not None:
            raise self._refusal
        if not self._clients:
            raise UsageError(f"--executor: no worker has started in {_FIRST_S:.0f} s: {self._provisioner.shortage()}")
        if len(self._clients) < self._size:
            self._say_missing()
        self._is_assembled = True

    async def _wait_first(self) -> None:
        async with anyio.create_task_group() as saying:
            saying.start_soon(self._say_shortage)
            while not (self._clients or self._refusal):
                await self._news_come()
            saying.cancel_scope.cancel()

    async def run(self, row: Row) -> Outcome:
        """Run one row, see `Executor.run`. Raises errors that end the run, such as OutputFailed."""
        run_spec, started_at, began = self._run_spec, datetime.now(UTC), anyio.current_time()
        recorder = await run_spec.recorders.recall(row) if run_spec.recorders is not None else None
        answers = [RecordedAnswer(*entry) for entry in recorder.replayable()] if recorder is not None else []
        assignment = Assignment(next(self._numbers), row, recorder, answers)
        suspicions = 0
        while suspicions < _DEATHS and assignment.deaths < _MOST_DEATHS:
            # One such row at a time, so that an innocent row does not share a worker with the culprit a third time.
            async with self._last_chance if suspicions == _DEATHS - 1 else nullcontext():
                client = await self._least_busy()
                if client is None:
                    why = self._gone or f"no worker is left for {_PATIENCE_S:.0f} s; the last one: {self._last_death}"
                    stopped = RunStopped(f"{why}; the same command goes on")
                    error = ErrorRecord(Category.INTERNAL, "RunStopped", why)
                    return assignment.unfinished_outcome(error, started_at, 0.0, stopped)
                try:
                    result = await client.run(assignment)
                except ConnectionLost:
                    assignment.deaths += 1
                    suspicions += not assignment.waiting
                    assignment.number = next(self._numbers)
                    continue
            return await assignment.outcome(result, run_spec.files)
        message = f"line {row.line}: killed its worker {assignment.deaths} times; the last time: {self._last_death}"
        error = ErrorRecord(Category.INTERNAL, "WorkerKilled", message)
        return assignment.unfinished_outcome(error, started_at, anyio.current_time() - began)

    async def _least_busy(self) -> WorkerClient | None:
        """The worker with the fewest rows; None when there has been no worker for long, or there will be none."""
        if not self._clients:
            with anyio.move_on_after(_PATIENCE_S):
                while not self._clients and self._gone is None:
                    await self._news_come()
        if self._gone is not None:
            return None
        return min(self._clients, key=lambda client: len(client.assignments), default=None)

    async def _keep_started(self) -> None:
        """Keep one worker running: start another when it dies."""
        failures = 0
        while self._gone is None:
            await anyio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
            try:
                connection = await self._provisioner.start_worker()
            except ConnectionLost as broken:
                failures += 1
                self._last_death = str(broken)
                if not self._is_assembled and failures >= _DEATHS:
                    self._refuse(UsageError(f"--executor: a worker died while it started: {broken}"))
                    return
                continue
            except CrewrunError as refused:
                self._refuse(refused)
                return
            failures = 0
            await self._work(connection)

    async def _watch(self) -> None:
        """End the run when workers cannot start any more."""
        self._gone = await self._provisioner.wait_gone()
        self._refuse(UsageError(f"--executor: {self._gone}"))
        for client in self._clients:
            client.lose(ConnectionLost(self._gone))

    async def _work(self, connection: Connection) -> None:
        interval_s = min(_INTERVAL_S * self._size, _LONGEST_INTERVAL_S)
        client = WorkerClient(connection, self._run_spec, self._spread, interval_s)
        for refusal in self._run_spec.refused:  # including those since the worker spec was made
            client.refuse(*refusal)
        self._clients.append(client)
        self._tell()
        try:
            self._last_death = await client.serve()
            if self._gone is None:
                self._say_death()
        finally:
            self._clients.remove(client)
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await connection.close()

    def _refuse(self, error: CrewrunError) -> None:
        """Note that a worker cannot run the crew. Once the pool is assembled, the others go on without it."""
        if self._is_assembled and self._refusal is None and self._gone is None:
            self._run_spec.say(f"warning: a worker cannot run the crew, the others go on: {error}")
        self._refusal = self._refusal or error
        self._tell()

    def _spread(self, endpoint: str, what: str) -> None:
        """Tell all workers what an endpoint refuses."""
        self._run_spec.refused.add((endpoint, what))
        for client in self._clients:
            client.refuse(endpoint, what)

    async def _say_shortage(self) -> None:
        await anyio.sleep(_SAY_AFTER_S)
        while True:
            self._run_spec.say(f"waiting for workers: {self._provisioner.shortage()}")
            await anyio.sleep(_SAY_EVERY_S)

    def _say_missing(self) -> None:
        there = f"{len(self._clients)} of {self._size} workers are there, the run begins with these"
        self._run_spec.say(f"{there}: {self._provisioner.shortage()}")

    def _say_death(self) -> None:
        self._deaths += 1
        if self._deaths == 1:
            self._run_spec.say(
                "warning: a worker has died; its rows run elsewhere, and so will those of others. Why: "
                f"{self._last_death[:_SHOWN_CHARS]}"
            )

    def _tell(self) -> None:
        self._news.set()

    async def _news_come(self) -> None:
        # Several tasks wait for the same event; the first to wake replaces it.
        news = self._news
        await news.wait()
        if self._news is news:
            self._news = anyio.Event()
