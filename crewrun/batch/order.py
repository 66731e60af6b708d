"""In which order outcomes are written: as they come, or as the rows came.

Both bound what they hold: `admit` keeps a row back while too many later outcomes wait for an earlier one.
"""

from typing import Protocol

import anyio

from crewrun.row import Outcome, Row


class Order(Protocol):
    """Decides when a row may start and which outcomes are due."""

    async def admit(self, row: Row) -> None:
        """Wait until `row` may start."""
        ...

    def release(self, outcome: Outcome) -> list[Outcome]:
        """Take a finished row; the outcomes that are to be written now, in order."""
        ...

    def flush(self) -> list[Outcome]:
        """What is still held when no more rows finish."""
        ...


class AsTheyFinish:
    """No order, nothing held."""

    async def admit(self, row: Row) -> None:
        """At once."""

    def release(self, outcome: Outcome) -> list[Outcome]:
        """The outcome itself."""
        return [outcome]

    def flush(self) -> list[Outcome]:
        """Nothing."""
        return []


class InInputOrder:
    """Input order. At most `window` rows are between the next one to be written and the last one started."""

    def __init__(self, window: int, first: int = 0) -> None:
        self._window = window
        self._next = first
        self._held: dict[int, Outcome] = {}
        self._moved = anyio.Event()

    async def admit(self, row: Row) -> None:
        """Wait until `row` is within the window."""
        while row.index >= self._next + self._window:
            await self._moved.wait()

    def release(self, outcome: Outcome) -> list[Outcome]:
        """The run of outcomes that is complete from the next index on."""
        self._held[outcome.row.index] = outcome
        due = []
        while (ready := self._held.pop(self._next, None)) is not None:
            due.append(ready)
            self._next += 1
        if due:
            self._moved.set()
            self._moved = anyio.Event()
        return due

    def flush(self) -> list[Outcome]:
        """The rest, in input order: what stood behind rows that were given up."""
        rest = [self._held[index] for index in sorted(self._held)]
        self._held.clear()
        return rest
