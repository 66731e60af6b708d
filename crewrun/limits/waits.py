"""`Wait`: what calls wait for now, as values. The limiters say it; displays put it into words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, isinf
from typing import Any

from crewrun.errors import CallError, NetworkError


class WaitKind(StrEnum):
    """What holds calls up."""

    OUTAGE = "outage"  # the endpoint does not answer
    PROBE = "probe"  # a refusal that a probe is to confirm
    RESET = "reset"  # a rate limit; the provider has said until when
    REFUSALS = "refusals"  # a rate limit; the provider has not said until when
    REQUESTS = "requests"  # a limit of requests per minute
    TOKENS = "tokens"  # a limit of tokens per minute
    RATE = "rate"  # a limit of requests per minute that was found out from refusals
    CONCURRENCY = "concurrency"  # a number of requests at once that was found out from refusals
    SLOW_START = "slow start"  # the number at once is still growing
    MAX_RPM = "max_rpm"  # `max_rpm` of a crew or an agent
    RETRY = "retry"  # the pause between two attempts of a call
    CAPACITY = "capacity"  # the tier that calls ask for has no room for them
    JOBS = "jobs"  # batch jobs
    BUDGET = "budget"  # what is left of the budget is reserved for calls in flight


@dataclass(frozen=True, slots=True)
class Wait:
    """Calls of one endpoint that wait for one thing.

    Attributes:
        endpoint: its name; empty for the budget, which all endpoints share.
        calls: how many of its calls wait.
        since_s: seconds since an outage began.
        left_s: seconds until the next call goes out, in an outage until the run gives up; None if that is not known.
        limit: a limit per minute, or of calls at once.
        is_own: whether the user set that limit, and not the provider.
        others: how many other processes share it.
        cause: the last failure, in words.
        address, reason: of a connection that was not made, `127.0.0.1:8123` and `Connection refused`.
        spent_usd, limit_usd: of the budget.
        jobs, lines, lines_ended: of batch jobs: how many there are, how many lines they have, and how many of these
            have ended. `calls` have not gone in a job yet.
    """

    kind: WaitKind
    endpoint: str = ""
    calls: int = 0
    since_s: float | None = None
    left_s: float | None = None
    limit: int | None = None
    is_own: bool = False
    others: int = 0
    cause: str | None = None
    address: str | None = None
    reason: str | None = None
    spent_usd: float | None = None
    limit_usd: float | None = None
    jobs: int = 0
    lines: int = 0
    lines_ended: int = 0

    def of(self, endpoint: str) -> "Wait":
        """The same for calls of `endpoint`."""
        return replace(self, endpoint=endpoint)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Wait":
        """What `to_json` made, perhaps in another version."""
        fields = {name: value for name, value in values.items() if name in cls.__slots__ and name != "kind"}
        return cls(WaitKind(values["kind"]), **fields)

    def to_json(self) -> dict[str, Any]:
        """The values that are known, for programs."""
        values = {name: getattr(self, name) for name in self.__slots__}
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
        return {name: value for name, value in rounded.items() if value not in (None, "", False)}

    @property
    def shared_with(self) -> str:
        """`, shared by 3 processes`; empty if no other process shares the limit."""
        return f", shared by {self.others + 1} processes" if self.others else ""

    def __str__(self) -> str:
        """`limiting` of --progress json."""
        wait_s = ceil(self.left_s or 0.0)
        match self.kind:
            case WaitKind.OUTAGE:
                left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
                return f"an outage: {self.endpoint} has not answered for {self.since_s:.0f} s{left}: {self.cause}"
            case WaitKind.PROBE:
                return f"{self.endpoint} refused a call; a probe decides"
            case WaitKind.RESET:
                return f"Retry-After: {wait_s} s left"
            case WaitKind.REFUSALS:
                return f"429s: {wait_s} s until the next try"
            case WaitKind.REQUESTS | WaitKind.TOKENS:
                return f"{self.limit or 0:,} {self.kind}/min{self.shared_with}"
            case WaitKind.RATE:
                return f"429s: about {self.limit:,} requests/min{self.shared_with}"
            case WaitKind.CONCURRENCY:
                return f"429s: {self.limit} at once"
            case WaitKind.SLOW_START:
                return f"{self.limit} at once so far"
            case WaitKind.MAX_RPM:
                return f"max_rpm: {self.limit:,} requests/min"
            case WaitKind.RETRY:
                return f"the next attempts, in {wait_s} s, after: {self.cause}"
            case WaitKind.CAPACITY:
                return f"capacity: {self.calls} waiting for room at a cheaper tier, next in {wait_s} s"
            case WaitKind.JOBS:
                return f"batch jobs: {self.jobs} with {self.lines_ended} of {self.lines} requests ended"
        return "the budget: calls in flight first"


def outage(endpoint: str, calls: int, since_s: float, patience_s: float, last: CallError) -> Wait:
    """The wait for an endpoint that has not answered for `since_s`, after the failure `last`."""
    return Wait(
        WaitKind.OUTAGE,
        endpoint,
        calls,
        since_s=since_s,
        left_s=None if isinf(patience_s) else max(0.0, patience_s - since_s),
        cause=str(last),
        address=last.address if isinstance(last, NetworkError) else None,
        reason=last.reason if isinstance(last, NetworkError) else None,
    )


def limiting(waits: list[Wait]) -> str | None:
    """All of `waits` as one text, None if there are none."""
    if len(waits) <= 1 or waits[0].kind is WaitKind.BUDGET:
        return str(waits[0]) if waits else None
    return ", ".join(f"{wait.endpoint}: {wait}" for wait in waits)
