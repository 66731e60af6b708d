"""What stands between a call and its endpoint: budget, circuit breaker, pace, in this order.

`LocalLimiters` has one `Limiter` for each model at each address, for all rows of a run. Other event loops of the
process get to them by `far_gates`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from crewrun.errors import CallError, RateLimited, RowBudgetExceeded
from crewrun.limits.budget import Budget, Hold
from crewrun.limits.circuit_breaker import CircuitBreaker
from crewrun.limits.learned_bounds import NOTHING_LEARNED, LearnedBounds, Learning
from crewrun.limits.permit import CallResult, FailureScope, Permit, Price
from crewrun.limits.probes import Suspicion
from crewrun.limits.rate_limiter import RateLimiter
from crewrun.limits.unknown_bills import UnknownBills
from crewrun.messages import Endpoint

MAX_CALLS = 1000
_SLOW_START = 8


@dataclass(frozen=True, slots=True)
class LimiterOptions:
    """Limits, and how patient a run is.

    Attributes:
        rpm, tpm: requests and tokens a minute, by model's name; the one of `""` is that of all other models.
        slow_start: begin with few calls in flight.
        outage_patience_s: seconds that a provider which does not answer is waited for. None where there is no run:
            each call's retries decide alone, and nothing is concluded for other calls.
        is_explicit: whether that patience was given; if not, a provider that has never answered is waited for ten
            seconds at most.
        max_calls: the most calls of a model in flight.
    """

    rpm: Mapping[str, int] = field(default_factory=dict)
    tpm: Mapping[str, int] = field(default_factory=dict)
    slow_start: bool = False
    outage_patience_s: float | None = None
    is_explicit: bool = True
    max_calls: int = MAX_CALLS


class Limiter(Protocol):
    """Around each attempt: `enter` or `enter_probe`, then exactly one of `answered`, `failed` and `given_up`."""

    @property
    def bounds(self) -> LearnedBounds:
        """What was learned of how far the provider counts beyond what bounds a call, as far as that is known here."""
        ...

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Permit:
        """Wait until an attempt of an estimated `tokens` may be sent; a call that is not patient skips outages.

        Raises EndpointRefused and WaitTooLong when it would be refused, OutageTooLong and BudgetExhausted.
        """
        ...

    async def enter_probe(self, error: CallError | None, tokens: int, price: Price | None) -> Permit | bool:
        """Wait until it is known whether `error`, which a call met, is its own.

        A permit is for the probe that finds it out; its sender settles it as any other and asks again. True: it is the
        call's own. False: it is not, and the call is to be sent again. Without an `error` it is a permit for a probe of
        the sender's, or True where there is no room for one. Raises what `enter` does when every call would be refused.
        """
        ...

    def answered(self, permit: Permit, end: CallResult) -> None:
        """It was answered."""
        ...

    async def failed(self, permit: Permit, error: CallError, end: CallResult) -> FailureScope:
        """It failed, and that is about so much; where that is `ALL`, `enter_probe` tells whether it really is."""
        ...

    def given_up(self, permit: Permit, end: CallResult | None = None) -> None:
        """It was cancelled; without an `end` it had not been sent."""
        ...


class Limiters(Protocol):
    """The limiters of a run, wherever they are."""

    @property
    def is_budgeted(self) -> bool:
        """Whether calls have to say what they may cost."""
        ...

    @property
    def is_of_a_run(self) -> bool:
        """Whether these limiters are a run's: what every call would meet then ends the run."""
        ...

    def of(self, endpoint: Endpoint) -> Limiter:
        """The limiter of an endpoint: the same one for the same model, address and key."""
        ...


