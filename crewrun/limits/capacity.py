"""How often a call is sent again that its tier has no room for: pure arithmetic, like `retry`.

Such a refusal is neither a failure nor a limit of the account, so it uses up no retry and slows down no other call.
"""

import random
import time
from dataclasses import dataclass

import anyio

from crewrun.errors import NoCapacity

# So long before the end of a run a call that finds no room no longer waits for it: as long as a call at the standard
# tier may take.
_NEAR_END_S = 120.0
_FIRST_S, _LONGEST_S = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call waits for room: `seconds`, or until two minutes before `ends_at`, the Unix time at which the
    run is to end.
    """

    seconds: float = 600.0
    ends_at: float | None = None

    @property
    def run_left_s(self) -> float | None:
        """Seconds until the run is too near its end for another wait; None if it has no end."""
        return None if self.ends_at is None else self.ends_at - _NEAR_END_S - time.time()


class CapacityPauses:
    """The pauses of one call from its first refusal on: exponential backoff with full jitter."""

    def __init__(self, patience: Patience, rng: random.Random | None = None) -> None:
        self._patience = patience
        self._rng = rng or random.Random()  # noqa: S311  (jitter)
        self._ends: float | None = None
        self._refusals = 0

    def next_s(self, refused: NoCapacity) -> float | None:
        """Seconds until the next attempt, the last of which comes as the patience ends; None once it has ended."""
        now = anyio.current_time()
        if self._ends is None:
            self._ends = now + self._patience.seconds
        left_s, run_left_s = self._ends - now, self._patience.run_left_s
        left_s = left_s if run_left_s is None else min(left_s, run_left_s)
        asked_s = refused.retry_after_s or 0.0
        if left_s <= 0 or asked_s > left_s:
            return None
        longest_s = min(_LONGEST_S, _FIRST_S * 2 ** min(self._refusals, 30))
        self._refusals += 1
        return min(left_s, asked_s + self._rng.uniform(0, longest_s))
