"""The budget: never passed when outputs keep to their limit, used up to the last call, and in nobody's way before."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun.errors import BudgetExhausted, Category, RowBudgetExceeded
from crewrun.limits.budget import Budget, Hold, check_row
from crewrun.limits.cross_loop import CrossLoopLimiters
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.options import LimiterOptions
from crewrun.limits.permit import CallPrice
from crewrun.messages import Endpoint

IN_FLIGHT = 64


@dataclass
class Ran:
    """What a simulated run came to. `highest_usd` is the most that was ever spent."""

    budget: Budget
    calls: int = 0
    peak: int = 0
    highest_usd: float = 0.0
    took_s: float = 0.0
    refused: int = 0


@dataclass(frozen=True)
class Kind:
    """Calls with one price and one shape of outputs, in tokens; `sigma` is the lognormal's."""

    name: str
    prompt_usd: float
    completion_usd: float
    max_tokens: int
    mean_tokens: float
    sigma: float
    latency_s: float

    def outputs(self, dice: random.Random) -> int:
        drawn = self.mean_tokens * dice.lognormvariate(-(self.sigma**2) / 2, self.sigma)
        return max(1, min(self.max_tokens, round(drawn)))


def run(budget: Budget, kinds: list[Kind], seed: int, outputs: Callable[[Kind], int] | None = None) -> Ran:
    """Workers that call for ever until the budget refuses, on a clock that jumps."""
    dice = random.Random(seed)
    ran = Ran(budget)

    async def work() -> None:
        while True:
            kind, prompt = dice.choice(kinds), dice.randint(50, 500)
            try:
                held = await budget.admit(kind.name, prompt * kind.prompt_usd, kind.max_tokens * kind.completion_usd)
            except BudgetExhausted:
                ran.refused += 1
                return
            ran.calls += 1
            ran.peak = max(ran.peak, budget.in_flight)
            completion = (outputs or (lambda kind: kind.outputs(dice)))(kind)
            await anyio.sleep(kind.latency_s * dice.expovariate(1))
            ended = dice.random()
            cost = prompt * kind.prompt_usd + completion * kind.completion_usd
            if ended < 0.02:
                budget.forfeit(held)
            else:
                budget.settle(held, None if ended < 0.05 else cost)
            ran.highest_usd = max(ran.highest_usd, budget.spent_usd)

    async def main() -> None:
        async with anyio.create_task_group() as workers:
            for _ in range(IN_FLIGHT):
                workers.start_soon(work)
        ran.took_s = anyio.current_time()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return ran


def some_kinds(dice: random.Random) -> list[Kind]:
    def kind(name: str) -> Kind:
        max_tokens = dice.choice([256, 1024, 4096])
        return Kind(
            name,
            prompt_usd=dice.uniform(0.05, 3) * 1e-6,
            completion_usd=dice.uniform(0.2, 15) * 1e-6,
            max_tokens=max_tokens,
            mean_tokens=max_tokens / dice.uniform(1.2, 5),
            sigma=dice.uniform(0.3, 1.5),
            latency_s=dice.uniform(0.2, 20),
        )

    return [kind(name) for name in ("draft", "review")[: dice.randint(1, 2)]]


def dearest_usd(kinds: list[Kind]) -> float:
    return max(500 * kind.prompt_usd + kind.max_tokens * kind.completion_usd for kind in kinds)


@pytest.mark.parametrize("tens", range(10))
def test_a_budget_is_used_up_and_never_passed(tens: int) -> None:
    """30 runs at 64 in flight: random prices, latencies and heavy tails, some calls cancelled, some not billed."""
    for seed in range(tens * 30, tens * 30 + 30):
        dice = random.Random(seed)
        kinds = some_kinds(dice)
        limit_usd = dearest_usd(kinds) * dice.uniform(34, 40)
        earlier_usd = limit_usd * dice.choice([0, 0, 0.5])
        ran = run(Budget(limit_usd, earlier_usd), kinds, seed)
        budget = ran.budget
        assert ran.highest_usd == budget.spent_usd <= budget.limit_usd, f"seed {seed}"
        assert budget.spent_usd >= 0.97 * budget.limit_usd, f"seed {seed}"
        assert (budget.reserved_usd, budget.in_flight, budget.waiting, ran.refused) == (0, 0, 0, IN_FLIGHT)


