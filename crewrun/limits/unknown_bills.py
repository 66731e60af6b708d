"""Attempts with unknown bills: `may_be_billed` says which they are, `UnknownBills` adds up what they may cost.

A provider may bill what it has generated although no usable reply arrived: the reply was late, cut off or garbled, or a
gateway on the way answered with a 5xx instead. Such an attempt counts as its worst case against a budget, and is shown
separately from what is spent, as owed.
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

# Errors of a 2xx reply without token counts.
_REPLIES = (ContentFiltered, OutputInvalid)


def may_be_billed(error: CallError) -> bool:
    """Whether a failed attempt, for which no tokens were counted, may be billed nevertheless.

    A refusal is not: with a 4xx nothing was generated, except if it is about what the model wrote (Groq's
    `json_validate_failed`). A 5xx may be: perhaps a gateway lost the model's answer.
    """
    if isinstance(error, NetworkError):
        return not is_not_connected(error)
    if isinstance(error, _REPLIES) and (error.http_status or 200) < 300:
        return True
    return isinstance(error, CallTimedOut | ServerError | GenerationFailed)


class Owed(NamedTuple):
    """What attempts with unknown bills may cost: their number, US dollars, and how many of them have no known price."""

    calls: int = 0
    usd: float = 0.0
    unpriced: int = 0


class UnknownBills:
    """The unknown bills of one session of a run. `journal`, if set, is called with every change."""

    def __init__(self) -> None:
        self.owed = Owed()
        self.journal: Callable[[Owed], None] | None = None

    def add(self, usd: float | None) -> None:
        """Add an attempt that may cost `usd`, None if its price is unknown."""
        calls, known_usd, unpriced = self.owed
        self.owed = Owed(calls + 1, known_usd + (usd or 0.0), unpriced + (usd is None))
        if self.journal is not None:
            self.journal(self.owed)
