"""One process at a time works on a run: it locks the folder's `lock` file, and the system releases that when it ends.

A second lock, on the results file, keeps out a run with another folder and the same results.
"""

import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from crewrun.errors import RunHeld, UsageError
from crewrun.runs.folder import RunFolder

LockMode = Literal["fail", "wait", "skip"]

# A process writes who it is right after it has taken the lock. Under load it may be off the CPU in between.
_NAMED_WITHIN_S = 0.5
_LOOK_EVERY_S = 0.01


class RunLock:
    """Held from `acquire` to `release`, or to the end of the process, however that comes."""

    def __init__(self, path: Path, make: Callable[[], None] | None = None) -> None:
        """`make` makes the folder again when it was moved or deleted while waiting for the lock."""
        self._path = path
        self._make = make
        self._fd: int | None = None

    @property
    def is_right(self) -> bool:
        """Whether the held file is still the run's lock, and was not moved away with a backup."""
        return self._fd is not None and _is_still(self._fd, self._path)

    async def acquire(self, *, wait: bool = False) -> None:
        """Take the lock. When another process has it, waits for it with `wait`, else raises RunHeld."""
        while True:
            fd = self._open()
            try:
                if not await _try_lock(fd):
                    if not wait:
                        raise RunHeld(f"{self._path.parent}: {await _holder(self._path)} is working on this run")
                    await anyio.to_thread.run_sync(_wait_lock, fd, abandon_on_cancel=True)
                if _is_still(fd, self._path):
                    break
            except BaseException:
                os.close(fd)
                raise
            # The folder was deleted or moved while we waited, so this file is no longer the run's lock.
            os.close(fd)
        self._fd = fd
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(about).encode() + b"\n", 0)
        except OSError:
            pass  # a full disk: the content is only informative

    def release(self) -> None:
        """Release the lock. The file stays, since processes that wait for the lock have it open."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            try:
                return os.open(self._path, flags, 0o600)
            except FileNotFoundError:
                if self._make is None:
                    raise
                self._make()
                return os.open(self._path, flags, 0o600)
        except OSError as refused:
            raise UsageError(f"{self._path}: cannot be opened: {refused.strerror}") from None


class ResultsLock:
    """A lock on the results themselves: two runs with two folders must not write to one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self, *, wait: bool = False) -> None:
        """Take the lock, again if another file has replaced the results. Makes the file where there is none.

        When another process has the lock, waits for it with `wait`, else raises RunHeld. Raises UsageError when the
        file cannot be opened.
        """
        while self._fd is None or not _is_still(self._fd, self._path):
            self.release()
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as refused:
                raise UsageError(f"{self._path}: cannot be written: {refused.strerror}") from None
            try:
                if not _take(self._fd, fcntl.LOCK_EX):
                    if not wait:
                        raise RunHeld(f"{self._path}: another process is writing these results")
                    _wait_lock(self._fd)
            except OSError:
                return  # the file system does not support locks
            except RunHeld:
                self.release()
                raise

    def release(self) -> None:
        """Release the lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class RunLocks:
    """Both locks of a run. Results that go to a stream are not locked."""

    def __init__(self, folder: RunFolder, output: Path | None, *, wait: bool) -> None:
        self._wait = wait
        self._folder = folder
        self._run = RunLock(folder.lock, folder.make)
        is_file = output is not None and (output.is_file() or not output.exists())
        self._results = ResultsLock(output) if output is not None and is_file else None

    async def acquire(self) -> None:
        """Take both locks, again those whose files were moved. Raises RunHeld and UsageError."""
        if not self._run.is_right:
            run = RunLock(self._folder.lock, self._folder.make)
            await run.acquire(wait=self._wait)
            self._run.release()
            self._run = run
        if self._results is not None:
            await anyio.to_thread.run_sync(self._take_results, abandon_on_cancel=self._wait)

    def renew(self) -> None:
        """Lock the results again after they were replaced. Raises RunHeld when another process was faster."""
        if self._results is not None:
            self._results.take()

    def release(self) -> None:
        """Release both locks."""
        if self._results is not None:
            self._results.release()
        self._run.release()

    def _take_results(self) -> None:
        if self._results is not None:
            self._results.take(wait=self._wait)


def is_held(path: Path) -> bool:
    """Whether a process has the lock now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def describe_holder(path: Path) -> str:
    """The process that has the lock, in words: `process 4711`, with its host when that is not this one."""
    return _named_holder(path) or "another process"


async def _holder(path: Path) -> str:
    """As `describe_holder`, of a process that may have taken the lock just now and not yet written who it is."""
    with anyio.move_on_after(_NAMED_WITHIN_S):
        while (holder := _named_holder(path)) is None:  # noqa: ASYNC110  (another process writes, and sets no event)
            await anyio.sleep(_LOOK_EVERY_S)
        return holder
    return describe_holder(path)


def _named_holder(path: Path) -> str | None:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        where = "" if about["host"] == socket.gethostname() else f" on {about['host']}"
        return f"process {about['pid']}{where}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def _try_lock(fd: int) -> bool:
    """False when another process has the lock. True on a file system that does not support locks."""
    try:
        while not _take(fd, fcntl.LOCK_EX):
            # `is_held` takes a shared lock for an instant, which does not count as holding the lock.
            if not _take(fd, fcntl.LOCK_SH):
                return False
            fcntl.flock(fd, fcntl.LOCK_UN)
            await anyio.sleep(random.uniform(0.001, 0.01))  # noqa: S311  (two processes must not retry in step)
    except OSError:
        return True
    return True


def _take(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_lock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX)


def _is_still(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as refused:
        raise UsageError(f"{path}: cannot be read: {refused.strerror}") from None
