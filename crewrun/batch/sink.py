"""Where result lines go: a file or standard output."""

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import anyio

from crewrun.errors import OutputClosed, OutputFailed, UsageError

# A pipe that polls as writable takes this much without blocking: pipe(7), PIPE_BUF.
_PIPE_BYTES = 4096
_FINISH_LINE_S = 5.0


class Sink(Protocol):
    """Takes result lines, and counts those that it has written whole."""

    @property
    def lines_written(self) -> int: ...

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write whole lines, together and behind those of calls made before. Raises OutputFailed or OutputClosed."""
        ...

    def close(self) -> None:
        """No more lines come. Raises OutputFailed."""
        ...


class FileSink:
    """A file to which lines are appended, readable by its owner. A killed run tears one of them at most.

    Who else may write to it is the affair of the run's lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines_written = 0
        self._fd = _open(path)

    async def write(self, lines: Sequence[bytes]) -> None:
        """Append lines. On a full disk a torn one is cut off again, then OutputFailed."""
        written, full = _write_whole_lines(self._fd, lines)
        self.lines_written += written
        if full is not None:
            raise OutputFailed(f"{self.path}: cannot be written: {full.strerror}") from full

    def close(self) -> None:
        """Close the file."""
        try:
            os.close(self._fd)
        except OSError as full:  # NFS and quotas report here
            raise OutputFailed(f"{self.path}: cannot be written: {full.strerror}") from full


class StreamSink:
    """An open descriptor: standard output, or a pipe with a name. A slow reader holds up rows, not the event loop."""

    def __init__(self, fd: int, name: str = "standard output") -> None:
        self._fd = fd
        self._name = name
        self.lines_written = 0
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
                written, full = _write_whole_lines(self._fd, lines)
                self.lines_written += written
                if full is not None:
                    raise full
                return
            async with self._turn:
                for line in lines:
                    await anyio.wait_writable(self._fd)
                    rest = line[os.write(self._fd, line[:_PIPE_BYTES]) :]
                    if rest:
                        await self._finish(rest)
                    self.lines_written += 1
        except OSError as failed:
            if failed.errno in (errno.EPIPE, errno.ECONNRESET):
                raise OutputClosed(f"{self._name} was closed") from failed
            raise OutputFailed(f"{self._name}: cannot be written: {failed.strerror}") from failed

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

    def close(self) -> None:
        """Whoever opened the descriptor closes it."""


def open_sink(path: Path) -> FileSink | StreamSink:
    """The sink for what has a name: a file, or a pipe that somebody reads already. Raises UsageError."""
    return StreamSink(_open(path), str(path)) if path.is_fifo() else FileSink(path)


def _open(path: Path) -> int:
    # A pipe that nobody reads would be waited for, deaf to every signal.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
        os.set_blocking(fd, True)
        return fd
    except OSError as refused:
        why = "nobody reads this pipe" if refused.errno == errno.ENXIO else refused.strerror
        raise UsageError(f"{path}: cannot be written: {why}") from None


def _write_whole_lines(fd: int, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
    """Write lines in one go; how many are written, and what kept the others. A torn one is cut off again."""
    data = b"".join(lines)
    written = 0
    try:
        while written < len(data):
            written += os.write(fd, data[written:] if written else data)
    except OSError as full:
        whole = data.rfind(b"\n", 0, written) + 1
        if whole < written and stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR) - (written - whole))
        return data.count(b"\n", 0, whole), full
    return len(lines), None
