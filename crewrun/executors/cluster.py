"""Joining a Ray cluster, or starting one, without its noise."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from tempfile import TemporaryFile
from threading import Thread
from typing import Any

import anyio

from crewrun.errors import UsageError
from crewrun.executors.remote.packaging import Package
from crewrun.redaction.redactor import redact

_CONNECT_S = 4.0
_JOIN_S = 10.0
_START_S = 50.0  # more, where the cluster first starts a process for this run, as it does behind ray://
_PACK_S = 300.0  # more, to pack the crew's folder and send it there
_TAIL_BYTES = 4096


def import_ray() -> Any:
    """Ray. Raises UsageError where it is not installed."""
    # Before the import, which reads them. No telemetry is crewrun's word, too; the user's own setting stands.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning at every start
    try:
        import ray
    except ImportError:
        raise UsageError("--executor ray needs Ray: pip install 'crewrun[ray]'") from None
    # Deaths of workers are printed whatever `log_to_driver` says; the pool says them in its own words. See
    # https://github.com/ray-project/ray/blob/master/python/ray/_private/worker.py, listen_error_messages.
    driver = getattr(ray._private, "worker", None)
    if driver is not None and hasattr(driver, "print_to_stdstream"):
        driver.print_to_stdstream = lambda *_, **__: None
    return ray


async def join(ray: Any, address: str | None, package: Package, say: Callable[[str], Any]) -> None:
    """Join the cluster at `address`, or the one on this machine, or start one. Raises UsageError; within 15 s where
    nobody listens.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if package.folder is not None:
        options["runtime_env"] = {"working_dir": package.folder, "excludes": list(package.excluded)}
    if address in (None, "", "auto") and (last := _last_started(ray)) and not await _is_listening(last):
        if address == "auto":
            raise UsageError(f"--executor: RAY_ADDRESS=auto means the Ray cluster at {last}, and that is gone")
        say(f"the Ray cluster that was started on this machine, {last}, is gone: a new one is started for this run")
        address = "local"
    if address in (None, "", "local", "auto"):
        # In this thread: what is started here has to live as long as the thread does.
        with _signals_as_they_were(), muted() as told:
            _init(ray, told, address=address or None, include_dashboard=False, **options)
        return
    assert address is not None  # noqa: S101  (said above)
    await _check_listening(address)
    with muted() as told:
        most_s = _JOIN_S + (_START_S if address.startswith("ray://") else 0) + (_PACK_S if package.folder else 0)
        with anyio.move_on_after(most_s):
            await _in_thread(partial(_init, ray, told, address=address, **options))
            return
        raise UsageError(
            f"--executor: what listens at {address} has not answered as a Ray cluster in {most_s:.0f} s{told.last()}"
        )


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
        failed: BaseException | None = None
        try:
            function()
        except BaseException as raised:
            failed = raised
        with suppress(InvalidStateError):  # nobody waits any more
            if failed is None:
                ended.set_result(None)
            else:
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
def muted() -> Iterator[_Told]:
    """Keep what is written to standard error aside for the time of the block: nothing else makes Ray's C++ quiet."""
    with TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield _Told(aside.fileno())
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _last_started(ray: Any) -> str | None:
    """Where `ray start` last began a cluster on this machine. Ray joins it, and waits for minutes when it is gone."""
    read = getattr(getattr(ray._private, "utils", None), "read_ray_address", None)
    address: str | None = read() if read is not None else None
    return address


async def _is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError, TimeoutError, ValueError):
        await _connect(host, int(port))
        return True
    return False


async def _connect(host: str, port: int) -> None:
    with anyio.fail_after(_CONNECT_S):
        await (await anyio.connect_tcp(host.strip("[]"), port)).aclose()


async def _check_listening(address: str) -> None:
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--executor: {address!r} is no address of a cluster; ray://HOST:PORT, the port usually 10001")
    try:
        await _connect(host, int(port))
    except (OSError, TimeoutError) as nobody:
        why = str(nobody) or f"no answer in {_CONNECT_S:g} s"
        raise UsageError(f"--executor: no Ray cluster at {address}: {why}") from None
