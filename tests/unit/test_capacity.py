"""A tier without room for a call: what is waited for and how long, and that nothing else is concluded from it."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from crewrun.errors import CallError, NoCapacity, RateLimited, ServerError
from crewrun.limits.capacity import CapacityPauses, Patience
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.options import LimiterOptions
from crewrun.limits.permit import CallResult, FailureScope
from crewrun.limits.unknown_bills import may_be_billed
from crewrun.limits.waits import Wait, WaitKind
from crewrun.llm.endpoints import resolve
from crewrun.llm.model import LLM
from crewrun.llm.prices.price import find_price, requested_tier
from crewrun.llm.tiers import has_no_capacity
from crewrun.llm.transports.http_errors import failure
from crewrun.messages import Endpoint

KEY = {"OPENAI_API_KEY": "k"}


def on_a_virtual_clock(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def full(retry_after_s: float | None = None) -> NoCapacity:
    return NoCapacity("HTTP 429: full", http_status=429, retry_after_s=retry_after_s)


# --- how long ---------------------------------------------------------------------------------------------------------


@given(st.floats(0, 5_000), st.lists(st.none() | st.floats(0, 900), min_size=1))
def test_a_call_waits_as_long_as_its_patience_and_no_longer(patience_s: float, asked: list[float | None]) -> None:
    """Never less than the provider asks, and the last attempt comes when the patience ends."""

    async def main() -> None:
        pauses, began = CapacityPauses(Patience(patience_s)), anyio.current_time()
        for asked_s in asked * 1000:
            pause_s = pauses.next_s(full(asked_s))
            waited_s = anyio.current_time() - began
            if pause_s is None:
                assert waited_s + (asked_s or 0.0) >= patience_s * (1 - 1e-9)
                return
            assert (asked_s or 0.0) * (1 - 1e-9) <= pause_s <= (asked_s or 0.0) + 60
            await anyio.sleep(pause_s)
            assert anyio.current_time() - began <= patience_s * (1 + 1e-9)
        raise AssertionError("it never ended")

    on_a_virtual_clock(main)


def test_the_pauses_double_up_to_a_minute() -> None:
    """Half a second at first, with full jitter."""

    async def main() -> list[float]:
        each = [CapacityPauses(Patience(1e9)) for _ in range(400)]
        return [max(pauses.next_s(full()) or 0.0 for pauses in each) for _ in range(10)]

    longest = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert on_a_virtual_clock(main) == pytest.approx(longest, rel=0.05)


@pytest.mark.parametrize(("left_s", "may_wait"), [(1000.0, True), (119.0, False), (-5.0, False)])
def test_near_the_end_of_the_run_a_call_no_longer_waits(left_s: float, may_wait: bool) -> None:
    """Two minutes are left for it at the standard tier."""

    async def main() -> float | None:
        return CapacityPauses(Patience(600.0, time.time() + left_s)).next_s(full())

    assert (on_a_virtual_clock(main) is not None) is may_wait


# --- what follows -----------------------------------------------------------------------------------------------------


def test_nothing_is_concluded_from_it() -> None:
    """Forty in a row are no rate limit and no outage, are not billed, and use no tokens of the limit per minute."""

    async def main() -> tuple[float, Wait | None, int]:
        limiters = LocalLimiters(LimiterOptions(tpm={"": 1000}, outage_patience_s=5.0))
        limiter, began = limiters.of(Endpoint("direct", "openai", "m", "http://h")), anyio.current_time()
        for _ in range(10):
            for permit in [await limiter.enter(100, None) for _ in range(4)]:
                error = full()
                error.attempts = 1
                assert await limiter.failed(permit, error, CallResult(0)) is FailureScope.OWN
        return anyio.current_time() - began, limiter.wait, limiters.unknown_bills.owed.calls

    assert on_a_virtual_clock(main) == (0.0, None, 0)
    assert not may_be_billed(full())


def test_the_wait_for_it_has_a_kind_of_its_own() -> None:
    """It is said when as many calls wait for it as are in flight, with the next attempt's time."""

    async def main() -> list[Wait | None]:
        limiter = LocalLimiters(LimiterOptions(outage_patience_s=5.0)).of(Endpoint("direct", "openai", "m", "http://h"))
        seen = []
        async with anyio.create_task_group() as tasks:
            for seconds in (20.0, 10.0):
                tasks.start_soon(limiter.back_off, seconds, Wait(WaitKind.CAPACITY, cause="HTTP 429: full"))
            await anyio.sleep(1)
            permits = [await limiter.enter(1, None) for _ in range(2)]
            seen.append(limiter.wait)
            permits.append(await limiter.enter(1, None))
            seen.append(limiter.wait)
            for permit in permits:
                limiter.given_up(permit)
        return [*seen, limiter.wait]

    wait = Wait(WaitKind.CAPACITY, "openai/m", calls=2, left_s=9.0, cause="HTTP 429: full")
    assert on_a_virtual_clock(main) == [wait, None, None]
    assert str(wait) == "capacity: 2 waiting for room at a cheaper tier, next in 9 s"
    assert Wait.from_json(wait.to_json()) == wait


