"""Where result lines go: a file, which only ever holds whole lines, or standard output."""

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import anyio

from crewrun.errors import OutputClosed, OutputFailed, RunHeld, UsageError

# A pipe that polls as writable takes this much without blocking: pipe(7), PIPE_BUF.
_PIPE_BYTES = 4096
_FINISH_LINE_S = 5.0


class Sink(Protocol):
    """Takes result lines."""

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write whole lines, together and behind those of calls made before. Raises OutputFailed or OutputClosed."""
        ...

    def commit(self, *, complete: bool) -> None:
        """No more lines come. `complete` says whether the run reached its end."""
        ...


class FileSink:
    """A new file, readable by its owner; one write per line, so that a killed run leaves whole lines.

    (The kernel may cut a line of megabytes when the process is killed within its write.) With `overwrite` the lines
    gather in `FILE.partial`, which takes the place of FILE when the run is complete. A lock on the file keeps a second
    run out.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self._path = Path(os.path.realpath(path)) if path.is_symlink() else path  # what a link names is replaced
        replaces = overwrite and self._path.is_file()
        self.writes_to = partial_path(self._path) if replaces else self._path
        special = self._path.exists() and not self._path.is_file()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        flags |= 0 if special or replaces else os.O_EXCL
        try:
            self._fd = os.open(self.writes_to, flags, 0o600)
        except FileExistsError:
            raise UsageError(f"{path}: exists already; --overwrite replaces it, -o names another file") from None
        except OSError as refused:
            raise UsageError(f"{path}: cannot be written: {refused.strerror}") from None
        if not special:
            self._hold(path, replaces)
        self._special = special
        self._empty = True

    def _hold(self, path: Path, replaces: bool) -> None:
        """Lock what is written, and what it will replace: a first run may still be writing that. Raises RunHeld."""
        # Kept open to the end, since closing it gives the lock back.
        self._older = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC) if replaces else self._fd
        held = not (_lock(self._fd) and (not replaces or _lock(self._older)))
        if held or not _is_still(self._fd, self.writes_to) or not _is_still(self._older, self._path):
            raise RunHeld(f"{path}: another run is writing it; wait for its end, or name another file with -o")
        os.ftruncate(self._fd, 0)

    @property
    def replaces(self) -> str | None:
        """The older file that still stands because this run did not end."""
        return str(self._path) if self.writes_to != self._path else None

    async def write(self, lines: Sequence[bytes]) -> None:
        """Append lines. On a full disk what was torn is cut off again, then OutputFailed."""
        try:
            for line in lines:
                _write_all(self._fd, line)
        except OSError as full:
            raise self._failed(full) from full
        self._empty = False

    def commit(self, *, complete: bool) -> None:
        """Close the file, and let it take its place when the run is complete. A stopped run leaves no empty file."""
        try:
            if complete and self.replaces:
                self.writes_to.replace(self._path)
                self.writes_to = self._path
            elif self._empty and not complete and not self._special:
                self.writes_to.unlink(missing_ok=True)
            os.close(self._fd)
        except OSError as full:  # NFS and quotas report here
            raise self._failed(full) from full

    def _failed(self, error: OSError) -> OutputFailed:
        return OutputFailed(f"{self.writes_to}: cannot be written: {error.strerror}")


def _lock(fd: int) -> bool:
    """Lock `fd` for this process. False when another one has it; a file system without locks has none to have."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_still(fd: int, path: Path) -> bool:
    """Whether `path` names the open file: a run that ended while we waited may have put it elsewhere."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def partial_path(path: Path) -> Path:
    """Where the lines gather that shall replace `path`."""
    return path.with_name(path.name + ".partial")


class StreamSink:
    """An open descriptor: standard output. A slow reader holds up rows, not the event loop."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        mode = os.fstat(fd).st_mode
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise UsageError("standard output is closed; name a file with -o")
        # Keeps lines whole and in order where writing has to wait: it is taken in the order of asking.
        self._turn = anyio.Lock(fast_acquire=True)

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write lines. OutputClosed when the reader has gone."""
        try:
            if not self._waits:
                for line in lines:
                    _write_all(self._fd, line)
                return
            async with self._turn:
                for line in lines:
                    await anyio.wait_writable(self._fd)
                    rest = line[os.write(self._fd, line[:_PIPE_BYTES]) :]
                    if rest:
                        await self._finish(rest)
        except OSError as failed:
            if failed.errno in (errno.EPIPE, errno.ECONNRESET):
                raise OutputClosed("standard output was closed") from failed
            raise OutputFailed(f"standard output: cannot be written: {failed.strerror}") from failed

    async def _finish(self, rest: bytes) -> None:
        """A line that was begun is finished, however slowly it is read; a stop waits for it a moment only."""
        while rest:
            try:
                await anyio.wait_writable(self._fd)
            except anyio.get_cancelled_exc_class():
                with anyio.move_on_after(_FINISH_LINE_S, shield=True):
                    while rest:
                        await anyio.wait_writable(self._fd)
                        rest = rest[os.write(self._fd, rest[:_PIPE_BYTES]) :]
                raise
            rest = rest[os.write(self._fd, rest[:_PIPE_BYTES]) :]

    def commit(self, *, complete: bool) -> None:
        """Nothing is held back here."""


def _write_all(fd: int, line: bytes) -> None:
    """Write `line` whole, or cut off again what a full disk left of it."""
    rest = line
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        if len(rest) < len(line) and stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR) - (len(line) - len(rest)))
        raise
