"""How often and when a failed call is sent again: pure arithmetic, no clock and no sleeping.

Exponential backoff with full jitter: the n-th wait is uniform between 0 and `base_s * 2**n`, capped at `cap_s`.
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
from dataclasses import dataclass, field

from crewrun.errors import CallError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries` attempts follow a first one that failed, so a call is sent at most `retries + 1` times.

    A call that is asked to wait longer than `patience_s` is not retried; in a run a probe decides first
    (`crewrun.limits.probes`).
    """

    retries: int = 5
    base_s: float = 0.5
    cap_s: float = 30.0
    patience_s: float = 600.0
    rng: random.Random = field(default_factory=random.Random, compare=False, repr=False)

    def delay(self, error: CallError, attempt: int) -> float | None:
        """Seconds to wait before attempt number `attempt` + 1, or None when there shall be none.

        `attempt` counts from 1. What the provider asked for is a floor under the jitter, so rows that were refused
        together do not come back together.
        """
        asked = error.retry_after_s or 0.0
        if not error.retryable or attempt > self.retries or asked > self.patience_s:
            return None
        return asked + self.rng.uniform(0, min(self.cap_s, self.base_s * 2 ** min(attempt - 1, 30)))
