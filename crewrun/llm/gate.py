"""What stands between a call and its endpoint: budget, trust, outage, pace, in this order.

`Gates` has one `Gate` for each model at each address, for all rows of a run. Kickoffs in other event loops of the
process, as a sync tool may start them, go through the same ones by `FarGates`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from crewrun.errors import CallError, CallTimedOut, EndpointRefused, TransientError
from crewrun.llm.budget import Budget, Reservation
from crewrun.llm.outage import Outage
from crewrun.llm.pace import Pace, Ticket
from crewrun.llm.trust import RUN_WIDE, Trust
from crewrun.messages import Endpoint, RateLimits

MAX_CALLS = 1000
_SLOW_START = 8


@dataclass(frozen=True, slots=True)
class GateOptions:
    """`rpm` and `tpm`, requests and tokens a minute, are by model's name; the one of `""` is that of all others.

    `slow_start` begins with few calls in flight. `outage_patience_s` is how long a provider that does not answer is
    waited for; None leaves that to each call's retries, and with it what only a run can know, that every call would be
    refused. `max_calls` is the most in flight of a model.
    """

    rpm: Mapping[str, int] = field(default_factory=dict)
    tpm: Mapping[str, int] = field(default_factory=dict)
    slow_start: bool = False
    outage_patience_s: float | None = None
    max_calls: int = MAX_CALLS


class Price(NamedTuple):
    """What a call may cost in US dollars: its prompt, and its answer, at most if that `is_bound`. `kind` is what it has
    in common with others, (model, task).
    """

    kind: object
    prompt_usd: float
    answer_usd: float
    is_bound: bool


class Pass(NamedTuple):
    """Leave for one attempt."""

    ticket: Ticket
    number: int
    decides: bool
    reservation: Reservation | None


class Verdict(Enum):
    """What a failed attempt means: for its call alone, for nobody since it is to be sent again, or for every call."""

    OWN = "own"
    AGAIN = "again"
    EVERY = "every"


class Settlement(NamedTuple):
    """How an attempt ended: the tokens and US dollars that it is known to have used."""

    tokens: int | None = None
    cost_usd: float | None = None
    limits: RateLimits | None = None


class Gate(Protocol):
    """Around each attempt: `enter`, then exactly one of `answered`, `failed` and `given_up`."""

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Pass:
        """Wait until an attempt of an estimated `tokens` may be sent; who is not patient does not wait in an outage.

        Raises EndpointRefused when it would be refused, OutageTooLong and BudgetExhausted.
        """
        ...

    def answered(self, leave: Pass, end: Settlement) -> None:
        """It was answered."""
        ...

    async def failed(self, leave: Pass, error: CallError, end: Settlement) -> Verdict:
        """It failed. Waits until it is known what that means."""
        ...

    def given_up(self, leave: Pass) -> None:
        """It was cancelled."""
        ...


class AllGates(Protocol):
    """The gates of a run, wherever they are."""

    @property
    def is_budgeted(self) -> bool:
        """Whether calls have to say what they may cost."""
        ...

    @property
    def is_of_a_run(self) -> bool:
        """Whether a call that no other one could do better than ends them all."""
        ...

    def of(self, endpoint: Endpoint) -> Gate:
        """The gate of an endpoint: the same one for the same model, address and key."""
        ...


class NearGate:
    """The gate of an endpoint, for code in the run's own event loop."""

    def __init__(self, endpoint: Endpoint, options: GateOptions, gates: "Gates") -> None:
        self.name = endpoint.name
        self.pace = Pace(
            options.max_calls,
            start=_SLOW_START if options.slow_start else None,
            rpm=_limit(options.rpm, endpoint),
            tpm=_limit(options.tpm, endpoint),
        )
        patience_s = options.outage_patience_s
        self._outage = Outage(endpoint.name, patience_s) if patience_s is not None else None
        self._trust = Trust()
        self._gates = gates

    @property
    def limiting(self) -> str | None:
        """What holds calls up, in words."""
        if not self._trust.is_clear:
            return f"{self.name} refused a call; another one decides"
        return (self._outage and self._outage.limiting) or self.pace.limiting

    def enter_nowait(self, tokens: int) -> Pass | None:
        """Leave for an attempt that need not wait for anything; None where it has to, or where there is a budget."""
        outage = self._outage
        if self._gates.budget is not None or not self._trust.is_clear or (outage is not None and outage.is_on):
            return None
        ticket = self.pace.admit_nowait(tokens)
        if ticket is None:
            return None
        return Pass(ticket, outage.sent() if outage is not None else 0, False, None)

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Pass:
        """See `Gate.enter`."""
        budget, reservation = self._gates.budget, None
        if budget is not None and price is not None:
            reservation = await budget.admit(price.kind, price.prompt_usd, price.answer_usd, is_bound=price.is_bound)
        try:
            return await self._enter(tokens, reservation, is_patient=is_patient)
        except BaseException:
            if budget is not None and reservation is not None:
                budget.settle(reservation, None)
            raise

    async def _enter(self, tokens: int, reservation: Reservation | None, *, is_patient: bool) -> Pass:
        trust, outage = self._trust, self._outage
        if outage is None:
            return Pass(await self.pace.admit(tokens), 0, False, reservation)
        while True:
            decides = False if trust.is_clear else await trust.ready()
            ticket: Ticket | None = None
            number = 0
            try:
                if trust.refusal is not None:
                    raise EndpointRefused(self.name, trust.refusal)
                if not is_patient:
                    outage.check()
                number = await outage.ready()
                was_on = outage.is_on
                ticket = self.pace.admit_nowait(tokens)
                if ticket is None:
                    ticket = await self.pace.admit(tokens)
                    # What began while it waited holds for it as well.
                    if not ((trust.is_clear or decides) and (was_on or not outage.is_on)):
                        self._let_go(ticket, number, decides)
                        continue
                return Pass(ticket, number, decides, reservation)
            except BaseException:
                if number or decides:
                    self._let_go(ticket, number, decides)
                raise

    def _let_go(self, ticket: Ticket | None, number: int, decides: bool) -> None:
        self._trust.undecided(decides)
        if self._outage is not None and number:
            self._outage.given_up()
        if ticket is not None:
            self.pace.drop(ticket)

    def answered(self, leave: Pass, end: Settlement) -> None:
        """See `Gate.answered`."""
        self._settle(leave, end)
        self.pace.settle(leave.ticket, end.tokens, None, end.limits)
        if self._outage is not None:
            self._trust.answered(leave.decides)
            self._outage.answered(leave.number)

    async def failed(self, leave: Pass, error: CallError, end: Settlement) -> Verdict:
        """See `Gate.failed`."""
        self._settle(leave, end, is_unknown=isinstance(error, CallTimedOut))
        self.pace.settle(leave.ticket, end.tokens, error, end.limits)
        if self._outage is None:
            return Verdict.OWN
        again = self._outage.failed(error, leave.number)
        if isinstance(error, RUN_WIDE):
            return Verdict.EVERY if await self._trust.refused(error, leave.decides) else Verdict.OWN
        if isinstance(error, TransientError):
            self._trust.undecided(leave.decides)
        else:
            self._trust.answered(leave.decides)
        return Verdict.AGAIN if again else Verdict.OWN

    def given_up(self, leave: Pass) -> None:
        """See `Gate.given_up`."""
        budget = self._gates.budget
        if budget is not None and leave.reservation is not None:
            budget.cancel(leave.reservation)
        self._let_go(leave.ticket, leave.number, leave.decides)

    def _settle(self, leave: Pass, end: Settlement, *, is_unknown: bool = False) -> None:
        budget = self._gates.budget
        if budget is None or leave.reservation is None:
            return
        if is_unknown:
            budget.cancel(leave.reservation)  # nobody read what the provider may bill all the same
        else:
            budget.settle(leave.reservation, end.cost_usd)