@pytest.mark.parametrize("calm", [0.0, 0.2, 0.5, 0.8, 0.95])
def test_outputs_that_all_grow_to_their_limit_at_once_do_not_pass_it(calm: float) -> None:
    """What was learned from short outputs is worth nothing in the moment in which every call in flight runs full."""
    for seed in range(3):
        dice = random.Random(seed)
        kind = Kind("draft", 1e-7, 1e-5, 4000, 400, 1.0, 5.0)
        budget = Budget(dearest_usd([kind]) * 40)

        def outputs(kind: Kind, budget: Budget = budget, dice: random.Random = dice) -> int:
            return kind.outputs(dice) if budget.spent_usd < calm * budget.limit_usd else kind.max_tokens

        ran = run(budget, [kind], seed, outputs)
        assert 0.97 * budget.limit_usd <= ran.highest_usd <= budget.limit_usd


def test_worst_cases_of_twenty_times_the_mean_leave_a_run_its_speed() -> None:
    """A budget of 5,000 mean calls: all 64 run at once, and the whole takes less than twice the time without one."""
    kind = Kind("draft", 0.0, 1e-5, 2000, 100, 1.0, 5.0)
    ran = run(Budget(5000 * 100 * 1e-5), [kind], seed=1)
    unlimited_s = ran.calls / IN_FLIGHT * kind.latency_s
    assert ran.peak == IN_FLIGHT
    assert ran.took_s < 2 * unlimited_s


amounts = st.floats(0, 1, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.5, 20), st.lists(st.tuples(amounts, amounts, st.floats(0, 1), st.integers(0, 3)), max_size=60))
def test_what_is_spent_and_reserved_never_passes_the_limit(
    limit_usd: float, calls: list[tuple[float, float, float, int]]
) -> None:
    """Whatever the calls cost within what was said of them, in whatever order they end."""
    budget = Budget(limit_usd)
    open_calls: list[tuple[Hold, float]] = []
    for input_usd, worst_usd, share, choice in calls:
        try:
            held = budget.admit_nowait("kind", input_usd, worst_usd)
        except BudgetExhausted:
            held = None
        if held is not None:
            open_calls.append((held, input_usd + worst_usd if share > 0.5 else input_usd + share * worst_usd))
        if choice and open_calls:
            held, cost_usd = open_calls.pop(choice % len(open_calls))
            budget.forfeit(held) if choice == 3 else budget.settle(held, cost_usd if choice == 2 else None)
        assert budget._spent + budget._reserved <= budget._limit
    for held, cost_usd in open_calls:
        budget.settle(held, cost_usd)
    assert (budget.spent_usd <= budget.limit_usd, budget.reserved_usd, budget.in_flight) == (True, 0, 0)


def test_calls_that_fit_are_admitted_without_waiting_and_the_rest_one_by_one() -> None:
    """Two worst cases fit at first; the third call waits until one of them gives its rest back."""

    async def main() -> list[object]:
        budget = Budget(10, spent_usd=1)
        seen: list[object] = []
        one = await budget.admit("kind", 1, 3)
        await budget.admit("kind", 1, 3)
        seen.append((budget.spent_usd, budget.reserved_usd, budget.in_flight))
        seen.append(budget.admit_nowait("kind", 1, 3))
        async with anyio.create_task_group() as tasks:

            async def third() -> None:
                await budget.admit("kind", 1, 3)
                seen.append(("third", anyio.current_time(), budget.spent_usd, budget.reserved_usd, budget.in_flight))

            tasks.start_soon(third)
            await anyio.sleep(5)
            seen.append(budget.waiting)
            budget.settle(one, 0.5)
        return seen

    seen = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert seen == [(1, 8, 2), None, 1, ("third", 5, 1.5, 8, 2)]


