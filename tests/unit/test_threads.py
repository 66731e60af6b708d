"""Sync functions of the user's: they never block the loop, wait for each other or take it down with them."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from crewrun import Agent, Crew, CrewrunWarning, Flow, Task
from crewrun.aio.concurrency import call
from crewrun.aio.threads import ThreadPool
from crewrun.flow import start
from crewrun.testing import calls, scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio


async def together(pool: ThreadPool, function: Callable[[], Any], count: int) -> list[Any]:
    results: list[Any] = []

    async def one() -> None:
        results.append(await pool.run(function))

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return results


async def test_functions_that_wait_for_each_other_each_get_a_thread() -> None:
    """Thirty must be inside at once, or none gets out."""
    barrier = threading.Barrier(30)
    assert sorted(await together(ThreadPool(30), lambda: barrier.wait(10), 30)) == list(range(30))


async def test_no_more_threads_than_allowed_run_at_once() -> None:
    """The others wait their turn, and all get it."""
    inside, peak, lock = 0, 0, threading.Lock()
    busy = threading.Event()

    def count() -> None:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
        busy.wait(0.02)
        with lock:
            inside -= 1

    assert (len(await together(ThreadPool(3), count, 20)), peak) == (20, 3)


async def test_quick_functions_share_a_thread() -> None:
    """A thousand calls that need no waiting start few threads."""
    names = await together(ThreadPool(64), lambda: threading.current_thread().ident, 1000)
    assert len(set(names)) < 20


async def test_a_thread_that_hangs_is_replaced_until_too_many_do() -> None:
    """With one thread and two given up, a third call still runs; then the pool refuses, until one comes back."""
    end = threading.Event()
    pool = ThreadPool(1, max_abandoned=2)
    try:
        for _ in range(2):
            with anyio.move_on_after(0.03):
                await pool.run(lambda: end.wait(30))
            if _ == 0:
                assert await pool.run(lambda: "still here") == "still here"
        with pytest.raises(RuntimeError, match="2 sync functions hang in their threads"):
            await pool.run(lambda: "no")
    finally:
        end.set()
    with anyio.fail_after(10):
        while True:
            try:
                assert await pool.run(lambda: "again") == "again"
                break
            except RuntimeError:  # the threads are on their way back
                await anyio.lowlevel.checkpoint()


async def test_a_call_that_was_given_up_before_it_began_never_begins() -> None:
    """It was waiting for a thread."""
    begun: list[int] = []
    release = threading.Event()
    pool = ThreadPool(1)
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, lambda: release.wait(10))
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.02):
            await pool.run(lambda: begun.append(1))
        release.set()
    assert await pool.run(lambda: "after") == "after"
    assert begun == []


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (SystemExit(3), "it called sys.exit(3)"),
        (KeyboardInterrupt(), "it raised KeyboardInterrupt()"),
        (asyncio.CancelledError(), "it raised CancelledError()"),
        (StopIteration(1), "it raised StopIteration(1)"),
        (GeneratorExit(), "it raised GeneratorExit()"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_would_end_more_than_the_row_becomes_an_error(raised: BaseException, seen: str) -> None:
    """Sync or async, it is RuntimeError here and the loop goes on."""

    def sync() -> None:
        raise raised

    with pytest.raises(RuntimeError) as caught:
        await call(sync)
    assert str(caught.value) == seen


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError()], ids=lambda value: type(value).__name__)
async def test_an_async_function_cannot_end_more_than_the_row_either(raised: BaseException) -> None:
    """A cancellation that nobody asked for is its own."""

    async def function() -> None:
        raise raised

    with pytest.raises(RuntimeError, match=r"it (called|raised)"):
        await call(function)


async def test_a_sync_tool_may_run_a_crew_of_its_own() -> None:
    """In its thread no loop runs, so `kickoff()` works there, as a part of the same run."""
    inner = Agent(role="Inner", goal="g", backstory="b", llm="offline")

    @tool
    def ask_inside(question: str) -> str:
        """Ask a crew inside."""
        return Crew(agents=[inner], tasks=[Task(description=question, expected_output="e", agent=inner)]).kickoff().raw

    outer = Agent(role="Outer", goal="g", backstory="b", llm="gpt-4o-mini", tools=[ask_inside])
    crew = Crew(agents=[outer], tasks=[Task(description="d", expected_output="e", agent=outer)])
    async with scripted(calls("ask_inside", question="why"), "inside", "done") as model:
        output = await crew.akickoff()
    assert model.requests[2].messages[-1].content == "inside"
    assert output.token_usage.successful_requests == 2


async def test_sync_tools_of_crews_in_sync_tools_do_not_wait_for_each_other() -> None:
    """More of them than there are threads: one that waits for a crew inside does not hold its place."""

    @tool
    def quick() -> str:
        """Answer."""
        return "quick"

    inner_agent = Agent(role="Inner", goal="g", backstory="b", llm="offline", tools=[quick])
    inner = Crew(agents=[inner_agent], tasks=[Task(description="d", expected_output="e", agent=inner_agent)])

    @tool
    def nested() -> str:
        """Run a crew."""
        return inner.kickoff().raw

    outer = Agent(role="Outer", goal="g", backstory="b", llm="offline", tools=[nested])
    crew = Crew(agents=[outer], tasks=[Task(description="d", expected_output="e", agent=outer)])
    with anyio.fail_after(20):
        outputs = await crew.akickoff_for_each([{"n": i} for i in range(120)])
    assert len(outputs) == 120


async def test_what_a_sync_function_sets_in_its_context_stays_set() -> None:
    """As if it had been called here: a callback before the kickoff names the customer for the tools."""
    customer: ContextVar[str] = ContextVar("customer", default="nobody")
    await call(lambda: customer.set("ACME"))
    assert customer.get() == "ACME"


async def one() -> int:
    await asyncio.sleep(0)
    return 1


def with_get_event_loop() -> int:
    return asyncio.get_event_loop().run_until_complete(one())


def with_a_task() -> int:
    loop = asyncio.get_event_loop()
    task = asyncio.ensure_future(one(), loop=loop)
    return loop.run_until_complete(asyncio.wait_for(task, 5))


def with_asyncio_run() -> int:
    return asyncio.run(one())


def with_one_that_it_closes() -> int:
    loop = asyncio.get_event_loop()
    try:
        return loop.run_until_complete(one())
    finally:
        loop.close()


def with_a_new_one_left_open() -> int:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(one())
    finally:
        loop.close()


def with_a_task_left_behind() -> int:
    loop = asyncio.get_event_loop()
    left = loop.create_task(asyncio.sleep(3600))
    return loop.run_until_complete(one()) if not left.done() else 0


LOOPS = (
    *(with_get_event_loop, with_a_task, with_asyncio_run, with_one_that_it_closes, with_a_new_one_left_open),
    with_a_task_left_behind,
)


@pytest.mark.parametrize("first", LOOPS)
@pytest.mark.parametrize("then", LOOPS)
async def test_a_worker_thread_has_an_event_loop(first: Callable[[], int], then: Callable[[], int]) -> None:
    """As the main thread has one, for older code of tools; whatever the function before did with it."""
    pool = ThreadPool(1)
    assert [await pool.run(function) for function in (first, then)] == [1, 1]


async def test_a_worker_thread_s_loop_is_what_its_code_takes_it_for() -> None:
    """It is a loop before it is used, the same one afterwards, and the running one inside; the thread closes it."""
    seen: list[Any] = []

    async def inside() -> None:
        seen.append(asyncio.get_running_loop())

    def work() -> None:
        loop = asyncio.get_event_loop()
        assert isinstance(loop, asyncio.BaseEventLoop)
        assert (loop.is_running(), loop.is_closed()) == (False, False)
        loop.run_until_complete(inside())
        seen.extend((asyncio.get_event_loop(), asyncio.get_event_loop()))

    await ThreadPool(1).run(work)
    assert seen[0] is seen[1] is seen[2]


def test_a_thread_that_ends_closes_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is left in it; a thread that needed none has none."""
    monkeypatch.setattr("crewrun.aio.threads.IDLE_S", 0.01)
    loops: list[asyncio.AbstractEventLoop] = []

    def work() -> threading.Thread:
        with_a_task_left_behind()
        loops.append(asyncio.get_event_loop())
        return threading.current_thread()

    asyncio.run(ThreadPool(1).run(work)).join(5)
    assert [loop.is_closed() for loop in loops] == [True]


