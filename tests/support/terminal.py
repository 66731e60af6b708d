"""A terminal of a given size with a command in it: what its screen shows, and the keys and signals that it gets."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Self

import pyte

from support import forks

CTRL_C = "\x03"


class Terminal:
    """`crewrun *args` in a pseudo-terminal of `columns` by `rows`, drawn by pyte. Its streams are all that terminal.

    With `stdout`, a descriptor, results go there instead.
    """

    def __init__(
        self,
        *args: str | Path,
        cwd: Path,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._fd, theirs = pty.openpty()
        self.written = b""
        self.resize(columns, rows)
        streams = [theirs, theirs if stdout is None else stdout, theirs]
        env = {"TERM": "xterm-256color", **(env or {})}
        self._told: BinaryIO = forks.shared().launch(streams, *args, cwd=cwd, env=env, is_terminal=True)
        self.pid = int(self._told.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._told.closed:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._read_end()
        os.close(self._fd)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen that are not blank, without blanks at their ends."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    def style(self, words: str) -> str:
        """The colour of the first character of `words` on the screen."""
        for number, line in enumerate(self._screen.display):
            if (at := line.find(words)) >= 0:
                colour: str = self._screen.buffer[number][at].fg
                return colour
        raise AssertionError(f"{words!r} is not on the screen:\n{self.text}")

    @property
    def is_cursor_hidden(self) -> bool:
        """Whether the cursor is hidden."""
        hidden: bool = self._screen.cursor.hidden
        return hidden

    def resize(self, columns: int, rows: int = 24) -> None:
        """Give the window another size, and tell the command so. The screen drawn here keeps its size at 0 columns."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if columns:
            self._screen.resize(rows, columns)

    def press(self, keys: str) -> None:
        """Type `keys`."""
        os.write(self._fd, keys.encode())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        os.kill(self.pid, number)

    def until(self, condition: Callable[["Terminal"], object] | str, timeout: float = 30) -> list[str]:
        """Read what the command draws until `condition` holds, or until the screen shows that text; the lines then."""
        holds = condition if callable(condition) else (lambda terminal: condition in terminal.text)
        ends = monotonic() + timeout
        while not holds(self):
            if not self._read(ends - monotonic()):
                raise AssertionError(f"the screen never showed {condition!r}:\n{self.text}")
        return self.lines

    def end(self, timeout: float = 30) -> int:
        """The exit code, once the command has ended; the screen is as it left it."""
        ends = monotonic() + timeout
        while self._read(ends - monotonic()):
            pass
        return self._read_end()

    def _read(self, timeout: float) -> bool:
        """Draw what comes next. False when nothing more comes, or not in time."""
        readable, _, _ = select.select([self._fd], [], [], max(0.0, timeout))
        if not readable:
            raise AssertionError(f"nothing more came in time; the screen:\n{self.text}")
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def _read_end(self) -> int:
        with self._told:
            return int(self._told.readline().split()[0])
