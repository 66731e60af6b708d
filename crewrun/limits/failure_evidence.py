"""Telling an outage from a prompt that the provider always fails on, by the results of attempts alone.

- An answer proves that the provider works if its request was sent after the failures began. Requests from before prove
  nothing: a server that goes down still finishes what it has begun.
- A connection that was never made cannot be the fault of a prompt. A 5xx, or a connection that broke, can be.
- A call that had already failed while others were answered says nothing new when it fails again. So what counts is how
  many calls failed for the first time since the last answer; for a 5xx, two at least.
- Failures are often faster than answers. So the calls that failed must outnumber those still out, and seven of the
  failures must be of attempts sent after the first failure: at 20 % of 500s that happens once in 80,000 (0.2**7).

With fewer than `_CERTAIN` such calls it may still be their prompts' fault: they wait as in any outage, but after a
minute their attempts count again. With more, and if no connection is made, no attempt counts until the patience is
over. `circuit_breaker` decides what follows from the evidence.
"""

import math
from typing import Final

import anyio

from crewrun.errors import CallError, CallTimedOut, NetworkError, NotRecorded, RateLimited, ServerError, Unreachable
from crewrun.limits.probes import RUN_WIDE
from crewrun.limits.rate_limiter import LONGEST_ASKED_S

# With this many calls failing in a row for the first time, no prompt is to blame: if one prompt in five crashes the
# server, that happens once in 3,000 (0.2**5).
_CERTAIN: Final = 5
# See above.
_LATER: Final = 7
# How long calls wait in an outage that a prompt may have caused. Less would fail rows during the restart of a server,
# more would keep a row waiting that can only fail.
_DOUBT_S: Final = 60.0
_DOWN = (ServerError, NetworkError)
# Neither an answer nor a sign that the provider is down.
_SILENT = (CallTimedOut, NotRecorded, Unreachable)
# By name, along the causes of an error: how other clients, those of litellm and of the users' own models, call a
# connection that was not made. Ours gives a reason.
_NOT_CONNECTED: Final = frozenset(
    {"ClientConnectorError", "ConnectionTimeoutError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError"}
)


class FailureEvidence:
    """The attempts of one endpoint, numbered in the order in which they go out, and the failures since an answer."""

    __slots__ = ("_failed", "_first", "_later", "_out", "_sent", "_since_sent", "is_declared", "since")

    def __init__(self) -> None:
        self._sent = self._out = 0
        self.forget()

    def forget(self) -> None:
        """The endpoint works: earlier failures are no longer evidence."""
        self.since = -math.inf  # when the first of them failed
        self.is_declared = False  # whether a neutral request has failed too
        self._since_sent = 0
        self._failed = self._first = self._later = 0  # see `is_outage`

    def sent(self) -> int:
        """Count one more attempt that goes out, and return its number."""
        self._out += 1
        self._sent += 1
        return self._sent

    def ended(self) -> None:
        """An attempt is no longer out."""
        self._out -= 1

    def is_refuted_by(self, attempt: int) -> bool:
        """Whether an answer to this attempt shows that the endpoint works again."""
        return (self._failed > 0 or self.is_declared) and attempt > self._since_sent

    def begin(self) -> None:
        """An attempt failed just now. The first failure since the last answer starts the evidence."""
        if not self._failed:
            self.since, self._since_sent = anyio.current_time(), self._sent

    def add(self, attempt: int, *, is_first: bool) -> None:
        """Count a failed attempt, after `begin`. `is_first`: it is the first of its call that counts."""
        self._first += is_first
        self._failed += 1
        self._later += attempt > self._since_sent

    def is_outage(self, error: CallError) -> bool:
        """Whether the failures since the last answer, `error` the latest of them, are an outage; see the module."""
        if is_not_connected(error):
            return self._failed > self._out and self._later >= min(_CERTAIN, max(1, self._first))
        return self._first >= 2 and self._first > self._out and self._later >= _LATER

    def is_certain(self, error: CallError) -> bool:
        """Whether no prompt can be to blame."""
        return self.is_declared or self._first >= _CERTAIN or is_not_connected(error)

    def is_excused(self, error: CallError) -> bool:
        """Whether the outage is to blame for a failure, which then uses up no attempt."""
        return error.retryable and (anyio.current_time() - self.since < _DOUBT_S or self.is_certain(error))


def is_answer(error: CallError) -> bool:
    """Whether the provider did answer a failed attempt, with a 4xx for instance."""
    return not isinstance(error, _DOWN + _SILENT) or (error.http_status or 500) < 500


def says_nothing(error: CallError) -> bool:
    """Whether a failed attempt is neither an answer nor a sign that the provider is down."""
    return isinstance(error, _SILENT)


def is_sign_of_outage(error: CallError) -> bool:
    """Whether a failed attempt may be due to an outage: no HTTP reply at all, or a 5xx."""
    return isinstance(error, (*_DOWN, CallTimedOut)) and (error.http_status or 500) >= 500


def is_not_connected(error: CallError) -> bool:
    """Whether the attempt got no connection."""
    if not isinstance(error, NetworkError):
        return False
    if error.reason is not None:
        return True
    link = error.__cause__ or error.__context__
    while link is not None and not isinstance(link, CallError):  # a CallError would be another attempt's
        if any(kind.__name__ in _NOT_CONNECTED for kind in type(link).__mro__):
            return True
        link = link.__cause__ or link.__context__
    return False


def is_run_wide(error: CallError) -> bool:
    """Whether every call would meet `error`, unless it is its row's own: a refusal, or a wait of over ten minutes."""
    if isinstance(error, RateLimited):
        return (error.retry_after_s or 0.0) > LONGEST_ASKED_S
    return isinstance(error, RUN_WIDE)
