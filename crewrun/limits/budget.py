"""What a run may cost: `Budget`, which admits calls as long as they fit, and `check_row`, the same for one row.

A call is admitted only if what is spent, the most that the calls in flight can cost and the most that it can cost
itself fit into the limit; else it waits for calls in flight, which usually give most of theirs back. So as long as no
call costs more than its stated maximum, the limit holds whatever the models do, and less stays unspent than the one
call that did not fit would have cost. Far from the limit no call waits; near it calls go one at a time.

Rejected: to hold back for a call only what its kind usually costs, the 95th percentile, and for n calls in flight as
many worst cases as are exceeded once in a million. 64 in flight, worst cases 20 times the mean cost of
a lognormal call (sigma 1), budgets in mean costs, time in mean latencies, mean of 20 seeded runs each:

    budget                                200     700    2,000    10,000
    time, by worst cases                   63      89      115       259
    time, by percentiles                   58      64       86       231
    in flight at first, either way         10      35       64        64
    share used, either way               91 %    97 %     99 %     100 %
    most spent if all outputs grow at once to their limit
          by worst cases                 99 %   100 %    100 %     100 %
          by percentiles                134 %   181 %    136 %     108 %

The last calls take most of the time either way, and no percentile of a single call is safe.
"""

from collections import deque
from dataclasses import dataclass, field
from math import isfinite

import anyio

from crewrun.errors import BUDGET_OF_A_COMMAND, BudgetExhausted, RowBudgetExceeded
from crewrun.limits.high_water import HighWaterMark

# Amounts are whole picodollars: a running sum of floats would drift over a million calls.
_PER_USD = 1e12
# Outputs remembered of each kind: the latest, so that those of earlier prompts are forgotten.
_OUTPUTS = 200
# With fewer outputs than this, twice the dearest is no bound for the next one: they do not show the 95th percentile.
_FEWEST = 20


@dataclass(slots=True, eq=False)
class Hold:
    """The part of the budget held back for one call in flight: the most that it may cost. Released once, by `settle` or
    `forfeit`.
    """

    kind: object
    input: int
    worst: int
    is_bound: bool = True
    is_open: bool = True
    is_sent: bool = False

    @property
    def worst_usd(self) -> float:
        """The most that the call can cost."""
        return self.worst / _PER_USD


@dataclass(slots=True, eq=False)
class _BudgetWaiter:
    hold: Hold
    is_optional: bool = False
    is_admitted: bool = False
    decided: anyio.Event = field(default_factory=anyio.Event)


