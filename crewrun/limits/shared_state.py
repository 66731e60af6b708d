"""`SharedState`: what the processes of an account know of its limits, and what they have taken of them.

These are values and rules; `shared_file` has them on disk, and `shared_limits` is one process's part in them. Times are
of the machine's monotonic clock, which all its processes have in common, except for `…_on`: seconds since 1970, for
what outlasts a restart of the machine.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from crewrun.limits.rate_estimator import RateEstimator
from crewrun.limits.slot_window import SlotWindow

# How much is leased at a time: a tenth of a second's worth, at least one request. What a killed process had leased is
# then not missed, and a process reads the file ten times a second at most.
LEASE_S = 0.1
# How long after its time a lease may be used. The limits hold as if it had been used in time, as long as this is short
# next to a minute.
USABLE_S = 1.0
# What was learned is used for this long after it was last seen to be true. An account's limits change rarely; but when
# they do, it is to become a different account.
REMEMBERED_S = 7 * 86_400.0
# A process that has not read the file for this long takes no part. If none has for a minute, the provider's bucket is
# full again, and a rate is resumed.
_ABSENT_S = 10.0
_IDLE_S = 60.0
# The most that the file says of processes; more have no number of their own in flight there.
_MOST_PROCESSES = 200
SharedHold = Literal["requests", "tokens", "rate"]


@dataclass(slots=True)
class Lease:
    """What one process may send from `at` on: `requests` of `tokens` together. `hold` is why that was not at once, when
    it was `taken_at`.
    """

    taken_at: float
    at: float
    requests: int
    tokens: int
    hold: SharedHold | None = None

    def fits(self, tokens: int, now: float) -> bool:
        """Whether a request of `tokens` may still go by it."""
        return self.requests > 0 and self.tokens >= tokens and now <= self.at + USABLE_S


@dataclass(slots=True)
class Presence:
    """A process that shares the limits: when it last did, how many requests it had in flight at the most, and when its
    lease is for, of which `requests` and `tokens`. `process` is where it runs, for others to see whether it still does.
    """

    seen_at: float
    at_once: int
    process: str
    lease_at: float = 0.0
    requests: int = 0
    tokens: int = 0


@dataclass(slots=True)
class SharedState:
    """The state of one account.

    Attributes:
        model, host: for people.
        requests, tokens: the limits that the provider states, and what was used of them.
        estimator: the rate, if the provider does not state its limits and refuses.
        sent: how many requests were sent.
        told_at, told_on: when the stated limits last changed; when they were last stated.
        used_on: when the state was last used, and so the rate and `at_once`, the requests in flight in all processes.
        blocked_until: when the provider asked to wait until.
        processes: those that take part, by a name of their own.
        is_a_share: whether this is what one process goes by while it cannot read the file.
    """

    model: str = ""
    host: str = ""
    requests: SlotWindow = field(default_factory=SlotWindow)
    tokens: SlotWindow = field(default_factory=SlotWindow)
    estimator: RateEstimator = field(default_factory=RateEstimator)
    sent: int = 0
    told_at: float = 0.0
    told_on: float = 0.0
    used_on: float = 0.0
    at_once: int = 0
    blocked_until: float = 0.0
    processes: dict[str, Presence] = field(default_factory=dict)
    is_a_share: bool = False

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SharedState":
        """What `to_json` made."""
        state = cls(**{name: values[name] for name in _PLAIN})
        state.requests = SlotWindow.from_json(values["requests"])
        state.tokens = SlotWindow.from_json(values["tokens"])
        state.estimator = RateEstimator.from_json(values["estimator"])
        state.processes = {name: Presence(*fields) for name, fields in values["processes"].items()}
        return state

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        processes = {
            name: [getattr(one, field) for field in Presence.__slots__] for name, one in self.processes.items()
        }
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "requests": self.requests.to_json(),
            "tokens": self.tokens.to_json(),
            "estimator": self.estimator.to_json(),
            "processes": processes,
        }

    @property
    def is_limiting(self) -> bool:
        """Whether anything but a wait that was asked for may delay a request."""
        return bool(self.requests.per_min or self.tokens.per_min or self.estimator.is_set)

    @property
    def rate_per_min(self) -> int | None:
        """The rate that was found out from refusals, if there is one."""
        return round(self.estimator.base_per_s * 60) if self.estimator.is_set else None

    @property
    def limits_in_words(self) -> str:
        """The limits that are known, empty if none is."""
        stated = [(self.requests.per_min, "requests/min"), (self.tokens.per_min, "tokens/min")]
        words = [f"{per_min:,} {unit}" for per_min, unit in stated if per_min]
        if self.rate_per_min is not None:
            words.append(f"about {self.rate_per_min:,} requests/min")
        return " and ".join(words)

    def present(self, now: float) -> int:
        """How many processes take part."""
        return sum(one.seen_at > now - _ABSENT_S for one in self.processes.values())

    def restart(self) -> None:
        """Drop all times: the machine's clock has started again."""
        self.requests.clear()
        self.tokens.clear()
        self.processes.clear()
        self.told_at = self.blocked_until = 0.0

    def begin(self, now: float, on: float) -> int:
        """A process begins to take part: forget what is too old, and resume the rate if no other has taken part just
        now. Returns its share of the requests in flight, as far as that is remembered.
        """
        if abs(on - self.told_on) > REMEMBERED_S:
            self.requests.per_min = self.tokens.per_min = None
        if abs(on - self.used_on) > REMEMBERED_S:
            self.estimator, self.at_once = RateEstimator(), 0
        if not any(one.seen_at > now - _IDLE_S for one in self.processes.values()):
            self.estimator = self.estimator.resumed(now, self.sent, now)
        return self.at_once // (self.present(now) + 1)

    def meet(self, name: str, process: str, at_once: int, now: float, on: float) -> None:
        """The process `name` takes part, and has at most `at_once` requests in flight."""
        one = self.processes.pop(name, None) or Presence(now, at_once, process)
        one.seen_at, one.at_once = now, at_once
        self.processes[name] = one  # last, as the latest
        self.used_on = on
        self.at_once = sum(one.at_once for one in self.processes.values() if one.seen_at > now - _ABSENT_S)

    def prune(self, now: float) -> None:
        """Drop what no longer counts."""
        self.requests.prune(now)
        self.tokens.prune(now)
        for name in [name for name, one in self.processes.items() if one.seen_at <= now - _IDLE_S]:
            del self.processes[name]
        while len(self.processes) > _MOST_PROCESSES:
            del self.processes[next(iter(self.processes))]

    def reclaim(self, is_gone: Callable[[str], bool], now: float) -> None:
        """Take back the leases of processes that have ended before the time of their lease had come."""
        for name, one in list(self.processes.items()):
            if one.requests and one.lease_at > now and is_gone(one.process):
                self.give_back(one.lease_at, one.requests, one.tokens, now)
                del self.processes[name]

    def divide(self, now: float) -> None:
        """Keep only one process's share of the limits."""
        present = max(1, self.present(now))
        for window in (self.requests, self.tokens):
            window.per_min = window.per_min and max(1, window.per_min // present)
        self.is_a_share = True

    def lease(self, name: str, tokens: int, most: int, now: float) -> Lease:
        """Give the process `name` the next free place for a request of `tokens`, and for up to `most` like it."""
        count = max(1, min(most, int(self._per_s(tokens, now) * LEASE_S)))
        amount = tokens * count
        at = max(now, self.blocked_until)
        hold: SharedHold | None = None
        if (later := self.requests.earliest(count, at)) > at:
            at, hold = later, "requests"
        if (later := self.tokens.earliest(amount, at)) > at:
            at, hold = later, "tokens"
        is_free = self.requests.used(at) + count <= self.estimator.free_per_min
        if self.estimator.is_set and not is_free and (later := self.estimator.earliest(at)) > at:
            at, hold = later, "rate"
        self.requests.take(count, at)
        self.tokens.take(amount, at)
        if self.estimator.is_set:
            self.estimator.take(at, count)
        self.sent += count
        one = self.processes[name]
        one.lease_at, one.requests, one.tokens = at, count, amount
        return Lease(now, at, count, amount, hold)

    def count(self, requests: int, tokens: int, now: float) -> None:
        """So much went out without a lease."""
        if requests:
            self.requests.count(requests, now)
            self.tokens.count(tokens, now)
            self.sent += requests

    def give_back(self, at: float, requests: int, tokens: int, now: float) -> None:
        """`requests` and `tokens` of a lease for `at` are not used."""
        self.requests.give_back(requests, at, now)
        self.tokens.give_back(tokens, at, now)
        self.estimator.give_back(at, requests, now)
        self.sent -= requests

    def tell(self, requests: int | None, tokens: int | None, sent_at: float, now: float, on: float) -> None:
        """The reply to a request of `sent_at` states limits. Those of before the last change are old."""
        changes = False
        for window, per_min in ((self.requests, requests), (self.tokens, tokens)):
            if per_min is not None and per_min != window.per_min and sent_at >= self.told_at:
                window.per_min, changes = per_min, True
        if changes:
            self.told_at = now
            self.estimator.forget(now)
        self.told_on = on

    def _per_s(self, tokens: int, now: float) -> float:
        """About how many requests of `tokens` a second the known limits allow."""
        rates = [self.requests.per_min / 60] if self.requests.per_min else []
        rates += [self.tokens.per_min / max(1, tokens) / 60] if self.tokens.per_min else []
        rates += [self.estimator.per_s(now)] if self.estimator.is_set else []
        return min(rates, default=1 / LEASE_S)


_PLAIN = ("model", "host", "sent", "told_at", "told_on", "used_on", "at_once", "blocked_until")
