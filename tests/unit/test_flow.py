"""Flows: which method follows which, side by side or not, what a kickoff gives, and what is refused when and how."""

import asyncio
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from enum import Enum
from functools import partialmethod
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import anyio
import pytest
from support.paths import ROOT

from crewrun import Agent, Crew, CrewrunWarning, DefinitionError, Flow, ForEachError, Task
from crewrun.aio import threads
from crewrun.flow import and_, listen, or_, router, start
from crewrun.testing import scripted

pytestmark = pytest.mark.anyio


def crew(words: str, name: str = "draft") -> Crew:
    agent = Agent(role="Writer", goal="g", backstory="b", llm="gpt-4o-mini")
    return Crew(agents=[agent], tasks=[Task(name=name, description=words, expected_output="e", agent=agent)])


class Pipeline(Flow):
    """Two starts, a join, a router and its branches."""

    @start()
    async def left(self) -> str:
        return "l"

    @start()
    def right(self) -> str:
        return "r"

    @listen(and_(left, right))
    async def join(self) -> str:
        return "joined"

    @router(join)
    async def decide(self, found: str) -> Literal["good", "bad"]:
        self.state["decided on"] = found
        return "good"

    @listen("good")
    def keep(self, label: str) -> str:
        return f"kept as {label}"

    @listen("bad")
    def drop(self) -> None:
        raise AssertionError("nobody said so")


async def test_a_flow_goes_through_starts_joins_and_routers() -> None:
    """Its result is what the method that ended last returned; a label's listener gets the label."""
    flow = Pipeline()
    assert await flow.akickoff({"topic": "AI"}) == "kept as good"
    assert sorted(flow.method_outputs[:2]) == ["l", "r"]
    assert flow.method_outputs[2:] == ["joined", "good", "kept as good"]
    assert flow.state == {"id": flow.flow_id, "topic": "AI", "decided on": "joined"}


def test_kickoff_brings_its_own_loop() -> None:
    """And so does the for-each; both go from a plain script."""
    assert Pipeline().kickoff() == "kept as good"
    assert Pipeline().kickoff_for_each([{}, {}]) == ["kept as good"] * 2


async def test_kickoff_in_a_running_loop_says_what_to_await() -> None:
    """Inside an async method as well; it works."""

    class Nested(Flow):
        @start()
        async def inner(self) -> Any:
            return Pipeline().kickoff()

    advice = r"kickoff\(\) blocks the running event loop .*; inside async code write `await ….akickoff\(…\)`"
    with pytest.warns(CrewrunWarning, match=advice):
        assert Pipeline().kickoff() == "kept as good"
    with pytest.warns(CrewrunWarning, match=advice):
        assert await Nested().akickoff() == "kept as good"


async def test_starts_and_listeners_of_one_event_run_side_by_side() -> None:
    """Async and sync ones: each waits for the others of its kind, and all get through."""
    loop_barrier, thread_barrier = asyncio.Barrier(2), threading.Barrier(2)

    class Wide(Flow):
        @start()
        async def one(self) -> None:
            await loop_barrier.wait()

        @start()
        async def two(self) -> None:
            await loop_barrier.wait()

        @listen(and_(one, two))
        def three(self) -> None:
            thread_barrier.wait(10)

        @listen(and_(one, two))
        def four(self) -> None:
            thread_barrier.wait(10)

    with anyio.fail_after(10):
        assert await Wide().akickoff() is None


async def test_a_join_gets_the_result_of_the_last_part_and_fires_anew_each_time() -> None:
    """Twice here, since a router goes around twice."""
    seen: list[Any] = []

    class Rounds(Flow):
        @start()
        async def begin(self) -> str:
            return "begun"

        @listen(or_(begin, "again"))
        async def work(self) -> int:
            self.state["round"] = self.state.get("round", 0) + 1
            return int(self.state["round"])

        @listen(work)
        async def check(self, found: int) -> str:
            await anyio.sleep(0)
            return f"checked {found}"

        @listen(and_(work, check))
        async def both(self, last: str) -> None:
            seen.append(last)

        @router(both)
        async def more(self) -> str | None:
            return "again" if self.state["round"] < 2 else None

    await Rounds().akickoff()
    assert seen == ["checked 1", "checked 2"]


