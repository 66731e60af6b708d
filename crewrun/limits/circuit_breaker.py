"""`CircuitBreaker`: whether an endpoint answers at all. While it does not, calls wait, and probes go out one after
another.

Telling an outage from a prompt that the provider always fails on, with nothing but attempts to go by:

- An answer proves that the provider lives if it was sent after the failures began. What was sent before them proves
  nothing: a server that goes down still ends what it is at.
- A connection that was never made cannot be a prompt's fault. A 5xx, or a connection that broke, can be.
- A call that had failed already while others were answered tells nothing new when it fails again. So what counts is how
  many calls failed for the first time since the last answer; two of them at least, for a 5xx.
- Failures are often faster than answers. So calls that failed must be more than those still out, and seven of the
  failures must be of attempts sent after the first one: at 20 % of 500s such a row of them comes once in 80,000.

Below `_CERTAIN` such calls it may still be their fault: they wait as in any outage, but after a minute their attempts
count again. From there on, and for connections that are not made, nothing is counted until the patience is over.

A call that has used up its attempts all the same asks for a probe (`probes`), and what that finds is certain
(`declare`): so no row fails for an outage, however few calls are in flight. Probes are neutral requests, so no prompt
can make an outage last.
"""

import math
import random
from typing import Final

import anyio

from crewrun.errors import CallError, CallTimedOut, NetworkError, NotRecorded, OutageTooLong, ServerError, Unreachable

_CERTAIN: Final = 5
_LATER: Final = 7
_DOUBT_S: Final = 60.0
# An endpoint that has never answered is set up wrongly more often than it is down.
_NEVER_ANSWERED_S: Final = 10.0
_FIRST_PROBE_S: Final = 1.0
_LONGEST_S: Final = 30.0
# Calls that waited go on within this time, not all at one instant.
_SPREAD_S: Final = 1.0

_DOWN = (ServerError, NetworkError)
# Neither an answer nor a sign that nobody is there.
_SILENT = (CallTimedOut, NotRecorded, Unreachable)
# By name, along the causes of an error: aiohttp's, httpx's and the system's classes for a connection that was not made.
_NOT_CONNECTED: Final = frozenset(
    {"ClientConnectorError", "ConnectionTimeoutError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError"}
)


