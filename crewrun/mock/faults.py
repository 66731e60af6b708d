"""How the mock refuses or spoils an answer: by a word in the prompt, at random, over a rate.

Here is the choice only, with no clock and no network; `server` turns it into HTTP.
"""

import math
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["status", "once", "quota", "hang", "cut", "garbage", "empty", "length"]

# Upper case and a whole word, so that prose about failing does not fail.
_WORD = re.compile(
    r"(?<![\w-])FAIL-(?:(?P<status>[45][0-9]{2})|ONCE(?:-(?P<once>[45][0-9]{2}))?"
    r"|(?P<kind>QUOTA|HANG|CUT|GARBAGE|EMPTY|LENGTH))(?![\w-])"
)

WORDS = (
    "FAIL-<4xx or 5xx>, FAIL-ONCE, FAIL-ONCE-<4xx or 5xx>, FAIL-QUOTA, FAIL-HANG, FAIL-CUT, FAIL-GARBAGE, "
    "FAIL-EMPTY, FAIL-LENGTH"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure. `name` is how the ledger calls it; `status` matters to the kinds `status` and `once` only."""

    name: str
    kind: Kind
    status: int = 200


def find_fault(texts: Iterable[str]) -> Fault | None:
    """The fault that the first fault word in `texts` asks for."""
    for text in texts:
        if "FAIL-" in text and (found := _WORD.search(text)):
            return _fault(found)
    return None


def disarm(text: str) -> str:
    """`text` with its fault words in lower case, so that quoting it does not fail the next request as well."""
    return _WORD.sub(lambda found: found[0].lower(), text)


def _fault(found: re.Match[str]) -> Fault:
    if found["status"]:
        return Fault(found[0], "status", int(found["status"]))
    if found["kind"]:
        kind: Kind = found["kind"].lower()  # type: ignore[assignment]  # the pattern lets only kinds through
        return Fault(found[0], kind)
    return Fault(found[0], "once", int(found["once"] or 429))


@dataclass(frozen=True, slots=True)
class RandomFault:
    """A fraction of all requests that fail with one status."""

    rate: float
    status: int

    @classmethod
    def parse(cls, text: str) -> "RandomFault":
        """Read the flag's `RATE:STATUS`, such as `0.1:500`. Raises ValueError with what is wrong."""
        found = re.fullmatch(r"([0-9]*\.?[0-9]+):([0-9]{3})", text)
        if not found:
            raise ValueError(f"{text!r} is not RATE:STATUS, such as 0.1:500")
        rate, status = float(found[1]), int(found[2])
        if rate > 1:
            raise ValueError(f"{text!r}: the rate is a fraction from 0 to 1, such as 0.1")
        if not 400 <= status <= 599:
            raise ValueError(f"{text!r}: the status is an error, from 400 to 599")
        return cls(rate, status)

    def draw(self, dice: random.Random) -> Fault | None:
        """This request's lot. Takes one number from `dice` whatever the outcome."""
        return Fault("--fail", "status", self.status) if dice.random() < self.rate else None


@dataclass(frozen=True, slots=True)
class Admission:
    """What the rate limit says to one request.

    `wait_s` is when the next request fits, 0 for now; `reset_s` is when the whole limit is free again.
    """

    admitted: bool
    limit: int
    remaining: int
    wait_s: float
    reset_s: float

    def headers(self) -> dict[str, str]:
        """As OpenAI sends them: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers."""
        headers = {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": _span(self.reset_s),
        }
        if not self.admitted:
            headers["retry-after"] = str(math.ceil(self.wait_s))
            headers["retry-after-ms"] = str(math.ceil(self.wait_s * 1000))
        return headers


class TokenBucket:
    """At most `per_min` requests at once, and one more every 60 / `per_min` seconds.

    A bucket, not a window over the last minute: OpenAI's own headers (limit 60, remaining 59, reset 1s) count so.
    Times are seconds of one clock that never goes back; the caller reads it.
    """

    def __init__(self, per_min: int, now_s: float) -> None:
        self._per_min = per_min
        self._per_s = per_min / 60
        self._free = float(per_min)
        self._at_s = now_s

    def take(self, now_s: float) -> Admission:
        """Admit a request or refuse it. A refused one uses nothing."""
        self._free = min(float(self._per_min), self._free + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        # A billionth of a request is forgiven: who waited exactly as told must not fail by a rounding error.
        admitted = self._free >= 1 - 1e-9
        if admitted:
            self._free = max(0.0, self._free - 1)
        return Admission(
            admitted=admitted,
            limit=self._per_min,
            remaining=int(self._free + 1e-9),
            wait_s=max(0.0, (1 - self._free) / self._per_s),
            reset_s=(self._per_min - self._free) / self._per_s,
        )


def _span(seconds: float) -> str:
    """`12ms`, `8.64s`, `6m0s`: the spelling of OpenAI's reset headers."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"