class Gates:
    """All gates of a run. `budget` is what all its calls may cost together, None for no limit."""

    def __init__(self, options: GateOptions | None = None) -> None:
        self._options = options or GateOptions()
        self._gates: dict[tuple[str | None, ...], NearGate] = {}
        self.budget: Budget | None = None
        self.on_their_way = 0  # rows that were sent elsewhere, and have not begun there

    @property
    def is_budgeted(self) -> bool:
        """Whether calls have to say what they may cost."""
        return self.budget is not None

    @property
    def is_of_a_run(self) -> bool:
        """Whether a call that no other one could do better than ends them all."""
        return self._options.outage_patience_s is not None

    def of(self, endpoint: Endpoint) -> NearGate:
        """The gate of an endpoint: the same one for the same model, address and key."""
        key = (endpoint.lane, endpoint.name, endpoint.base_url, endpoint.api_key)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = NearGate(endpoint, self._options, self)
        return gate

    def is_idle(self) -> bool:
        """Whether hardly a call waits to be let through, or will soon, so that more rows at once are of use."""
        return self.on_their_way + sum(gate.pace.waiting for gate in self._gates.values()) < _SLOW_START

    @property
    def limiting(self) -> str | None:
        """What holds calls up now, in words; None when nothing does."""
        if self.budget is not None and self.budget.waiting:
            return "the budget: calls in flight first"
        found = [(gate.name, gate.limiting) for gate in self._gates.values()]
        held = [(name, why) for name, why in found if why]
        if len(held) <= 1:
            return held[0][1] if held else None
        return ", ".join(f"{name}: {why}" for name, why in held)


