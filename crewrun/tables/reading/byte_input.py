"""Reads the bytes of files and pipes, for code that blocks: `close` ends a read that waits for a pipe."""

import os
import select
import stat
from collections.abc import Callable
from threading import Lock
from typing import BinaryIO

# How long a pipe that has delivered a line may pause before what came is looked at: longer than a program that writes
# takes between two writes, shorter than a person notices.
_PAUSE_S = 0.25
_ZEROS_BYTES = 1 << 20
_MANY_ZEROS = 64


class RawInput:
    """An open file, at its present position, or a pipe."""

    def __init__(self, raw: BinaryIO) -> None:
        """Takes over `raw`, which is not buffered."""
        self._raw = raw
        self._fd = raw.fileno()
        status = os.fstat(self._fd)
        self.is_stream = stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode) or os.isatty(self._fd)
        self.is_seekable = not self.is_stream and raw.seekable()
        self._start = raw.tell() if self.is_seekable else 0
        self.size_bytes = status.st_size - self._start if self.is_seekable else None
        self._wake: tuple[int, int] | None = os.pipe() if self.is_stream else None
        self._lock = Lock()  # protects the two below: the thread that reads and the one that closes
        self._is_reading = self._is_closed = False
        self._has_ended = False
        self._end: int | None = None

    @property
    def file(self) -> BinaryIO:
        """The file itself, for libraries that seek."""
        return self._raw

    def read(self, size: int) -> bytes:
        """The next bytes, at least one; none at the end or when closed. Raises OSError."""
        with self._lock:
            if self._is_closed:
                return b""
            self._is_reading = True
        if self._end is not None:
            size = min(size, self._end - self._raw.tell())
        try:
            # The end of a terminal's input is said once: another read would wait for more.
            chunk = os.read(self._fd, size) if size > 0 and not self._has_ended and self._wait(None) else b""
            self._has_ended = not chunk
            return chunk
        finally:
            with self._lock:
                self._is_reading = False
                if self._is_closed:
                    self._close_files()

    def is_idle(self) -> bool:
        """Whether a pipe has nothing to read for a moment, neither bytes nor its end."""
        return self.is_stream and not self._wait(_PAUSE_S)

    def rewind(self) -> None:
        """Go back to where the input began. Only of seekable inputs."""
        self._raw.seek(self._start)
        self._has_ended = False

    def leave_out_zeros(self, but: int) -> None:
        """End the file `but` bytes into the zeros at its end, if there are many: it was filled with them."""
        size = os.fstat(self._fd).st_size
        zeros = 0
        while zeros < size - self._start:
            length = min(_ZEROS_BYTES, size - self._start - zeros)
            piece = os.pread(self._fd, length, size - zeros - length)
            rest = len(piece.rstrip(b"\0"))
            zeros += length - rest
            if rest:
                break
        if zeros >= _MANY_ZEROS:
            self._end = min(size - zeros + but, size if self._end is None else self._end)

    def share(self) -> float | None:
        """The share of a file that has been read."""
        if not self.size_bytes or self._raw.closed:
            return None
        return (self._raw.tell() - self._start) / self.size_bytes

    def close(self) -> None:
        """Close the file; a thread that is reading gets the end of the input."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._is_reading:
                if self._wake:
                    os.write(self._wake[1], b"x")
            else:
                self._close_files()

    def _wait(self, timeout_s: float | None) -> bool:
        """Wait until a pipe can be read. False when that takes longer, or the input is closed."""
        if self._wake is None:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        events = poll.poll(None if timeout_s is None else timeout_s * 1000)
        return bool(events) and not self._is_closed

    def _close_files(self) -> None:
        self._raw.close()
        if self._wake:
            for fd in self._wake:
                os.close(fd)
            self._wake = None


class ByteInput:
    """Bytes, whose first ones can be looked at before they are read."""

    def __init__(self, raw: RawInput, read: Callable[[int], bytes] | None = None) -> None:
        """`read` returns the next bytes, by default those of `raw`; others come from it through a decompressor."""
        self.raw = raw
        self.is_plain = read is None
        self._read = read or raw.read
        self._head = b""
        self._damage: Exception | None = None

    def head(self, size: int) -> bytes:
        """Up to `size` of the next bytes, which stay unread: fewer at the end, or when a pipe pauses behind a line."""
        while len(self._head) < size:
            if b"\n" in self._head and self.raw.is_idle():
                break
            try:
                chunk = self._read(size - len(self._head))
            except Exception as damage:
                self._damage = damage
                break
            if not chunk:
                break
            self._head += chunk
        return self._head[:size]

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them; none at the end. A negative `size` means all."""
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        if self._head:
            chunk, self._head = self._head[:size], self._head[size:]
            return chunk
        if self._damage is not None:
            raise self._damage
        return self._read(size)
