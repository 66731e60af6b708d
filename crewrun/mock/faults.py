"""The mock's faults: which requests fail, by a word in the prompt or at random. Its limits are in `rate_limits`.

This only chooses, without clock or network; `server` turns the choice into HTTP.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["status", "once", "quota", "hang", "cut", "garbage", "empty", "length", "capacity", "lost", "expired"]

# Upper case and a whole word, so that prose about failing does not fail.
_WORD = re.compile(
    r"(?<![\w-])FAIL-(?:(?P<status>[45][0-9]{2})|ONCE(?:-(?P<once>[45][0-9]{2}))?"
    r"|FLEX(?:-(?P<flex>[45][0-9]{2}))?"
    r"|(?P<kind>QUOTA|HANG|CUT|GARBAGE|EMPTY|LENGTH|LOST|EXPIRED))(?![\w-])"
)

WORDS = (
    "FAIL-<4xx or 5xx>, FAIL-ONCE, FAIL-ONCE-<4xx or 5xx>, FAIL-QUOTA, FAIL-HANG, FAIL-CUT, FAIL-GARBAGE, "
    "FAIL-EMPTY, FAIL-LENGTH, FAIL-FLEX, FAIL-FLEX-498, FAIL-LOST, FAIL-EXPIRED"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure. `name` is its name in the ledger; `status` is for the kinds `status`, `once` and `capacity` only.

    `capacity` concerns requests at the tier `flex`, and `lost` and `expired` lines of batch jobs.
    """

    name: str
    kind: Kind
    status: int = 200


def find_fault(texts: Iterable[str]) -> Fault | None:
    """The fault that the first fault word in `texts` asks for."""
    for text in texts:
        if "FAIL-" in text and (match := _WORD.search(text)):
            return _fault(match)
    return None


def disarm(text: str) -> str:
    """`text` with its fault words in lower case, so that quoting it does not fail the next request as well."""
    return _WORD.sub(lambda match: match[0].lower(), text)


def _fault(match: re.Match[str]) -> Fault:
    if match["status"]:
        return Fault(match[0], "status", int(match["status"]))
    if match[0].startswith("FAIL-FLEX"):
        return Fault(match[0], "capacity", int(match["flex"] or 429))
    if match["kind"]:
        kind: Kind = match["kind"].lower()  # type: ignore[assignment]  # the pattern lets only kinds through
        return Fault(match[0], kind)
    return Fault(match[0], "once", int(match["once"] or 429))


@dataclass(frozen=True, slots=True)
class RandomFault:
    """A fraction of all requests that fail with one status. `name` is its name in the ledger."""

    rate: float
    status: int
    name: str = "--fail"
    kind: Kind = "status"

    @classmethod
    def parse(cls, text: str) -> "RandomFault":
        """Read the flag's `RATE:STATUS`, such as `0.1:500`. Raises ValueError with what is wrong."""
        match = re.fullmatch(r"([0-9]*\.?[0-9]+):([0-9]{3})", text)
        if not match:
            raise ValueError(f"{text!r} is not RATE:STATUS, such as 0.1:500")
        rate, status = float(match[1]), int(match[2])
        if rate > 1:
            raise ValueError(f"{text!r}: the rate is a fraction from 0 to 1, such as 0.1")
        if not 400 <= status <= 599:
            raise ValueError(f"{text!r}: the status is an error, from 400 to 599")
        return cls(rate, status)

    @classmethod
    def parse_flex(cls, text: str) -> "RandomFault":
        """Read the `RATE` or `RATE:STATUS` of `--flex-full`. Raises ValueError with what is wrong."""
        fault = cls.parse(text if ":" in text else f"{text}:429")
        return replace(fault, name="--flex-full", kind="capacity")

    def draw(self, dice: random.Random) -> Fault | None:
        """The fault for one request, or None. Takes exactly one number from `dice`."""
        return Fault(self.name, self.kind, self.status) if dice.random() < self.rate else None