async def order_of_admission(budget: Budget, *calls: tuple[str, float], gives_up: str = "") -> list[tuple[str, float]]:
    """Who is admitted at which second: all ask while a call of 8 USD is in flight, which costs 1 and ends at 5 s."""
    first = await budget.admit("first", 0, 8)
    admitted: list[tuple[str, float]] = []
    async with anyio.create_task_group() as tasks:

        async def call(name: str, worst_usd: float) -> None:
            with anyio.move_on_after(3 if name == gives_up else 100):
                held = await budget.admit(name, 0, worst_usd)
                admitted.append((name, anyio.current_time()))
                await anyio.sleep(1)
                budget.settle(held, 1)

        for name, worst_usd in calls:
            tasks.start_soon(call, name, worst_usd)
            await anyio.sleep(1)
        await anyio.sleep_until(5)
        budget.settle(first, 1)
    return admitted


def test_a_dear_call_is_not_overtaken_for_ever_by_cheap_ones() -> None:
    """Calls are admitted in the order in which they asked, although the cheap one would fit at once."""
    admitted = trio.run(
        lambda: order_of_admission(Budget(10), ("dear", 8.5), ("cheap", 1)),
        clock=trio.testing.MockClock(autojump_threshold=0),
    )
    assert admitted == [("dear", 5), ("cheap", 6)]


def test_a_call_that_stops_waiting_lets_the_next_ones_by() -> None:
    """A row that is given up while its call waits: those behind it fit."""
    budget = Budget(10)
    admitted = trio.run(
        lambda: order_of_admission(budget, ("dear", 8.5), ("cheap", 1), gives_up="dear"),
        clock=trio.testing.MockClock(autojump_threshold=0),
    )
    assert (admitted, budget.in_flight, budget.reserved_usd, budget.spent_usd) == ([("cheap", 3)], 0, 0, 2)


def test_a_call_cancelled_in_the_moment_of_its_admission_reserves_nothing() -> None:
    """It never went out, so it costs nothing and leaves its place."""

    async def main() -> tuple[bool, float, float, int]:
        budget = Budget(10)
        held = await budget.admit("kind", 0, 8)
        second = asyncio.create_task(budget.admit("kind", 0, 8))
        await anyio.wait_all_tasks_blocked()
        budget.settle(held, 1)
        second.cancel()
        await asyncio.wait([second])
        return second.cancelled(), budget.spent_usd, budget.reserved_usd, budget.in_flight

    assert asyncio.run(main()) == (True, 1, 0, 0)


def test_all_who_wait_are_refused_when_the_first_cannot_fit_any_more() -> None:
    """What was in flight turned out dear: the message says what is spent, the limit, and the way on."""

    async def main() -> tuple[list[BudgetExhausted], Budget]:
        budget = Budget(10)
        held = await budget.admit("kind", 2, 6)
        refusals: list[BudgetExhausted] = []
        async with anyio.create_task_group() as tasks:

            async def call(worst_usd: float) -> None:
                try:
                    await budget.admit("kind", 0, worst_usd)
                except BudgetExhausted as refused:
                    refusals.append(refused)

            for worst_usd in (4, 3, 0.5):
                tasks.start_soon(call, worst_usd)
                await anyio.sleep(0.1)
            budget.settle(held, 7.25)
        await call(0.5)
        return refusals, budget

    refusals, budget = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    message = (
        "$7.25 of the budget of $10 is spent and the next call may cost $4; "
        "the same command with a larger --budget goes on"
    )
    # The cheapest one would have fitted and was admitted at once, had it not been behind the others.
    assert [(str(e), e.spent_usd, e.limit_usd, e.needed_usd) for e in refusals] == [(message, 7.25, 10, 4)] * 4
    assert {(e.exit_code, e.category, e.retryable) for e in refusals} == {(5, Category.BUDGET, False)}
    assert (budget.is_exhausted, budget.waiting, budget.in_flight) == (True, 0, 0)


