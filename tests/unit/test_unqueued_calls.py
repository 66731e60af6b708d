"""Calls that cannot wait for the others of their run: `enter_unqueued`, and calls of another event loop.

What they are let in with is given back whatever happens to them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from threading import Event, Thread
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

from crewrun.errors import AuthRefused, CallError, EndpointRefused, JournalFailed, NetworkError, RowBudgetExceeded
from crewrun.limits.budget import Budget
from crewrun.limits.cross_loop import CrossLoopLimiters
from crewrun.limits.high_water import HighWaterMark
from crewrun.limits.local_limiter import LocalLimiter
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.options import LimiterOptions
from crewrun.limits.permit import CallPrice, CallResult, Permit
from crewrun.messages import Endpoint

T = TypeVar("T")

ENDPOINT = Endpoint("direct", "openai", "m", base_url="http://x")
PRICE = CallPrice(("m", "task"), 100, 1e-3, 100, 4e-3, True)  # half a dollar at most


def on_a_virtual_clock(main: Callable[[], Awaitable[T]]) -> T:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def limiter(budget: Budget | None = None, **options: Any) -> LocalLimiter:
    limiters = LocalLimiters(LimiterOptions(outage_patience_s=300.0, **options))
    limiters.budget = budget
    return limiters.of(ENDPOINT)


def test_an_unqueued_call_holds_its_part_of_the_budget_until_it_is_answered() -> None:
    """And goes out beyond the number that may be in flight."""

    async def main() -> None:
        budget = Budget(1.0)
        one = limiter(budget, max_calls=1)
        first = await one.enter(10, PRICE)
        second = await one.enter_unqueued(10, PRICE)
        assert (second.attempt, second.is_probe, second.price) == (2, False, PRICE)
        assert second.hold is not None
        assert (second.hold.worst_usd, budget.in_flight, budget.reserved_usd) == (0.5, 2, 1.0)
        assert one.rate_limiter.in_flight == 2
        for permit in (second, first):
            one.answered(permit, CallResult(20, 0.1))
        assert (budget.in_flight, budget.reserved_usd, budget.spent_usd) == (0, 0.0, 0.2)
        assert one.rate_limiter.in_flight == 0

    on_a_virtual_clock(main)


def test_an_unqueued_call_without_a_budget_or_a_price_holds_nothing() -> None:
    """There is nothing that it could be held back by."""

    async def main() -> None:
        budget = Budget(1.0)
        assert (await limiter().enter_unqueued(10, PRICE)).hold is None
        assert (await limiter(budget).enter_unqueued(10, None)).hold is None
        assert budget.in_flight == 0

    on_a_virtual_clock(main)


def test_an_unqueued_call_that_the_budget_has_no_room_for_fails() -> None:
    """It would wait for calls that wait for it; when one of them has ended it would fit."""

    async def main() -> None:
        budget = Budget(1.0)
        one = limiter(budget)
        permits = [await one.enter(10, PRICE) for _ in range(2)]
        with pytest.raises(RowBudgetExceeded, match="a kickoff\\(\\) inside async code holds the event loop"):
            await one.enter_unqueued(10, PRICE)
        assert (budget.in_flight, one.rate_limiter.in_flight) == (2, 2)
        one.given_up(permits[0])
        await one.enter_unqueued(10, PRICE)

    on_a_virtual_clock(main)


def test_an_unqueued_call_keeps_to_what_the_provider_allows_in_a_minute() -> None:
    """Nobody else can end meanwhile, and time passes all the same."""

    async def main() -> list[float]:
        one = limiter(rpm={"": 2})
        went = []
        for _ in range(3):
            await one.enter_unqueued(10, None)
            went.append(trio.current_time())
        return [at - went[0] for at in went]

    assert on_a_virtual_clock(main) == pytest.approx([0.0, 30.125, 60.25])


def test_an_unqueued_call_of_an_endpoint_that_refuses_every_call_fails_at_once() -> None:
    """With what the endpoint said, and without a part of the budget."""

    async def main() -> None:
        budget = Budget(10.0)
        one = limiter(budget)
        error = AuthRefused("401: no such key")
        await one.failed(await one.enter(10, PRICE), error, CallResult())
        probe = await one.enter_probe(error, 10, PRICE)
        assert isinstance(probe, Permit)
        with pytest.raises(EndpointRefused):
            await one.failed(probe, error, CallResult())
        with pytest.raises(EndpointRefused, match="no such key"):
            await one.enter_unqueued(10, PRICE)
        assert budget.in_flight == 0

    on_a_virtual_clock(main)


def test_an_unqueued_call_in_an_outage_is_the_probe() -> None:
    """All others wait; so it waits until a probe is due, and goes as that."""

    async def main() -> None:
        one = limiter()
        for attempt in (1, 2):
            error = NetworkError("cannot connect: Connection refused")
            error.__cause__ = ConnectionRefusedError(111, "Connection refused")
            error.attempts = attempt
            await one.failed(await one.enter(10, None), error, CallResult())
        began = trio.current_time()
        permit = await one.enter_unqueued(10, None)
        assert permit.is_probe
        assert 0 < trio.current_time() - began < 10
        one.answered(permit, CallResult(10))
        assert not (await one.enter_unqueued(10, None)).is_probe

    on_a_virtual_clock(main)


def test_an_unqueued_call_that_cannot_be_journalled_gives_everything_back() -> None:
    """No call is sent that a kill would lose sight of; the mark is written by the loop that the call is in."""
    marks: list[float] = []

    async def main() -> None:
        def write(mark_usd: float) -> "asyncio.Future[None]":
            marks.append(mark_usd)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_exception(JournalFailed("disk full")) if len(marks) > 1 else done.set_result(None)
            return done

        budget = Budget(1.0, mark=HighWaterMark(write, 1.0))
        one = limiter(budget)
        await one.enter_unqueued(10, PRICE)
        with pytest.raises(JournalFailed):
            await one.enter_unqueued(10, PRICE)
        assert (budget.in_flight, budget.reserved_usd, one.rate_limiter.in_flight) == (1, 0.5, 1)

    asyncio.run(main())
    assert marks == [0.5, 1.0]


# Calls of another event loop


class OneLimiter:
    """Limiters of one endpoint, whose calls enter when the test says so; what is given up is noted."""

    is_budgeted, is_of_a_run = True, True

    def __init__(self, entered: Callable[[], Any]) -> None:
        self.entered = entered
        self.given: list[Any] = []
        self.is_entering = Event()

    def of(self, endpoint: Endpoint) -> "OneLimiter":
        return self

    async def enter(self, tokens: int, price: CallPrice | None, *, is_patient: bool = True) -> Any:
        self.is_entering.set()
        return self.entered()

    async def enter_probe(self, error: CallError | None, tokens: int, price: CallPrice | None) -> Any:
        return await self.enter(tokens, price)

    def given_up(self, permit: Permit, result: CallResult | None = None) -> None:
        self.given.append((permit, result))


def refuse() -> None:
    raise RowBudgetExceeded("no room")


@pytest.mark.parametrize(
    ("result", "is_given_back"),
    [(Permit(number=7), True), (True, False), (False, False), (refuse, False)],
    ids=["let in", "no probe is needed", "no probe fits", "refused"],
)
def test_a_call_of_another_loop_that_is_cancelled_gives_back_what_it_was_given(
    result: Any, is_given_back: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A permit, and nothing where there is none; nobody is told of an error that nobody waits for."""
    caplog.set_level(logging.ERROR)
    loop, complaints = asyncio.new_event_loop(), list[Any]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    thread = Thread(target=loop.run_forever)
    thread.start()
    one = OneLimiter(result if callable(result) else lambda: result)

    async def cancelled(entering: Coroutine[Any, Any, Any]) -> None:
        may_go_on = Event()
        loop.call_soon_threadsafe(may_go_on.wait)
        call = asyncio.ensure_future(entering)
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        may_go_on.set()
        assert call.cancelled()
        await asyncio.to_thread(one.is_entering.wait, 60)

    async def passed() -> None:
        for _ in range(5):  # what was scheduled meanwhile has its turn
            await asyncio.sleep(0)

    try:
        asyncio.run(cancelled(CrossLoopLimiters(one, loop).of(ENDPOINT).enter_probe(None, 10, None)))  # type: ignore[arg-type]  # as much of Limiters as is used
        asyncio.run_coroutine_threadsafe(passed(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert one.given == ([(result, None)] if is_given_back else [])
    assert complaints == []
    assert [record for record in caplog.records if record.name == "concurrent.futures"] == []
