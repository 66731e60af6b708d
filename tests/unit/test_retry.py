"""When a failed call is sent again: the arithmetic, and the gateway on a virtual clock."""

import random

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from crewrun import Agent, Crew, GatewayOptions, RetryPolicy, Task
from crewrun.errors import BadRequest, CallError, CallTimedOut, NetworkError, RateLimited, ServerError
from crewrun.llm.transports.retry_after import retry_after
from crewrun.testing import ScriptedTransport, scripted


class Highest(random.Random):
    """Dice that always show the most: the longest wait that jitter allows."""

    def uniform(self, a: float, b: float) -> float:
        return b


def crew() -> Crew:
    agent = Agent(role="Clerk", goal="answer", backstory="", llm="openai/m")
    return Crew(agents=[agent], tasks=[Task(description="Say hi", expected_output="hi", agent=agent)])


def on_virtual_clock(*steps: CallError | str, options: GatewayOptions) -> tuple[float, str | CallError, int]:
    """Kick a one-call crew off against this script: seconds that passed, the answer or error, attempts."""

    async def main() -> tuple[float, str | CallError, int]:
        began = trio.current_time()
        async with scripted(*steps, options=options) as model:
            try:
                result: str | CallError = (await crew().akickoff()).raw
            except CallError as error:
                result = error
        return trio.current_time() - began, result, len(model.requests)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_transient_failure_is_sent_again_after_doubling_waits() -> None:
    """Waits of at most 0.5, 1, 2 seconds before attempts two, three and four."""
    options = GatewayOptions(RetryPolicy(retries=5, rng=Highest()))
    took_s, result, attempts = on_virtual_clock(
        ServerError("1"), NetworkError("2"), CallTimedOut("3"), "hi", options=options
    )
    assert took_s == pytest.approx(3.5)
    assert (result, attempts) == ("hi", 4)


def test_the_last_failure_surfaces_with_the_number_of_attempts() -> None:
    """Two retries are three attempts on the wire, then the third failure."""
    errors = [ServerError("one"), ServerError("two"), ServerError("three")]
    _, result, attempts = on_virtual_clock(*errors, options=GatewayOptions(RetryPolicy(retries=2)))
    assert result is errors[2]
    assert (attempts, errors[2].attempts) == (3, 3)


def test_a_refusal_is_not_sent_again() -> None:
    """What the provider refused once it refuses again."""
    took_s, result, attempts = on_virtual_clock(BadRequest("no"), options=GatewayOptions())
    assert (took_s, str(result), attempts) == (0, "no", 1)


def test_what_the_provider_asks_to_wait_is_a_floor() -> None:
    """Retry-After of 7 s, and jitter on top of it so that rows do not return in step."""
    options = GatewayOptions(RetryPolicy(rng=Highest()))
    took_s, result, _ = on_virtual_clock(RateLimited("slow", retry_after_s=7), "hi", options=options)
    assert took_s == pytest.approx(7.5)
    assert result == "hi"


def test_a_wait_of_a_day_is_no_retry() -> None:
    """A provider that asks for tomorrow has refused for today."""
    took_s, result, attempts = on_virtual_clock(RateLimited("later", retry_after_s=86_400), options=GatewayOptions())
    assert (took_s, str(result), attempts) == (0, "later", 1)


def test_each_attempt_has_the_call_timeout() -> None:
    """A hang is given up after --call-timeout and sent again."""

    async def hang(request: object) -> str:
        await anyio.sleep_forever()
        return "never"

    async def main() -> float:
        options = GatewayOptions(RetryPolicy(rng=Highest()), call_timeout_s=20)
        async with scripted(hang, hang, "hi", options=options):
            await crew().akickoff()
        return trio.current_time()

    ended = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert ended == pytest.approx(20 + 0.5 + 20 + 1)


@given(
    attempt=st.integers(1, 10_000),
    asked=st.none() | st.floats(0, 10_000),
    retries=st.integers(0, 50),
    seed=st.integers(),
)
def test_a_wait_is_never_below_the_floor_nor_above_the_cap(
    attempt: int, asked: float | None, retries: int, seed: int
) -> None:
    """For any attempt and any Retry-After."""
    policy = RetryPolicy(retries=retries, rng=random.Random(seed))
    delay_s = policy.delay(RateLimited("slow", retry_after_s=asked), attempt)
    if attempt > retries or (asked or 0) > policy.patience_s:
        assert delay_s is None
    else:
        assert delay_s is not None
        assert (asked or 0) <= delay_s <= (asked or 0) + policy.cap_s


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="not asked"),
        pytest.param({"retry-after": "12"}, 12.0, id="seconds"),
        pytest.param({"retry-after": "0.5"}, 0.5, id="a fraction"),
        pytest.param({"retry-after-ms": "250", "retry-after": "9"}, 0.25, id="milliseconds win"),
        pytest.param({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0, id="a date in the past"),
        pytest.param({"retry-after": "-3"}, None, id="negative"),
        pytest.param({"retry-after": "nan"}, None, id="not a number"),
        pytest.param({"retry-after": "1e999"}, None, id="infinite"),
        pytest.param({"retry-after": "soon"}, None, id="garbage"),
        pytest.param({"retry-after-ms": "x", "retry-after": "4"}, 4.0, id="garbage milliseconds"),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """RFC 9110's two forms, the milliseconds of OpenAI, and what cannot be read."""
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    """An HTTP-date an hour ahead is about an hour."""
    import time
    from email.utils import formatdate

    seconds = retry_after({"retry-after": formatdate(time.time() + 3600, usegmt=True)})
    assert seconds == pytest.approx(3600, abs=5)


def test_an_overrun_script_fails_the_test() -> None:
    """A request beyond the script is a mistake in the test or in the crew."""

    async def main() -> None:
        async with scripted("only one"):
            await crew().akickoff()
            await crew().akickoff()

    with pytest.raises(AssertionError, match="after the end of the script"):
        trio.run(main)


def test_a_script_left_unread_fails_the_test() -> None:
    """Steps that nobody asked for are a mistake in the test or in the crew."""
    model = ScriptedTransport("one", "two")
    with pytest.raises(AssertionError, match="2 steps"):
        model.expect_finished()
