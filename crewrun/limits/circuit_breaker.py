"""`CircuitBreaker`: whether calls of one endpoint are let through.

    closed      calls go out
    open        no call goes out: the endpoint does not answer, or refuses every call
    half-open   one attempt is out as a probe, and all other calls wait for its result

The pattern is that of https://martinfowler.com/bliki/CircuitBreaker.html, with three differences. While it is open,
calls wait instead of failing, up to the patience of the run. It opens on evidence about the endpoint, never on the
failures of one row (`failure_evidence`). And a refusal that every call would meet, such as a revoked key, is only
suspected until a neutral request, a probe, has met it too (`probes`). Other calls go on until then, since an account
that is used up refuses some and answers others. A breaker that a refusal opened stays open, which ends the run.

A call whose attempts are used up without any answer asks for a probe as well, so that no row fails for an outage,
however few calls are in flight. Probes are neutral, so no prompt can prolong an outage.
"""

import math
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import anyio

from crewrun.errors import (
    CallError,
    EndpointRefused,
    OutageTooLong,
    RateLimited,
    RunStopped,
    TransientError,
    WaitTooLong,
)
from crewrun.limits.failure_evidence import FailureEvidence, is_answer, is_run_wide, is_sign_of_outage, says_nothing
from crewrun.limits.outage_probes import OutageProbes
from crewrun.limits.permit import FailureScope, Permit
from crewrun.limits.probes import Suspicion
from crewrun.limits.waits import Wait, WaitKind, outage

# An endpoint that has never answered is set up wrongly more often than it is down. Ten seconds are long enough for a
# server that is just starting to listen, and short enough for somebody who mistyped an address.
_NEVER_ANSWERED_S: Final = 10.0
# Waiting calls go on within this time after an outage, instead of all at one instant.
_SPREAD_S: Final = 1.0
# This many refusals in a row that ask for over ten minutes decide without a probe: a probe is small, and may still be
# answered while a day's tokens are nearly used up.
_LONG_WAITS: Final = 2


