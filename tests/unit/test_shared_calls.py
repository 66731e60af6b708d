"""Equal calls of a tool with `share`: which are made, who gets the result, and what happens when one does not end."""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.errors import DefinitionError, ToolFailed
from crewrun.fingerprint import fingerprint
from crewrun.row_context import RowContext
from crewrun.tools import BaseTool, tool
from crewrun.tools.shared_calls import SharedCall, SharedCalls, current_shared_calls, shared_call
from crewrun.tools.tool_call import ToolResult, failed_result
from crewrun.tools.tool_failure import ToolFailureReason
from crewrun.tools.toolbox import Toolbox

pytestmark = pytest.mark.anyio

RESULT = ToolResult("found")
SHARED = replace(RESULT, is_shared=True)
FAILURE = failed_result("down", ToolFailureReason.EXCEPTION)


@tool(share=True)
def search(query: str) -> str:
    """Search."""
    return query


SEARCH: ref[BaseTool] = ref(search)
CALL = SharedCall(SEARCH, "{}")


class Made:
    """A call that waits until the test lets it end. `count` says how often it was made."""

    def __init__(self, *ends: ToolResult | Exception) -> None:
        self.ends = list(ends)
        self.count = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> ToolResult:
        end = self.ends[self.count]
        self.count += 1
        await self.may_end.wait()
        if isinstance(end, Exception):
            raise end
        return end


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


def started(
    shared: SharedCalls, made: Callable[[], Awaitable[ToolResult]], count: int
) -> list[asyncio.Task[ToolResult]]:
    """Equal calls of as many rows."""
    return [asyncio.create_task(shared.result(CALL, made)) for _ in range(count)]


async def test_one_call_serves_those_in_flight_and_those_that_come_later() -> None:
    """It is made once; all but the row that made it are told that the result is shared."""
    shared, made = SharedCalls(), Made(RESULT)
    rows = started(shared, made, 64)
    await settle()
    made.may_end.set()
    assert await asyncio.gather(*rows) == [RESULT] + [SHARED] * 63
    assert (await shared.result(CALL, made), made.count) == (SHARED, 1)


async def test_a_failure_is_shared_with_those_in_flight_only() -> None:
    """A row that comes later tries again."""
    shared, made = SharedCalls(), Made(FAILURE, RESULT)
    rows = started(shared, made, 3)
    await settle()
    made.may_end.set()
    assert await asyncio.gather(*rows) == [FAILURE] + [replace(FAILURE, is_shared=True)] * 2
    assert (await shared.result(CALL, made), made.count) == (RESULT, 2)


async def test_a_cancelled_row_hands_its_call_over() -> None:
    """Those that wait are not cancelled with it: one of them makes the call, once; one that is gone is left out."""
    shared, made = SharedCalls(), Made(RESULT, RESULT)
    first, second, *others = started(shared, made, 4)
    await settle()
    second.cancel()
    first.cancel()
    await settle()
    made.may_end.set()
    assert sorted([(await row).is_shared for row in others]) == [False, True]
    assert (made.count, first.cancelled(), second.cancelled()) == (2, True, True)


async def test_what_ends_a_row_ends_no_other() -> None:
    """When a call raises, the others make their own at once, without waiting for one another."""
    shared, made = SharedCalls(), Made(ToolFailed("no"), RESULT, RESULT, RESULT)
    rows = started(shared, made, 4)
    await settle()
    made.may_end.set()
    failed, *results = await asyncio.gather(*rows, return_exceptions=True)
    assert (str(failed), results, made.count) == ("no", [RESULT] * 3, 4)


async def test_two_that_call_each_other_do_not_wait_for_each_other() -> None:
    """A call made by a shared one is made, even if an equal one is in flight."""
    shared = SharedCalls()
    both = asyncio.Barrier(2)

    async def inner() -> ToolResult:
        return RESULT

    async def outer(other: SharedCall) -> ToolResult:
        await both.wait()
        return await shared.result(other, inner)

    one, two = SharedCall(SEARCH, "1"), SharedCall(SEARCH, "2")
    async with asyncio.timeout(10):
        results = await asyncio.gather(
            shared.result(one, lambda: outer(two)),
            shared.result(two, lambda: outer(one)),
        )
    assert [result.text for result in results] == [RESULT.text] * 2


async def test_a_row_that_made_a_call_waits_for_the_next_one() -> None:
    """Only calls made inside a shared one do not wait."""
    shared, quick, slow = SharedCalls(), Made(RESULT), Made(RESULT)
    quick.may_end.set()
    (first,) = started(shared, slow, 1)
    await settle()

    async def both() -> list[ToolResult]:
        return [await shared.result(SharedCall(SEARCH, "other"), quick), await shared.result(CALL, slow)]

    second = asyncio.create_task(both())
    await settle()
    slow.may_end.set()
    assert (await first, await second, slow.count) == (RESULT, [RESULT, SHARED], 1)


async def test_a_call_is_shared_with_another_event_loop() -> None:
    """Such as that of a kickoff in a thread."""
    shared, made = SharedCalls(), Made(RESULT)
    (here,) = started(shared, made, 1)
    await settle()
    waits = Event()

    async def there() -> ToolResult:
        row = asyncio.create_task(shared.result(CALL, made))
        await settle()
        waits.set()
        return await row

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as threads:
        result = loop.run_in_executor(threads, asyncio.run, there())
        await loop.run_in_executor(threads, waits.wait)
        made.may_end.set()
        assert (await here, await result, made.count) == (RESULT, SHARED, 1)