class CircuitBreaker:
    """Watches one endpoint, for one event loop. Time is `anyio.current_time`.

    Around every attempt: `sent = await ready()`, then exactly one of `answered(sent)`, `failed(error, sent)` and
    `given_up()`. An attempt that `ready` lets go while the outage `is_on` is a probe. `patience_s` is how long nothing
    may be answered, from the first failure on, before `ready` raises: 0 is not to wait, infinity waits without limit.
    As long as the endpoint has never answered, it is 10 s at most, unless the patience `is_explicit`. Raises ValueError
    for one below 0.
    """

    def __init__(
        self,
        name: str,
        patience_s: float = 300.0,
        rng: random.Random | None = None,
        *,
        is_explicit: bool = True,
        has_answered: bool = False,
    ) -> None:
        if not patience_s >= 0:
            raise ValueError(f"outage patience is {patience_s!r} s; it must be 0 or more")
        self.name = name
        self._patience_s = patience_s
        self._is_explicit = is_explicit
        self._has_answered = has_answered
        self.is_on = False
        self.probes = 0  # in all outages
        self._rng = rng or random.Random()  # noqa: S311  (jitter)
        self._sent = self._out = 0
        self._last: CallError | None = None
        self._news = anyio.Event()
        # Protects the right to probe next; those that wait for it get it in the order in which they came.
        self._turn = anyio.Lock()
        self._forget()

    @property
    def patience_s(self) -> float:
        """How long nothing may be answered, in seconds."""
        if self._is_explicit or self._has_answered:
            return self._patience_s
        return min(self._patience_s, _NEVER_ANSWERED_S)

    def _forget(self) -> None:
        self.is_on = self._is_probing = self._is_declared = False
        self._failed = self._first = self._later = 0  # see `_has_begun`
        self._since = self._probe_at = 0.0
        self._since_sent = 0
        self._backoff_s = _FIRST_PROBE_S

    @property
    def limiting(self) -> str | None:
        """What holds calls up, for a progress line; None when nothing does."""
        if not self.is_on:
            return None
        silent_s = anyio.current_time() - self._since
        left = "" if math.isinf(self.patience_s) else f", {max(0.0, self.patience_s - silent_s):.0f} s left"
        return f"an outage: {self.name} has not answered for {silent_s:.0f} s{left}: {self._last}"

    async def ready(self) -> int:
        """Wait until an attempt may be sent; its number. Without an outage that is at once.

        Raises OutageTooLong when the endpoint has not answered for `patience_s`.
        """
        while self.is_on:
            if await self._is_to_probe():
                break
            await anyio.sleep(self._rng.uniform(0, _SPREAD_S))
        return self.sent()

    async def ready_unqueued(self) -> int:
        """As `ready`, for a call that holds the loop of all the others: none of them probes meanwhile."""
        while self.is_on and self._last is not None:
            now, ends = anyio.current_time(), self._ends(self._last)
            if now >= ends:
                raise self._too_long(now)
            if now >= self._probe_at:
                self._begin_probe(now)
                break
            await anyio.sleep(min(ends, self._probe_at) - now)
        return self.sent()

    def sent(self) -> int:
        """An attempt is sent, as `ready` lets it; its number."""
        self._out += 1
        self._sent += 1
        return self._sent

    def check(self) -> None:
        """For a call that can be made elsewhere: raises OutageTooLong in an outage, unless it is time for a probe."""
        if self.is_on and self._last is not None:
            now = anyio.current_time()
            if self._turn.locked() or now < self._probe_at:
                raise self._too_long(now)

    def answered(self, sent: int | None = None) -> None:
        """An attempt was answered, with an error of the caller's perhaps: this ends an outage.

        `sent` is the attempt's number; None counts as sent just now.
        """
        self._out -= 1
        self._has_answered = True
        if self._failed and (sent is None or sent > self._since_sent):
            self._end()

    def failed(self, error: CallError, sent: int | None = None) -> bool:
        """An attempt failed; what is an answer in truth, a 4xx for instance, counts as one.

        True when that is the outage's fault: the attempt does not count, and the call is to be sent again when `ready`
        lets it. Needs `error.attempts` to be the number of the call's attempt, from 1 on.
        """
        if not isinstance(error, _DOWN + _SILENT) or (error.http_status or 500) < 500:
            self.answered(sent)
            return False
        self._out -= 1
        if not self.is_on and isinstance(error, _SILENT):
            return False
        if not self._failed:
            self._since, self._since_sent = anyio.current_time(), self._sent
        if error.attempts <= 1 and not self._is_excused(error):
            self._first += 1
        self._failed += 1
        self._later += sent is None or sent > self._since_sent
        self._last = error
        if self.is_on or self._has_begun(error):
            self._plan_probe(error)
        return self._is_excused(error)

    def given_up(self) -> None:
        """An attempt was cancelled."""
        self._out -= 1

    def declare(self, error: CallError) -> None:
        """A probe has failed as the calls before it did: this is an outage."""
        self._is_declared = True
        if not self._failed:
            self._since, self._since_sent = anyio.current_time(), self._sent
        self._last = error
        if not self.is_on:
            self._plan_probe(error)

    def _has_begun(self, error: CallError) -> bool:
        """By the attempts that failed since the last answer, the calls whose first one is among them, and those of the
        attempts that were sent after the first had failed.
        """
        if is_not_connected(error):
            return self._failed > self._out and self._later >= min(_CERTAIN, max(1, self._first))
        return self._first >= 2 and self._first > self._out and self._later >= _LATER

    def _is_certain(self, error: CallError) -> bool:
        return self._is_declared or self._first >= _CERTAIN or is_not_connected(error)

    def _is_excused(self, error: CallError) -> bool:
        is_young = anyio.current_time() - self._since < _DOUBT_S
        return self.is_on and error.retryable and (is_young or self._is_certain(error))

    def _plan_probe(self, error: CallError) -> None:
        """When the next probe goes, after this failure: of the probe before, or the one that began the outage."""
        if self.is_on and not self._is_probing:
            return  # of an attempt from before
        self.is_on, self._is_probing = True, False
        asked_s = min(error.retry_after_s or 0.0, _LONGEST_S)
        self._probe_at = anyio.current_time() + max(asked_s, self._backoff_s * self._rng.uniform(0.8, 1.2))
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_S)
        self._tell()

    async def _is_to_probe(self) -> bool:
        """Wait until this call is to probe, or, False, until the outage is over."""
        async with self._turn:
            while self.is_on and self._last is not None:
                now, ends = anyio.current_time(), self._ends(self._last)
                if now >= ends:
                    raise self._too_long(now)
                if now >= self._probe_at:
                    self._begin_probe(now)
                    return True
                with anyio.move_on_after(min(ends, self._probe_at) - now):
                    await self._news.wait()
            return False

    def _ends(self, last: CallError) -> float:
        """When the patience ends."""
        return self._since + self.patience_s if self._is_certain(last) else math.inf

    def _begin_probe(self, now: float) -> None:
        self._is_probing = True
        self.probes += 1
        # If nothing is heard of this one, which may be at work on a long answer, the next one follows.
        self._probe_at = now + _LONGEST_S

    def _too_long(self, now: float) -> OutageTooLong:
        assert self._last is not None  # noqa: S101  (an outage has begun with it)
        return OutageTooLong(
            self.name, now - self._since, self._last, has_answered=self._has_answered or self._is_explicit
        )

    def _end(self) -> None:
        self._forget()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


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
