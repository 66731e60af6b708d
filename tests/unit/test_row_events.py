"""What listeners are told of a row: each part of it from its start to its end, and which part is around which."""

import warnings
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from crewrun import Agent, Crew, CrewrunWarning, Flow, Process, Task
from crewrun.aio.concurrency import gather
from crewrun.errors import OutputInvalid, RowTimedOut, ServerError
from crewrun.flow import listen, start
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.gateway import Gateway
from crewrun.llm.options import GatewayOptions
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.row import Row
from crewrun.row_events import Answer, Retry, RowEvent, Waited, add_listener, remove_listener
from crewrun.target.crew import CrewTarget
from crewrun.testing import ScriptedTransport, calls, scripted
from crewrun.tools import tool
from crewrun.worker import Worker

pytestmark = pytest.mark.anyio

AT_ONCE = GatewayOptions(retry=RetryPolicy(base_s=0.0))


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[RowEvent] = []

    def on_event(self, event: RowEvent) -> None:
        self.events.append(event)

    def of(self, kind: str, phase: str) -> list[Any]:
        """The events of a kind and phase; what they are about differs between kinds, so they are untyped here."""
        return [event for event in self.events if (event.kind, event.phase) == (kind, phase)]

    @property
    def tree(self) -> list[str]:
        """The parts as they ended, each with those around it: `crew > task a: completed`."""
        started = {event.span: event for event in self.events if event.phase == "started"}
        return [
            f"{_path(event, started)}: {event.phase}{f' ({event.failure.category})' if event.failure else ''}"
            for event in self.events
            if event.phase in ("completed", "failed")
        ]


def _path(event: RowEvent, started: dict[int, RowEvent]) -> str:
    own = f"{event.kind} {event.name}"
    return f"{_path(started[event.parent], started)} > {own}" if event.parent else own


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    """A listener of the whole process."""
    listener = Heard()
    add_listener(listener)
    yield listener
    remove_listener(listener)


@tool
def clock() -> str:
    """Tell the time."""
    return "noon"


@tool
def broken() -> str:
    """Fail."""
    raise ValueError("no such place")


def agent(role: str = "Writer", **fields: Any) -> Agent:
    return Agent(**{"role": role, "goal": "g", "backstory": "b", "llm": "gpt-4o-mini", **fields})


def task(doer: Agent | None, name: str = "write", **fields: Any) -> Task:
    return Task(**{"name": name, "description": "On {topic}", "expected_output": "A text", "agent": doer, **fields})


def crew_of(*tasks: Task, **fields: Any) -> Crew:
    agents = list({id(one.agent): one.agent for one in tasks if one.agent is not None}.values())
    return Crew(**{"name": "press", "agents": agents, "tasks": list(tasks), **fields})


async def test_each_part_of_a_kickoff_starts_and_ends_inside_the_part_around_it(heard: Heard) -> None:
    """Crew, tasks, agents, calls and tools, in the order in which they happen, with what they are about."""
    writer = agent("Writer on {topic}", tools=[clock])
    crew = crew_of(task(writer), task(writer, "sum up"))
    async with scripted(calls("clock"), "the text", "the sum"):
        await crew.akickoff({"topic": "AI"})
    about = "crew press > task write > agent Writer on AI"
    assert heard.tree == [
        f"{about} > call openai/gpt-4o-mini: completed",
        f"{about} > tool clock: completed",
        f"{about} > call openai/gpt-4o-mini: completed",
        f"{about}: completed",
        "crew press > task write: completed",
        "crew press > task sum up > agent Writer on AI > call openai/gpt-4o-mini: completed",
        "crew press > task sum up > agent Writer on AI: completed",
        "crew press > task sum up: completed",
        "crew press: completed",
    ]
    assert {event.root for event in heard.events} == {heard.events[0].span}
    assert [event.time_ns for event in heard.events] == sorted(event.time_ns for event in heard.events)
    [begun] = heard.of("tool", "started")
    [used] = heard.of("tool", "completed")
    assert (begun.subject.name, begun.subject.arguments, used.result.text) == ("clock", "{}", "noon")
    [first, *_] = heard.of("task", "completed")
    assert (first.subject.description, first.subject.role, first.result.raw) == ("On AI", "Writer on AI", "the text")
    assert heard.of("crew", "completed")[0].result.raw == "the sum"
    assert heard.of("crew", "started")[0].subject.inputs == {"topic": "AI"}


async def test_a_call_has_its_request_and_its_answer_by_reference(heard: Heard) -> None:
    """The messages are those that were sent, not copies of them; the answer has its usage and its price."""
    async with scripted(Completion("the text", Usage(1000, 0, 100))) as model:
        await crew_of(task(agent())).akickoff({"topic": "AI"})
    [begun], [answered] = heard.of("call", "started"), heard.of("call", "completed")
    assert begun.subject.messages is model.requests[0].messages
    answer = answered.result
    assert isinstance(answer, Answer)
    assert (answer.completion.text, answer.source, answer.spent.usage, answer.spent.attempts) == (
        "the text",
        "model",
        Usage(1000, 0, 100),
        1,
    )


