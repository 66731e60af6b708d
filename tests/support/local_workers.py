"""Workers in this process, for tests of everything about workers elsewhere but Ray: `--executor …/near_workers.py:two`.

A row's code may kill the worker that it runs in, by `die`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

import anyio

from crewrun.executors.desk import LineBroken
from crewrun.executors.fleet import Fleet, open_fleet
from crewrun.executors.job import Job
from crewrun.executors.station import Station

NEAR = f"{Path(__file__).resolve()}:two"  # what --executor is given
_here: ContextVar["NearLine"] = ContextVar("near_worker")


async def die() -> None:
    """End the worker that this code runs in, if it is one of these; then nothing of the row follows."""
    worker = _here.get(None)
    if worker is not None:
        worker.dead.set()
        worker.serving.cancel()
        await anyio.sleep_forever()


class NearLine:
    """A line to a station in this process."""

    def __init__(self) -> None:
        self.station = Station()
        self.dead = anyio.Event()
        self.serving = anyio.CancelScope()

    async def serve(self) -> None:
        _here.set(self)
        with self.serving:
            await self.station.serve()

    async def exchange(self, bundle: bytes) -> bytes:
        news: bytes | None = None

        async def fetch() -> None:
            nonlocal news
            try:
                news = await self.station.exchange(bundle)
            except RuntimeError:  # what it says of a death may come before the death is known
                if not self.dead.is_set():
                    raise
            race.cancel_scope.cancel()

        async with anyio.create_task_group() as race:
            race.start_soon(fetch)
            await self.dead.wait()
            race.cancel_scope.cancel()
        if self.dead.is_set() or news is None:
            raise LineBroken("it was killed")
        return news

    async def close(self) -> None:
        self.dead.set()
        self.serving.cancel()


class NearSite:
    """Hires stations in this process."""

    def __init__(self, job: Job) -> None:
        self._brief = job.brief(job.crew, None)
        self._serving: set[asyncio.Task[None]] = set()

    async def hire(self) -> NearLine:
        line = NearLine()
        await line.station.open(self._brief)
        self._serving.add(asyncio.create_task(line.serve()))
        return line

    def shortage(self) -> str:
        return "nothing"


@asynccontextmanager
async def two(job: Job) -> AsyncIterator[Fleet]:
    """As many workers as --workers says, two without it."""
    async with open_fleet(job, NearSite(job), job.workers.count or 2) as fleet:
        yield fleet
