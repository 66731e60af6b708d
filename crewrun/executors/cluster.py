"""Joins a Ray cluster or starts one, and keeps Ray quiet."""

import asyncio
import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from tempfile import TemporaryFile
from threading import Thread
from typing import Any

import anyio

from crewrun.errors import UsageError
from crewrun.executors.cluster_watch import CONNECT_S, connect, is_listening
from crewrun.executors.remote.packaging import Package
from crewrun.extras import install_command
from crewrun.redaction.redactor import redact

# Limits of patience: long enough for a busy cluster, short enough that a wrong address is noticed.
_JOIN_S = 10.0
_START_S = 50.0  # in addition, where the cluster starts a process for this run first, as it does for ray://
_PACK_S = 300.0  # in addition, to pack the crew's folder and send it
_SAY_AFTER_S = 5.0
_SAY_EVERY_S = 30.0
_LEAVE_S = 2.0
_TAIL_BYTES = 4096  # holds Ray's last line, which is what is shown


def import_ray() -> Any:
    """Ray. Raises UsageError where it is not installed."""
    # Before the import, which reads them. crewrun promises no telemetry; a user's own setting is kept.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns at every start
    try:
        import ray
    except ImportError:
        raise UsageError(f"--executor ray needs Ray: {install_command('ray')}") from None
    # Ray prints the deaths of workers whatever `log_to_driver` says; the pool reports them itself. See
    # https://github.com/ray-project/ray/blob/master/python/ray/_private/worker.py, listen_error_messages.
    driver = getattr(ray._private, "worker", None)
    if driver is not None and hasattr(driver, "print_to_stdstream"):
        driver.print_to_stdstream = lambda *_, **__: None
    return ray


async def join(ray: Any, address: str | None, package: Package, say: Callable[[str], Any]) -> None:
    """Join the cluster at `address`, or the one on this machine, or start one. Raises UsageError, within 15 s where
    nothing listens.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if package.folder is not None:
        options["runtime_env"] = {"working_dir": package.folder, "excludes": list(package.excluded)}
    if address in (None, "", "auto") and (last := _last_started(ray)) and not await _listens(last):
        if address == "auto":
            raise UsageError(f"--executor: RAY_ADDRESS=auto means the Ray cluster at {last}, which is gone")
        say(f"the Ray cluster that was started on this machine, {last}, is gone: a new one is started for this run")
        address = "local"
    if address in (None, "", "local", "auto"):
        # In this thread: Ray's processes end with the thread that started them.
        with _signals_as_they_were(), muted() as stderr:
            _init(ray, stderr, address=address or None, include_dashboard=False, **options)
        return
    assert address is not None  # noqa: S101  (said above)
    await _check_listening(address)
    await _join_running(ray, address, package, options, say)


async def _join_running(
    ray: Any, address: str, package: Package, options: dict[str, Any], say: Callable[[str], Any]
) -> None:
    """Join the cluster that listens at `address`, within a bounded time, and report what it waits for."""
    most_s, steps = _JOIN_S, ["its answer"]
    if address.startswith("ray://"):
        most_s += _START_S
        steps.append("a process for this run there")
    if package.folder:
        most_s += _PACK_S
        steps.append("the crew's folder to be sent")
    with muted() as stderr:

        async def say_waiting() -> None:
            await anyio.sleep(_SAY_AFTER_S)
            while True:
                with stderr.aloud():
                    say(f"waiting for the Ray cluster at {address}: {', '.join(steps)}; at most {most_s:.0f} s")
                await anyio.sleep(_SAY_EVERY_S)

        failed: UsageError | None = None
        with anyio.move_on_after(most_s):
            async with anyio.create_task_group() as saying:
                saying.start_soon(say_waiting)
                try:
                    await in_thread(partial(_init, ray, stderr, address=address, **options))
                except UsageError as wrong:
                    failed = wrong  # raised below: the group would wrap it
                saying.cancel_scope.cancel()
        if failed is not None:
            raise failed
        if not ray.is_initialized():
            raise UsageError(
                f"--executor: what listens at {address} has not answered as a Ray cluster in {most_s:.0f} s"
                f"{stderr.last()}"
            )


async def close(ray: Any, *, is_gone: bool) -> None:
    """Leave the cluster, or end the one that was started here, without waiting for a cluster that is gone."""
    with muted():
        if not is_gone:
            ray.shutdown()
            return
        # It would wait a minute for the dead head node, here and once more at the end of the process.
        atexit.unregister(ray.shutdown)
        with anyio.move_on_after(_LEAVE_S):
            await in_thread(ray.shutdown)


def _init(ray: Any, stderr: "_Muted", **options: Any) -> None:
    try:
        ray.init(**options)
    except Exception as failed:  # Ray raises many kinds: ConnectionError, RuntimeError, ValueError, its own
        message = redact(" ".join(str(failed).split()))[:1000]
        raise UsageError(f"--executor: Ray cannot be used: {message}{stderr.last()}") from None


@contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces. A signal that Ray turned into SystemExit is raised again."""
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


async def in_thread(function: Callable[[], None]) -> None:
    """Run `function` in a thread that the end of the process does not wait for: Ray may hang for a minute."""
    ended: Future[None] = Future()

    def run() -> None:
        failed: BaseException | None = None
        try:
            function()
        except BaseException as raised:
            failed = raised
        with suppress(InvalidStateError):  # the caller was cancelled
            if failed is None:
                ended.set_result(None)
            else:
                ended.set_exception(failed)

    Thread(target=run, daemon=True).start()
    await asyncio.wrap_future(ended)


class _Muted:
    """Standard error, redirected to the descriptor `file`; `stderr` is the original."""

    def __init__(self, file: int, stderr: int) -> None:
        self._file = file
        self._stderr = stderr

    def last(self) -> str:
        """The last line that was written to the file, in parentheses, to append to a message."""
        size = os.fstat(self._file).st_size
        tail = os.pread(self._file, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace")
        last = next((line for line in reversed(tail.splitlines()) if line.strip()), "")
        return f" ({redact(last.rpartition('] ')[2] or last).strip()[:500]})" if last else ""

    @contextmanager
    def aloud(self) -> Iterator[None]:
        """Write to the original standard error during the block."""
        os.dup2(self._stderr, 2)
        try:
            yield
            sys.stderr.flush()
        finally:
            os.dup2(self._file, 2)


@contextmanager
def muted() -> Iterator[_Muted]:
    """Redirect standard error to a file during the block: nothing else silences Ray's C++ code."""
    with TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield _Muted(file.fileno(), stderr)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _last_started(ray: Any) -> str | None:
    """The cluster that `ray start` last started on this machine. Ray joins it, and waits minutes when it is gone."""
    read = getattr(getattr(ray._private, "utils", None), "read_ray_address", None)
    address: str | None = read() if read is not None else None
    return address


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return port.isdecimal() and await is_listening(host, int(port))


async def _check_listening(address: str) -> None:
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(
            f"--executor: {address!r} is not the address of a cluster; ray://HOST:PORT, the port usually 10001"
        )
    try:
        await connect(host, int(port))
    except (OSError, TimeoutError) as nobody:
        why = str(nobody) or f"no answer in {CONNECT_S:g} s"
        raise UsageError(f"--executor: no Ray cluster at {address}: {why}") from None