async def test_an_or_runs_its_listener_once_until_a_router_leads_back() -> None:
    """Two triggers of one round are one call; neither trigger is cancelled for it."""
    calls: list[tuple[str, int]] = []

    class Rounds(Flow):
        @start("again")
        async def begin(self) -> None:
            self.state["round"] = self.state.get("round", 0) + 1

        @listen(begin)
        async def quick(self) -> None:
            calls.append(("quick", self.state["round"]))

        @listen(begin)
        async def slow(self) -> None:
            for _ in range(5):
                await anyio.sleep(0)
            calls.append(("slow", self.state["round"]))

        @listen(or_(quick, slow))
        async def first(self) -> None:
            calls.append(("first", self.state["round"]))

        @router(slow)
        async def more(self) -> str | None:
            return "again" if self.state["round"] < 2 else None

    await Rounds().akickoff()
    assert calls == [(name, n) for n in (1, 2) for name in ("quick", "first", "slow")]


async def test_a_round_is_one_round_however_many_labels_it_has() -> None:
    """A label inside a round does not begin another, so an `or_` runs its listener once in each."""
    calls: list[int] = []

    class Rounds(Flow):
        @start()
        async def begin(self) -> None: ...

        @listen(or_(begin, "again"))
        async def work(self) -> None:
            self.state["round"] = self.state.get("round", 0) + 1

        @router(work)
        async def inside(self) -> Literal["branch"]:
            for _ in range(5):  # `two` comes first
                await anyio.sleep(0)
            return "branch"

        @listen("branch")
        async def one(self) -> None: ...

        @listen(work)
        async def two(self) -> None: ...

        @listen(or_(one, two))
        async def first(self) -> None:
            calls.append(self.state["round"])

        @router(and_(one, two))
        async def more(self) -> str | None:
            return "again" if self.state["round"] < 3 else None

    await Rounds().akickoff()
    assert calls == [1, 2, 3]


async def test_conditions_nest() -> None:
    """`or_` inside `and_` and the other way around, with methods, their names and labels mixed."""
    calls: list[str] = []

    class Nested(Flow):
        @start()
        async def a(self) -> None: ...

        @router(a)
        async def b(self) -> Literal["yes"]:
            return "yes"

        @listen("yes")
        async def c(self) -> None: ...

        @listen(and_("a", or_("yes", "no way"), c))
        async def d(self) -> None:
            calls.append("d")

        @listen(or_(and_(a, d), "no way"))
        async def e(self, found: Any, extra: str = "kept") -> None:
            calls.append(f"e {found} {extra}")

        @router(a)
        async def never(self) -> Literal["no way"] | None:
            return None

    await Nested().akickoff()
    assert calls == ["d", "e None kept"]


