"""Telling an outage from a prompt that the provider always fails on, with nothing but attempts to go by.

- An answer proves that the provider lives if it was sent after the failures began. What was sent before them proves
  nothing: a server that goes down still finishes what it has begun.
- A connection that was never made cannot be a prompt's fault. A 5xx, or a connection that broke, can be.
- A call that had failed already while others were answered tells nothing new when it fails again. So what counts is how
  many calls failed for the first time since the last answer; two of them at least, for a 5xx.
- Failures are often faster than answers. So calls that failed must be more than those still out, and seven of the
  failures must be of attempts sent after the first one: at 20 % of 500s such a series comes once in 80,000 (0.2**7).

Below `_CERTAIN` such calls it may still be their fault: they wait as in any outage, but after a minute their attempts
count again. From there on, and for connections that are not made, nothing is counted until the patience is over.
What follows from the evidence is the circuit breaker's.
"""

import math
from typing import Final

import anyio

from crewrun.errors import CallError, CallTimedOut, NetworkError, NotRecorded, ServerError, Unreachable

_CERTAIN: Final = 5
_LATER: Final = 7
_DOUBT_S: Final = 60.0
_DOWN = (ServerError, NetworkError)
# Neither an answer nor a sign that nobody is there.
_SILENT = (CallTimedOut, NotRecorded, Unreachable)
# By name, along the causes of an error: aiohttp's, httpx's and the system's classes for a connection that was not made.
_NOT_CONNECTED: Final = frozenset(
    {"ClientConnectorError", "ConnectionTimeoutError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError"}
)


class FailureEvidence:
    """The attempts of one endpoint, numbered as they are let through, and those that failed since the last answer."""

    __slots__ = ("_failed", "_first", "_later", "_out", "_sent", "_since_sent", "is_declared", "since")

    def __init__(self) -> None:
        self._sent = self._out = 0
        self.forget()

    def forget(self) -> None:
        """The endpoint works: what failed before is no evidence any more."""
        self.since = -math.inf  # when the first of them failed
        self.is_declared = False  # whether a neutral request has failed too
        self._since_sent = 0
        self._failed = self._first = self._later = 0  # see `is_outage`

    def sent(self) -> int:
        """One more attempt goes out; its number."""
        self._out += 1
        self._sent += 1
        return self._sent

    def ended(self) -> None:
        """An attempt is not out any more."""
        self._out -= 1

    def is_refuted_by(self, attempt: int) -> bool:
        """Whether an answer to this attempt shows that the endpoint works again."""
        return (self._failed > 0 or self.is_declared) and attempt > self._since_sent

    def begin(self) -> None:
        """An attempt failed just now, the first one unless there are others."""
        if not self._failed:
            self.since, self._since_sent = anyio.current_time(), self._sent

    def add(self, attempt: int, *, is_first: bool) -> None:
        """An attempt failed, after `begin`; `is_first` of its call, as far as attempts count."""
        self._first += is_first
        self._failed += 1
        self._later += attempt > self._since_sent

    def is_outage(self, error: CallError) -> bool:
        """By the attempts that failed since the last answer, the calls whose first one is among them, and those of the
        attempts that were sent after the first had failed.
        """
        if is_not_connected(error):
            return self._failed > self._out and self._later >= min(_CERTAIN, max(1, self._first))
        return self._first >= 2 and self._first > self._out and self._later >= _LATER

    def is_certain(self, error: CallError) -> bool:
        """Whether no call's own prompt can be to blame."""
        return self.is_declared or self._first >= _CERTAIN or is_not_connected(error)

    def is_excused(self, error: CallError) -> bool:
        """Whether a failure in an outage is the outage's fault, so that it uses up no attempt."""
        return error.retryable and (anyio.current_time() - self.since < _DOUBT_S or self.is_certain(error))


def is_answer(error: CallError) -> bool:
    """Whether a failed attempt was answered in truth, with a 4xx for instance."""
    return not isinstance(error, _DOWN + _SILENT) or (error.http_status or 500) < 500


def says_nothing(error: CallError) -> bool:
    """Whether a failed attempt is neither an answer nor a sign that nobody is there."""
    return isinstance(error, _SILENT)


def is_sign_of_outage(error: CallError) -> bool:
    """Whether a failed attempt may mean that the endpoint does not answer: no HTTP reply at all, or a 5xx."""
    return isinstance(error, (*_DOWN, CallTimedOut)) and (error.http_status or 500) >= 500


def is_not_connected(error: CallError) -> bool:
    """Whether the attempt did not even get a connection."""
    link = error.__cause__ or error.__context__ if isinstance(error, NetworkError) else None
    while link is not None and not isinstance(link, CallError):  # that would be another attempt's
        if any(kind.__name__ in _NOT_CONNECTED for kind in type(link).__mro__):
            return True
        link = link.__cause__ or link.__context__
    return False
