"""Sync kickoffs inside async code: a warning, all rows at once, and every limit of the run holds."""

import asyncio
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.command import read_rows
from support.command import start as begin
from support.local_workers import NEAR
from support.workspace import Place

from crewrun import LLM, Agent, Crew, CrewrunWarning, Gateway, Task
from crewrun.aio import threads
from crewrun.aio.concurrency import call
from crewrun.errors import Category, TaskTimedOut
from crewrun.flow import Flow, start
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.options import LimiterOptions
from crewrun.messages import ChatRequest
from crewrun.testing import ScriptedTransport, Step, calls, scripted
from crewrun.tools import tool

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:.*blocks the running event loop")]

agent = Agent(role="Writer", goal="g", backstory="b", llm="gpt-4o-mini")
crew = Crew(agents=[agent], tasks=[Task(description="Say {n}", expected_output="e", agent=agent)])
llm = LLM("gpt-4o-mini")
AT_ONCE = 8


def meeting(count: int = AT_ONCE) -> Callable[[ChatRequest], Awaitable[str]]:
    """Answers when `count` requests are there together."""
    arrived, everybody = 0, anyio.Event()

    async def step(request: ChatRequest) -> str:
        nonlocal arrived
        arrived += 1
        if arrived == count:
            everybody.set()
        with anyio.fail_after(20):
            await everybody.wait()
        return "answer"

    return step


def ask_in_a_function(n: int) -> str:
    return crew.kickoff({"n": n}).raw


async def ask_in_an_async_function(n: int) -> str:
    return ask_in_a_function(n)


class Asking:
    def __init__(self, n: int) -> None:
        self.n = n

    def ask(self) -> str:
        return agent.kickoff(f"Say {self.n}").raw


class Direct(Flow):
    @start()
    async def ask(self) -> str:
        return crew.kickoff({"n": 1}).raw


class ForEach(Flow):
    @start()
    async def ask(self) -> str:
        return crew.kickoff_for_each([{"n": 1}])[0].raw


class OfAnAgent(Flow):
    @start()
    async def ask(self) -> str:
        return agent.kickoff("Say").raw


class OfAnAgentAwaited(Flow):
    @start()
    async def ask(self) -> str:
        return (await agent.kickoff("Say")).raw


class OfAModel(Flow):
    @start()
    async def ask(self) -> Any:
        return llm.call("Say")


class OfAFlow(Flow):
    @start()
    async def ask(self) -> Any:
        return Direct().kickoff()


class ByAFunction(Flow):
    @start()
    async def ask(self) -> str:
        return ask_in_a_function(1)


class ByAnAsyncFunction(Flow):
    @start()
    async def ask(self) -> str:
        return await ask_in_an_async_function(1)


class ByItsOwnMethod(Flow):
    def helper(self) -> str:
        return ask_in_a_function(2)

    @start()
    async def ask(self) -> str:
        return self.helper()


class ByAnObject(Flow):
    @start()
    async def ask(self) -> str:
        return Asking(3).ask()


class HandedOver(Flow):
    @start()
    async def ask(self) -> str:
        found: list[str] = []
        work = copy_context().run
        thread = threading.Thread(target=work, args=(lambda: found.append(crew.kickoff({"n": 1}).raw),))
        thread.start()
        thread.join()
        return found[0]


class InACoroutine(Flow):
    @start()
    def ask(self) -> Any:
        return ask_in_an_async_function(1)


class HandedOverByName(Flow):
    @start()
    async def ask(self) -> str:
        with ThreadPoolExecutor() as others:
            return others.submit(copy_context().run, ask_in_a_function, 1).result()


class InBothWays(Flow):
    @start()
    async def ask(self) -> str:
        return (await crew.akickoff({"n": 1})).raw + crew.kickoff({"n": 1}).raw


@pytest.mark.parametrize(
    "flow",
    [
        *(Direct, ForEach, OfAnAgent, OfAnAgentAwaited, OfAModel, OfAFlow, ByAFunction, ByAnAsyncFunction),
        *(ByItsOwnMethod, ByAnObject, HandedOver, HandedOverByName, InACoroutine),
    ],
)
async def test_methods_that_block_their_loop_run_at_once(flow: type[Flow]) -> None:
    """Whoever makes the call for them: no call is answered before those of all kickoffs are there."""
    async with scripted(*[meeting()] * AT_ONCE):
        answers = await flow().akickoff_for_each([{}] * AT_ONCE)
    assert answers == ["answer"] * AT_ONCE


async def test_a_method_may_await_one_kickoff_and_not_the_next() -> None:
    """The awaited one runs in the method's own loop, by the run's model and limits."""
    async with scripted("answer", forever=True) as model:
        answers = await InBothWays().akickoff_for_each([{}] * AT_ONCE)
    assert (answers, len(model.requests)) == (["answeranswer"] * AT_ONCE, 2 * AT_ONCE)


