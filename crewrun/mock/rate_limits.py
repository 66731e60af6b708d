"""The mock's limits of requests and tokens per minute, and the headers that report them.

Times are seconds of a monotonic clock, which the caller reads.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A client that waits exactly as long as it is told must not fail by a rounding error, which is below a billionth.
_TOLERANCE = 1e-9
# The unit of each limit.
_UNITS = {"rpm": "requests", "tpm": "tokens"}


class TokenBucket:
    """At most `per_min` at once, and one more every 60 / `per_min` seconds.

    A bucket, not a window over the last minute, since OpenAI's headers behave like one (limit 60, remaining 59, reset
    1s).
    """

    def __init__(self, per_min: int, now_s: float) -> None:
        self.per_min = per_min
        self._free = float(per_min)
        self._at_s = now_s

    @property
    def remaining(self) -> int:
        """How much of the limit is left."""
        return max(0, int(self._free + _TOLERANCE))

    @property
    def reset_s(self) -> float:
        """The time until the whole limit is free again."""
        return (self.per_min - self._free) / self.per_min * 60

    def wait_s(self, amount: int, now_s: float) -> float:
        """The time until `amount` fits, 0 if it does. More than the limit fits once all is free, and leaves a debt."""
        self._refill(now_s)
        short = min(amount, self.per_min) - self._free
        return short / self.per_min * 60 if short > _TOLERANCE * self.per_min else 0.0

    def take(self, amount: int) -> None:
        """Use `amount` of the limit."""
        self._free -= amount

    def change(self, per_min: int, now_s: float) -> None:
        """Change the limit. What is left of the old one stays, up to the new one."""
        self._refill(now_s)
        self.per_min, self._free = per_min, min(self._free, float(per_min))

    def _refill(self, now_s: float) -> None:
        self._free = min(float(self.per_min), self._free + (now_s - self._at_s) / 60 * self.per_min)
        self._at_s = now_s


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether the limits admit a request. If not, `refused_by` is the flag of the limit, and `wait_s` the time to wait.

    `headers` are for the reply in either case.
    """

    refused_by: str | None = None
    message: str = ""
    wait_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


class MockLimits:
    """Limits that can change while requests come; None is no limit. `has_headers`: replies report them."""

    def __init__(self, rpm: int | None, tpm: int | None, now_s: float, *, has_headers: bool = True) -> None:
        self._buckets: dict[str, TokenBucket] = {}
        self._has_headers = has_headers
        self.change({"rpm": rpm, "tpm": tpm}, now_s)

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a limit of tokens."""
        return "tpm" in self._buckets

    def report(self) -> dict[str, int | None]:
        """The limits by name."""
        return {name: bucket.per_min if (bucket := self._buckets.get(name)) else None for name in _UNITS}

    def change(self, limits: Mapping[str, int | None], now_s: float) -> None:
        """Set the limits that `limits` names."""
        for name, per_min in limits.items():
            if per_min is None:
                self._buckets.pop(name, None)
            elif name in self._buckets:
                self._buckets[name].change(per_min, now_s)
            else:
                self._buckets[name] = TokenBucket(per_min, now_s)

    def admit(self, tokens: int, now_s: float) -> Admission:
        """Admit a request of `tokens` or refuse it. A refused request uses nothing."""
        if not self._buckets:
            return Admission()
        amounts = {"rpm": 1, "tpm": tokens}
        wait_s, name = max((bucket.wait_s(amounts[name], now_s), name) for name, bucket in self._buckets.items())
        if not wait_s:
            for limit, bucket in self._buckets.items():
                bucket.take(amounts[limit])
            return Admission(headers=self._headers())
        per_min = self._buckets[name].per_min
        message = f"Rate limit of {per_min} {_UNITS[name]} per min reached: the next fits in {wait_s:.3f}s"
        retry_after = {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))}
        return Admission(f"--{name}", message, wait_s, {**self._headers(), **retry_after})

    def _headers(self) -> dict[str, str]:
        """OpenAI's headers: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers."""
        headers: dict[str, str] = {}
        for name, bucket in self._buckets.items() if self._has_headers else ():
            unit = _UNITS[name]
            headers[f"x-ratelimit-limit-{unit}"] = str(bucket.per_min)
            headers[f"x-ratelimit-remaining-{unit}"] = str(bucket.remaining)
            headers[f"x-ratelimit-reset-{unit}"] = _span(bucket.reset_s)
        return headers


def read_limits(body: bytes) -> dict[str, int | None]:
    """The limits in the body of a `PUT /limits`. Raises ValueError with what is wrong."""
    try:
        limits: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not isinstance(limits, dict) or not limits:
        raise ValueError('the limits are an object, such as {"rpm": 300, "tpm": null}')
    for name, per_min in limits.items():
        if name not in _UNITS:
            raise ValueError(f"no limit is called {name!r}: there are rpm and tpm")
        if per_min is not None and (not isinstance(per_min, int) or isinstance(per_min, bool) or per_min < 1):
            raise ValueError(f"{name}: {per_min!r} is no limit: a whole number from 1 up, or null for none")
    return limits


def _span(seconds: float) -> str:
    """`12ms`, `8.64s`, `6m0s`: the spelling of OpenAI's reset headers."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"
