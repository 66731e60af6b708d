"""How often and when a failed call is sent again: pure arithmetic, without clock and sleep.

Exponential backoff with full jitter: the n-th wait is uniform between 0 and `base_s * 2**n`, capped at `cap_s`.
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
from dataclasses import dataclass, field

from crewrun.errors import CallError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A call is sent at most `retries + 1` times.

    A call that the provider asks to wait longer than `patience_s` is not retried; in a run a probe decides first
    (`probes`). The five retries of the default take 8 s on average and 15.5 s at most, besides what the provider asks
    for; `cap_s` matters with more of them.
    """

    retries: int = 5
    base_s: float = 0.5
    cap_s: float = 30.0
    patience_s: float = 600.0
    rng: random.Random = field(default_factory=random.Random, compare=False, repr=False)

    def delay(self, error: CallError, attempt: int) -> float | None:
        """Seconds to wait before attempt number `attempt` + 1, or None if there is to be none.

        `attempt` counts from 1. The jitter is on top of what the provider asked for, so that rows refused together do
        not come back together.
        """
        floor_s = error.retry_after_s or 0.0
        if not error.retryable or attempt > self.retries or floor_s > self.patience_s:
            return None
        return floor_s + self.rng.uniform(0, min(self.cap_s, self.base_s * 2 ** min(attempt - 1, 30)))
