"""`Gatherer`: lines of one route that wait for a job, and when that job goes.

A job goes when every row that can run waits for one: any row that is still at work may bring another line, and a crew
of three steps makes three jobs however many rows there are. It goes earlier when it is full, when no line has come for
the longest delay, or when the oldest has waited for ten times that.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from math import inf
from typing import Final

import anyio

from crewrun.limits.permit import Permit
from crewrun.llm.batch_jobs.job import JobLimits, Line, LineResult

# So many of the longest delays the oldest line waits, where others come all the time.
_DELAYS: Final = 10


class GoesLive(Exception):
    """A line will not be answered by a job: its call is to be made live. `why` says why, in a few words."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True, eq=False)
class WaitingLine:
    """A line whose row waits for it, and its result once it has one.

    `permit` is what of the budget is set aside for it, `since` when it was asked for, and `sends` how many jobs have
    ended without running it. With `is_sent` it is in a job.
    """

    line: Line
    permit: Permit
    size_bytes: int
    since: float
    sends: int = 0
    is_sent: bool = False
    result: LineResult | None = None
    error: Exception | None = None
    decided: anyio.Event = field(default_factory=anyio.Event)

    def answer(self, result: LineResult) -> None:
        """It has a result."""
        self.result = result
        self.decided.set()

    def fail(self, error: Exception) -> None:
        """Its caller is to raise `error`."""
        self.error = error
        self.decided.set()


class Gatherer:
    """The lines of one route that have not gone. `delay_s` is the longest delay."""

    def __init__(self, limits: JobLimits, delay_s: float) -> None:
        self.most_bytes: float = limits.size_bytes
        self.blocked_until = -inf  # no job goes before that
        self._limits = limits
        self._delay_s = delay_s
        self._waiting: OrderedDict[str, WaitingLine] = OrderedDict()
        self._size_bytes = 0
        self._last = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: WaitingLine) -> None:
        """Add a line."""
        waiting.is_sent = False
        self._waiting[waiting.line.custom_id] = waiting
        self._size_bytes += waiting.size_bytes
        self._last = anyio.current_time()

    def remove(self, waiting: WaitingLine) -> None:
        """Forget a line whose row does not wait any more."""
        if self._waiting.get(waiting.line.custom_id) is waiting:
            del self._waiting[waiting.line.custom_id]
            self._size_bytes -= waiting.size_bytes

    def is_due(self, *, is_quiet: bool, settle_s: float) -> bool:
        """Whether a job is to go now. `is_quiet` says that every row waits for a job; that has to hold for `settle_s`
        after the last line came, since a row whose tasks run side by side asks for several.
        """
        now = anyio.current_time()
        if not self._waiting or now < self.blocked_until:
            return False
        if len(self._waiting) >= self._limits.lines or self._size_bytes >= self.most_bytes:
            return True
        oldest = next(iter(self._waiting.values()))
        if now - self._last >= self._delay_s or now - oldest.since >= _DELAYS * self._delay_s:
            return True
        return is_quiet and now - self._last >= settle_s

    def take(self) -> list[WaitingLine]:
        """The lines of the next job, the oldest first: as many as it may have, and one at least."""
        taken: list[WaitingLine] = []
        size_bytes = 0
        while self._waiting and len(taken) < self._limits.lines:
            waiting = next(iter(self._waiting.values()))
            if taken and size_bytes + waiting.size_bytes > self.most_bytes:
                break
            self.remove(waiting)
            size_bytes += waiting.size_bytes
            waiting.is_sent = True
            taken.append(waiting)
        return taken

    def take_all(self) -> list[WaitingLine]:
        """All lines, for the live jobs."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        self._size_bytes = 0
        return waiting