def test_what_earlier_sessions_spent_counts() -> None:
    """The same command again without a larger budget sends nothing."""
    budget = Budget(10, spent_usd=9.5)
    with pytest.raises(BudgetExhausted, match=r"\$9\.5 of the budget of \$10 is spent"):
        budget.admit_nowait("kind", 0.5, 0.5)


def test_a_call_dearer_than_the_whole_limit_is_refused_alone() -> None:
    """One row with an absurd prompt does not end the run for the others."""
    budget = Budget(10)
    with pytest.raises(BudgetExhausted) as refused:
        budget.admit_nowait("kind", 10, 1)
    assert (refused.value.needed_usd, budget.is_exhausted) == (11, False)
    assert budget.admit_nowait("kind", 5, 5) is not None


def test_a_call_with_an_unknown_bill_costs_its_worst() -> None:
    """The provider may bill what nobody waited for, to its end, and no outputs of others tell what that is."""
    budget = Budget(100)
    for output_usd in range(1, 3):
        held = budget.admit_nowait("draft", 2, 30)
        assert held is not None
        budget.settle(held, 2 + output_usd)
    held = budget.admit_nowait("draft", 2, 30)
    assert held is not None
    budget.forfeit(held)
    assert budget.spent_usd == 3 + 4 + 32
    with pytest.raises(BudgetExhausted, match=r"\$39 of the budget of \$100 is spent, up to \$32 of it on calls whose"):
        budget.admit_nowait("draft", 2, 60)


def test_the_unknown_part_of_a_bill_counts_beside_the_known_one() -> None:
    """An estimate is spent, and up to what the bytes allow may be owed."""
    budget = Budget(10)
    held = budget.admit_nowait("draft", 1, 4)
    assert held is not None
    budget.settle(held, 2, owed_usd=1.5)
    assert (budget.spent_usd, budget.reserved_usd) == (3.5, 0)


def test_a_guess_gives_way_to_what_outputs_cost() -> None:
    """Where no max_tokens bounds the output: after 20 outputs of at most 3 USD, twice that in place of the guess."""
    budget = Budget(1000)
    reserved = []
    for output_usd in [1, 2] * 9 + [3, 1, 1]:
        held = budget.admit_nowait("draft", 2, 30, is_bound=False)
        assert held is not None
        reserved.append(budget.reserved_usd)
        budget.settle(held, 2 + output_usd)
    assert reserved == [32] * 20 + [8]
    bound = budget.admit_nowait("draft", 2, 30)
    assert (bound is not None, budget.reserved_usd) == (True, 32)


def test_a_guess_is_said_to_be_one() -> None:
    """With what would bound the call."""
    with pytest.raises(BudgetExhausted) as refused:
        Budget(1).admit_nowait("draft", 2, 30, is_bound=False)
    assert str(refused.value) == (
        "$0 of the budget of $1 is spent and the next call may cost $32 (an estimate, since max_tokens is not set; "
        "setting it in the llm lowers this); the same command with a larger --budget goes on"
    )


def test_a_call_that_was_not_billed_gives_everything_back() -> None:
    """As does one that was refused with a 429."""
    budget = Budget(1)
    held = budget.admit_nowait("kind", 0.5, 0.5)
    assert held is not None
    budget.settle(held, None)
    assert (budget.spent_usd, budget.reserved_usd, budget.admit_nowait("kind", 0.5, 0.5) is None) == (0, 0, False)


def test_a_call_that_cost_more_than_it_could_is_counted_in_full() -> None:
    """A provider that ignores max_tokens: nothing is hidden, and nothing more goes out."""
    budget = Budget(10)
    held = budget.admit_nowait("kind", 0, 1)
    assert held is not None
    budget.settle(held, 12)
    assert budget.spent_usd == 12
    with pytest.raises(BudgetExhausted):
        budget.admit_nowait("kind", 0, 0)