async def test_an_exception_cancels_siblings_and_surfaces_as_itself() -> None:
    """Not in a group, and what follows does not begin."""
    log: list[str] = []

    class Failing(Flow):
        @start()
        async def waits(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                log.append("cancelled")

        @start()
        async def fails(self) -> None:
            await anyio.sleep(0)
            raise KeyError("mine")

        @listen(waits)
        async def after(self) -> None:
            log.append("never")

    with pytest.raises(KeyError, match="mine"), anyio.fail_after(10):
        await Failing().akickoff()
    assert log == ["cancelled"]


async def test_a_cycle_without_an_end_is_stopped_after_a_hundred_calls() -> None:
    """The error names the method, what calls it, and the way out; the bound can be set."""
    calls: list[int] = []

    class Endless(Flow):
        @start()
        async def begin(self) -> None: ...

        @router(or_(begin, "again"))
        async def ask(self) -> str:
            calls.append(1)
            return "again"

    with pytest.raises(RecursionError) as caught:
        await Endless().akickoff()
    assert len(calls) == 100
    assert str(caught.value).partition(": ")[2] == (
        "Endless.ask was called 100 times in one kickoff, and or_(begin, again) calls it again: "
        "a cycle without an end. Let a router return None or another label in time, or raise max_method_calls"
    )
    with pytest.raises(RecursionError, match="called 3 times"):
        await Endless(max_method_calls=3).akickoff()
    assert len(calls) == 103


async def test_a_result_that_should_have_been_awaited_is_awaited_or_names_the_method() -> None:
    """A coroutine is awaited, as in CrewAI; what else could be is an error in an async method."""

    class Forgetful(Flow):
        @start()
        async def ask(self) -> Any:
            return Pipeline().akickoff()

    class Handing(Flow):
        @start()
        def ask(self) -> Any:
            return Pipeline().akickoff()

    class Early(Flow):
        @start()
        async def ask(self) -> Any:
            return asyncio.ensure_future(Pipeline().akickoff())

    assert [await Forgetful().akickoff(), await Handing().akickoff()] == ["kept as good"] * 2
    with pytest.raises(TypeError, match=r"Early.ask returned Task instead of a result: an `await` is missing"):
        await Early().akickoff()


class Grade(Enum):
    """What a router may return."""

    ONE = 1
    GOOD = "good"


@pytest.mark.parametrize(
    ("returned", "label", "heard"),
    [
        (7, "7", 7),
        (0, "0", 0),
        (False, "False", False),
        (True, "True", True),
        (Grade.ONE, "1", 1),
        (Grade.GOOD, "good", "good"),
        (["good"], "['good']", ["good"]),
        (None, "None", "nothing"),
    ],
    ids=repr,
)
async def test_a_router_s_label_is_its_result_as_text(returned: Any, label: str, heard: Any) -> None:
    """Listeners get the result itself, of an enum its value; only None leads nowhere."""

    class Grading(Flow):
        @start()
        async def begin(self) -> None: ...

        @router(begin)
        async def decide(self) -> Any:
            self.state["heard"] = "nothing"
            return returned

        @listen(label)
        async def keep(self, found: Any) -> None:
            self.state["heard"] = found

    flow = Grading()
    await flow.akickoff()
    assert (flow.state["heard"], type(flow.state["heard"])) == (heard, type(heard))


async def test_a_router_without_a_condition_begins_the_flow() -> None:
    """Beside other starts, and alone."""

    class Alone(Flow):
        @router()
        def decide(self) -> str:
            return "on"

        @listen("on")
        async def keep(self, found: str) -> list[str]:
            return [found]

    class Beside(Alone):
        @start()
        async def begin(self) -> None:
            self.state["began"] = True

    beside = Beside()
    assert [await Alone().akickoff(), await beside.akickoff()] == [["on"], ["on"]]
    assert beside.state["began"]


async def test_a_loop_that_a_method_closes_goes_on() -> None:
    """`again` leads to `improve`, and its end to what was called before it; each or_ in the loop holds once a lap."""

    class Improving(Flow):
        @start()
        async def draft(self) -> None:
            self.state["n"] = 0

        @listen(or_(draft, "improve"))
        async def judge(self) -> None:
            self.state["n"] += 1

        @listen(judge)
        async def left(self) -> None: ...

        @listen(judge)
        async def right(self) -> None: ...

        @listen(or_(left, right))
        async def join(self) -> None: ...

        @router(join)
        async def decide(self) -> str:
            return "again" if self.state["n"] < 3 else "done"

        @listen("again")
        async def improve(self) -> None: ...

        @listen("done")
        async def publish(self) -> None: ...

    flow = Improving()
    await flow.akickoff()
    assert (flow.state["n"], len(flow.method_outputs)) == (3, 1 + 3 * 5 + 2 + 1)


async def test_a_loop_that_no_label_ends_is_a_warning_and_ends_by_its_bound() -> None:
    """When the class is made, with the way round."""
    with pytest.warns(
        CrewrunWarning, match=r"Endless.again is in a loop .* ends, again → back → again: only an except"
    ):

        class Endless(Flow):
            @start()
            async def begin(self) -> None: ...

            @listen(or_(begin, "back"))
            async def again(self) -> None: ...

            @listen(again)
            async def back(self) -> None: ...

    with pytest.raises(RecursionError, match=r"Endless.again was called 5 times"):
        await Endless(max_method_calls=5).akickoff()


async def test_an_or_forgets_what_half_an_and_has_seen() -> None:
    """After it has held: the next lap's `left` alone does not complete what the first lap's `right` began."""

    class Halves(Flow):
        @start()
        async def begin(self) -> None:
            self.state["laps"] = 0

        @router(or_(begin, "again"))
        async def lap(self) -> str:
            self.state["laps"] += 1
            return "right" if self.state["laps"] == 1 else "left"

        @router(or_("right", "left"))
        async def middle(self) -> str | None:
            return "whole" if self.state["laps"] == 1 else None

        @router("whole")
        async def back(self) -> str:
            return "again"

        @listen(or_(and_("right", "left"), "whole"))
        async def count(self) -> None:
            self.state["count"] = self.state.get("count", 0) + 1

    flow = Halves()
    await flow.akickoff()
    assert (flow.state["laps"], flow.state["count"]) == (2, 1)


@pytest.mark.parametrize("annotated", [True, False], ids=["annotated", "not annotated"])
async def test_a_label_that_nobody_knows_is_a_warning_with_those_that_are_known(annotated: bool) -> None:
    """The branch ends there. Labels that the annotation has, and None, end it without a word."""
    words = iter(["godo", "done", None])

    class Unsure(Flow):
        @start()
        async def begin(self) -> None: ...

        async def decide(self) -> Any:
            return next(words)

        decide.__annotations__["return"] = Literal["done", "good"] if annotated else str
        router(begin)(decide)

        @listen("good")
        async def keep(self) -> None: ...

    with pytest.warns(CrewrunWarning) as caught:
        assert await Unsure().akickoff() == "godo"
    listed = "'done', 'good'" if annotated else "'good'"
    assert str(caught[0].message).partition(": ")[2] == (
        "Unsure.decide returned 'godo' (did you mean 'good'?), which nothing listens to, so its branch ends there; "
        f"the labels are {listed}. Return None to end without this warning"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error" if annotated else "ignore")
        assert [await Unsure().akickoff() for _ in range(2)] == ["done", None]


async def test_a_for_each_runs_every_input_with_a_state_of_its_own() -> None:
    """Results in order, failures apart, usage summed; the object itself keeps the state that it had."""

    class Asking(Flow):
        @start()
        async def ask(self) -> str:
            assert self.state.setdefault("calls", []) == ["preset"]
            self.state["calls"].append(self.state["n"])
            if self.state["n"] == 1:
                raise ValueError("one is bad")
            return str(self.state["calls"]) + (await crew("hello").akickoff()).raw

    flow = Asking(calls=["preset"])
    before = {**flow.state}
    async with scripted("!", forever=True):
        with pytest.raises(ForEachError) as caught:
            await flow.akickoff_for_each({"n": i} for i in range(3))
    zero, one, two = caught.value.results
    assert (zero, repr(one), two) == ("['preset', 0]!", "ValueError('one is bad')", "['preset', 2]!")
    assert (flow.usage_metrics.successful_requests, flow.state) == (2, before)


async def test_usage_covers_crews_and_agents_in_sync_and_async_methods() -> None:
    """And in a flow inside the flow; the crews talk to the run's own gateway, from threads too."""

    class Inner(Flow):
        @start()
        async def ask(self) -> str:
            return (await crew("inner").akickoff()).raw

    class Outer(Flow):
        @start()
        def sync(self) -> str:
            return crew("sync").kickoff().raw + str(Inner().kickoff())

        @listen(sync)
        async def direct(self, found: str) -> str:
            agent = Agent(role="R", goal="g", backstory="b", llm="gpt-4o-mini")
            return found + (await agent.kickoff_async(query="direct")).raw

    flow = Outer()
    async with scripted("1", "2", "3") as model:
        assert await flow.akickoff() == "123"
    assert len(model.requests) == flow.usage_metrics.successful_requests == 3
    assert flow.usage_metrics.total_tokens == 45


def test_a_sync_method_s_crew_runs_in_the_loop_of_the_flow() -> None:
    """Without a run around it too: kickoffs in threads share the flow's loop and connections."""
    loops: list[Any] = []

    class Mixed(Flow):
        @start()
        async def own(self) -> None:
            loops.append(asyncio.get_running_loop())

        @listen(own)
        def sync(self) -> None:
            Inner().kickoff()

    class Inner(Flow):
        @start()
        async def inner(self) -> None:
            loops.append(asyncio.get_running_loop())

    Mixed().kickoff()
    assert len(loops) == 2
    assert loops[0] is loops[1]


async def test_a_crew_that_a_sync_method_started_ends_with_its_flow() -> None:
    """Nobody could use its answer: the call is cancelled, and the method, whose thread goes on, begins no other."""
    log: list[str] = []
    begun, over = anyio.Event(), threading.Event()

    async def answer(_: Any) -> str:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")
        return "never"

    class Stubborn(Flow):
        @start()
        def ask(self) -> None:
            for _ in range(2):
                try:
                    crew("hello").kickoff()
                except RuntimeError as refused:
                    log.append(str(refused))
            over.set()

    async with scripted(answer, forever=True) as model:
        async with anyio.create_task_group() as group:
            group.start_soon(Stubborn().akickoff)
            await begun.wait()
            group.cancel_scope.cancel()
        await anyio.to_thread.run_sync(over.wait, 10)
    words = "the caller no longer waits for this: it was cancelled or ran out of time"
    assert (sorted(log), len(model.requests)) == (["cancelled", words, words], 1)


async def test_sync_methods_of_nested_flows_never_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three threads, sixty flows with sync methods that run flows with sync methods: they queue, and all end."""
    monkeypatch.setattr(threads, "pool", threads.ThreadPool(3))
    monkeypatch.setattr("crewrun.llm.loop_bound.pool", threads.pool)

    class Inner(Flow):
        @start()
        def one(self) -> int:
            return 1

        @start()
        def two(self) -> int:
            return 2

        @listen(and_(one, two))
        def three(self) -> int:
            return 3

    class Outer(Flow):
        @start()
        def left(self) -> Any:
            return Inner().kickoff()

        @start()
        def right(self) -> Any:
            return Inner().kickoff()

        @listen(and_(left, right))
        def both(self, last: int) -> int:
            return last + 1

    with anyio.fail_after(30):
        assert await Outer().akickoff_for_each({} for _ in range(60)) == [4] * 60


async def test_no_thread_is_held_by_an_async_method_that_waits() -> None:
    """Five hundred flows wait at once, and no worker thread was started for them."""
    inside, everybody = 0, anyio.Event()
    workers: set[str] = set()

    class Waiting(Flow):
        @start()
        async def wait(self) -> None:
            nonlocal inside
            inside += 1
            if inside == 500:
                workers.update(t.name for t in threading.enumerate() if t.name == "crewrun-worker" and t not in before)
                everybody.set()
            await everybody.wait()

    before = set(threading.enumerate())
    with anyio.fail_after(30):
        await Waiting().akickoff_for_each({} for _ in range(500))
    assert workers == set()


async def test_a_sync_method_that_hangs_is_given_up_with_its_flow() -> None:
    """The kickoff ends at its time limit; the pool counts the thread, and has it back when the method returns."""
    release, pool = threading.Event(), threads.pool
    before = pool._abandoned

    class Hanging(Flow):
        @start()
        def hang(self) -> None:
            release.wait(30)

    try:
        with anyio.move_on_after(0.05) as scope:
            await Hanging().akickoff()
        assert scope.cancelled_caught
        assert pool._abandoned == before + 1
    finally:
        release.set()
    with anyio.fail_after(10):
        while pool._abandoned > before:
            await anyio.sleep(0)


async def test_methods_may_come_from_mixins_and_be_overridden() -> None:
    """An override without a decorator stands where the old one stood; None is no method. Attributes may be set in an
    __init__ that never calls the flow's own.
    """

    class Ending:
        @listen("end")
        async def finish(self, label: str) -> str:
            return f"{label} from the mixin"

    class Base(Flow):
        def __init__(self) -> None:
            self._first = "x"

        @start()
        async def begin(self) -> str:
            return "old"

        @listen(begin)
        async def gone(self) -> None:
            raise AssertionError

        @listen("begin")
        async def work(self, found: str) -> str:
            return found

    class Child(Ending, Base):
        gone = None  # type: ignore[assignment]  # taken out

        async def begin(self) -> str:
            return f"new {self._first}"

        @router(Base.work)
        async def decide(self, found: str) -> str | None:
            return "end" if found == "new x" else None

    assert await Child().akickoff() == "end from the mixin"


def refused(make: Callable[[], Any]) -> str:
    with pytest.raises(DefinitionError) as caught:
        make()
    return re.sub(r"^\S*test_flow\.py:\d+: ", "", str(caught.value))


def listening(*marks: tuple[str, Any], starts: bool = True) -> Callable[[], Any]:
    """A flow of methods by name, each under its decorator, behind a start `begin`."""

    def make() -> Any:
        def method(name: str, mark: Any) -> Any:
            async def run(self: Any) -> None: ...

            run.__name__ = run.__qualname__ = name
            return mark(run)

        first = [("begin", start())] if starts else []
        return type("F", (Flow,), {name: method(name, mark) for name, mark in [*first, *marks]})

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            listening(("work", listen(test_kickoff_brings_its_own_loop))),
            "F.work listens to 'test_kickoff_brings_its_own_loop', which is no method of the flow",
            id="to a function elsewhere",
        ),
        pytest.param(
            listening(("work", listen(or_("begin", "work")))),
            "F.work listens to itself; a loop needs a router in it, and a label a name that its listener does not have",
            id="to itself",
        ),
        pytest.param(
            listening(("a", listen(and_("begin", "b"))), ("b", listen("a"))),
            "F.a can never run: and_(begin, b) waits for 'b', which nothing leads to before it",
            id="an and_ that waits for what comes after it",
        ),
        pytest.param(
            listening(("a", listen("b")), ("b", listen("a"))),
            "F.a can never run: b is not reached from a method under @start()",
            id="a circle beside the start",
        ),
        pytest.param(
            listening(("a", listen("b")), ("b", listen("a")), starts=False),
            "F.a can never run: b is not reached from a method under @start(), and the flow has none",
            id="a circle without a start",
        ),
        pytest.param(
            listening(("akickoff", listen("begin"))),
            "F.akickoff hides what every flow has under that name; give the method another",
            id="a name that flows have",
        ),
        pytest.param(
            listening(("work", lambda method: listen("begin")(listen("x")(method)))),
            "work has two conditions, x and begin; say which is meant with or_(…) or and_(…)",
            id="two conditions",
        ),
        *(
            pytest.param(
                listening(("work", lambda method, kind=kind: kind(listen("begin")(method)))),
                f"F.work is a {kind.__name__}; a flow's methods are plain ones, with self",
                id=f"a {kind.__name__}",
            )
            for kind in (staticmethod, classmethod, property, partialmethod)
        ),
    ],
)
def test_a_class_whose_methods_cannot_work_is_refused_when_it_is_made(make: Callable[[], Any], message: str) -> None:
    """With the place, the method's name and what is near."""
    assert refused(make) == message


def in_words(word: str) -> Any:
    def decide(self: Any) -> str:
        return "yes" if self.state else "no"

    return router(word)(decide)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            listening(("work", listen("begni"))),
            "F.work listens to 'begni' (did you mean 'begin'?), which is no method, and no router returns it",
            id="no router",
        ),
        pytest.param(
            listening(("ask", router("begin", emit=["yes"])), ("work", listen(or_("yes", "yse")))),
            "F.work listens to 'yse' (did you mean 'yes'?), which is no method, and no router returns it",
            id="a router that declares its labels",
        ),
        pytest.param(
            listening(
                ("ask", lambda _: in_words("begin")), ("work", listen(or_("yes", "on"))), ("more", listen("work"))
            ),
            "F.work listens to 'on', which is no method, and no router returns it",
            id="a router whose code says them",
        ),
    ],
)
def test_a_label_that_no_router_returns_is_a_warning(make: Callable[[], Any], message: str) -> None:
    """When the class is made, with what is near; the flow runs without its listener."""
    with pytest.warns(CrewrunWarning) as caught:
        make()
    assert [re.sub(r"^\S*test_flow\.py:\d+: ", "", str(one.message)) for one in caught] == [message]