async def test_a_retry_belongs_to_its_call(heard: Heard) -> None:
    """It has the error of the attempt; the call itself is completed in the end."""
    async with scripted(ServerError("down"), "the text", options=AT_ONCE):
        await crew_of(task(agent())).akickoff({"topic": "AI"})
    [retry], [answered] = heard.of("call", "retry"), heard.of("call", "completed")
    assert retry.span == answered.span
    assert isinstance(retry.result, Retry)
    assert (retry.result.error.category, answered.result.spent.attempts) == ("server", 2)


def test_the_wait_for_a_limit_belongs_to_its_call() -> None:
    """Two calls a minute: the third one waits for most of a minute."""
    heard, limited = Heard(), agent(max_rpm=2)

    async def run() -> None:
        gateway = Gateway(transport=ScriptedTransport("the text", forever=True))
        async with Worker(CrewTarget(crew_of(task(limited))), gateway, listeners=[heard]) as worker:
            await gather([partial(worker.run, Row(i, i + 1, str(i), {"topic": "AI"})) for i in range(3)])

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    [wait] = heard.of("call", "wait")
    assert isinstance(wait.result, Waited)
    assert wait.result.reason == "limiter"
    assert 50 < wait.result.seconds <= 61
    assert wait.span in {event.span for event in heard.of("call", "completed")}


async def test_a_tool_that_fails_and_one_that_there_is_not(heard: Heard) -> None:
    """The model is told, and the agent goes on; for listeners both have failed."""
    async with scripted(calls(("broken", {}), ("brokn", {})), "the text"):
        await crew_of(task(agent(tools=[broken]))).akickoff({"topic": "AI"})
    first, second = sorted(heard.of("tool", "failed"), key=lambda event: event.name)
    assert (first.failure, first.subject.tool.name) == (
        ("tool", "exception", "ValueError: no such place", None),
        "broken",
    )
    assert second.failure is not None
    assert second.failure.type == "unknown_tool"
    assert second.subject.tool is None
    assert heard.of("agent", "completed")


async def test_what_is_open_when_a_call_fails_fails_with_it(heard: Heard) -> None:
    """Each part around the failed call ends with the call's category."""
    async with scripted(OutputInvalid("nothing")):
        with pytest.raises(OutputInvalid):
            await crew_of(task(agent())).akickoff({"topic": "AI"})
    assert [line.rpartition(": ")[2] for line in heard.tree] == ["failed (output_invalid)"] * 4
    assert {event.failure.message for event in heard.events if event.failure} == {"nothing"}


async def test_a_part_that_is_cancelled_ends_too(heard: Heard) -> None:
    """Two tasks at once: when one fails, the other one is cancelled, and both end before their crew does."""
    never = anyio.Event()

    async def wait(request: ChatRequest) -> str:
        await never.wait()
        return ""

    async def fail(request: ChatRequest) -> str:
        raise OutputInvalid("nothing")

    crew = crew_of(task(agent(), "a", async_execution=True), task(agent(), "b", async_execution=True))
    async with scripted(wait, fail):
        with pytest.raises(OutputInvalid):
            await crew.akickoff({"topic": "AI"})
    assert sorted(heard.tree[:-1]) == sorted(
        [
            *(f"{path}: failed (cancelled)" for path in _paths("a")),
            *(f"{path}: failed (output_invalid)" for path in _paths("b")),
        ]
    )
    assert heard.tree[-1] == "crew press: failed (output_invalid)"


def _paths(name: str) -> list[str]:
    path = f"crew press > task {name}"
    return [path, f"{path} > agent Writer", f"{path} > agent Writer > call openai/gpt-4o-mini"]


async def test_delegated_work_is_inside_the_tool_that_delegates_it(heard: Heard) -> None:
    """The coworker's calls are not mistaken for the manager's."""
    work = {"task": "a line", "context": "c", "coworker": "Writer"}
    writer = agent()
    crew = Crew(name="press", agents=[writer], tasks=[task(None)], process=Process.hierarchical, manager_llm="gpt-4o")
    async with scripted(calls("delegate_work_to_coworker", **work), "a line", "the line"):
        await crew.akickoff({"topic": "AI"})
    manager = "crew press > task write > agent Crew Manager"
    assert f"{manager} > tool delegate_work_to_coworker > agent Writer: completed" in heard.tree


async def test_a_crew_in_a_tool_is_inside_that_tool(heard: Heard) -> None:
    """Also a sync kickoff in the thread of a sync tool."""
    inner = crew_of(task(agent("Scout"), "look"), name="scouts")

    @tool
    def scout() -> str:
        """Look around."""
        return inner.kickoff({"topic": "AI"}).raw

    async with scripted(calls("scout"), "nothing here", "the text"):
        await crew_of(task(agent(tools=[scout]))).akickoff({"topic": "AI"})
    outer = "crew press > task write > agent Writer > tool scout"
    assert f"{outer} > crew scouts > task look > agent Scout: completed" in heard.tree


