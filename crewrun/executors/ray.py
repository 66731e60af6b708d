"""Rows on a Ray cluster. One actor per worker holds a `Station`, and dies with the run. `cluster` imports Ray.

Of Ray are used: joining a cluster or starting one on this machine, finding room for actors, restarting nothing,
carrying bytes to them and back, noticing their deaths, and sending the crew's folder along (`working_dir`). Keys go as
an argument of a method, which Ray neither logs nor keeps.
"""

import asyncio
import gc
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import sniffio

from crewrun.errors import CrewrunError
from crewrun.executors.cluster import import_ray, join, muted
from crewrun.executors.desk import LineBroken
from crewrun.executors.fleet import Fleet, open_fleet
from crewrun.executors.job import Brief, Job
from crewrun.executors.letters import Fault
from crewrun.executors.luggage import pack_crew
from crewrun.executors.station import Station
from crewrun.redaction.redactor import redact

_CLOSE_S = 1.0
# What only Ray's own tools know by these names.
_OF_RAY = re.compile(r"\t(class_name|actor_id|pid|name|namespace): ")


@asynccontextmanager
async def open_ray(job: Job, address: str | None) -> AsyncIterator[Fleet]:
    """Workers on the cluster at `address`, `ray://HOST:PORT`; None is the one that RAY_ADDRESS names, or that runs on
    this machine, else one is started here for the time of the block.

    Raises UsageError when there is no such cluster, or the crew cannot run there.
    """
    ray = import_ray()
    luggage = pack_crew(job.crew, job.definition, job.excluded)
    brief = job.brief(luggage.ref, luggage.text)
    is_ours = not ray.is_initialized()
    if is_ours:
        await join(ray, address or os.environ.get("RAY_ADDRESS"), luggage, job.say)
    try:
        site = RaySite(ray, job, brief)
        async with open_fleet(job, site, site.size) as fleet:
            yield fleet
    finally:
        if is_ours:
            with muted():
                ray.shutdown()


class RaySite:
    """Where actors are started; see `crewrun.executors.fleet.Site`."""

    def __init__(self, ray: Any, job: Job, brief: Brief) -> None:
        self._ray = ray
        self._brief = brief
        self._cpus = job.workers.cpus
        room = int(ray.cluster_resources().get("CPU", 0) / self._cpus)
        self.size = min(job.workers.count or max(1, room), job.max_rows)
        self._actor = ray.remote(_Actor).options(num_cpus=self._cpus, max_concurrency=8, max_restarts=0)

    async def hire(self) -> "RayLine":
        """Start an actor; see `Site.hire`."""
        line = RayLine(self._ray, self._actor.remote())
        try:
            await line.open(self._brief)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await line.close()
            raise
        return line

    def shortage(self) -> str:
        """What a worker that is not there yet waits for, in words."""
        all_cpus = self._ray.cluster_resources().get("CPU", 0.0)
        free = self._ray.available_resources().get("CPU", 0.0)
        wanted = "1 worker needs" if self.size == 1 else f"{self.size} workers need"
        return (
            f"{wanted} {self._cpus:g} CPU each, the cluster has {all_cpus:g}, of which {free:g} are "
            "free now; --workers and --worker-cpus ask for less"
        )


class RayLine:
    """A connection to an actor; see `crewrun.executors.desk.Line`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    async def open(self, brief: Brief) -> None:
        """Have the actor load the crew. Raises what `Site.hire` does."""
        fault, place = await self._call("open", brief)
        if fault is not None:
            refused: CrewrunError = fault.error()
            raise type(refused)(f"the worker on {place}: {refused}")

    async def exchange(self, bundle: bytes) -> bytes:
        """See `Line.exchange`."""
        news: bytes = await self._call("exchange", bundle)
        return news

    async def close(self) -> None:
        """See `Line.close`."""
        with suppress(LineBroken), anyio.move_on_after(_CLOSE_S):
            await self._call("close")
        with suppress(Exception):  # whatever Ray says of an actor that is gone
            self._ray.kill(self._actor)

    async def _call(self, method: str, *arguments: object) -> Any:
        answer = asyncio.ensure_future(_answer(getattr(self._actor, method).remote(*arguments)))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(answer)  # Ray does not stand that who waits is cancelled
        except self._ray.exceptions.RayError as broken:
            raise _broken(broken) from None


async def _answer(reference: Any) -> Any:
    return await reference


class _Actor:
    """What Ray runs: a station and the task that it serves in."""

    def __init__(self) -> None:
        self._station = Station()
        self._serving: asyncio.Task[None] | None = None

    async def open(self, brief: Brief) -> tuple[Fault | None, str]:
        """Load the crew; what is wrong with it, if anything, and where this is."""
        place = socket.gethostname()
        sniffio.thread_local.name = "asyncio"  # every primitive of anyio asks, and finding out costs more than the rest
        try:
            await self._station.open(brief)
        except CrewrunError as wrong:
            return Fault.of(wrong), place
        # As the command does for itself: what is loaded by now stays, and need not be looked through again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self._serving = asyncio.create_task(self._station.serve())
        return None, place

    async def exchange(self, bundle: bytes) -> bytes:
        """See `Station.exchange`."""
        return await self._station.exchange(bundle)

    async def close(self) -> None:
        """Let go of what is open."""
        if self._serving is not None:
            self._serving.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._serving


def _broken(error: Exception) -> LineBroken:
    """What Ray says of an actor's end, in a line."""
    cause = getattr(error, "cause", None)  # an exception over there, whose traceback `error` has as its text
    if cause is not None:
        return LineBroken(redact(f"{type(cause).__name__}: {cause}")[:500])
    told = [line.strip() for line in str(error).splitlines() if line.strip() and not _OF_RAY.match(line)]
    missing = next((line for line in told if line.startswith("ModuleNotFoundError")), None)
    if missing and "crewrun" in missing:
        return LineBroken("crewrun is not installed where the worker is; install the same one on all nodes")
    return LineBroken(redact(" ".join(told))[:500])