def test_a_method_that_cannot_be_called_is_refused_when_the_class_is_made() -> None:
    """For its parameters, its yields, or a decorator without its parentheses."""

    def two_parameters() -> Any:
        class F(Flow):
            @start()
            async def begin(self) -> None: ...

            @listen(begin)
            async def work(self, one: Any, two: Any) -> None: ...

        return F

    def start_with_parameter() -> Any:
        class F(Flow):
            @start()
            async def begin(self, topic: str) -> None: ...

        return F

    def generator() -> Any:
        class F(Flow):
            @start()
            async def begin(self) -> Any:
                yield 1

        return F

    def bare() -> Any:
        class F(Flow):
            @start
            async def begin(self) -> None: ...

        return F

    assert refused(two_parameters) == "F.work takes one, two; a method gets one result, that of what it waited for"
    assert refused(start_with_parameter) == (
        "F.begin takes topic, and a start has no result to get; read inputs from self.state"
    )
    assert refused(generator) == "F.begin yields; a flow's method returns its result, once"
    assert refused(bare) == "F.begin: write @start() with its parentheses"
    with pytest.raises(DefinitionError, match=r"and_\(\) is empty"):
        and_()
    with pytest.raises(
        DefinitionError, match=r"listen\(…\) names a method under @start: write @start\(\) with its par"
    ):
        listen(start(lambda self: None))
    with pytest.raises(DefinitionError, match=r"listen\(5\): name a method, a label, or a condition"):
        listen(5)  # type: ignore[arg-type]  # what the test is about


