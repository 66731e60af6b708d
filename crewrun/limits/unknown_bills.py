"""Attempts whose bill nobody told: `may_be_billed` says which they are, `UnknownBills` adds up what they may cost.

A provider may bill what it has generated although no usable reply came: the reply was late, cut off or garbled, a
gateway on the way answered in its place with a 5xx. Such an attempt counts as its worst case against a budget, and
stands beside what is spent as what may be owed.
"""

from collections.abc import Callable
from typing import NamedTuple

from crewrun.errors import (
    CallError,
    CallTimedOut,
    ContentFiltered,
    GenerationFailed,
    NetworkError,
    OutputInvalid,
    ServerError,
)
from crewrun.limits.failure_evidence import is_not_connected

# What a reply in the range of successes means that counts no tokens.
_REPLIES = (ContentFiltered, OutputInvalid)


def may_be_billed(error: CallError) -> bool:
    """Whether a failed attempt, of which no tokens were counted, may be billed all the same.

    A refusal is not: 4xx say that nothing was generated, but for the ones about what the model wrote (Groq's
    `json_validate_failed`). Of a 5xx nobody knows: it may be a gateway's that lost the model's answer.
    """
    if isinstance(error, NetworkError):
        return not is_not_connected(error)
    if isinstance(error, _REPLIES) and (error.http_status or 200) < 300:
        return True
    return isinstance(error, CallTimedOut | ServerError | GenerationFailed)


class Owed(NamedTuple):
    """What attempts with unknown bills may cost: how many, US dollars, and how many of them have no known price."""

    calls: int = 0
    usd: float = 0.0
    unpriced: int = 0


class UnknownBills:
    """The unknown bills of one session of a run. `journal`, if given, is told of every change."""

    def __init__(self) -> None:
        self.owed = Owed()
        self.journal: Callable[[Owed], None] | None = None

    def add(self, usd: float | None) -> None:
        """One more attempt, which may cost so much; None where its price is not known."""
        calls, known_usd, unpriced = self.owed
        self.owed = Owed(calls + 1, known_usd + (usd or 0.0), unpriced + (usd is None))
        if self.journal is not None:
            self.journal(self.owed)