async def test_a_blocking_call_is_a_warning_with_its_place() -> None:
    """It names what to await."""
    async with scripted("answer"):
        with pytest.warns(CrewrunWarning) as caught:
            await Direct().akickoff()
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    line = lines.index('        return crew.kickoff({"n": 1}).raw') + 1
    assert [str(one.message).partition("test_sync_in_async.py:")[2] for one in caught] == [
        f"{line}: kickoff() blocks the running event loop until it has its answer; inside async code write "
        "`await ….akickoff(…)`"
    ]


async def test_the_place_may_be_a_cell_of_ipython() -> None:
    """Not the program that started IPython, which is no package's file either."""
    cell = compile("crew.kickoff({'n': 1})", "<ipython-input-3-0a1b2c>", "exec")
    async with scripted("answer"):
        with pytest.warns(CrewrunWarning, match=r"^<ipython-input-3-0a1b2c>:1: kickoff\(\) blocks"):
            exec(cell, {"crew": crew})


async def test_what_is_sent_to_a_thread_blocks_nothing() -> None:
    """Such a method stays in the loop of its caller."""
    here = threading.get_ident()

    class Sending(Flow):
        @start()
        async def ask(self) -> tuple[str, bool]:
            return (await asyncio.to_thread(crew.kickoff, {"n": 1})).raw, threading.get_ident() == here

    async with scripted("answer"):
        assert await Sending().akickoff() == ("answer", True)


async def test_async_tools_and_callbacks_may_block_too() -> None:
    """The other rows' calls go on meanwhile."""

    @tool
    async def inside(question: str) -> str:
        """Ask inside."""
        return str(llm.call(question))

    async def called(output: Any) -> None:
        output.raw += crew.kickoff({"n": 1}).raw

    asking = Agent(role="R", goal="g", backstory="b", llm="gpt-4o-mini", tools=[inside])
    outer = Crew(agents=[asking], tasks=[Task(description="d", expected_output="e", agent=asking, callback=called)])
    turn = calls("inside", question="why")
    async with scripted(turn, turn, *[meeting(2)] * 2, *[meeting(2)] * 2, *[meeting(2)] * 2):
        outputs = await outer.akickoff_for_each([{}, {}])
    assert [output.raw for output in outputs] == ["answeranswer"] * 2


def unforeseen(target: Any, *args: Any) -> Any:
    """As code does that no source shows."""
    return getattr(target, "kick" + "off")(*args)


class Unforeseen(Flow):
    @start()
    async def ask(self) -> str:
        return str(unforeseen(crew, {"n": 1}).raw)


def gateway(*steps: Step, **limits: Any) -> tuple[Gateway, ScriptedTransport]:
    """One with limits of its own."""
    model = ScriptedTransport(*steps)
    return Gateway(transport=model, limiters=LocalLimiters(LimiterOptions(**limits))), model


async def test_a_loop_that_is_blocked_unforeseen_does_not_wait_for_itself() -> None:
    """The one place among the calls in flight is taken by a call that cannot end meanwhile."""
    is_out, may_end = anyio.Event(), anyio.Event()

    async def first(request: ChatRequest) -> str:
        is_out.set()
        await may_end.wait()
        return "first"

    class Blind(Flow):
        @start()
        async def ask(self) -> str:
            return str(unforeseen(crew, {"n": 1}).raw)

    opened, model = gateway(first, "second", max_calls=1)
    async with opened, anyio.create_task_group() as group:
        group.start_soon(crew.akickoff, {"n": 0})
        await is_out.wait()
        with anyio.fail_after(10):
            assert await Blind().akickoff() == "second"
        may_end.set()
    model.expect_finished()