# --- which refusals ---------------------------------------------------------------------------------------------------


def error_body(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "message", "code", "is_full"),
    [
        (429, "Resource Unavailable", None, True),
        (429, "no", "resource_unavailable", True),
        (429, "Flex capacity is exhausted at the moment, try again later", None, True),
        (429, "There is not enough capacity to process this request", "server_error", True),
        (498, "", None, True),
        (503, "x", "capacity_exceeded", True),
        (429, "Rate limit reached on requests per min: Limit 3, Used 3", "rate_limit_exceeded", False),
        (429, "You exceeded your current quota, please check your plan", "insufficient_quota", False),
        (429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED", False),
        (429, "Too many concurrent requests", None, False),
        (500, "no capacity", None, False),
        (503, "The server is overloaded", None, False),
    ],
)
def test_a_refusal_for_capacity_is_told_from_a_limit(
    status: int, message: str, code: str | None, is_full: bool
) -> None:
    """At flex alone it is a class of its own; at the standard tier it stays what it was."""
    endpoint = resolve(LLM("gpt-5", tier="flex"), KEY)
    assert isinstance(has_no_capacity(failure(status, error_body(message, code), {}), endpoint), NoCapacity) is is_full
    assert endpoint.standard is not None
    plain = has_no_capacity(failure(status, error_body(message, code), {}), endpoint.standard)
    assert not isinstance(plain, NoCapacity)
    if is_full:
        assert isinstance(plain, RateLimited if status == 429 else ServerError)


def test_gemini_says_it_by_a_status() -> None:
    """Its 503 says nothing more; its 429 is a limit."""
    gemini = resolve(LLM("gemini/gemini-2.5-flash", tier="flex"), {})
    kinds: list[type[CallError]] = [
        type(has_no_capacity(failure(status, error_body("The model is overloaded."), {}), gemini))
        for status in (503, 429)
    ]
    assert kinds == [NoCapacity, RateLimited]


# --- how it is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("llm", "flex", "standard"),
    [
        (LLM("gpt-5", tier="flex"), {"service_tier": "flex"}, {"service_tier": "default"}),
        (LLM("groq/llama-3.3-70b-versatile", tier="flex"), {"service_tier": "flex"}, {"service_tier": "on_demand"}),
        (LLM("gemini/gemini-2.5-flash", tier="flex"), {"service_tier": "flex"}, {"service_tier": "default"}),
        (
            LLM("azure/my-gpt", tier="flex", api_version="1"),
            {"service_tier": "flex", "api_version": "1", "allowed_openai_params": ["service_tier"]},
            {"service_tier": "default", "api_version": "1", "allowed_openai_params": ["service_tier"]},
        ),
        (LLM("gpt-5", service_tier="flex"), {"service_tier": "flex"}, {"service_tier": "default"}),
        (
            LLM("openrouter/openai/gpt-5", extra_body={"service_tier": "flex", "a": 1}),
            {"service_tier": "flex", "a": 1},
            {"a": 1},
        ),
    ],
    ids=["openai", "groq", "gemini", "azure", "service_tier", "elsewhere, by the llm itself"],
)
def test_an_endpoint_at_flex_has_one_at_the_standard_tier(
    llm: LLM, flex: dict[str, Any], standard: dict[str, Any]
) -> None:
    """Equal but for the tier and the time that a reply may take."""
    endpoint = resolve(llm, {})
    assert (dict(endpoint.params), endpoint.timeout_s, endpoint.tier) == (flex, 900.0, "flex")
    other = endpoint.standard
    assert other is not None
    assert (dict(other.params), other.timeout_s, other.tier) == (standard, None, "standard")
    assert (endpoint.name, endpoint.base_url) == (other.name, other.base_url)


def test_the_most_that_a_flex_call_can_cost_is_the_standard_price() -> None:
    """Since the provider may serve it there, and bills that; never more, as a project's default tier could be."""
    endpoint = resolve(LLM("gpt-5", tier="flex"), KEY)
    assert endpoint.standard is not None
    prices = [find_price(one) for one in (endpoint, endpoint.standard)]
    assert [requested_tier(one.fields) for one in (endpoint, endpoint.standard)] == ["flex", "standard"]
    assert [price and price.most(1000, 100) for price in prices] == [(1000 * 1.25e-6, 100 * 10e-6)] * 2
