"""`StderrLog`: what a stdio server writes to its standard error: the last lines for messages, all of it into a file."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import BinaryIO

from crewrun.redaction.redactor import redact

# Of one server in one run: most write a few lines, some one for each call.
_MOST_BYTES = 4_000_000
_SHOWN_LINES = 8
_EARLY_LINES = 200
_SHOWN_CHARS = 300


class StderrLog:
    """The log of one server's standard error, with secrets redacted. It is written to `path()` once that is not None:
    a batch opens its servers before its run begins.

    `errlog` is what the server's process gets as its standard error. Call `begin` before it starts.
    """

    def __init__(self, path: Callable[[], Path | None]) -> None:
        self._path = path
        self._can_write = True
        self._early: deque[str] = deque(maxlen=_EARLY_LINES)
        self._file: BinaryIO | None = None
        self._lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._begun = b""  # the start of a line
        reading, writing = os.pipe()
        self._reading = FileIO(reading)
        self.errlog = TextIOWrapper(FileIO(writing, "w"))
        self._transport: asyncio.ReadTransport | None = None

    async def begin(self) -> None:
        """Read from now on."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(lambda: _Reader(self), self._reading)

    def close(self) -> None:
        """Stop reading: a process that the server left behind may keep its end open."""
        self.errlog.close()
        if self._transport is not None:
            self._transport.close()
        else:
            self._reading.close()
        if self._begun:
            self.add(b"\n")
        self._flush()
        if self._file is not None:
            self._file.close()

    @property
    def tail(self) -> str:
        """The last lines, for a message; empty if there are none."""
        return "\n".join(self._lines)

    def add(self, data: bytes) -> None:
        """Take what the server has written."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > 65536:  # no line at all, such as a progress bar
            lines, self._begun = [*lines, self._begun], b""
        for line in lines:
            text = redact(line.decode("utf-8", "replace").rstrip())
            if text:
                self._lines.append(text[:_SHOWN_CHARS])
            self._write(text)

    def _write(self, line: str) -> None:
        if self._can_write:
            self._early.append(line)
            self._flush()

    def _flush(self) -> None:
        try:
            if self._file is None and (path := self._path()) is not None:
                self._file = FileIO(path, "ab", opener=_private)
            while self._file is not None and self._early:
                if self._file.tell() >= _MOST_BYTES:
                    self._file.write(b"[crewrun: the rest is left out]\n")
                    self._can_write = False
                    self._early.clear()
                    return
                self._file.write(f"{self._early.popleft()}\n".encode())
        except OSError:  # a full disk stops the run by its journal, and not by this
            self._can_write = False
            self._early.clear()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Reader(asyncio.Protocol):
    def __init__(self, log: StderrLog) -> None:
        self._log = log

    def data_received(self, data: bytes) -> None:
        self._log.add(data)