class Budget:
    """At most `limit_usd` for all calls of a run, of which earlier sessions spent `spent_usd`. For one event loop.

    `owed_usd` of that is what attempts with unknown bills may have cost. With a `mark`, no call is sent before the
    journal has a mark that covers it, so that no bill is lost in a kill.

    Every attempt of a call is admitted, and settled or forfeited, on its own. A call that has a hold must not wait for
    another hold. Raises ValueError for a limit that is not above 0, or amounts that are not numbers.
    """

    def __init__(
        self,
        limit_usd: float,
        spent_usd: float = 0.0,
        owed_usd: float = 0.0,
        mark: HighWaterMark | None = None,
        remedy: str = BUDGET_OF_A_COMMAND,
    ) -> None:
        if not (isfinite(limit_usd) and limit_usd > 0 and isfinite(spent_usd) and spent_usd >= 0):
            raise ValueError(f"no budget: {limit_usd!r} USD, of which {spent_usd!r} are spent")
        self._limit = _pico(limit_usd)
        self._spent = self._before = _pico(spent_usd)
        self._owed = _pico(owed_usd)
        self._mark = mark
        self._remedy = remedy
        self._reserved = 0
        self._sent = 0  # the part reserved for calls that are on the wire
        self._waiting: deque[_BudgetWaiter] = deque()
        self._outputs: dict[object, deque[int]] = {}
        self._missed: Hold | None = None  # that of the first call that did not fit
        self.in_flight = 0

    @property
    def limit_usd(self) -> float:
        """The most that may be spent."""
        return self._limit / _PER_USD

    @property
    def spent_usd(self) -> float:
        """The cost of settled calls, with those of earlier sessions, and the most that unknown bills may come to."""
        return self._spent / _PER_USD

    @property
    def reserved_usd(self) -> float:
        """The most that the calls in flight can cost."""
        return self._reserved / _PER_USD

    @property
    def waiting(self) -> int:
        """How many calls wait for those in flight. Above 0, the budget is what limits the run now."""
        return len(self._waiting)

    @property
    def is_exhausted(self) -> bool:
        """Whether a call did not fit; then no further call is admitted."""
        return self._missed is not None

    async def admit(self, kind: object, input_usd: float, worst_usd: float, *, is_bound: bool = True) -> Hold:
        """Wait until a call fits: `input_usd` for its prompt and at most `worst_usd`, finite, for its output.

        If nothing bounds the output, `worst_usd` is a guess. Once enough outputs of the kind are known, twice the
        dearest of them replaces it, and the limit holds as long as outputs go on like that.

        `kind` is hashable, for instance (model, task): the cost of outputs is learned per kind. Calls are admitted in
        the order of their requests. Raises BudgetExhausted as soon as the call cannot fit whatever those in flight turn
        out to cost, and from then on for all waiting and later calls. A call that is dearer than the whole limit is
        refused alone.
        """
        hold = self.admit_nowait(kind, input_usd, worst_usd, is_bound=is_bound)
        if hold is not None:
            return hold
        waiter = _BudgetWaiter(self._hold_for(kind, input_usd, worst_usd, is_bound=is_bound))
        self._waiting.append(waiter)
        await self._decided(waiter)
        if not waiter.is_admitted:
            raise self._refusal(self._missed or waiter.hold)
        return waiter.hold

    def admit_nowait(self, kind: object, input_usd: float, worst_usd: float, *, is_bound: bool = True) -> Hold | None:
        """As `admit`, but None if the call would have to wait."""
        hold = self._hold_for(kind, input_usd, worst_usd, is_bound=is_bound)
        if hold.worst > self._limit:
            raise self._refusal(hold)
        if self._missed is None and self._spent + hold.worst > self._limit:
            self._exhaust(hold)
        if self._missed is not None:
            raise self._refusal(self._missed)
        if self._waiting or not self._fits(hold):
            return None
        return self._take(hold)

    async def admit_probe(
        self, kind: object, input_usd: float, worst_usd: float, *, is_bound: bool = True
    ) -> Hold | None:
        """As `admit`, ahead of all waiting calls, for a call that they depend on. None if it cannot fit, which does not
        exhaust the budget.
        """
        hold = self._hold_for(kind, input_usd, worst_usd, is_bound=is_bound)
        if self._missed is not None or self._spent + hold.worst > self._limit:
            return None
        if self._fits(hold):
            return self._take(hold)
        waiter = _BudgetWaiter(hold, is_optional=True)
        self._waiting.appendleft(waiter)
        await self._decided(waiter)
        return waiter.hold if waiter.is_admitted else None

    def take_over(self, worst_usd: float) -> Hold:
        """Hold back what a call of an earlier session may still cost, whether it fits or not: it is on its way."""
        return self._take(Hold("", 0, _pico(worst_usd)))

    def learn(self, kind: object, output_usd: float) -> None:
        """An output of an earlier session cost `output_usd`."""
        self._outputs.setdefault(kind, deque(maxlen=_OUTPUTS)).append(_pico(output_usd))

    async def cover(self, hold: Hold, *, is_alone: bool = False) -> None:
        """The call is about to be sent: return once the journal covers it. Raises JournalFailed.

        `is_alone` says that no other call can proceed; see `HighWaterMark.cover_alone`.
        """
        hold.is_sent = True
        self._sent += hold.worst
        if self._mark is not None:
            cover = self._mark.cover_alone if is_alone else self._mark.cover
            await cover((self._spent - self._before + self._sent) / _PER_USD)

    def settle(self, hold: Hold, cost_usd: float | None, owed_usd: float = 0.0) -> None:
        """The call has ended and cost `cost_usd`, None if nothing was billed. It may have cost `owed_usd` more."""
        cost, owed = (_pico(max(0.0, usd or 0.0)) for usd in (cost_usd, owed_usd))
        if cost_usd is not None:
            self._outputs.setdefault(hold.kind, deque(maxlen=_OUTPUTS)).append(max(0, cost - hold.input))
        self._owed += owed
        self._give_back(hold, cost + owed)

    def forfeit(self, hold: Hold) -> None:
        """The call has ended and its cost will stay unknown: it counts as the most that it could cost."""
        self._owed += hold.worst
        self._give_back(hold, hold.worst)

    def _hold_for(self, kind: object, input_usd: float, worst_usd: float, *, is_bound: bool) -> Hold:
        # The sum is rounded, not its parts: then no cost within it can be rounded to more.
        hold = Hold(kind, _pico(input_usd), _pico(input_usd + worst_usd), is_bound)
        self._reconsider(hold)
        return hold

    def _reconsider(self, hold: Hold) -> None:
        """Replace a guess by what outputs have cost; with few outputs, only if that is more than the guess."""
        outputs = None if hold.is_bound else self._outputs.get(hold.kind)
        if outputs:
            learned = hold.input + 2 * max(outputs)
            hold.worst = learned if len(outputs) >= _FEWEST else max(hold.worst, learned)

    def _fits(self, hold: Hold) -> bool:
        return self._spent + self._reserved + hold.worst <= self._limit

    def _take(self, hold: Hold) -> Hold:
        self._reserved += hold.worst
        self.in_flight += 1
        return hold

    def _give_back(self, hold: Hold, cost: int) -> None:
        if not hold.is_open:
            raise RuntimeError(f"a call of {hold.kind!r} is settled twice")
        hold.is_open = False
        self._reserved -= hold.worst
        if hold.is_sent:
            self._sent -= hold.worst
        self.in_flight -= 1
        self._spent += cost
        if self._waiting:
            self._wake()

    async def _decided(self, waiter: _BudgetWaiter) -> None:
        """Wait until the call is admitted or refused."""
        try:
            await waiter.decided.wait()
        except BaseException:
            if waiter.is_admitted:
                self.settle(waiter.hold, None)
            elif not waiter.decided.is_set():
                self._waiting.remove(waiter)
                self._wake()
            raise

    def _wake(self) -> None:
        """Admit calls from the head of the queue as long as they fit."""
        while self._waiting:
            head = self._waiting[0]
            self._reconsider(head.hold)
            if self._spent + head.hold.worst > self._limit:
                if head.is_optional:
                    self._waiting.popleft().decided.set()
                    continue
                self._exhaust(head.hold)
                return
            if not self._fits(head.hold):
                return
            self._waiting.popleft()
            self._take(head.hold)
            head.is_admitted = True
            head.decided.set()

    def _exhaust(self, missed: Hold) -> None:
        self._missed = missed
        while self._waiting:
            self._waiting.popleft().decided.set()

    def _refusal(self, missed: Hold) -> BudgetExhausted:
        needed_usd, is_bound = missed.worst / _PER_USD, missed.is_bound
        owed_usd = self._owed / _PER_USD
        return BudgetExhausted(
            self.spent_usd, self.limit_usd, needed_usd, is_bound=is_bound, owed_usd=owed_usd, remedy=self._remedy
        )


def check_row(cost_usd: float | None, owed_usd: float, limit_usd: float) -> None:
    """Check, before each attempt, a row that has cost `cost_usd`, and may have cost `owed_usd` more. A cost of None, of
    an unknown price, passes.

    Raises RowBudgetExceeded if nothing is left of the row's `limit_usd`, so that it exceeds its limit at most by the
    calls in flight.
    """
    if cost_usd is not None and cost_usd + owed_usd >= limit_usd:
        owed = f", and up to ${owed_usd:.6g} on calls whose bill is not known," if owed_usd else ""
        raise RowBudgetExceeded(
            f"the row has cost ${cost_usd:.6g}{owed} of at most ${limit_usd:.6g} (--row-budget) and asks for another "
            "call; the same command with a larger --row-budget goes on from here"
        )


def _pico(usd: float) -> int:
    return round(usd * _PER_USD)