async def test_the_result_used_least_recently_goes_first() -> None:
    """Two fit exactly; a third one takes the place of the one that was not asked for since."""
    one, two, three = (SharedCall(SEARCH, str(number)) for number in range(3))
    shared = SharedCalls(max_bytes=2 * (sys.getsizeof("0") + sys.getsizeof(RESULT.text) + 500))
    shared.offer(one, RESULT)
    shared.offer(two, RESULT)
    made = Made(RESULT)
    made.may_end.set()
    assert await shared.result(one, made) == SHARED
    shared.offer(three, RESULT)
    assert [await shared.result(call, made) for call in (one, three, two)] == [SHARED, SHARED, RESULT]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000))))
def test_the_results_stay_within_their_bytes(calls: list[tuple[int, int]]) -> None:
    """Those that were used least recently go first; the latest stays if it fits at all."""

    async def run() -> None:
        shared = SharedCalls(max_bytes=5000)
        for number, length in calls:
            shared.offer(SharedCall(SEARCH, str(number)), ToolResult("x" * length))
            stored = sum(len(result.text) for result in shared._results.values())
            assert stored + 500 * len(shared._results) <= 5000
            assert next(reversed(shared._results)) == SharedCall(SEARCH, str(number))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("first", "second", "is_equal"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', True),
        ('{"a": 1}', '{"a": 1.0}', False),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": "1"}', '{"a": 1}', False),
    ],
    ids=["blanks and order", "a fraction", "a truth", "a text"],
)
def test_which_calls_are_equal(first: str, second: str, is_equal: bool) -> None:
    """The arguments decide, not how the model wrote them."""
    one, two = (shared_call(search, json.loads(text), text) for text in (first, second))
    assert (one == two) is is_equal


def test_tools_with_the_same_code_are_two_tools() -> None:
    """What they refer to may differ, such as a connection."""

    def made(answer: str) -> BaseTool:
        @tool("ask", share=True)
        def ask() -> str:
            """Ask."""
            return answer

        return ask

    one, two = made("a"), made("b")
    assert fingerprint(one) == fingerprint(two)
    assert shared_call(one, {}, "{}") != shared_call(two, {}, "{}")


def test_results_keep_no_tool_alive() -> None:
    """A row may make tools of its own; they go with it, and only their results count in the bytes."""
    shared, passing = SharedCalls(), search.model_copy()
    shared.offer(shared_call(passing, {}, "{}"), RESULT)
    gone = ref(passing)
    del passing
    gc.collect()
    assert gone() is None


async def use(toolbox: Toolbox, used: dict[BaseTool, int], times: int) -> list[ToolResult]:
    """What a task gets that calls `ask` as often."""
    return [await toolbox.use("ask", "{}", used, RowContext()) for _ in range(times)]


async def test_limits_and_answers_are_each_rows_own() -> None:
    """A call that is shared counts for `max_usage_count`, and is the agent's answer where the tool says so."""
    made: list[int] = []

    @tool("ask", share=True, max_usage_count=1, result_as_answer=True)
    def ask() -> str:
        """Ask."""
        made.append(1)
        return "yes"

    toolbox = Toolbox([ask])
    token = current_shared_calls.set(SharedCalls())
    try:
        rows = [await use(toolbox, {}, 2) for _ in range(2)]
    finally:
        current_shared_calls.reset(token)
    assert [[(one.text, one.is_answer, one.failed) for one in row] for row in rows] == [
        [("yes", True, False), ("ask may be used once, and was. Go on without it.", False, True)]
    ] * 2
    assert (len(made), rows[1][0].is_shared) == (1, True)
    await use(toolbox, {}, 1)  # outside of a run
    assert len(made) == 2


@pytest.mark.parametrize(
    ("options", "what"),
    [({"replay": False}, "replay=False"), ({"cache_function": lambda *_: True}, "cache_function")],
    ids=["replay", "cache_function"],
)
def test_options_that_contradict_it_are_refused(options: dict[str, Any], what: str) -> None:
    """Rather than one of them ignored."""

    @tool("ask", share=True, **options)
    def ask() -> str:
        """Ask."""
        return ""

    with pytest.raises(DefinitionError, match=f"tool 'ask'.*{what}"):
        Toolbox([ask])


def test_a_tool_that_does_not_share_may_have_any_options() -> None:
    """CrewAI's tools have a `cache_function`."""

    @tool("ask", replay=False, cache_function=lambda *_: True)
    def ask() -> str:
        """Ask."""
        return ""

    assert list(Toolbox([ask]).tools) == ["ask"]


def test_a_tool_that_does_not_share_has_the_version_it_had() -> None:
    """The results in journals of older versions stay valid, and a field of a user's that is named `share` counts."""

    class Fraction(BaseTool):
        name: str = "fraction"
        description: str = "Takes a share."
        share: float = 0.0  # type: ignore[assignment]

        def _run(self) -> str:
            return str(self.share)

    assert "share" not in search.model_copy(update={"share": False}).__fingerprint__()
    assert search.__fingerprint__()["share"] is True
    assert fingerprint(Fraction()) != fingerprint(Fraction(share=0.5))
