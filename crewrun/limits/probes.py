"""Whether a failure is one call's own or every call's: decided by a probe, never by a row's own text.

A 403 may come from a firewall that dislikes one text, a 401 from a proxy that had a bad moment, a 5xx from a prompt
that crashes the server, and one row must not stop a run. So a refusal that would stop it is a suspicion at first, and a
probe settles it: one small request of the same kind that says nothing of any row. An answered probe means that the
refusal is its row's own; one that is refused alike means that every call would be.

Answers to other calls that were in flight settle nothing: an account that is used up or a key that is revoked refuses
some of them and lets others through. Other rows go on meanwhile. A row whose call was refused waits for the probe, so
after a key is revoked no row sends a second call.
"""

from dataclasses import replace
from math import inf
from typing import Final

import anyio

from crewrun.errors import AuthRefused, CallError, ModelNotFound, QuotaExhausted, Unreachable
from crewrun.messages import ChatRequest, Message

# What every call would meet, if it is not its row's own.
RUN_WIDE = (AuthRefused, QuotaExhausted, ModelNotFound, Unreachable)
# Refusals that may have been passing, a proxy's or a load balancer's: these are sent once more before their row fails.
MAY_PASS: Final = frozenset({401, 403, 404})
# How long an answered probe speaks for the endpoint while calls are answered.
_CLEAR_S = 60.0
# A probe that got no answer is followed by another one, first after this time and then after twice as long each.
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 30.0
_MOST_PROBES = 6

_NEUTRAL = (Message("user", "This is a connection test. Reply with the single word OK."),)


def probe_request(request: ChatRequest) -> ChatRequest:
    """A small request of the same kind: endpoint, tools and schema are those of `request`, its text is no row's."""
    return replace(request, messages=_NEUTRAL)


class Suspicion:
    """Something that one call of an endpoint met and every other call may meet too. For one event loop.

    A call that met it says `meet`, and if that is not enough it `join`s: one of those that do gets to send the probe.
    After that it says `settle`; or `put_off` when the probe got no answer, and joins again; or `abandon` when it was
    cancelled.
    """

    def __init__(self) -> None:
        self._error: CallError | None = None  # what is looked into
        self._waiting = 0  # calls that wait for the probe's answer
        self._is_out = False  # whether a probe is
        self._probes = 0
        self._probe_at = -inf
        self._met = 0  # how often it was met since the last answer
        self._cleared_at = -inf
        self._changed = anyio.Event()

    @property
    def is_open(self) -> bool:
        """Whether it is being looked into."""
        return self._error is not None

    def answered(self) -> None:
        """A call was answered, with an error of its own perhaps."""
        self._met = 0

    def meet(self) -> bool:
        """Count what was met; whether it is the call's own, by a probe of the last minute and answers since then."""
        self._met += 1
        return self._met <= 1 and anyio.current_time() - self._cleared_at < _CLEAR_S

    async def join(self, error: CallError) -> bool:
        """Wait until it is settled: False. True makes the caller the one who sends the probe."""
        if self._error is None:
            self._error, self._probes, self._probe_at = error, 0, -inf
        self._waiting += 1
        try:
            while self._error is not None:
                wait_s = self._probe_at - anyio.current_time()
                if not self._is_out and wait_s <= 0:
                    self._is_out = True
                    return True
                with anyio.move_on_after(inf if self._is_out else wait_s):
                    await self._changed.wait()
            return False
        finally:
            self._waiting -= 1
            if not self._waiting and not self._is_out and self._error is not None:
                self._close()  # nobody is left who would send the next probe

    def settle(self, *, is_clear: bool = True) -> None:
        """Waiting calls go on: the probe was answered, which makes it clear for a minute, or cannot be sent."""
        if is_clear:
            self._cleared_at = anyio.current_time()
            self._met = 0
        self._close()

    def put_off(self) -> None:
        """The probe got no answer. Another follows, six at most; after that each call's failure is its own."""
        self._probes += 1
        if self._probes == _MOST_PROBES:
            self.settle(is_clear=False)
            return
        self._is_out = False
        self._probe_at = anyio.current_time() + min(_FIRST_RETRY_S * 2 ** (self._probes - 1), _LONGEST_RETRY_S)
        self._tell()

    def abandon(self) -> None:
        """The probe was given up with its call: another call that waits sends the next one."""
        self._is_out = False
        if not self._waiting:
            self._close()
        self._tell()

    def _close(self) -> None:
        self._error, self._is_out = None, False
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
