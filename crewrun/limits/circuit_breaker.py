"""`CircuitBreaker`: whether calls of one endpoint are let through.

    closed      calls go out
    open        no call goes out: the endpoint does not answer, or refuses every call
    half-open   one attempt is out as a probe, all other calls wait for what it finds

The pattern is that of https://martinfowler.com/bliki/CircuitBreaker.html, with three differences. While it is open
calls wait instead of failing, up to the patience of the run. It opens on evidence about the endpoint, never on the
failures of one row (`failure_evidence`). And a refusal that every call would meet, such as a revoked key, is only
suspected until a neutral request, a probe, has met it too (`probes`): meanwhile other calls go on, since an account
that is used up refuses some and answers others. Opened by a refusal it stays open: that ends the run.

A call that has used up its attempts in silence asks for a probe as well, and what that finds is certain: so no row
fails for an outage, however few calls are in flight. Probes are neutral, so no prompt can make an outage last.
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
from crewrun.limits.failure_evidence import FailureEvidence, is_answer, is_sign_of_outage, says_nothing
from crewrun.limits.permit import FailureScope, Permit
from crewrun.limits.probes import RUN_WIDE, Suspicion
from crewrun.limits.rate_limiter import LONGEST_ASKED_S

# An endpoint that has never answered is set up wrongly more often than it is down.
_NEVER_ANSWERED_S: Final = 10.0
# Between probes: doubling, as retries do, up to what a provider that comes back is kept waiting at most.
_FIRST_PROBE_S: Final = 1.0
_LONGEST_S: Final = 30.0
# Calls that waited go on within this time, not all at one instant.
_SPREAD_S: Final = 1.0
# Of calls in a row that are asked to wait longer than that, so many tell without a probe: it is small, and may pass
# where a day's tokens are nearly used up.
_ALIKE: Final = 2


class BreakerState(StrEnum):
    """See the module."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """Watches one endpoint, for one event loop. Time is `anyio.current_time`.

    Around every attempt: `permit.attempt = await ready()`, then exactly one of `answered`, `failed` and `given_up`. An
    attempt that `ready` lets go while the breaker is open is a probe. `patience_s` is how long nothing may be answered,
    from the first failure on, before `ready` raises: 0 is not to wait, infinity waits without limit. As long as the
    endpoint has never answered, it is 10 s at most, unless the patience `is_explicit`. Raises ValueError for one below
    0. `wait_out` is called with the seconds that the endpoint asks all calls to wait: True if the run does. The breaker
    `is_silent` in an outage, and `is_refused` once every call would be refused.
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
        self.probes = 0  # in all outages
        self._patience_s = patience_s
        self._is_explicit = is_explicit
        self._has_answered = has_answered
        self._wait_out = wait_out
        self._rng = rng or random.Random()  # noqa: S311  (jitter)
        self._evidence = FailureEvidence()
        self._last: CallError | None = None
        self._refusal: CallError | None = None  # what every further call would get
        self._refused: dict[type[CallError], Suspicion] = {}
        self._silent = Suspicion()
        self._long_waits = 0  # calls that were asked to wait for long since one of a row was answered
        self._news = anyio.Event()
        # Protects the right to probe next; those that wait for it get it in the order in which they came.
        self._turn = anyio.Lock()
        self._close()

    @property
    def state(self) -> BreakerState:
        """Whether calls go out."""
        if not self.is_silent and self._refusal is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._is_probing and self._refusal is None else BreakerState.OPEN

    @property
    def is_refused(self) -> bool:
        """Whether every call would be refused."""
        return self._refusal is not None

    @property
    def patience_s(self) -> float:
        """How long nothing may be answered, in seconds."""
        if self._is_explicit or self._has_answered:
            return self._patience_s
        return min(self._patience_s, _NEVER_ANSWERED_S)

    @property
    def limiting(self) -> str | None:
        """What holds calls up, for a progress line; None when nothing does."""
        if any(suspicion.is_open for suspicion in self._refused.values()):
            return f"{self.name} refused a call; a probe decides"
        if not self.is_silent:
            return None
        silent_s = anyio.current_time() - self._evidence.since
        left = "" if math.isinf(self.patience_s) else f", {max(0.0, self.patience_s - silent_s):.0f} s left"
        return f"an outage: {self.name} has not answered for {silent_s:.0f} s{left}: {self._last}"

    # --- before an attempt --------------------------------------------------------------------------------------------

    async def ready(self, *, is_patient: bool = True) -> int:
        """Wait until an attempt may be sent; its number. While the breaker is closed that is at once.

        Raises EndpointRefused and WaitTooLong when every call would be refused, and OutageTooLong when the endpoint has
        not answered for `patience_s`; where a call is not patient, since it can be made elsewhere, as soon as it would
        wait.
        """
        self.check_refused()
        if not is_patient and self.is_silent and (self._turn.locked() or anyio.current_time() < self._probe_at):
            raise self._too_long(anyio.current_time())
        while self.is_silent:
            if await self._is_to_probe():
                break
            await anyio.sleep(self._rng.uniform(0, _SPREAD_S))
        return self.sent()

    async def ready_unqueued(self) -> int:
        """As `ready`, for a call that holds the loop of all the others: none of them probes meanwhile."""
        while self.is_silent:
            if (wait_s := self._until_probe_s()) <= 0:
                self._begin_probe()
                break
            await anyio.sleep(wait_s)
        return self.sent()

    def sent(self) -> int:
        """An attempt is sent, as `ready` lets it; its number."""
        return self._evidence.sent()

    def check_refused(self) -> None:
        """Raise EndpointRefused or WaitTooLong when every call would be refused."""
        if self._refusal is not None:
            raise self._stopped(self._refusal)

    async def join(self, error: CallError) -> Suspicion | bool:
        """Wait until it is known whether `error`, which a call met, is its own: True or False.

        A suspicion makes the caller the one who sends the probe that decides, with a permit that has the suspicion.
        Raises as `check_refused` does.
        """
        suspicion = self._suspicion(error)
        if suspicion is self._silent and self.is_silent:
            return False
        if await suspicion.join(error):
            return suspicion
        self.check_refused()
        return not self.is_silent

    # --- after an attempt ---------------------------------------------------------------------------------------------

    def answered(self, permit: Permit) -> None:
        """An attempt was answered: this ends an outage, if it was sent after it began."""
        self._was_answered(permit.attempt)
        self._was_heard()
        if permit.suspicion is not None:
            permit.suspicion.settle()
        if not permit.is_probe:
            self._long_waits = 0

    def failed(self, permit: Permit, error: CallError, *, is_crowded: bool = False) -> FailureScope:
        """An attempt failed, and that is about so much. `is_crowded` says that it was one too many at once.

        NONE is an outage's fault: the attempt does not count, and the call is sent again when `ready` lets it. Needs
        `error.attempts` to be the number of the call's attempt, from 1 on. Raises EndpointRefused and WaitTooLong when
        every call would be refused.
        """
        is_excused = self._note(error, permit.attempt)
        if permit.suspicion is not None:
            return self._probed(permit.suspicion, error)
        if permit.is_probe and self.is_silent and is_sign_of_outage(error):
            self._declare(error)  # it was neutral, so no prompt is to blame
        if is_run_wide(error):
            return self._met(self._suspicion(error), error, permit)
        if not isinstance(error, TransientError):
            self._was_heard()
        return FailureScope.NONE if is_excused or is_crowded else FailureScope.OWN

    def given_up(self, permit: Permit) -> None:
        """An attempt was cancelled."""
        self.withdraw()
        if permit.suspicion is not None:
            permit.suspicion.abandon()

    def withdraw(self) -> None:
        """An attempt that `ready` let go is not sent."""
        self._evidence.ended()

    # --- silence ------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        self.is_silent = self._is_probing = False
        self._probe_at = 0.0
        self._backoff_s = _FIRST_PROBE_S
        self._evidence.forget()

    def _was_answered(self, attempt: int) -> None:
        self._evidence.ended()
        self._has_answered = True
        if self._evidence.is_refuted_by(attempt):
            self._close()
            self._tell()

    def _note(self, error: CallError, attempt: int) -> bool:
        """Count a failure; whether it is an outage's fault."""
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
        """A probe has failed as the calls before it did: this is an outage."""
        self._evidence.is_declared = True
        self._evidence.begin()
        self._last = error
        if not self.is_silent:
            self._plan_probe(error)

    def _plan_probe(self, error: CallError) -> None:
        """When the next probe goes, after this failure: of the probe before, or the one that opened the breaker."""
        if self.is_silent and not self._is_probing:
            return  # of an attempt from before
        self.is_silent, self._is_probing = True, False
        asked_s = min(error.retry_after_s or 0.0, _LONGEST_S)
        self._probe_at = anyio.current_time() + max(asked_s, self._backoff_s * self._rng.uniform(0.8, 1.2))
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_S)
        self._tell()

    async def _is_to_probe(self) -> bool:
        """Wait until this call is to probe, or, False, until the outage is over."""
        async with self._turn:
            while self.is_silent:
                if (wait_s := self._until_probe_s()) <= 0:
                    self._begin_probe()
                    return True
                with anyio.move_on_after(wait_s):
                    await self._news.wait()
            return False

    def _until_probe_s(self) -> float:
        """Seconds until the next probe, or until the patience ends if that is before. Raises OutageTooLong."""
        assert self._last is not None  # noqa: S101  (an outage has begun with it)
        now = anyio.current_time()
        ends = self._evidence.since + self.patience_s if self._evidence.is_certain(self._last) else math.inf
        if now >= ends:
            raise self._too_long(now)
        return min(ends, self._probe_at) - now if now < self._probe_at else 0.0

    def _begin_probe(self) -> None:
        self._is_probing = True
        self.probes += 1
        # If nothing is heard of this one, which may be at work on a long answer, the next one follows.
        self._probe_at = anyio.current_time() + _LONGEST_S

    def _too_long(self, now: float) -> OutageTooLong:
        assert self._last is not None  # noqa: S101
        has_answered = self._has_answered or self._is_explicit
        return OutageTooLong(self.name, now - self._evidence.since, self._last, has_answered=has_answered)

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    # --- refusals -----------------------------------------------------------------------------------------------------

    def _suspicion(self, error: CallError) -> Suspicion:
        """What calls that met `error` wait for: kinds of refusals do not speak for each other."""
        if is_run_wide(error):
            return self._refused.setdefault(type(error), Suspicion())
        return self._silent

    def _was_heard(self) -> None:
        """A call got an answer of its own."""
        for suspicion in self._refused.values():
            suspicion.answered()

    def _met(self, suspicion: Suspicion, error: CallError, permit: Permit) -> FailureScope:
        """A call was refused as every call may be."""
        self.check_refused()
        if isinstance(error, RateLimited):
            self._long_waits += not permit.is_probe
            if self._long_waits >= _ALIKE:
                return self._conclude(suspicion, error)
        return FailureScope.OWN if suspicion.meet() else FailureScope.ALL

    def _probed(self, suspicion: Suspicion, error: CallError) -> FailureScope:
        """What the failure of a probe says of the call that asked for it. Raises what stops the run."""
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
        """Every call would be refused with `error`: wait for as long as it asks where that may be, else stop."""
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


def is_run_wide(error: CallError) -> bool:
    """Whether every call would meet `error`, if it is not its row's own: a refusal, or a wait of over ten minutes."""
    if isinstance(error, RateLimited):
        return (error.retry_after_s or 0.0) > LONGEST_ASKED_S
    return isinstance(error, RUN_WIDE)
