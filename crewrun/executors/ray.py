"""Rows on a Ray cluster: the only file that knows Ray. One actor per worker holds a `Station`; it dies with the run.

Of Ray are used: joining a cluster or starting one on this machine, finding room for actors, restarting nothing,
carrying bytes to them and back, noticing their deaths, and sending the crew's folder along (`working_dir`). Keys go as
an argument of a method, which Ray neither logs nor keeps.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from tempfile import TemporaryFile
from threading import Thread
from typing import Any

import anyio

from crewrun.errors import CrewrunError, UsageError, redact
from crewrun.executors.desk import LineBroken
from crewrun.executors.fleet import Fleet, open_fleet
from crewrun.executors.job import Brief, Job
from crewrun.executors.letters import Fault
from crewrun.executors.luggage import Luggage, pack_crew
from crewrun.executors.station import Station

_CONNECT_S = 4.0
_JOIN_S = 10.0
_CLIENT_S = 60.0  # behind ray:// the cluster first starts a process for this run
_TAIL_BYTES = 4096
_CLOSE_S = 1.0


@asynccontextmanager
async def open_ray(job: Job, address: str | None) -> AsyncIterator[Fleet]:
    """Workers on the cluster at `address`, `ray://HOST:PORT`; None is the one that RAY_ADDRESS names, or that runs on
    this machine, else one is started here for the time of the block.

    Raises UsageError when there is no such cluster, or the crew cannot run there.
    """
    ray = _import_ray()
    luggage = pack_crew(job.crew, job.definition, job.excluded)
    brief = job.brief(luggage.ref, luggage.text)
    is_ours = not ray.is_initialized()
    if is_ours:
        await _connect(ray, address or os.environ.get("RAY_ADDRESS"), luggage)
    try:
        site = RaySite(ray, job, brief)
        async with open_fleet(job, site, site.size) as fleet:
            yield fleet
    finally:
        if is_ours:
            with _hushed():
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
            await line.close()
            raise
        return line

    def shortage(self) -> str:
        """What a worker that is not there yet waits for, in words."""
        all_cpus = self._ray.cluster_resources().get("CPU", 0.0)
        free = self._ray.available_resources().get("CPU", 0.0)
        return (
            f"{self.size} workers need {self._cpus:g} CPU each, the cluster has {all_cpus:g}, of which {free:g} are "
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


def _import_ray() -> Any:
    # Before the import, which reads them. No telemetry is crewrun's word, too; the user's own setting stands.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning at every start
    try:
        import ray
    except ImportError:
        raise UsageError("--executor ray needs Ray: pip install 'crewrun[ray]'") from None
    # Deaths of workers are printed whatever `log_to_driver` says; the fleet says them in its own words. See
    # https://github.com/ray-project/ray/blob/master/python/ray/_private/worker.py, listen_error_messages.
    driver = getattr(ray._private, "worker", None)
    if driver is not None and hasattr(driver, "print_to_stdstream"):
        driver.print_to_stdstream = lambda *_, **__: None
    return ray


async def _connect(ray: Any, address: str | None, luggage: Luggage) -> None:
    """Join the cluster at `address`, or the one on this machine, or start one. Raises UsageError; within 15 s where
    nobody listens.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if luggage.folder is not None:
        options["runtime_env"] = {"working_dir": luggage.folder, "excludes": list(luggage.excluded)}
    if address in (None, "", "local", "auto"):
        # In this thread: what is started here has to live as long as the thread does.
        with _signals_as_they_were(), _hushed() as told:
            _init(ray, told, address=address or None, include_dashboard=False, **options)
        return
    assert address is not None  # noqa: S101  (said above)
    await _check_listening(address)
    with _hushed() as told:
        with anyio.move_on_after(_CLIENT_S if address.startswith("ray://") else _JOIN_S):
            await _in_thread(partial(_init, ray, told, address=address, **options))
            return
        raise UsageError(f"--executor: what listens at {address} does not answer as a Ray cluster does{told.last()}")


def _init(ray: Any, told: "_Told", **options: Any) -> None:
    try:
        ray.init(**options)
    except Exception as failed:  # Ray raises what is at hand: ConnectionError, RuntimeError, ValueError, its own
        message = redact(" ".join(str(failed).split()))[:1000]
        raise UsageError(f"--executor: Ray cannot be used: {message}{told.last()}") from None


@contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """Keep Ray from taking SIGTERM for good. One that comes meanwhile, which Ray makes an exit of, has its effect."""
    heeded = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ended = False
    try:
        yield
    except SystemExit:
        ended = True
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
    if ended:
        signal.raise_signal(signal.SIGTERM)


async def _in_thread(function: Callable[[], None]) -> None:
    """Run `function` in a thread that the end of the process does not wait for: joining may hang for a minute."""
    ended: Future[None] = Future()

    def run() -> None:
        try:
            function()
            ended.set_result(None)
        except BaseException as failed:
            ended.set_exception(failed)

    Thread(target=run, daemon=True).start()
    await asyncio.wrap_future(ended)


class _Told:
    """What Ray's own code says on standard error meanwhile."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def last(self) -> str:
        """Its last line, as the end of a message."""
        size = os.fstat(self._fd).st_size
        lines = os.pread(self._fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f" ({redact(last.rpartition('] ')[2] or last).strip()[:500]})" if last else ""


@contextmanager
def _hushed() -> Iterator[_Told]:
    """Keep what is written to standard error aside for the time of the block: nothing else makes Ray's C++ quiet."""
    with TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield _Told(aside.fileno())
        finally:
            os.dup2(kept, 2)
            os.close(kept)


async def _check_listening(address: str) -> None:
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--executor: {address!r} is no address of a cluster; ray://HOST:PORT, the port usually 10001")
    try:
        with anyio.fail_after(_CONNECT_S):
            await (await anyio.connect_tcp(host.strip("[]"), int(port))).aclose()
    except (OSError, TimeoutError) as nobody:
        why = str(nobody) or f"no answer in {_CONNECT_S:g} s"
        raise UsageError(f"--executor: no Ray cluster at {address}: {why}") from None


def _broken(error: Exception) -> LineBroken:
    """What Ray says of an actor's end, in a line."""
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = next((line for line in told if line.startswith("ModuleNotFoundError")), None)
    if missing and "crewrun" in missing:
        return LineBroken("crewrun is not installed where the worker is; install the same one on all nodes")
    return LineBroken(redact(" ".join(told))[:500])
