"""`LimiterOptions`: the limits of a run, and how long it waits for a provider that does not answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# A guard, not a tuned limit: providers refuse sooner, which the concurrency limit follows, and each call takes a socket
# of the 1,024 files that a process may usually have open.
MAX_CALLS = 1000
# Calls in flight at the start of a run with `slow_start`. They double with each round trip, so 64 take three of them.
SLOW_START = 8


@dataclass(frozen=True, slots=True)
class LimiterOptions:
    """Limits, and how patient a run is.

    Attributes:
        rpm, tpm: requests and tokens per minute by model name; the entry for `""` holds for all other models.
        slow_start: start with few calls in flight.
        outage_patience_s: seconds to wait for a provider that does not answer. None outside a run: then each call's
            retries decide alone, and nothing is concluded for other calls.
        is_explicit: whether the user set that patience; if not, a provider that has never answered is waited for ten
            seconds at most.
        max_calls: the most calls of one model in flight.
        shares: keep what is learned of an account's limits, and share them with other processes.
    """

    rpm: Mapping[str, int] = field(default_factory=dict)
    tpm: Mapping[str, int] = field(default_factory=dict)
    slow_start: bool = False
    outage_patience_s: float | None = None
    is_explicit: bool = True
    max_calls: int = MAX_CALLS
    shares: bool = False