async def test_a_flows_methods_and_their_crews(heard: Heard) -> None:
    """A crew that a method starts is inside that method."""

    class Press(Flow):
        @start()
        async def draft(self) -> str:
            return (await crew_of(task(agent())).akickoff({"topic": "AI"})).raw

        @listen(draft)
        def shout(self, text: str) -> str:
            return text.upper()

    async with scripted("the text"):
        assert await Press().akickoff() == "THE TEXT"
    assert heard.tree == [
        "flow Press > method draft > crew press > task write > agent Writer > call openai/gpt-4o-mini: completed",
        "flow Press > method draft > crew press > task write > agent Writer: completed",
        "flow Press > method draft > crew press > task write: completed",
        "flow Press > method draft > crew press: completed",
        "flow Press > method draft: completed",
        "flow Press > method shout: completed",
        "flow Press: completed",
    ]


async def test_sixty_four_rows_at_once_keep_their_parts_apart() -> None:
    """Every part of a row has a parent in the same row, whatever the order of the answers."""
    heard = Heard()

    async def answer(request: ChatRequest) -> Completion:
        number = int(request.messages[1].content.partition("On ")[2].split()[0])
        await anyio.sleep(number % 7 / 1000)
        used = any(message.role == "tool" for message in request.messages)
        return Completion("ok", Usage(1, 0, 1)) if used else calls("clock")

    target = CrewTarget(crew_of(task(agent(tools=[clock])), task(agent(), "check", async_execution=True)))
    gateway = Gateway(transport=ScriptedTransport(answer, forever=True))
    async with Worker(target, gateway, listeners=[heard]) as worker, anyio.create_task_group() as group:
        for index in range(64):
            group.start_soon(worker.run, Row(index, index + 1, f"row-{index}", {"topic": f"{index} "}))
    rows: dict[int, list[RowEvent]] = {}
    for event in heard.events:
        rows.setdefault(event.root, []).append(event)
    assert len(rows) == 64
    for events in rows.values():
        open_spans: dict[int, str] = {}
        assert len({event.row.id for event in events if event.row}) == 1
        for event in events:
            if event.phase == "started":
                assert event.parent == 0 if event.kind == "row" else event.parent in open_spans
                open_spans[event.span] = event.kind
            elif event.phase in ("completed", "failed"):
                del open_spans[event.span]
        assert not open_spans


async def test_a_row_that_runs_out_of_time_closes_what_is_open() -> None:
    """Its parts are cancelled, and the row itself has failed for the time."""
    heard = Heard()

    async def wait(request: ChatRequest) -> str:
        await anyio.sleep(60)
        return ""

    gateway = Gateway(transport=ScriptedTransport(wait))
    async with Worker(CrewTarget(crew_of(task(agent()))), gateway, 0.02, listeners=[heard]) as worker:
        outcome = await worker.run(Row(0, 1, "a", {"topic": "AI"}))
    assert outcome.error is not None
    assert outcome.error.type == RowTimedOut.__name__
    assert [line.rpartition(": ")[2] for line in heard.tree] == ["failed (cancelled)"] * 4 + ["failed (timeout)"]
    [end] = heard.of("row", "failed")
    assert end.result is outcome


async def test_a_listener_that_raises_fails_nothing_where_warnings_are_errors() -> None:
    """As with `python -W error`: what would be the row's error is shown in place of it."""

    class Broken:
        def on_event(self, event: RowEvent) -> None:
            raise RuntimeError("no collector")

    gateway = Gateway(transport=ScriptedTransport("the text", forever=True))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error")
        async with Worker(CrewTarget(crew_of(task(agent()))), gateway, listeners=[Broken()]) as worker:
            outcome = await worker.run(Row(0, 1, "1", {"topic": "AI"}))
    assert outcome.error is None
    texts = [str(warning.message) for warning in shown]
    assert "Broken failed at an event of a task: RuntimeError: no collector" in texts


async def test_a_listener_that_raises_is_a_warning_for_each_kind_and_fails_nothing() -> None:
    """The others are told all the same."""

    class Broken:
        def on_event(self, event: RowEvent) -> None:
            if event.kind in ("task", "call"):
                raise RuntimeError("no collector")

    heard = Heard()
    gateway = Gateway(transport=ScriptedTransport("the text", forever=True))
    async with Worker(CrewTarget(crew_of(task(agent()))), gateway, listeners=[Broken(), heard]) as worker:
        rows = [partial(worker.run, Row(index, index + 1, str(index), {"topic": "AI"})) for index in range(3)]
        with pytest.warns(CrewrunWarning) as warned:
            outcomes = await gather(rows)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert sorted(str(one.message) for one in warned) == [
        "Broken failed at an event of a call: RuntimeError: no collector",
        "Broken failed at an event of a task: RuntimeError: no collector",
    ]
    assert len(heard.of("row", "completed")) == 3


async def test_without_listeners_nothing_is_made() -> None:
    """A listener that is gone hears nothing of later kickoffs."""
    heard = Heard()
    add_listener(heard)
    remove_listener(heard)
    async with scripted("the text"):
        await crew_of(task(agent())).akickoff({"topic": "AI"})
    assert heard.events == []