@pytest.mark.parametrize("way", ["a tool", "a flow's method", "a callback"])
async def test_kickoffs_in_the_loop_of_a_worker_thread_are_part_of_the_run(way: str) -> None:
    """By `asyncio.get_event_loop().run_until_complete(…)`, awaited there or not."""
    agent = Agent(role="Inner", goal="g", backstory="b", llm="gpt-4o-mini")
    crew = Crew(agents=[agent], tasks=[Task(description="d", expected_output="e", agent=agent)])

    async def inside() -> str:
        return (await crew.akickoff()).raw + " " + crew.kickoff().raw

    @tool
    def ask_inside() -> str:
        """Ask."""
        return asyncio.get_event_loop().run_until_complete(inside())

    class Asking(Flow):
        @start()
        def ask(self) -> str:
            return asyncio.get_event_loop().run_until_complete(inside())

    def called(output: Any) -> None:
        output.raw = asyncio.get_event_loop().run_until_complete(inside())

    outer = Agent(
        role="Outer", goal="g", backstory="b", llm="gpt-4o-mini", tools=[ask_inside] if way == "a tool" else []
    )
    task = Task(description="d", expected_output="e", agent=outer, callback=called if way == "a callback" else None)
    steps = {"a tool": (calls("ask_inside"), "1", "2", "3"), "a callback": ("0", "1", "2")}.get(way, ("1", "2"))
    with pytest.warns(CrewrunWarning, match=r"kickoff\(\) blocks the running event loop"):
        async with scripted(*steps):
            answer = await (Asking() if way == "a flow's method" else Crew(agents=[outer], tasks=[task])).akickoff()
    assert str(answer) == ("3" if way == "a tool" else "1 2")