class BreakerState(StrEnum):
    """See the module."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """Watches one endpoint, for one event loop. Time is `anyio.current_time`.

    Around every attempt: `permit.attempt = await ready()`, then exactly one of `answered`, `failed` and `given_up`. An
    attempt that `ready` permits while the breaker is open is a probe.

    `patience_s` is how long the endpoint may answer nothing, counted from the first failure, before `ready` raises: 0
    does not wait, infinity waits without limit. For an endpoint that has never answered it is 10 s at most, unless the
    patience `is_explicit`. Raises ValueError if it is below 0. `wait_out` is called with the seconds that the endpoint
    asks all calls to wait, and returns whether the run waits. The breaker `is_silent` in an outage, and `is_refused`
    once every call would be refused.
    """

    def __init__(
        self,
        name: str,
        patience_s: float = 300.0,
        rng: random.Random | None = None,
        *,
        is_explicit: bool = True,
        has_answered: bool = False,
        wait_out: Callable[[float], bool] = lambda seconds: False,
    ) -> None:
        if not patience_s >= 0:
            raise ValueError(f"outage patience is {patience_s!r} s; it must be 0 or more")
        self.name = name
        self._patience_s = patience_s
        self._is_explicit = is_explicit
        self._has_answered = has_answered
        self._wait_out = wait_out
        self._rng = rng or random.Random()  # noqa: S311  (jitter)
        self._probes = OutageProbes(self._rng)
        self._evidence = FailureEvidence()
        self._last: CallError | None = None
        self._refusal: CallError | None = None  # what every further call would get
        self._refused: dict[type[CallError], Suspicion] = {}
        self._silent = Suspicion()
        self._long_waits = 0  # rows' calls in a row that were asked to wait long
        self._waiting = 0  # calls that wait for a probe of another call
        self._news = anyio.Event()
        # Protects the right to send the next probe; waiting calls get it in the order in which they came.
        self._turn = anyio.Lock()
        self._close()

    @property
    def state(self) -> BreakerState:
        """Whether calls go out."""
        if self._refusal is not None:
            return BreakerState.OPEN
        if not self.is_silent:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probes.is_out else BreakerState.OPEN

    @property
    def probes(self) -> int:
        """How many probes went out, in all outages."""
        return self._probes.sent

    @property
    def is_refused(self) -> bool:
        """Whether every call would be refused."""
        return self._refusal is not None

    @property
    def patience_s(self) -> float:
        """How long nothing may be answered."""
        if self._is_explicit or self._has_answered:
            return self._patience_s
        return min(self._patience_s, _NEVER_ANSWERED_S)

    @property
    def wait(self) -> Wait | None:
        """What calls wait for; None when they do not wait."""
        if any(suspicion.is_open for suspicion in self._refused.values()):
            return Wait(WaitKind.PROBE, self.name, self._waiting)
        if not self.is_silent:
            return None
        assert self._last is not None  # noqa: S101  (an outage begins with one)
        return outage(self.name, self.waiting, anyio.current_time() - self._evidence.since, self.patience_s, self._last)

    @property
    def waiting(self) -> int:
        """How many calls wait for a probe, with the one that sends it in an outage."""
        return self._waiting + (self.is_silent and self._probes.is_out)

    async def ready(self, *, is_patient: bool = True) -> int:
        """Wait until an attempt may be sent, and return its number. While the breaker is closed that is at once.

        Raises EndpointRefused and WaitTooLong if every call would be refused, and OutageTooLong if the endpoint has not
        answered for `patience_s`. For a call that is not patient, since another model can answer it, OutageTooLong
        comes as soon as it would have to wait.
        """
        self.check_refused()
        if not is_patient and self.is_silent and (self._turn.locked() or self._probes.wait_s > 0):
            raise self._too_long(anyio.current_time())
        if self.is_silent:
            await self._wait_for_answer()
        return self.sent()

    async def ready_unqueued(self) -> int:
        """As `ready`, for a call that holds the event loop of all others, so that none of them can probe."""
        while self.is_silent:
            if (wait_s := self._until_probe_s()) <= 0:
                self._probes.begin()
                break
            await anyio.sleep(wait_s)
        return self.sent()

    def sent(self) -> int:
        """Count an attempt that `ready` permits, and return its number."""
        return self._evidence.sent()

    def check_refused(self) -> None:
        """Raise EndpointRefused or WaitTooLong if every call would be refused."""
        if self._refusal is not None:
            raise self._stopped(self._refusal)

    async def join(self, error: CallError) -> Suspicion | bool:
        """Wait until it is known whether `error`, which a call met, is that call's own, and return that.

        A Suspicion is returned to the caller that is to send the deciding probe, with a permit that has the suspicion.
        Raises as `check_refused` does.
        """
        suspicion = self._suspicion(error)
        if suspicion is self._silent and self.is_silent:
            return False
        self._waiting += 1
        try:
            is_to_probe = await suspicion.join(error)
        finally:
            self._waiting -= 1
        if is_to_probe:
            return suspicion
        self.check_refused()
        return not self.is_silent

    def answered(self, permit: Permit) -> None:
        """An attempt was answered. This ends an outage if the attempt was sent after the outage began."""
        self._was_answered(permit.attempt)
        self._clear_counts()
        if permit.suspicion is not None:
            permit.suspicion.settle()
        if not permit.is_probe:
            self._long_waits = 0

    def failed(self, permit: Permit, error: CallError, *, is_crowded: bool = False) -> FailureScope:
        """An attempt failed; return whom that is about. `is_crowded` says that it was one too many at once.

        NONE is the fault of an outage: the attempt does not count, and the call is sent again when `ready` permits.
        `error.attempts` has to be the number of the call's attempt, from 1. Raises EndpointRefused and WaitTooLong if
        every call would be refused.
        """
        is_excused = self._note(error, permit.attempt)
        if permit.suspicion is not None:
            return self._probed(permit.suspicion, error)
        if permit.is_probe and self.is_silent and is_sign_of_outage(error):
            self._declare(error)  # the request was neutral, so no prompt is to blame
        if is_run_wide(error):
            return self._refused_once(self._suspicion(error), error, permit)
        if not isinstance(error, TransientError):
            self._clear_counts()
        return FailureScope.NONE if is_excused or is_crowded else FailureScope.OWN

    def given_up(self, permit: Permit) -> None:
        """An attempt was cancelled."""
        self.withdraw()
        if permit.suspicion is not None:
            permit.suspicion.abandon()

    def withdraw(self) -> None:
        """An attempt that `ready` permitted is not sent."""
        self._evidence.ended()

    # --- outages ------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        self.is_silent = False
        self._probes.reset()
        self._evidence.forget()

    def _was_answered(self, attempt: int) -> None:
        self._evidence.ended()
        self._has_answered = True
        if self._evidence.is_refuted_by(attempt):
            self._close()
            self._tell()

    def _note(self, error: CallError, attempt: int) -> bool:
        """Count a failure, and return whether it is the fault of an outage."""
        if is_answer(error):
            self._was_answered(attempt)
            return False
        evidence = self._evidence
        evidence.ended()
        if not self.is_silent and says_nothing(error):
            return False
        evidence.begin()
        evidence.add(attempt, is_first=error.attempts <= 1 and not self._is_excused(error))
        self._last = error
        if self.is_silent or evidence.is_outage(error):
            self._plan_probe(error)
        return self._is_excused(error)

    def _is_excused(self, error: CallError) -> bool:
        return self.is_silent and self._evidence.is_excused(error)

    def _declare(self, error: CallError) -> None:
        """A probe has failed in the same way as the calls before it: this is an outage."""
        self._evidence.is_declared = True
        self._evidence.begin()
        self._last = error
        if not self.is_silent:
            self._plan_probe(error)

    def _plan_probe(self, error: CallError) -> None:
        """Plan the next probe after `error`, which the previous probe met or which opened the breaker."""
        if self.is_silent and not self._probes.is_out:
            return  # of an attempt from before the outage
        self.is_silent = True
        self._probes.plan(error.retry_after_s or 0.0)
        self._tell()

    async def _wait_for_answer(self) -> None:
        """Wait until the endpoint answers, or until this call is to send the next probe."""
        self._waiting += 1
        try:
            while self.is_silent:
                if await self._is_to_probe():
                    break
                await anyio.sleep(self._rng.uniform(0, _SPREAD_S))
        finally:
            self._waiting -= 1

    async def _is_to_probe(self) -> bool:
        """Wait until this call is to send a probe, or until the outage is over. Returns whether it is to probe."""
        async with self._turn:
            while self.is_silent:
                if (wait_s := self._until_probe_s()) <= 0:
                    self._probes.begin()
                    return True
                with anyio.move_on_after(wait_s):
                    await self._news.wait()
            return False

    def _until_probe_s(self) -> float:
        """Seconds until the next probe, or until the patience ends if that is sooner. Raises OutageTooLong."""
        assert self._last is not None  # noqa: S101  (an outage begins with one)
        now = anyio.current_time()
        ends = self._evidence.since + self.patience_s if self._evidence.is_certain(self._last) else math.inf
        if now >= ends:
            raise self._too_long(now)
        return max(0.0, min(ends - now, self._probes.wait_s))

    def _too_long(self, now: float) -> OutageTooLong:
        assert self._last is not None  # noqa: S101
        has_answered = self._has_answered or self._is_explicit
        return OutageTooLong(self.name, now - self._evidence.since, self._last, has_answered=has_answered)

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    # --- refusals -----------------------------------------------------------------------------------------------------

    def _suspicion(self, error: CallError) -> Suspicion:
        """What calls that met `error` wait for. Each class of refusal has a suspicion of its own."""
        if is_run_wide(error):
            return self._refused.setdefault(type(error), Suspicion())
        return self._silent

    def _clear_counts(self) -> None:
        """A call was answered, or refused for a reason of its own."""
        for suspicion in self._refused.values():
            suspicion.answered()

    def _refused_once(self, suspicion: Suspicion, error: CallError, permit: Permit) -> FailureScope:
        """A call was refused in a way that every call may be."""
        self.check_refused()
        if isinstance(error, RateLimited):
            self._long_waits += not permit.is_probe
            if self._long_waits >= _LONG_WAITS:
                return self._conclude(suspicion, error)
        return FailureScope.OWN if suspicion.meet() else FailureScope.ALL

    def _probed(self, suspicion: Suspicion, error: CallError) -> FailureScope:
        """What the failure of a probe says about the call that asked for it. Raises what stops the run."""
        if is_run_wide(error):
            return self._conclude(suspicion, error)
        if suspicion is self._silent and is_sign_of_outage(error):
            self._declare(error)
            suspicion.settle()
            return FailureScope.NONE
        if isinstance(error, TransientError) and error.http_status != 200:
            suspicion.put_off()
            return FailureScope.ALL if suspicion.is_open else FailureScope.OWN
        suspicion.settle()
        return FailureScope.OWN

    def _conclude(self, suspicion: Suspicion, error: CallError) -> FailureScope:
        """Every call would be refused with `error`: wait as long as it asks if the run can, else stop the run."""
        if isinstance(error, RateLimited) and self._wait_out(error.retry_after_s or 0.0):
            suspicion.settle()
            return FailureScope.NONE
        self._refusal = error
        suspicion.settle()
        raise self._stopped(error)

    def _stopped(self, refusal: CallError) -> RunStopped:
        if isinstance(refusal, RateLimited):
            return WaitTooLong(self.name, refusal)
        return EndpointRefused(self.name, refusal)