async def test_a_loop_that_waits_for_a_thread_that_waits_for_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no source shows that it does; nothing has been asked. The next time it is known."""

    class Blind(Flow):
        @start()
        async def ask(self) -> str:
            with ThreadPoolExecutor() as others:
                return str(others.submit(copy_context().run, lambda: unforeseen(crew, {"n": 1})).result().raw)

    async with scripted("answer"):
        with monkeypatch.context() as patched:
            patched.setattr(threads, "BLOCKED_S", 0.1)
            with pytest.raises(threads.LoopBlocked, match=r"event loop has not moved for 0.1 s: async code blocks it"):
                await Blind().akickoff()
        assert await Blind().akickoff() == "answer"


async def test_what_other_threads_ask_meanwhile_does_not_end_with_the_call_that_holds_the_loop() -> None:
    """A sync method of another row waits until the loop is free again."""
    is_held, waits, is_free = threading.Event(), threading.Event(), threading.Event()

    async def holding(request: ChatRequest) -> str:
        is_held.set()
        await anyio.to_thread.run_sync(waits.wait)
        return "held"

    async def other(request: ChatRequest) -> str:
        await anyio.to_thread.run_sync(is_free.wait)
        return "other"

    class Blind(Flow):
        @start()
        async def ask(self) -> str:
            answer = unforeseen(crew, {"n": 1}).raw
            is_free.set()
            return str(answer)

    class Other(Flow):
        @start()
        def ask(self) -> str:
            is_held.wait(20)
            waits.set()
            return crew.kickoff({"n": 2}).raw

    async with scripted(holding, other), anyio.create_task_group() as group:
        group.start_soon(Blind().akickoff)
        assert await Other().akickoff() == "other"


async def test_a_method_that_has_blocked_its_loop_is_known_to() -> None:
    """From then on its calls run at once."""

    class Blind(Flow):
        @start()
        async def ask(self) -> str:
            return str(unforeseen(crew, {"n": 1}).raw)

    async with scripted("first", *[meeting()] * AT_ONCE):
        assert await Blind().akickoff() == "first"
        assert await Blind().akickoff_for_each([{}] * AT_ONCE) == ["answer"] * AT_ONCE


@pytest.mark.parametrize("flow", [Direct, Unforeseen])
async def test_limits_hold_in_a_loop_of_its_own(flow: type[Flow]) -> None:
    """Of requests a minute: the second one would have to wait for longer than the row may take."""
    opened, model = gateway("first", rpm={"": 1})
    outcomes: list[Any] = []

    class Fresh(flow):  # type: ignore[misc, valid-type]  # a parameter
        async def ask(self) -> str:
            return str(unforeseen(crew, {"n": 1}).raw) if flow is Unforeseen else crew.kickoff({"n": 1}).raw

    async with opened:
        outcomes.append(await Fresh().akickoff())
        with anyio.move_on_after(0.2):
            outcomes.append(await Fresh().akickoff())
    assert (outcomes, len(model.requests)) == (["first"], 1)


async def test_the_time_that_is_left_holds_where_the_loop_is_blocked() -> None:
    """Its own timers cannot fire meanwhile."""

    async def never(request: ChatRequest) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    async def ask() -> str:
        return str(unforeseen(crew, {"n": 1}).raw)

    async with scripted(never):
        with pytest.raises(TaskTimedOut, match="took all of the time that was left for it"), anyio.move_on_after(0.1):
            await ask()


async def test_a_method_in_its_own_loop_is_cancelled_there() -> None:
    """It cleans up before its row has ended, and what it waits for is not asked any more."""
    seen: list[str] = []

    class Slow(Flow):
        @start()
        async def ask(self) -> str:
            try:
                await anyio.sleep_forever()
            finally:
                seen.append("cleaned up")
            return crew.kickoff({"n": 1}).raw

    class Waiting(Flow):
        @start()
        async def ask(self) -> str:
            try:
                return crew.kickoff({"n": 1}).raw
            except RuntimeError as error:
                seen.append(str(error))
                raise

    async def never(request: ChatRequest) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    async with scripted(never):
        for flow in (Slow, Waiting):
            with anyio.move_on_after(0.1) as scope:
                await flow().akickoff()
            assert scope.cancelled_caught
    assert seen == [
        "cleaned up",
        "the caller no longer waits for this: it was cancelled or ran out of time",
    ]


async def test_what_a_method_in_its_own_loop_sets_and_raises_is_seen_here() -> None:
    """Context variables, exceptions, and what is none."""
    customer: ContextVar[str] = ContextVar("customer", default="nobody")

    async def setting() -> None:
        customer.set("ACME")
        unused(crew.kickoff)

    async def raising() -> None:
        unused(crew.kickoff)
        raise ZeroDivisionError("mine")

    async def leaving() -> None:
        unused(crew.kickoff)
        raise SystemExit(3)

    await call(setting)
    with pytest.raises(ZeroDivisionError, match="mine"):
        await call(raising)
    with pytest.raises(RuntimeError, match=r"it called sys.exit\(3\)"):
        await call(leaving)
    assert customer.get() == "ACME"


def unused(_: object) -> None: ...


FLOWS = """\
from crewrun import LLM, Agent, Crew, Task
from crewrun.flow import Flow, start

agent = Agent(role="Writer", goal="g", backstory="b", llm=LLM("gpt-4.1-mini", max_tokens=60))
crew = Crew(agents=[agent], tasks=[Task(description="First {topic}", expected_output="e", agent=agent)])


class Seen(Flow):
    @start()
    async def ask(self):
        crew.kickoff({"topic": self.state["topic"]})
        return agent.kickoff(f"Second {self.state['topic']}").raw


class Unseen(Flow):
    @start()
    async def ask(self):
        getattr(crew, "kick" + "off")({"topic": self.state["topic"]})
        return getattr(agent, "kick" + "off")(f"Second {self.state['topic']}").raw
