"""Where result lines go: a file or standard output."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import anyio

from crewrun.errors import OutputClosed, OutputFailed, UsageError
from crewrun.terminal import visible_data

# A pipe that polls as writable accepts this much without blocking: pipe(7), PIPE_BUF.
_PIPE_BYTES = 4096
_FINISH_LINE_S = 5.0  # how long a stop waits for the reader of a line that has been written in part
# The file is not checked before writes that follow more closely than this: its times are no finer than a tick of the
# kernel, at most 10 ms, and rows that end faster should not pay for more system calls.
_LOOK_AFTER_S = 0.01


class Sink(Protocol):
    """Writes result lines, and counts those that are written in full."""

    @property
    def lines_written(self) -> int: ...

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write lines together, after those of earlier calls. Raises OutputFailed or OutputClosed."""
        ...

    def close(self) -> None:
        """Finish after the last line. Raises OutputFailed."""
        ...


class FileSink:
    """Appends lines to a file that is readable by its owner only. A killed run tears at most one of them.

    The run's lock keeps other runs away. Changes by anything else are noticed: see `fault`.
    """

    def __init__(self, path: Path, size_bytes: int | None = None) -> None:
        """`size_bytes` is how large the file should be, None for any size."""
        self.path = path
        self.lines_written = 0
        self.fd = _open(path, os.O_RDWR)
        self._size_bytes, self._written_at = os.fstat(self.fd).st_size, time.time()
        self._seen = "was changed" if size_bytes not in (None, self._size_bytes) else None

    async def write(self, lines: Sequence[bytes]) -> None:
        """Append lines. On a full disk a torn line is removed again. Raises OutputFailed."""
        if time.time() - self._written_at > _LOOK_AFTER_S:
            self._look()
        written, full = _write_whole_lines(self.fd, lines)
        self._size_bytes += sum(map(len, lines))
        self._written_at = time.time()
        self.lines_written += written
        if full is not None:
            raise OutputFailed(f"{self.path}: cannot be written: {full.strerror}") from full

    def fault(self) -> str | None:
        """How the file differs from what was written to it, in words. None when no difference was noticed.

        Overwriting with the same number of bytes is noticed by the file's time, unless it happens between two writes in
        quick succession.
        """
        if not stat.S_ISREG(os.fstat(self.fd).st_mode):
            return None
        try:
            if not os.path.samestat(os.stat(self.path), os.fstat(self.fd)):
                return "was replaced by another file"
        except OSError:
            return "was moved or deleted"
        self._look()
        return self._seen

    def _look(self) -> None:
        """Notice that something else wrote to the file: its size is not as expected, or its time is later than ours."""
        info = os.fstat(self.fd)
        if info.st_size == self._size_bytes and info.st_mtime <= self._written_at:
            return
        self._seen = self._seen or ("was cut off" if info.st_size < self._size_bytes else "was changed")

    def close(self) -> None:
        """Close the file."""
        try:
            os.close(self.fd)
        except OSError as full:  # NFS and quotas report here
            raise OutputFailed(f"{self.path}: cannot be written: {full.strerror}") from full


class StreamSink:
    """Writes lines to an open descriptor: standard output or a named pipe.

    A slow reader delays rows, not the event loop.
    """

    def __init__(self, fd: int, name: str = "standard output") -> None:
        self._fd = fd
        self._name = name
        self.lines_written = 0
        info = os.fstat(fd)
        mode = info.st_mode
        # For a file, the offset of the next line. Others may write to the file as well, after our lines.
        self._end: int | None = None
        self._is_named = bool(info.st_nlink)
        self._lost: str | None = None
        if stat.S_ISREG(mode):
            is_appended = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
            self._end = info.st_size if is_appended else os.lseek(fd, 0, os.SEEK_CUR)
        self.is_terminal = os.isatty(fd)
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or self.is_terminal
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise UsageError("standard output is closed; name a file with -o")
        # Keeps lines whole and in order where writing has to wait: anyio's lock is fair.
        self._turn = anyio.Lock(fast_acquire=True)

    @property
    def columns(self) -> int | None:
        """The width of the terminal that it writes to, None for anything else. `COLUMNS` overrides it."""
        if not self.is_terminal:
            return None
        columns = os.environ.get("COLUMNS", "")
        return int(columns) if columns.isdecimal() and int(columns) else os.get_terminal_size(self._fd).columns or 80

    async def write(self, lines: Sequence[bytes], *, is_escaped: bool = False) -> None:
        """Write lines; for a terminal, control characters are escaped, unless `is_escaped` says that they are and the
        rest are colours of ours. Raises OutputClosed when the reader is gone.
        """
        if self.is_terminal and not is_escaped:
            lines = [visible_data(line.decode("utf-8", "surrogateescape")).encode() for line in lines]
        try:
            if not self._waits:
                self._look()
                written, full = _write_whole_lines(self._fd, lines)
                self.lines_written += written
                if full is not None:
                    raise full
                if self._end is not None:
                    self._end += sum(map(len, lines))
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
        """Finish a line that has been written in part, however slow the reader; after a stop only for a moment."""
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
        """Raises OutputFailed for a file that has lost lines. The descriptor stays open: its opener closes it."""
        self._look()
        if self._lost is not None:
            raise OutputFailed(f"{self._name} is a file that was {self._lost} while the run was going")

    def _look(self) -> None:
        """Notice that a file has lost lines: after the next write the gap may be filled with zeros."""
        if self._end is None or self._lost is not None:
            return
        info = os.fstat(self._fd)
        if info.st_size < self._end:
            self._lost = "cut off"
        elif self._is_named and not info.st_nlink:
            self._lost = "deleted"


def open_stream(path: Path) -> StreamSink:
    """The sink of a named pipe that has a reader, or of a device. Raises UsageError."""
    return StreamSink(_open(path, os.O_WRONLY), str(path))


def open_sink(path: Path, size_bytes: int | None = None) -> FileSink | StreamSink:
    """The sink for a path: a file, a device, or a named pipe that has a reader. Raises UsageError."""
    if path.is_fifo() or path.is_char_device():
        return open_stream(path)
    return FileSink(path, size_bytes)


def _open(path: Path, access: int) -> int:
    # O_NONBLOCK: opening a pipe without a reader would block, and not react to signals.
    flags = access | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
        os.set_blocking(fd, True)
        return fd
    except PermissionError as refused:
        if access == os.O_RDWR:  # the file may be write-only
            return _open(path, os.O_WRONLY)
        raise UsageError(f"{path}: cannot be written: {refused.strerror}") from None
    except OSError as refused:
        why = "this pipe has no reader" if refused.errno == errno.ENXIO else refused.strerror
        raise UsageError(f"{path}: cannot be written: {why}") from None


def _write_whole_lines(fd: int, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
    """Write lines together.

    Returns how many are written, and the error that stopped the rest; a torn line is removed.
    """
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