def test_many_small_costs_add_up_exactly() -> None:
    """Floats would not: 0.1 + 0.2 is more than 0.3, and a thousand tenths are less than a hundred."""
    budget = Budget(100)
    for _ in range(1000):
        held = budget.admit_nowait("kind", 0.04, 0.06)
        assert held is not None
        budget.settle(held, 0.1)
    assert (budget.spent_usd, budget.reserved_usd) == (100, 0)


def test_settling_twice_is_an_error() -> None:
    """The second time would free what another call has reserved."""
    budget = Budget(10)
    held = budget.admit_nowait("kind", 1, 1)
    assert held is not None
    budget.settle(held, 1)
    with pytest.raises(RuntimeError, match="'kind' is settled twice"):
        budget.forfeit(held)


@pytest.mark.parametrize(
    ("limit_usd", "spent_usd"),
    [
        pytest.param(0, 0, id="nothing"),
        pytest.param(-1, 0, id="negative"),
        pytest.param(float("nan"), 0, id="not a number"),
        pytest.param(float("inf"), 0, id="endless"),
        pytest.param(1, -1, id="negative past"),
        pytest.param(1, float("nan"), id="unknown past"),
    ],
)
def test_what_is_no_budget_is_refused(limit_usd: float, spent_usd: float) -> None:
    """The command line says so in its own words before."""
    with pytest.raises(ValueError, match="no budget"):
        Budget(limit_usd, spent_usd)


@pytest.mark.parametrize(("cost_usd", "passes"), [(None, True), (0.0, True), (0.0499, True), (0.05, False), (1, False)])
def test_a_row_is_ended_by_its_own_budget(cost_usd: float | None, passes: bool) -> None:
    """A row that has nothing left makes no further call; one whose cost nobody knows is not held up."""
    if passes:
        check_row(cost_usd, 0.0, 0.05)
        return
    with pytest.raises(RowBudgetExceeded) as refused:
        check_row(cost_usd, 0.0, 0.05)
    assert (str(refused.value), refused.value.category) == (
        f"the row has cost ${cost_usd:g} of at most $0.05 (--row-budget) and asks for another call; "
        "the same command with a larger --row-budget goes on from here",
        Category.BUDGET,
    )


def test_a_call_of_another_loop_that_is_cancelled_as_it_is_let_in_reserves_nothing() -> None:
    """The run's loop is busy at that moment, lets it in all the same, and takes the permit back."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()

    async def make() -> LocalLimiters:
        limiters = LocalLimiters(LimiterOptions())
        limiters.budget = Budget(1)
        return limiters

    async def settled() -> tuple[int, float]:
        for _ in range(5):  # what was scheduled meanwhile has its turn
            await asyncio.sleep(0)
        assert limiters.budget is not None
        return limiters.budget.in_flight, limiters.budget.reserved_usd

    async def cancelled() -> None:
        limiter = CrossLoopLimiters(limiters, loop).of(Endpoint("direct", "openai", "m", base_url="http://x"))
        is_busy, may_go_on = Event(), Event()
        loop.call_soon_threadsafe(is_busy.set)
        loop.call_soon_threadsafe(may_go_on.wait)
        is_busy.wait()
        entering = asyncio.ensure_future(limiter.enter(10, CallPrice(("m", "t"), 10, 1e-6, 1, 1e-3, True)))
        await asyncio.sleep(0)
        entering.cancel()
        await asyncio.wait([entering])
        may_go_on.set()
        assert entering.cancelled()

    try:
        limiters = asyncio.run_coroutine_threadsafe(make(), loop).result()
        asyncio.run(cancelled())
        assert asyncio.run_coroutine_threadsafe(settled(), loop).result() == (0, 0)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
