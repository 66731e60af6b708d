"""`RunLimits`: what the limiters of all endpoints of a run share."""

from collections.abc import Callable
from typing import Protocol

import anyio

from crewrun.limits.budget import Budget
from crewrun.limits.call_counts import CallCounts
from crewrun.limits.learned_bounds import LearnedBounds
from crewrun.limits.unknown_bills import UnknownBills
from crewrun.limits.waits import Wait


class JobWaits(Protocol):
    """What waits for batch jobs."""

    @property
    def rows_waiting(self) -> int:
        """How many rows do."""
        ...

    @property
    def waits(self) -> list[Wait]:
        """What calls wait for, by model."""
        ...


class RunLimits:
    """The budget, the unknown bills, the learned bounds and the deadline of a run.

    Attributes:
        budget: what all calls may cost together, None for no limit.
        unknown_bills: the attempts whose bill is unknown.
        bounds: the learned bounds by model. `journal_bounds` is called with each change of one.
        has_answered: whether calls were answered in earlier sessions of the run.
        jobs: what waits for batch jobs, None for a run without any.
        on_their_way: rows that were sent to a worker and have not started there.
        counts: what the calls of each model came to, None if nobody wants to know.
    """

    def __init__(self, deadline_s: float | None = None) -> None:
        """The run is to end in `deadline_s` from now, if that is given."""
        self.budget: Budget | None = None
        self.unknown_bills = UnknownBills()
        self.bounds: dict[str, LearnedBounds] = {}
        self.journal_bounds: Callable[[str, LearnedBounds], None] | None = None
        self.has_answered = False
        self.jobs: JobWaits | None = None
        self.on_their_way = 0
        self.counts: dict[str, CallCounts] | None = None
        self._ends_at = None if deadline_s is None else anyio.current_time() + deadline_s

    @property
    def is_budgeted(self) -> bool:
        """Whether each call needs its highest price."""
        return self.budget is not None

    def may_wait(self, seconds: float) -> bool:
        """Whether the run has the time to wait that long when a provider asks for it."""
        return self._ends_at is not None and anyio.current_time() + seconds < self._ends_at

    def learned(self, model: str, bounds: LearnedBounds) -> None:
        """A provider counted beyond a call's bounds."""
        self.bounds[model] = bounds
        if self.journal_bounds is not None:
            self.journal_bounds(model, bounds)
