"""`LocalLimiter`: the limiter of one endpoint, for all rows of a run, in the run's event loop."""

from collections.abc import Mapping
from dataclasses import replace

import anyio

from crewrun.errors import CallError, RateLimited, RowBudgetExceeded
from crewrun.limits.budget import Hold
from crewrun.limits.call_counts import CallCounts
from crewrun.limits.circuit_breaker import CircuitBreaker
from crewrun.limits.learned_bounds import NOTHING_LEARNED, LearnedBounds, Learning
from crewrun.limits.options import SLOW_START, LimiterOptions
from crewrun.limits.permit import CallPrice, CallResult, FailureScope, Permit
from crewrun.limits.probes import Suspicion
from crewrun.limits.rate_limiter import RateLimiter
from crewrun.limits.run_limits import RunLimits
from crewrun.limits.shared_limits import SharedLimits
from crewrun.limits.waits import Wait, WaitKind
from crewrun.messages import Endpoint


class LocalLimiter:
    """The limiter of one endpoint: the budget, the circuit breaker and the rate limiter, in this order."""

    def __init__(
        self, endpoint: Endpoint, options: LimiterOptions, run: RunLimits, shared: SharedLimits | None = None
    ) -> None:
        self.name = endpoint.name
        self.rate_limiter = RateLimiter(
            options.max_calls,
            start=SLOW_START if options.slow_start else None,
            rpm=_limit(options.rpm, endpoint),
            tpm=_limit(options.tpm, endpoint),
            shared=shared,
        )
        self._breaker: CircuitBreaker | None = None
        if options.outage_patience_s is not None:
            self._breaker = CircuitBreaker(
                endpoint.name,
                options.outage_patience_s,
                is_explicit=options.is_explicit,
                has_answered=run.has_answered,
                wait_out=self._wait_out,
            )
        self._run = run
        self._pauses = 0
        # Until when calls wait for their next attempt, and why.
        self._backing_off: dict[int, tuple[float, Wait]] = {}
        self._learning = Learning(run.bounds.get(endpoint.name, NOTHING_LEARNED))

    @property
    def wait(self) -> Wait | None:
        """What calls wait for; None when they do not wait."""
        wait = (self._breaker and self._breaker.wait) or self.rate_limiter.wait or self._for_capacity or self._pause
        return wait and wait.of(self.name)

    @property
    def _for_capacity(self) -> Wait | None:
        """The wait of calls that their tier has no room for, if they are as many as those in flight."""
        pauses = [pause for pause in self._backing_off.values() if pause[1].kind is WaitKind.CAPACITY]
        if len(pauses) < max(1, self.rate_limiter.in_flight):
            return None
        until, wait = min(pauses, key=lambda pause: pause[0])
        return replace(wait, calls=len(pauses), left_s=max(0.0, until - anyio.current_time()))

    @property
    def _pause(self) -> Wait | None:
        """The pause of calls before their next attempt, if no call is out meanwhile."""
        if not self._backing_off or self.rate_limiter.in_flight:
            return None
        until, wait = min(self._backing_off.values(), key=lambda pause: pause[0])
        return replace(wait, calls=len(self._backing_off), left_s=max(0.0, until - anyio.current_time()))

    def stuck_calls(self, seconds: float) -> int:
        """How many calls will not be answered within `seconds`: the endpoint does not answer, or asks to wait."""
        breaker, limiter = self._breaker, self.rate_limiter
        if breaker is not None and breaker.is_silent:
            return breaker.waiting + limiter.waiting + len(self._backing_off)
        end = anyio.current_time() + seconds
        late = sum(until > end for until, _ in self._backing_off.values())
        return late + (limiter.waiting if limiter.next_s is not None and limiter.next_s > seconds else 0)

    @property
    def _counts(self) -> CallCounts | None:
        """The counts of the model, None if nobody wants to know them."""
        counts = self._run.counts
        return None if counts is None else counts.setdefault(self.name, CallCounts())

    @property
    def bounds(self) -> LearnedBounds:
        """See `Limiter.bounds`."""
        return self._run.bounds.get(self.name, NOTHING_LEARNED)

    def enter_nowait(self, tokens: int) -> Permit | None:
        """A permit for an attempt that can be sent at once; None if it has to wait, or if the run has a budget."""
        breaker = self._breaker
        if self._run.budget is not None or (breaker is not None and (breaker.is_silent or breaker.is_refused)):
            return None
        permit = self.rate_limiter.admit_nowait(tokens)
        if permit is not None and breaker is not None:
            permit.attempt = breaker.sent()
        return permit

    async def enter(self, tokens: int, price: CallPrice | None, *, is_patient: bool = True) -> Permit:
        """See `Limiter.enter`."""
        budget, hold = self._run.budget, None
        if budget is not None and price is not None:
            prompt_usd, answer_usd = price.prompt_usd(self.bounds), price.answer_usd(self.bounds)
            hold = await budget.admit(price.kind, prompt_usd, answer_usd, is_bound=price.is_bound)
        permit = await self._enter_covered(tokens, hold, None, is_patient=is_patient)
        permit.price = price
        return permit

    async def reserve(self, price: CallPrice | None) -> Permit:
        """A permit for a line of a batch job, once the budget has room for it. It goes back by `settle_reserved`.

        The journal has what lines may cost, so that no mark has to cover them. Raises BudgetExhausted.
        """
        budget, permit = self._run.budget, Permit(price=price)
        if budget is not None and price is not None:
            prompt_usd, answer_usd = price.prompt_usd(self.bounds), price.answer_usd(self.bounds)
            permit.hold = await budget.admit(price.kind, prompt_usd, answer_usd, is_bound=price.is_bound)
        return permit

    def settle_reserved(self, permit: Permit, result: CallResult) -> None:
        """Account for what a line of a batch job cost."""
        self._settle(permit, result)
        if (counts := self._counts) is not None:
            counts.answered += result.tokens is not None
            counts.failed += result.tokens is None

    async def enter_unqueued(self, tokens: int, price: CallPrice | None) -> Permit:
        """As `enter`, for a call that all others in flight are waiting for, so that it cannot wait for any of them.

        Raises RowBudgetExceeded if the budget has no room until one of them has ended.
        """
        breaker = self._breaker
        if breaker is not None:
            breaker.check_refused()
        budget, hold = self._run.budget, None
        if budget is not None and price is not None:
            prompt_usd, answer_usd = price.prompt_usd(self.bounds), price.answer_usd(self.bounds)
            hold = budget.admit_nowait(price.kind, prompt_usd, answer_usd, is_bound=price.is_bound)
            if hold is None:
                raise RowBudgetExceeded(
                    "a kickoff() inside async code holds the event loop, and --budget has no room besides the calls "
                    "that wait for it; write `await ….akickoff(…)`, or run the row again"
                )
        permit: Permit | None = None
        attempt, is_probe = 0, False
        try:
            if breaker is not None:
                attempt = await breaker.ready_unqueued()
                is_probe = breaker.is_silent
            permit = await self.rate_limiter.admit_unqueued(tokens)
            if budget is not None and hold is not None:
                await budget.cover(hold, is_alone=True)
        except BaseException:
            if budget is not None and hold is not None:
                budget.settle(hold, None)
            self._release(permit, attempt)
            raise
        permit.attempt, permit.is_probe, permit.hold, permit.price = attempt, is_probe, hold, price
        return permit

    async def enter_probe(self, error: CallError | None, tokens: int, price: CallPrice | None) -> Permit | bool:
        """See `Limiter.enter_probe`."""
        breaker = self._breaker
        if error is None:
            return await self._enter_within_budget(tokens, price, None) or True
        if breaker is None:
            return True
        suspicion = await breaker.join(error)
        if isinstance(suspicion, bool):
            return suspicion and not (isinstance(error, RateLimited) and self.rate_limiter.is_blocked)
        try:
            permit = await self._enter_within_budget(tokens, price, suspicion)
        except BaseException:
            suspicion.abandon()
            raise
        if permit is None:
            suspicion.settle(is_clear=False)  # without the probe nothing is concluded
        return permit or True

    async def _enter_within_budget(
        self, tokens: int, price: CallPrice | None, suspicion: Suspicion | None
    ) -> Permit | None:
        """A permit for a probe, None if the budget has no room for one."""
        budget, hold = self._run.budget, None
        if budget is not None and price is not None:
            prompt_usd, answer_usd = price.prompt_usd(self.bounds), price.answer_usd(self.bounds)
            hold = await budget.admit_probe(price.kind, prompt_usd, answer_usd, is_bound=price.is_bound)
            if hold is None:
                return None
        permit = await self._enter_covered(tokens, hold, suspicion)
        permit.is_probe, permit.price = True, price
        return permit

    async def _enter_covered(
        self, tokens: int, hold: Hold | None, suspicion: Suspicion | None, *, is_patient: bool = True
    ) -> Permit:
        """A permit for an attempt, once the journal covers its `hold`."""
        budget = self._run.budget
        if hold is None or budget is None:
            return await self._wait_for_permit(tokens, hold, suspicion, is_patient=is_patient)
        permit: Permit | None = None
        try:
            permit = await self._wait_for_permit(tokens, hold, suspicion, is_patient=is_patient)
            await budget.cover(hold)
        except BaseException:
            budget.settle(hold, None)
            if permit is not None:
                self._release(permit, permit.attempt)
            raise
        return permit

    async def _wait_for_permit(
        self, tokens: int, hold: Hold | None, suspicion: Suspicion | None, *, is_patient: bool
    ) -> Permit:
        """Wait for the circuit breaker and the rate limiter."""
        breaker = self._breaker
        if breaker is None:
            permit = await self.rate_limiter.admit(tokens)
            permit.hold, permit.suspicion = hold, suspicion
            return permit
        while True:
            attempt = await breaker.ready(is_patient=is_patient)
            is_probe = breaker.is_silent
            try:
                permit = await self.rate_limiter.admit(tokens)
            except BaseException:
                self._release(None, attempt)
                raise
            # The endpoint may have begun to refuse, or stopped answering, while this call waited.
            if breaker.is_refused or (breaker.is_silent and not is_probe):
                self._release(permit, attempt)
                continue
            permit.attempt, permit.is_probe = attempt, is_probe
            permit.hold, permit.suspicion = hold, suspicion
            return permit

    def _release(self, permit: Permit | None, attempt: int) -> None:
        if self._breaker is not None and attempt:
            self._breaker.withdraw()
        if permit is not None:
            self.rate_limiter.drop(permit)

    def answered(self, permit: Permit, result: CallResult) -> None:
        """See `Limiter.answered`."""
        self._settle(permit, result)
        if (counts := self._counts) is not None:
            counts.answered += 1
        self.rate_limiter.settle(permit, result.tokens, None, result.limits)
        if self._breaker is not None:
            self._breaker.answered(permit)

    async def failed(self, permit: Permit, error: CallError, result: CallResult) -> FailureScope:
        """See `Limiter.failed`."""
        self._settle(permit, result)
        if (counts := self._counts) is not None:
            counts.failed += 1
            counts.rate_limited += isinstance(error, RateLimited)
        self.rate_limiter.settle(permit, result.tokens, error, result.limits)
        if self._breaker is None:
            return FailureScope.OWN
        # Too many at once: the rate limiter allows fewer from now on, and this call is sent again when one has ended.
        is_crowded = isinstance(error, RateLimited) and error.is_concurrency and self.rate_limiter.in_flight > 0
        return self._breaker.failed(permit, error, is_crowded=is_crowded)

    async def back_off(self, seconds: float, wait: Wait) -> None:
        """See `Limiter.back_off`."""
        number, self._pauses = self._pauses, self._pauses + 1
        self._backing_off[number] = (anyio.current_time() + seconds, wait)
        try:
            await anyio.sleep(seconds)
        finally:
            del self._backing_off[number]

    def _wait_out(self, wait_s: float) -> bool:
        """Send nothing for `wait_s`, if the run has the time. Returns whether it does."""
        may_wait = self._run.may_wait(wait_s)
        if may_wait:
            self.rate_limiter.block(wait_s)
        return may_wait

    def given_up(self, permit: Permit, result: CallResult | None = None) -> None:
        """See `Limiter.given_up`."""
        self._settle(permit, result or CallResult())
        self.rate_limiter.drop(permit)
        if self._breaker is not None:
            self._breaker.given_up(permit)

    def _settle(self, permit: Permit, result: CallResult) -> None:
        """Account for what an attempt cost or may have cost."""
        if (counts := self._counts) is not None:
            counts.add(result)
        budget, hold, owed_usd = self._run.budget, permit.hold, result.owed_usd
        if budget is not None and hold is not None:
            if result.is_unknown and result.cost_usd is None:
                budget.forfeit(hold)
                owed_usd = hold.worst_usd
            else:
                budget.settle(hold, result.cost_usd, owed_usd or 0.0)
        if result.is_unknown:
            self._run.unknown_bills.add(owed_usd)
        if permit.price is not None and result.tokens:
            before = self.bounds
            self._learning.see(permit.price.beyond(result.prompt_tokens, result.tokens - result.prompt_tokens))
            if self._learning.bounds != before:
                self._run.learned(self.name, self._learning.bounds)


def _limit(limits: Mapping[str, int], endpoint: Endpoint) -> int | None:
    """The limit of a model, which users may give by its full or short name."""
    for name in (endpoint.name, endpoint.model, ""):
        if name in limits:
            return limits[name]
    return None