def test_a_router_that_nobody_listens_to_is_a_warning() -> None:
    """Its labels have no effect, and its own result is taken by nobody."""
    with pytest.warns(CrewrunWarning, match=r"F.decide is a router, and nothing listens to the labels that it returns"):
        listening(("decide", router("begin", emit="x")))()


async def test_a_base_class_without_a_start_waits_for_those_made_of_it() -> None:
    """They bring what it listens to; by itself it cannot be run."""

    class Base(Flow):
        @listen("fetch")
        async def work(self, found: str) -> str:
            return f"worked on {found}"

    class Whole(Base):
        @start()
        async def fetch(self) -> str:
            return "it"

    assert await Whole().akickoff() == "worked on it"
    with pytest.raises(
        DefinitionError, match=r"Base has no method under @start\(\), so there is nothing to begin with"
    ):
        await Base().akickoff()


def test_a_flow_written_with_types_passes_a_strict_type_checker(tmp_path: Path) -> None:
    """A dict state, a model's fields, conditions and results, as a user's project has them."""
    (tmp_path / "user_flow.py").write_text(
        dedent("""
        import asyncio
        from crewrun import Agent, Crew, Process, Task
        from crewrun.flow.flow import Flow, and_, listen, or_, persist, router, start
        from pydantic import BaseModel

        class AsyncFlow(Flow):
            @start()
            async def fetch_data(self) -> str:
                self.state["data"] = "Fetched data"
                return str(self.state["data"])

            @listen(fetch_data)
            async def process_data(self, data: str) -> str:
                return f"Processed: {data}"

        class PipelineState(BaseModel):
            market: str = ""
            words: int = 0

        @persist
        class Research(Flow[PipelineState]):
            @start()
            async def market(self) -> None:
                result = await self._crew("market").akickoff(inputs={"focus": "trends"})
                self.state.market = result.raw

            @start()
            def other(self) -> None:
                self.state.words += 1

            @listen(and_(market, or_(other, "late")))
            async def report(self) -> str:
                return self.state.market

            @router(report)
            @persist()
            def decide(self) -> str:
                return "late"

            def _crew(self, focus: str) -> Crew:
                agent = Agent(role=focus, goal="g", backstory="b")
                return Crew(agents=[agent], tasks=[Task(description="d", expected_output="e", agent=agent)],
                            process=Process.sequential)

        reveal_type(AsyncFlow().state)
        reveal_type(Research().state.words)
        results = asyncio.run(Research().akickoff_for_each([{"market": "x"}]))
        print(results, Research().usage_metrics.total_tokens)
        Research().state.wrods
        """)
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, str(tmp_path / "user_flow.py")], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if "user_flow" in line]
    assert said == [
        'note: Revealed type is "dict[str, Any]"',
        'note: Revealed type is "int"',
        'error: "PipelineState" has no attribute "wrods"; maybe "words"?  [attr-defined]',
    ], done.stdout
