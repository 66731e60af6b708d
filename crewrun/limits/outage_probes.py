"""`OutageProbes`: when the probes of an outage go out. What they show is judged in `circuit_breaker`."""

import random
from typing import Final

import anyio

# Between probes: doubling, as retries do. The longest wait is how late a provider that comes back may be noticed; at
# that rate an outage of an hour costs 120 small requests.
_FIRST_S: Final = 1.0
_LONGEST_S: Final = 30.0
# So that the processes of a sharded run, which meet an outage together, do not probe in step.
_JITTER: Final = (0.8, 1.2)


class OutageProbes:
    """Exponential backoff between the probes of one outage. Time is `anyio.current_time`."""

    __slots__ = ("_at", "_backoff_s", "_rng", "is_out", "sent")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.sent = 0  # in all outages
        self.reset()

    def reset(self) -> None:
        """There is no outage."""
        self.is_out = False
        self._at = 0.0
        self._backoff_s = _FIRST_S

    def plan(self, asked_s: float) -> None:
        """Plan the next probe, after a failure that asked to wait `asked_s`."""
        self.is_out = False
        jittered_s = self._backoff_s * self._rng.uniform(*_JITTER)
        self._at = anyio.current_time() + max(min(asked_s, _LONGEST_S), jittered_s)
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_S)

    def begin(self) -> None:
        """A probe goes out. If nothing comes of it, as of one that works on a long answer, the next one follows."""
        self.is_out = True
        self.sent += 1
        self._at = anyio.current_time() + _LONGEST_S

    @property
    def wait_s(self) -> float:
        """Seconds until the next probe, 0 or less when it is due."""
        return self._at - anyio.current_time()
