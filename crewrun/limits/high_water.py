"""The high-water mark: the most that a session of a run may have been billed, on disk before it can be billed.

When a session is killed, what it knew of its calls in flight is lost. So its journal holds a mark that covers all that
it has spent and all that its calls in flight may cost, and a session that was killed counts as having spent its mark.
The mark is raised in steps, ahead of need, so that a call seldom waits for the disk. It is a write-ahead log of costs.
"""

from asyncio import Future
from collections.abc import Callable
from functools import partial

import anyio

# Steps to the whole budget: a kill may count one step too much (0.4 %), and each step is one commit.
_STEPS = 256


class HighWaterMark:
    """Keeps the journal's mark above what may have been billed. For one asyncio event loop.

    `write` commits a mark, in US dollars; marks are committed in the order of the calls. `most_usd` is the most that
    the session may spend: no mark needs to be higher.
    """

    def __init__(self, write: Callable[[float], "Future[None]"], most_usd: float) -> None:
        self._write = write
        self._most_usd = most_usd
        self._step_usd = most_usd / _STEPS
        self._written_usd = self._asked_usd = 0.0
        self._failure: BaseException | None = None
        self._change = anyio.Event()

    async def cover(self, usd: float) -> None:
        """Return once the mark is at `usd` or above. Raises JournalFailed if it cannot be written."""
        while usd > self._written_usd:
            if self._failure is not None:
                raise self._failure
            if usd > self._asked_usd:
                self._raise_above(usd)
            await self._change.wait()
        if usd + self._step_usd / 2 > self._asked_usd and self._asked_usd < self._most_usd:
            self._raise_above(usd)

    async def cover_alone(self, usd: float) -> None:
        """As `cover`, in another loop while this one is held: marks that it is writing are not waited for."""
        if usd > self._written_usd:
            self._asked_usd = mark_usd = max(usd, self._asked_usd)
            await self._write(mark_usd)
            self._written_usd = max(self._written_usd, mark_usd)

    def _raise_above(self, usd: float) -> None:
        self._asked_usd = mark_usd = max(usd, min(usd + self._step_usd, self._most_usd))
        self._write(mark_usd).add_done_callback(partial(self._wrote, mark_usd))

    def _wrote(self, mark_usd: float, writing: "Future[None]") -> None:
        self._failure = writing.exception()
        if self._failure is None:
            self._written_usd = mark_usd
        self._change.set()
        self._change = anyio.Event()
