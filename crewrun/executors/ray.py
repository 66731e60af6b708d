"""Runs rows on a Ray cluster. Each worker is an actor with a `WorkerServer`, which ends with the run.

Ray joins a cluster or starts one on this machine, places actors, carries bytes to them and back, notices their deaths,
and sends the crew's folder along (`working_dir`). It restarts nothing. Keys are arguments of a method, which Ray
neither logs nor stores. `cluster` imports Ray.
"""

import asyncio
import gc
import os
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import sniffio

from crewrun.errors import CrewrunError
from crewrun.executors.cluster import close, import_ray, in_thread, join
from crewrun.executors.cluster_watch import Lifeline, lifelines, wait_gone
from crewrun.executors.remote.connection import ConnectionLost
from crewrun.executors.remote.messages import RemoteFault
from crewrun.executors.remote.packaging import package_crew
from crewrun.executors.remote.pool import WorkerPool, open_pool
from crewrun.executors.remote.server import WorkerServer
from crewrun.executors.run_spec import RunSpec, WorkerSpec
from crewrun.redaction.redactor import redact

_CLOSE_S = 1.0  # for each of two attempts; an actor that does not answer is killed
# Lines of Ray's messages that only its own tools can use.
_OF_RAY = re.compile(r"\t(class_name|actor_id|pid|name|namespace): ")


@asynccontextmanager
async def open_ray(run_spec: RunSpec, address: str | None) -> AsyncIterator[WorkerPool]:
    """Workers on the cluster at `address`, such as `ray://HOST:PORT`, during the block. None means the cluster that
    RAY_ADDRESS names, or one that runs on this machine, else one is started here.

    Raises UsageError when there is no such cluster, or the crew cannot run there.
    """
    ray = import_ray()
    package = package_crew(run_spec.crew, run_spec.definition, run_spec.excluded)
    worker_spec = run_spec.worker_spec(package.ref, package.text)
    is_ours = not ray.is_initialized()
    address = address or os.environ.get("RAY_ADDRESS")
    if is_ours:
        await join(ray, address, package, run_spec.say)
    provisioner: RayProvisioner | None = None
    try:
        provisioner = RayProvisioner(ray, run_spec, worker_spec, await lifelines(ray, address))
        async with open_pool(run_spec, provisioner, provisioner.size) as pool:
            yield pool
    finally:
        if is_ours:
            await close(ray, is_gone=provisioner is not None and provisioner.is_gone)


class RayProvisioner:
    """Starts actors; see `crewrun.executors.remote.pool.Provisioner`."""

    def __init__(self, ray: Any, run_spec: RunSpec, worker_spec: WorkerSpec, lifelines: Sequence[Lifeline]) -> None:
        self._ray = ray
        self._lifelines = lifelines
        self.is_gone = False
        self._worker_spec = worker_spec
        self._cpus = run_spec.workers.cpus
        room = int(ray.cluster_resources().get("CPU", 0) / self._cpus)
        self.size = min(run_spec.workers.count or max(1, room), run_spec.max_rows)
        self._actor = ray.remote(_Actor).options(num_cpus=self._cpus, max_concurrency=8, max_restarts=0)

    async def start_worker(self) -> "RayConnection":
        """Start an actor; see `Provisioner.start_worker`."""
        connection = RayConnection(self._ray, self._actor.remote())
        try:
            await connection.open(self._worker_spec)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await connection.close()
            raise
        return connection

    async def wait_gone(self) -> str:
        """See `Provisioner.wait_gone`."""
        why = await wait_gone(self._lifelines)
        self.is_gone = True
        return why

    def shortage(self) -> str:
        """See `Provisioner.shortage`."""
        all_cpus = self._ray.cluster_resources().get("CPU", 0.0)
        free = self._ray.available_resources().get("CPU", 0.0)
        wanted = "1 worker needs" if self.size == 1 else f"{self.size} workers need"
        return (
            f"{wanted} {self._cpus:g} CPU each, the cluster has {all_cpus:g}, of which {free:g} are "
            "free now; --workers and --worker-cpus ask for less"
        )


class RayConnection:
    """A connection to an actor; see `crewrun.executors.remote.connection.Connection`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    async def open(self, worker_spec: WorkerSpec) -> None:
        """Have the actor load the crew. Raises what `Provisioner.start_worker` does."""
        fault, place = await self._call("open", worker_spec)
        if fault is not None:
            refused: CrewrunError = fault.error()
            raise type(refused)(f"the worker on {place}: {refused}")

    async def send(self, bundle: bytes) -> None:
        """See `Connection.send`."""
        await self._call("send", bundle)

    async def receive(self) -> bytes:
        """See `Connection.receive`."""
        bundle: bytes = await self._call("receive")
        return bundle

    async def close(self) -> None:
        """See `Connection.close`."""
        with suppress(ConnectionLost), anyio.move_on_after(_CLOSE_S):
            await self._call("close")
        with suppress(Exception), anyio.move_on_after(_CLOSE_S):  # Ray raises various errors for an actor that is gone
            await in_thread(partial(self._ray.kill, self._actor))  # it waits for the GCS, which may be gone too

    async def _call(self, method: str, *arguments: object) -> Any:
        answer = asyncio.ensure_future(_answer(getattr(self._actor, method).remote(*arguments)))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(answer)  # Ray breaks when a waiting task is cancelled
        except self._ray.exceptions.RayError as broken:
            raise _broken(broken) from None


async def _answer(reference: Any) -> Any:
    return await reference


class _Actor:
    """The actor's class: a worker server, and the task in which it serves."""

    def __init__(self) -> None:
        self._server = WorkerServer()
        self._serving: asyncio.Task[None] | None = None

    async def open(self, worker_spec: WorkerSpec) -> tuple[RemoteFault | None, str]:
        """Load the crew. Returns what is wrong with it, if anything, and the name of this host."""
        place = socket.gethostname()
        # Every primitive of anyio asks which library is running; detecting it costs more than the primitive itself.
        sniffio.thread_local.name = "asyncio"
        try:
            await self._server.open(worker_spec)
        except CrewrunError as wrong:
            return RemoteFault.of(wrong), place
        # As in `cli.batch`: what is loaded by now lives until the end, so the collector need not traverse it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self._serving = asyncio.create_task(self._server.serve())
        return None, place

    async def send(self, bundle: bytes) -> None:
        """See `WorkerServer.send`."""
        self._server.send(bundle)

    async def receive(self) -> bytes:
        """See `WorkerServer.receive`."""
        return await self._server.receive()

    async def close(self) -> None:
        """Stop serving."""
        if self._serving is not None:
            self._serving.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._serving


def _broken(error: Exception) -> ConnectionLost:
    """Why an actor ended, in a line, from Ray's message."""
    cause = getattr(error, "cause", None)  # an exception in the actor, whose traceback is the text of `error`
    if cause is not None:
        return ConnectionLost(redact(f"{type(cause).__name__}: {cause}")[:500])
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not _OF_RAY.match(line)]
    missing = next((line for line in lines if line.startswith("ModuleNotFoundError")), None)
    if missing and "crewrun" in missing:
        return ConnectionLost("crewrun is not installed where the worker runs; install the same version on all nodes")
    return ConnectionLost(redact(" ".join(lines))[:500])
