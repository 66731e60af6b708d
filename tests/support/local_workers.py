"""Workers in this process, to test all of workers elsewhere but Ray: `--executor …/local_workers.py:two`.

A row's code may kill the worker that it runs in, by `die`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

import anyio

from crewrun.executors.remote.connection import ConnectionLost
from crewrun.executors.remote.pool import WorkerPool, open_pool
from crewrun.executors.remote.server import WorkerServer
from crewrun.executors.run_spec import RunSpec

NEAR = f"{Path(__file__).resolve()}:two"  # what --executor is given
_here: ContextVar["NearConnection"] = ContextVar("near_worker")


async def die() -> None:
    """End the worker that this code runs in, if it is one of these; then nothing of the row follows."""
    worker = _here.get(None)
    if worker is not None:
        worker.dead.set()
        worker.serving.cancel()
        await anyio.sleep_forever()


async def lose_place() -> None:
    """Take the place away where all workers are, this code's own among them."""
    worker = _here.get(None)
    if worker is not None:
        worker.place_is_gone.set()
        await anyio.sleep_forever()


class NearConnection:
    """A connection to a server in this process."""

    def __init__(self, place_is_gone: anyio.Event) -> None:
        self.place_is_gone = place_is_gone
        self.server = WorkerServer()
        self.dead = anyio.Event()
        self.serving = anyio.CancelScope()

    async def serve(self) -> None:
        _here.set(self)
        with self.serving:
            await self.server.serve()

    async def send(self, bundle: bytes) -> None:
        if self.dead.is_set():
            raise ConnectionLost("it was killed")
        self.server.send(bundle)

    async def receive(self) -> bytes:
        bundle: bytes | None = None

        async def fetch() -> None:
            nonlocal bundle
            try:
                bundle = await self.server.receive()
            except RuntimeError:  # what it says of a death may come before the death is known
                if not self.dead.is_set():
                    raise
            race.cancel_scope.cancel()

        async with anyio.create_task_group() as race:
            race.start_soon(fetch)
            await self.dead.wait()
            race.cancel_scope.cancel()
        if self.dead.is_set() or bundle is None:
            raise ConnectionLost("it was killed")
        return bundle

    async def close(self) -> None:
        self.dead.set()
        self.serving.cancel()


class NearProvisioner:
    """Starts workers in this process."""

    def __init__(self, run_spec: RunSpec) -> None:
        self._worker_spec = run_spec.worker_spec(run_spec.crew, None)
        self._serving: set[asyncio.Task[None]] = set()
        self._is_gone = anyio.Event()

    async def start_worker(self) -> NearConnection:
        connection = NearConnection(self._is_gone)
        await connection.server.open(self._worker_spec)
        self._serving.add(asyncio.create_task(connection.serve()))
        return connection

    def shortage(self) -> str:
        return "nothing"

    async def wait_gone(self) -> str:
        await self._is_gone.wait()
        return "the place of the workers is gone"


@asynccontextmanager
async def two(run_spec: RunSpec) -> AsyncIterator[WorkerPool]:
    """As many workers as --workers says, two without it."""
    async with open_pool(run_spec, NearProvisioner(run_spec), run_spec.workers.count or 2) as pool:
        yield pool
