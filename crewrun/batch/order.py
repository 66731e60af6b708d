"""In which order result lines are written: as rows finish, or in the input's order.

The latter bounds what it holds: `admit` holds a row back while too many later lines wait for an earlier one.
"""

from typing import Protocol

import anyio

_HELD_BYTES = 32 * 1024 * 1024  # memory against idle workers, when one slow row holds up large lines


class Order(Protocol):
    """Decides when a row may start and which lines are due."""

    async def admit(self, index: int) -> None:
        """Wait until the row may start."""
        ...

    def release(self, index: int, line: bytes) -> list[bytes]:
        """Take a finished row's line, empty if there is nothing to write. Returns the lines that are due, in order."""
        ...

    def flush(self) -> list[bytes]:
        """The lines still held when no more rows finish."""
        ...


class AsTheyFinish:
    """Lines are due at once; nothing is held."""

    async def admit(self, index: int) -> None:
        """Returns at once."""

    def release(self, index: int, line: bytes) -> list[bytes]:
        """The line itself."""
        return [line] if line else []

    def flush(self) -> list[bytes]:
        """Nothing."""
        return []


class InInputOrder:
    """The input's order. At most `window` rows, and some megabytes of lines, are ahead of the next line to write."""

    def __init__(self, window: int, first: int = 0) -> None:
        self._window = window
        self._next = first
        self._held: dict[int, bytes] = {}
        self._held_bytes = 0
        self._moved = anyio.Event()

    async def admit(self, index: int) -> None:
        """Wait until the row is within the window. The row that the others wait for was admitted before them."""
        while index >= self._next + self._window or (self._held_bytes > _HELD_BYTES and index > self._next):
            await self._moved.wait()

    def release(self, index: int, line: bytes) -> list[bytes]:
        """The consecutive lines that are complete, starting at the next index to write."""
        self._held[index] = line
        self._held_bytes += len(line)
        due: list[bytes] = []
        moved = False
        while (ready := self._held.pop(self._next, None)) is not None:
            if ready:
                due.append(ready)
                self._held_bytes -= len(ready)
            self._next += 1
            moved = True
        if moved:
            self._moved.set()
            self._moved = anyio.Event()
        return due

    def flush(self) -> list[bytes]:
        """The lines that waited for rows which were given up, in the input's order."""
        rest = [line for index in sorted(self._held) if (line := self._held[index])]
        self._held.clear()
        return rest
