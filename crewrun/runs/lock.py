"""One process at a time works on a run: a lock on the folder's `lock` file, which the system gives back at its end."""

import fcntl
import json
import os
import random
import socket
import time
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from crewrun.errors import RunHeld, UsageError

LockMode = Literal["fail", "wait", "skip"]


class RunLock:
    """Held from `acquire` to `release`, or to the end of the process, however that comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    async def acquire(self, *, wait: bool = False) -> None:
        """Take the lock. Raises RunHeld when another process has it, unless it shall be waited for."""
        while True:
            fd = self._open()
            try:
                if not await _try_lock(fd):
                    if not wait:
                        raise RunHeld(f"{self._path.parent}: {describe_holder(self._path)} is working on this run")
                    await anyio.to_thread.run_sync(_wait_lock, fd, abandon_on_cancel=True)
                if _is_still(fd, self._path):
                    break
            except BaseException:
                os.close(fd)
                raise
            # Its folder was deleted or moved while we waited: this is the lock of nothing.
            os.close(fd)
        self._fd = fd
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(about).encode() + b"\n", 0)
        except OSError:
            pass  # a full disk: what the file says is for people only

    def release(self) -> None:
        """Give the lock back. The file stays: who waits for it has it open."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as refused:
            raise UsageError(f"{self._path}: cannot be opened: {refused.strerror}") from None


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
    """Who has the lock, in words: `process 4711`, with its host when that is another one."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        where = "" if about["host"] == socket.gethostname() else f" on {about['host']}"
        return f"process {about['pid']}{where}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


async def _try_lock(fd: int) -> bool:
    """False when another process has it; a file system without locks has none to have."""
    try:
        while not _take(fd, fcntl.LOCK_EX):
            # Whoever looks whether it is held shares it for an instant: that is not to have it.
            if not _take(fd, fcntl.LOCK_SH):
                return False
            fcntl.flock(fd, fcntl.LOCK_UN)
            await anyio.sleep(random.uniform(0.001, 0.01))  # noqa: S311  (two that try must not keep in step)
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
    except FileNotFoundError:
        return False