"""


@pytest.mark.parametrize("flow", ["Seen", "Unseen"])
def test_an_interrupted_row_goes_on_in_the_middle_of_its_method(place: Place, flow: str) -> None:
    """What the journal has of it is not asked again; each row has its own account."""
    (place.folder / "flows.py").write_text(FLOWS, encoding="utf-8")
    place.rows({"topic": "a"}, {"topic": "b"})
    asked = place.batch("--crew", f"flows.py:{flow}", "--row-budget", "0.00001", code=3)
    assert asked == ["First a", "First b"]
    asked = place.batch("--crew", f"flows.py:{flow}")
    rows = read_rows(place.results)
    assert asked == ["Second a", "Second b"]
    assert [(row["usage"]["calls"], row["replayed"]["attempts"]) for row in rows] == [(2, 1)] * 2


@pytest.mark.parametrize("flow", ["Seen", "Unseen"])
def test_a_row_s_time_and_the_run_s_budget_hold(place: Place, flow: str) -> None:
    """A call that hangs ends with its row; of many rows no more are paid for than the budget allows."""
    (place.folder / "flows.py").write_text(FLOWS, encoding="utf-8")
    place.rows({"topic": "FAIL-HANG"})
    place.batch("--crew", f"flows.py:{flow}", "--row-timeout", "0.3", code=3)
    errors = [row["error"] for row in read_rows(place.results)]
    assert [(error["category"], "longer than 0.3 s (--row-timeout)" in error["message"]) for error in errors] == [
        (Category.TIMEOUT, True)
    ]
    place.rows(*({"topic": str(n)} for n in range(20)))
    asked = place.batch("--crew", f"flows.py:{flow}", "--budget", "0.0005", "-j", "8", "--fresh", code=5)
    assert 0 < len(asked) < 40
    assert place.mock.ledger()["totals"]["cost_usd"] <= 0.0005


def interrupted(process: "subprocess.Popen[str]") -> str:
    """What is on stderr of a process that was interrupted: again where the loop has missed it before it was held."""
    for _ in range(4):
        for number in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=8)[1]
    process.kill()
    return "never ended"


def test_a_signal_ends_a_run_whose_loop_is_held(place: Place) -> None:
    """Its handlers are the loop's, which waits for a server that does not answer. The rows stay pending."""
    (place.folder / "flows.py").write_text(FLOWS, encoding="utf-8")
    place.rows({"topic": "FAIL-HANG"}, {"topic": "b"})
    with begin("batch", "in.jsonl", "--crew", "flows.py:Unseen", "-j", "1", cwd=place.folder, env=place.env) as process:
        place.mock.wait_in_flight(1)
        stderr = interrupted(process)
    assert (process.returncode in (130, 143), "stopped: " in stderr, place.done()) == (True, True, []), stderr
    assert "0 ok, 0 failed" in stderr


def test_an_outage_holds_where_the_loop_is_held(place: Place) -> None:
    """An endpoint that is not there is asked a few times and not as fast as it refuses, until the patience ends."""
    (place.folder / "flows.py").write_text(FLOWS, encoding="utf-8")
    place.rows({"topic": "a"})
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        env = {**place.env, "OPENAI_BASE_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"}
        command = ("batch", "in.jsonl", "--crew", "flows.py:Unseen", "-j", "1", "--outage-patience", "1")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime
        with begin(*command, cwd=place.folder, env=env) as process:
            _, stderr = process.communicate(timeout=30)
        spent_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime - before
    assert (process.returncode, place.done()) == (4, []), stderr
    attempts = int(stderr.partition(" attempt")[0].split()[-1]) if " attempt" in stderr else 0
    assert (attempts < 20, spent_s < 5) == (True, True), stderr


def test_a_method_s_own_loop_reaches_the_run_of_a_worker_elsewhere(place: Place) -> None:
    """What it awaits there is recorded by messages, which another thread sends. Where no source shows a call that
    blocks the worker's loop, it is an error that says what to await.
    """
    mixed = '        crew.kickoff({"topic": self.state["topic"]})\n        return (await agent.akickoff("Then")).raw\n'
    head = FLOWS.partition("class Unseen")[0].partition("        crew.kickoff")[0]
    (place.folder / "flows.py").write_text(f"{head}{mixed}\n\nclass Un{FLOWS.partition('class Un')[2]}", "utf-8")
    place.rows({"topic": "a"}, {"topic": "b"}, {"topic": "c"})
    elsewhere = ("--executor", NEAR, "-j", "1")
    assert place.batch("--crew", "flows.py:Seen", *elsewhere) == ["First a", "First b", "First c", *["Then"] * 3]
    place.batch("--crew", "flows.py:Unseen", *elsewhere, "--fresh", code=3)
    assert "would block; inside async code write `await ….akickoff(…)`" in place.stderr