class LocalLimiter:
    """The limiter of an endpoint, for code in the run's own event loop."""

    def __init__(self, endpoint: Endpoint, options: LimiterOptions, limiters: "LocalLimiters") -> None:
        self.name = endpoint.name
        self.rate_limiter = RateLimiter(
            options.max_calls,
            start=_SLOW_START if options.slow_start else None,
            rpm=_limit(options.rpm, endpoint),
            tpm=_limit(options.tpm, endpoint),
        )
        self._breaker: CircuitBreaker | None = None
        if options.outage_patience_s is not None:
            self._breaker = CircuitBreaker(
                endpoint.name,
                options.outage_patience_s,
                is_explicit=options.is_explicit,
                has_answered=limiters.has_answered,
                wait_out=self._wait_out,
            )
        self._limiters = limiters
        self._learning = Learning(limiters.bounds.get(endpoint.name, NOTHING_LEARNED))

    @property
    def limiting(self) -> str | None:
        """What holds calls up, in words."""
        return (self._breaker and self._breaker.limiting) or self.rate_limiter.limiting

    @property
    def bounds(self) -> LearnedBounds:
        """See `Limiter.bounds`."""
        return self._limiters.bounds.get(self.name, NOTHING_LEARNED)

    def enter_nowait(self, tokens: int) -> Permit | None:
        """A permit for an attempt that need not wait for anything; None where it has to, or where there is a budget."""
        breaker = self._breaker
        if self._limiters.budget is not None or (breaker is not None and (breaker.is_silent or breaker.is_refused)):
            return None
        permit = self.rate_limiter.admit_nowait(tokens)
        if permit is not None and breaker is not None:
            permit.attempt = breaker.sent()
        return permit

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Permit:
        """See `Limiter.enter`."""
        budget, hold = self._limiters.budget, None
        if budget is not None and price is not None:
            prompt_usd, answer_usd = price.prompt_usd(self.bounds), price.answer_usd(self.bounds)
            hold = await budget.admit(price.kind, prompt_usd, answer_usd, is_bound=price.is_bound)
        permit = await self._enter(tokens, hold, None, is_patient=is_patient)
        permit.price = price
        return permit

    async def enter_unqueued(self, tokens: int, price: Price | None) -> Permit:
        """As `enter`, for a call that the others in flight wait for: it waits for none of them.

        Raises RowBudgetExceeded where the budget has room only when one of them has ended.
        """
        breaker = self._breaker
        if breaker is not None:
            breaker.check_refused()
        budget, hold = self._limiters.budget, None
        if budget is not None and price is not None:
            prompt_usd, answer_usd = price.prompt_usd(self.bounds), price.answer_usd(self.bounds)
            hold = budget.admit_nowait(price.kind, prompt_usd, answer_usd, is_bound=price.is_bound)
            if hold is None:
                raise RowBudgetExceeded(
                    "a kickoff() inside async code holds the event loop, and --budget has no room beside the calls "
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
            self._let_go(permit, attempt)
            raise
        permit.attempt, permit.is_probe, permit.hold, permit.price = attempt, is_probe, hold, price
        return permit

    async def enter_probe(self, error: CallError | None, tokens: int, price: Price | None) -> Permit | bool:
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
            suspicion.settle(is_clear=False)  # nothing is concluded without the probe
        return permit or True

    async def _enter_within_budget(
        self, tokens: int, price: Price | None, suspicion: Suspicion | None
    ) -> Permit | None:
        """A permit for a probe, None when the budget has no room for one."""
        budget, hold = self._limiters.budget, None
        if budget is not None and price is not None:
            prompt_usd, answer_usd = price.prompt_usd(self.bounds), price.answer_usd(self.bounds)
            hold = await budget.admit_probe(price.kind, prompt_usd, answer_usd, is_bound=price.is_bound)
            if hold is None:
                return None
        permit = await self._enter(tokens, hold, suspicion)
        permit.is_probe, permit.price = True, price
        return permit

    async def _enter(
        self, tokens: int, hold: Hold | None, suspicion: Suspicion | None, *, is_patient: bool = True
    ) -> Permit:
        budget = self._limiters.budget
        if hold is None or budget is None:
            return await self._wait(tokens, hold, suspicion, is_patient=is_patient)
        permit: Permit | None = None
        try:
            permit = await self._wait(tokens, hold, suspicion, is_patient=is_patient)
            await budget.cover(hold)
        except BaseException:
            budget.settle(hold, None)
            if permit is not None:
                self._let_go(permit, permit.attempt)
            raise
        return permit

    async def _wait(self, tokens: int, hold: Hold | None, suspicion: Suspicion | None, *, is_patient: bool) -> Permit:
        """Wait for all but the budget."""
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
                self._let_go(None, attempt)
                raise
            # What began while it waited holds for it as well.
            if breaker.is_refused or (breaker.is_silent and not is_probe):
                self._let_go(permit, attempt)
                continue
            permit.attempt, permit.is_probe = attempt, is_probe
            permit.hold, permit.suspicion = hold, suspicion
            return permit

    def _let_go(self, permit: Permit | None, attempt: int) -> None:
        if self._breaker is not None and attempt:
            self._breaker.withdraw()
        if permit is not None:
            self.rate_limiter.drop(permit)

    def answered(self, permit: Permit, end: CallResult) -> None:
        """See `Limiter.answered`."""
        self._settle(permit, end)
        self.rate_limiter.settle(permit, end.tokens, None, end.limits)
        if self._breaker is not None:
            self._breaker.answered(permit)

    async def failed(self, permit: Permit, error: CallError, end: CallResult) -> FailureScope:
        """See `Limiter.failed`."""
        self._settle(permit, end)
        self.rate_limiter.settle(permit, end.tokens, error, end.limits)
        if self._breaker is None:
            return FailureScope.OWN
        # Too many at once: there are fewer from now on, and it is sent again when one of them has ended.
        is_crowded = isinstance(error, RateLimited) and error.is_concurrency and self.rate_limiter.in_flight > 0
        return self._breaker.failed(permit, error, is_crowded=is_crowded)

    def _wait_out(self, wait_s: float) -> bool:
        """Send nothing for so long, if the run waits for that."""
        may_wait = self._limiters.may_wait(wait_s)
        if may_wait:
            self.rate_limiter.block(wait_s)
        return may_wait

    def given_up(self, permit: Permit, end: CallResult | None = None) -> None:
        """See `Limiter.given_up`."""
        self._settle(permit, end or CallResult())
        self.rate_limiter.drop(permit)
        if self._breaker is not None:
            self._breaker.given_up(permit)

    def _settle(self, permit: Permit, end: CallResult) -> None:
        """Account for what an attempt cost, or may have cost."""
        budget, hold, owed_usd = self._limiters.budget, permit.hold, end.owed_usd
        if budget is not None and hold is not None:
            if end.is_unknown and end.cost_usd is None:
                budget.forfeit(hold)
                owed_usd = hold.worst_usd
            else:
                budget.settle(hold, end.cost_usd, owed_usd or 0.0)
        if end.is_unknown:
            self._limiters.unknown_bills.add(owed_usd)
        if permit.price is not None and end.tokens:
            before = self.bounds
            self._learning.see(permit.price.beyond(end.prompt_tokens, end.tokens - end.prompt_tokens))
            if self._learning.bounds != before:
                self._limiters.learned(self.name, self._learning.bounds)


class LocalLimiters:
    """All limiters of a run, which is to end in `deadline_s` from now if that is given. `budget` is what all its calls
    may
    cost together, None for no limit.
    """

    def __init__(self, options: LimiterOptions | None = None, deadline_s: float | None = None) -> None:
        self._options = options or LimiterOptions()
        self._limiters: dict[tuple[str | None, ...], LocalLimiter] = {}
        self.budget: Budget | None = None
        self.unknown_bills = UnknownBills()
        self.bounds: dict[str, LearnedBounds] = {}  # by model
        self.journal_bounds: Callable[[str, LearnedBounds], None] | None = None
        self.has_answered = False  # whether calls were answered in earlier sessions of the run
        self._ends_at = None if deadline_s is None else anyio.current_time() + deadline_s
        self.on_their_way = 0  # rows that were sent elsewhere, and have not begun there

    @property
    def is_budgeted(self) -> bool:
        """Whether calls have to say what they may cost."""
        return self.budget is not None

    @property
    def is_of_a_run(self) -> bool:
        """Whether these limiters are a run's: what every call would meet then ends the run."""
        return self._options.outage_patience_s is not None

    def may_wait(self, seconds: float) -> bool:
        """Whether the run waits so long when a provider asks for it."""
        return self._ends_at is not None and anyio.current_time() + seconds < self._ends_at

    def of(self, endpoint: Endpoint) -> LocalLimiter:
        """The limiter of an endpoint: the same one for the same model, address and key."""
        key = (endpoint.transport_name, endpoint.name, endpoint.base_url, endpoint.api_key)
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = self._limiters[key] = LocalLimiter(endpoint, self._options, self)
        return limiter

    def learned(self, model: str, bounds: LearnedBounds) -> None:
        """A provider counted beyond what was to bound a call."""
        self.bounds[model] = bounds
        if self.journal_bounds is not None:
            self.journal_bounds(model, bounds)

    def is_idle(self) -> bool:
        """Whether hardly a call waits to be let through, or will soon, so that more rows at once are of use."""
        return (
            self.on_their_way + sum(limiter.rate_limiter.waiting for limiter in self._limiters.values()) < _SLOW_START
        )

    @property
    def limiting(self) -> str | None:
        """What holds calls up now, in words; None when nothing does."""
        if self.budget is not None and self.budget.waiting:
            return "the budget: calls in flight first"
        found = [(limiter.name, limiter.limiting) for limiter in self._limiters.values()]
        held = [(name, why) for name, why in found if why]
        if len(held) <= 1:
            return held[0][1] if held else None
        return ", ".join(f"{name}: {why}" for name, why in held)


def _limit(limits: Mapping[str, int], endpoint: Endpoint) -> int | None:
    """The limit of a model, under any name that users have for it."""
    for name in (endpoint.name, endpoint.model, ""):
        if name in limits:
            return limits[name]
    return None