class FarGates:
    """The gates of a run whose event loop runs in another thread."""

    def __init__(self, gates: AllGates, loop: asyncio.AbstractEventLoop) -> None:
        self._gates = gates
        self._loop = loop

    @property
    def is_budgeted(self) -> bool:
        """Whether calls have to say what they may cost."""
        return self._gates.is_budgeted

    @property
    def is_of_a_run(self) -> bool:
        """Whether a call that no other one could do better than ends them all."""
        return self._gates.is_of_a_run

    def of(self, endpoint: Endpoint) -> "FarGate":
        """The gate of an endpoint."""
        return FarGate(endpoint, self._gates, self._loop)


class FarGate:
    """A gate that another event loop has."""

    def __init__(self, endpoint: Endpoint, gates: AllGates, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._gates = gates
        self._loop = loop

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Pass:
        """See `Gate.enter`."""

        async def enter() -> Pass:
            return await self._gates.of(self._endpoint).enter(tokens, price, is_patient=is_patient)

        entering = asyncio.run_coroutine_threadsafe(enter(), self._loop)
        try:
            return await asyncio.wrap_future(entering)
        except BaseException:
            # Cancelled here when it had been let in there.
            entering.add_done_callback(
                lambda done: None if done.cancelled() or done.exception() else self.given_up(done.result())
            )
            raise

    def answered(self, leave: Pass, end: Settlement) -> None:
        """See `Gate.answered`."""
        self._loop.call_soon_threadsafe(lambda: self._gates.of(self._endpoint).answered(leave, end))

    async def failed(self, leave: Pass, error: CallError, end: Settlement) -> Verdict:
        """See `Gate.failed`."""

        async def failed() -> Verdict:
            return await self._gates.of(self._endpoint).failed(leave, error, end)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(failed(), self._loop))

    def given_up(self, leave: Pass) -> None:
        """See `Gate.given_up`."""
        self._loop.call_soon_threadsafe(lambda: self._gates.of(self._endpoint).given_up(leave))


def _limit(limits: Mapping[str, int], endpoint: Endpoint) -> int | None:
    """The limit of a model, under any name that users have for it."""
    for name in (endpoint.name, endpoint.model, ""):
        if name in limits:
            return limits[name]
    return None
