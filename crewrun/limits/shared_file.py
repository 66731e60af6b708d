"""`SharedFile`: the state of an account on disk, for one process at a time.

The first line has the schema and a checksum of the second, which is the state. It is rewritten in place under a lock
that is held for a tenth of a millisecond; a process that is killed while it writes leaves a wrong checksum, and the
next one starts afresh.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from crewrun.limits.shared_state import SharedState

SCHEMA = "crewrun.limits/1"
_MOST_BYTES = 1_000_000
# On a network file system each lock is a round trip, during which the event loop stands still.
_SLOW_S = 0.05
_SLOW_COUNT = 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Another machine that used the file this short ago, by its own clock, is using it now.
_ELSEWHERE_S = 65.0


class FileBusy(Exception):
    """Another process has the file just now."""


class SharingFailed(Exception):
    """The limits cannot be shared; the message says why."""


class SharedFile:
    """The file of one account."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._boot = boot_id()
        self._slow = 0

    @contextmanager
    def state(self) -> Iterator[SharedState]:
        """The state, which is written back when the block ends without an exception.

        Raises FileBusy, at once, and SharingFailed.
        """
        began = time.perf_counter()
        fd = self._lock()
        try:
            state = self._read(fd)
            yield state
            self._write(fd, state)
        except OSError as failed:
            raise SharingFailed(f"{self.path}: {failed.strerror}") from None
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
        self._slow = self._slow + 1 if time.perf_counter() - began > _SLOW_S else 0
        if self._slow >= _SLOW_COUNT:
            raise SharingFailed(f"{self.path}: is on a file system that takes more than {_SLOW_S * 1000:.0f} ms")

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _lock(self) -> int:
        """The locked file that is at the path now."""
        try:
            while True:
                if self._fd is None:
                    self._fd = _open(self.path)
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(self._fd, self.path):
                    return self._fd
                self.close()  # it was deleted
        except BlockingIOError:
            raise FileBusy from None
        except OSError as refused:
            raise SharingFailed(f"{self.path}: {refused.strerror}") from None

    def _read(self, fd: int) -> SharedState:
        """The state, or a new one in place of one that is empty or damaged."""
        values = read_state(os.pread(fd, _MOST_BYTES, 0), self.path)
        if values is None:
            return SharedState()
        boot, state = values
        if boot != self._boot:
            if abs(time.time() - state.used_on) < _ELSEWHERE_S and state.processes:
                raise SharingFailed(f"{self.path}: another machine uses it, or this one has just been restarted")
            state.restart()
        return state

    def _write(self, fd: int, state: SharedState) -> None:
        body = json.dumps({"boot": self._boot, **state.to_json()}, separators=(",", ":")).encode()
        content = b"%b %d\n%b\n" % (SCHEMA.encode(), crc32(body), body)
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))


def read_state(content: bytes, path: Path) -> tuple[str, SharedState] | None:
    """The boot of the machine that wrote a file's `content`, and the state; None if it is empty or damaged.

    Raises SharingFailed for what a newer crewrun wrote.
    """
    head, _, rest = content.partition(b"\n")
    body, _, _ = rest.partition(b"\n")
    schema, _, checksum = head.partition(b" ")
    if schema != SCHEMA.encode():
        if schema.startswith(b"crewrun.limits/"):
            raise SharingFailed(f"{path}: was written by another version of crewrun")
        return None
    if checksum != b"%d" % crc32(body):
        return None
    try:
        values = json.loads(body)
        return values.pop("boot"), SharedState.from_json(values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def boot_id() -> str:
    """What differs after each restart of the machine, and so from one machine to another."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # not Linux: the time of the start, as closely as it is measured
        return f"{os.uname().nodename} {round((time.time() - time.monotonic()) / 60)}"


def _open(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_still(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
