"""What a provider asks to wait is the least that anybody waits: the call itself, those behind it, and probes."""

import itertools
import random

import anyio
import pytest
import trio
import trio.testing

from crewrun import Agent, Crew, GatewayOptions, RetryPolicy, Task
from crewrun.errors import CallError, RateLimited, ServerError
from crewrun.limits.circuit_breaker import CircuitBreaker
from crewrun.limits.permit import Permit
from crewrun.messages import ChatRequest
from crewrun.testing import scripted

ASKED_S = 7.0


class Lowest(random.Random):
    """Dice that always show the least: jitter adds nothing to a wait."""

    def uniform(self, a: float, b: float) -> float:
        return a


def crew(n: int) -> Crew:
    agent = Agent(role="Clerk", goal="answer", backstory="", llm="openai/m")
    return Crew(agents=[agent], tasks=[Task(description=f"Say {n}", expected_output="hi", agent=agent)])


@pytest.mark.parametrize("error", [RateLimited, ServerError], ids=["429", "503"])
def test_a_call_is_not_sent_again_before_it_was_asked_to(error: type[CallError]) -> None:
    """Each of three refusals asks for seven seconds, and has them."""
    sent_at: list[float] = []

    async def refuse(request: ChatRequest) -> str:
        sent_at.append(trio.current_time())
        raise error("later", retry_after_s=ASKED_S)

    async def main() -> None:
        options = GatewayOptions(RetryPolicy(rng=Lowest()))
        began = trio.current_time()
        async with scripted(refuse, refuse, refuse, "hi", options=options):
            await crew(0).akickoff()
        assert trio.current_time() - began == pytest.approx(3 * ASKED_S)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [after - before for before, after in itertools.pairwise(sent_at)] == [pytest.approx(ASKED_S)] * 2


def test_calls_behind_a_rate_limited_one_wait_as_long() -> None:
    """The limit is everybody's: a call that comes a second later is sent when the seven seconds are over."""
    sent_at: list[float] = []

    async def refuse(request: ChatRequest) -> str:
        raise RateLimited("later", retry_after_s=ASKED_S)

    async def answer(request: ChatRequest) -> str:
        sent_at.append(trio.current_time())
        return "hi"

    async def main() -> float:
        began = trio.current_time()
        async with scripted(refuse, answer, answer), anyio.create_task_group() as crews:
            crews.start_soon(crew(0).akickoff)
            await anyio.sleep(1)
            crews.start_soon(crew(1).akickoff)
        return began

    began = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(sent_at) == 2
    assert min(sent_at) - began >= ASKED_S


def test_a_probe_of_an_outage_waits_as_long() -> None:
    """A 503 that asks for seven seconds: the first probe goes then, and not after the usual second."""

    async def main() -> float:
        breaker = CircuitBreaker("m", rng=Lowest())
        down = ServerError("HTTP 503", http_status=503, retry_after_s=ASKED_S)
        numbers = [await breaker.ready() for _ in range(10)]
        for _ in range(2):  # attempts that were sent after the first failure make it an outage
            for number in numbers:
                breaker.failed(Permit(attempt=number), down)
            if not breaker.is_silent:
                numbers = [await breaker.ready() for _ in range(10)]
        assert breaker.is_silent
        began = trio.current_time()
        await breaker.ready()
        return trio.current_time() - began

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == pytest.approx(ASKED_S)
