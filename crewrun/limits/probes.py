"""Whether a failure is one call's own or every call's: decided by a probe, never by a row's own text.

A 403 may come from a firewall that rejects one text, a 401 from a proxy with a passing fault, a 5xx from a prompt that
crashes the server, and one row must not stop a run. So a refusal that would stop it is only a suspicion at first, which
a probe settles: one small request of the same kind without any row's text. If the probe is answered, the refusal is its
row's own; if it is refused in the same way, every call would be.

Answers to other calls in flight settle nothing: an account that is used up, or a key that is being revoked, refuses
some and answers others. Other rows go on until then. A row whose call was refused waits for the probe, so that after a
key is revoked no row sends a second call.
"""

from dataclasses import replace
from math import inf
from typing import Final

import anyio

from crewrun.errors import AuthRefused, CallError, ModelNotFound, QuotaExhausted, Unreachable
from crewrun.messages import ChatRequest, Message

# Refusals that every call would meet, unless they are their row's own.
RUN_WIDE = (AuthRefused, QuotaExhausted, ModelNotFound, Unreachable)
# Refusals that may pass, such as a proxy's or a load balancer's: their calls are sent once more before the row fails.
MAY_PASS: Final = frozenset({401, 403, 404})
# How long an answered probe vouches for the endpoint. Less costs more probes when many rows are refused for their text;
# more lets a revoked key fail more rows before it is noticed.
_CLEAR_S = 60.0
# A probe without an answer is repeated after this time, doubled each time. Six probes take half a minute, besides the
# time that each waits for its answer: more would hold up the rows that wait for them.
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 30.0
_MOST_PROBES = 6

_NEUTRAL = (Message("user", "This is a connection test. Reply with the single word OK."),)


def probe_request(request: ChatRequest) -> ChatRequest:
    """A small request of the same kind: with the endpoint, tools and schema of `request`, but without a row's text."""
    return replace(request, messages=_NEUTRAL, cache_hints=None)


class Suspicion:
    """A failure that one call of an endpoint met and every other call may meet too. For one event loop.

    A call that met it calls `meet`; if that does not decide, it calls `join`, which has one of the waiting calls send
    the probe. Then `settle` follows; or `put_off` if the probe got no answer, and `join` again; or `abandon` if it was
    cancelled.
    """

    def __init__(self) -> None:
        self._error: CallError | None = None  # the failure in question
        self._waiting = 0  # calls waiting for the probe's answer
        self._is_out = False  # whether a probe is out
        self._probes = 0
        self._probe_at = -inf
        self._met = 0  # how often it was met since the last answer
        self._cleared_at = -inf
        self._change = anyio.Event()

    @property
    def is_open(self) -> bool:
        """Whether calls are waiting for it to be settled."""
        return self._error is not None

    def answered(self) -> None:
        """A call was answered, perhaps with an error of its own."""
        self._met = 0

    def meet(self) -> bool:
        """Count the failure. Returns whether it is the call's own, by a probe of the last minute and answers since."""
        self._met += 1
        return self._met <= 1 and anyio.current_time() - self._cleared_at < _CLEAR_S

    async def join(self, error: CallError) -> bool:
        """Wait until it is settled, and return False; or return True, and the caller is to send the probe."""
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
                    await self._change.wait()
            return False
        finally:
            self._waiting -= 1
            if not self._waiting and not self._is_out and self._error is not None:
                self._close()  # no call is left that could send the next probe

    def settle(self, *, is_clear: bool = True) -> None:
        """Let waiting calls go on. `is_clear`: the probe was answered, and for a minute that holds for other calls."""
        if is_clear:
            self._cleared_at = anyio.current_time()
            self._met = 0
        self._close()

    def put_off(self) -> None:
        """The probe got no answer. Another follows, up to six; after those each call's failure is its own."""
        self._probes += 1
        if self._probes == _MOST_PROBES:
            self.settle(is_clear=False)
            return
        self._is_out = False
        self._probe_at = anyio.current_time() + min(_FIRST_RETRY_S * 2 ** (self._probes - 1), _LONGEST_RETRY_S)
        self._tell()

    def abandon(self) -> None:
        """The probe was cancelled with its call: another waiting call sends the next one."""
        self._is_out = False
        if not self._waiting:
            self._close()
        self._tell()

    def _close(self) -> None:
        self._error, self._is_out = None, False
        self._tell()

    def _tell(self) -> None:
        self._change.set()
        self._change = anyio.Event()
