"""CrewAI's events: what handlers get, in which order, and what becomes of handlers that fail, hang or are too slow."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from threading import Event
from typing import Any, Literal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun import Agent, Crew, CrewrunWarning, DefinitionError, Flow, Task
from crewrun.aio.concurrency import gather
from crewrun.errors import OutputInvalid
from crewrun.events import (
    BaseEvent,
    BaseEventListener,
    CircularDependencyError,
    CrewAIEventsBus,
    Depends,
    crewai_event_bus,
)
from crewrun.events.delivery import Delivery
from crewrun.events.depends import Handler, in_order
from crewrun.events.never_sent import never_sent
from crewrun.events.types.agent_events import (
    AgentExecutionCompletedEvent,
    AgentExecutionErrorEvent,
    AgentExecutionStartedEvent,
    LiteAgentExecutionCompletedEvent,
    LiteAgentExecutionStartedEvent,
)
from crewrun.events.types.crew_events import CrewKickoffCompletedEvent, CrewKickoffFailedEvent, CrewKickoffStartedEvent
from crewrun.events.types.flow_events import (
    FlowFinishedEvent,
    FlowStartedEvent,
    MethodExecutionFailedEvent,
    MethodExecutionFinishedEvent,
    MethodExecutionStartedEvent,
)
from crewrun.events.types.llm_events import (
    LLMCallCompletedEvent,
    LLMCallFailedEvent,
    LLMCallStartedEvent,
    LLMCallType,
)
from crewrun.events.types.task_events import TaskCompletedEvent, TaskFailedEvent, TaskStartedEvent
from crewrun.events.types.tool_usage_events import (
    ToolFailureDetectedEvent,
    ToolSelectionErrorEvent,
    ToolUsageErrorEvent,
    ToolUsageEvent,
    ToolUsageFinishedEvent,
    ToolUsageStartedEvent,
    ToolValidateInputErrorEvent,
)
from crewrun.flow import listen, start
from crewrun.llm.gateway import Gateway
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.row import Row
from crewrun.target.crew import CrewTarget
from crewrun.testing import ScriptedTransport, calls, scripted
from crewrun.tools import ToolFailure, tool
from crewrun.worker import Worker

pytestmark = pytest.mark.anyio

CREW = (CrewKickoffStartedEvent, CrewKickoffCompletedEvent, CrewKickoffFailedEvent)
TASK = (TaskStartedEvent, TaskCompletedEvent, TaskFailedEvent)
AGENT = (AgentExecutionStartedEvent, AgentExecutionCompletedEvent, AgentExecutionErrorEvent)
CALL = (LLMCallStartedEvent, LLMCallCompletedEvent, LLMCallFailedEvent)
TOOL = (
    *(ToolUsageStartedEvent, ToolUsageFinishedEvent, ToolUsageErrorEvent, ToolFailureDetectedEvent),
    *(ToolSelectionErrorEvent, ToolValidateInputErrorEvent),
)
ALL = (*CREW, *TASK, *AGENT, *CALL, *TOOL)


@pytest.fixture
def bus() -> Iterator[CrewAIEventsBus]:
    """The bus of the process, without handlers but for the test's."""
    with crewai_event_bus.scoped_handlers():
        yield crewai_event_bus


def keep(bus: CrewAIEventsBus, *kinds: type[BaseEvent]) -> list[Any]:
    """A list of the events of these classes; what they have differs, so they are untyped here."""
    events: list[Any] = []

    def handler(source: Any, event: BaseEvent) -> None:
        events.append(event)

    for kind in kinds:
        bus.on(kind)(handler)
    return events


def types(events: list[Any]) -> list[str]:
    return [event.type for event in events]


@tool
def clock(zone: str = "UTC") -> str:
    """Tell the time."""
    return "noon"


@tool
def broken() -> str:
    """Fail."""
    raise ValueError("no such place")


@tool
def full() -> Any:
    """Report a failure."""
    return ToolFailure("the disk is full")


def agent(role: str = "Writer on {topic}", **fields: Any) -> Agent:
    return Agent(**{"role": role, "goal": "g", "backstory": "b", "llm": "gpt-4o-mini", **fields})


def crew_of(doer: Agent, **fields: Any) -> Crew:
    task = Task(name="write", description="On {topic}", expected_output="A text", agent=doer)
    return Crew(**{"agents": [doer], "tasks": [task], **fields})


async def test_a_kickoff_sends_its_events_before_it_returns(bus: CrewAIEventsBus) -> None:
    """In the order in which things happen, with the row's texts."""
    events = keep(bus, *ALL)
    async with scripted(calls("clock", zone="CET"), Completion("the text", Usage(10, 0, 5))):
        await crew_of(agent(tools=[clock])).akickoff({"topic": "AI"})
    assert types(events) == [
        *("crew_kickoff_started", "task_started", "agent_execution_started", "llm_call_started", "llm_call_completed"),
        *("tool_usage_started", "tool_usage_finished", "llm_call_started", "llm_call_completed"),
        *("agent_execution_completed", "task_completed", "crew_kickoff_completed"),
    ]
    begun, task, work, asked, answered, used, result, *_, last, worked, done, ended = events
    assert (begun.crew_name, begun.inputs, ended.output.raw, ended.total_tokens) == (
        "crew",
        {"topic": "AI"},
        "the text",
        30,
    )
    assert (task.task.description, task.task_name, task.agent_role) == ("On AI", "write", "Writer on AI")
    assert (work.agent.role, work.task.name, worked.output) == ("Writer on AI", "write", "the text")
    assert work.task_prompt.startswith("Your task: On AI")
    assert [one.name for one in work.tools] == ["clock"]
    assert (asked.model, asked.messages[1]["role"], asked.tools[0]["function"]["name"]) == (
        "gpt-4o-mini",
        "user",
        "clock",
    )
    assert (answered.call_type, answered.response[0]["function"]["name"], answered.finish_reason) == (
        LLMCallType.TOOL_CALL,
        "clock",
        "tool_calls",
    )
    assert (last.response, last.usage["prompt_tokens"], last.usage["total_tokens"]) == ("the text", 10, 15)
    assert (used.tool_name, used.tool_args, used.agent_role) == ("clock", {"zone": "CET"}, "Writer on AI")
    assert (result.output, result.from_cache, result.failure) == ("noon", False, None)
    assert done.output.raw == "the text"
    assert {event.row_id for event in events} == {None}


async def test_events_say_what_they_are_a_part_of(bus: CrewAIEventsBus) -> None:
    """The ids of CrewAI: of the part around, of the start, of the event before; and of agents and tasks."""
    events = keep(bus, *ALL)
    async with scripted("the text"):
        await crew_of(agent()).akickoff({"topic": "AI"})
    crew, task, work, call, called, worked, done, ended = events
    assert [one.parent_event_id for one in (crew, task, work, call)] == [
        None,
        crew.event_id,
        task.event_id,
        work.event_id,
    ]
    assert [one.started_event_id for one in (called, worked, done, ended)] == [
        call.event_id,
        work.event_id,
        task.event_id,
        crew.event_id,
    ]
    assert [one.previous_event_id for one in events] == [None, *(one.event_id for one in events[:-1])]
    assert [one.emission_sequence for one in events] == list(range(1, 9))
    assert len({one.event_id for one in events}) == 8
    assert {one.agent_id for one in (work, call, called, worked)} == {str(work.agent.id)}
    assert {one.task_id for one in (task, work, call, done)} == {str(task.task.id)}


async def test_a_failed_call_fails_what_is_around_it(bus: CrewAIEventsBus) -> None:
    """Each with the message; the task also has the class."""
    events = keep(bus, *ALL)
    async with scripted(OutputInvalid("nothing")):
        with pytest.raises(OutputInvalid):
            await crew_of(agent()).akickoff({"topic": "AI"})
    assert types(events)[4:] == ["llm_call_failed", "agent_execution_error", "task_failed", "crew_kickoff_failed"]
    assert {event.error for event in events[4:]} == {"nothing"}
    assert events[6].error_type is OutputInvalid


async def test_tools_that_fail(bus: CrewAIEventsBus) -> None:
    """One that raises, one that reports a failure, one that there is not, and arguments that do not fit."""
    events = keep(bus, *TOOL[1:])
    script = (calls("broken"), calls("full"), calls("brokn"), calls(("clock", {"zone": [1]})), "the text")
    async with scripted(*script):
        await crew_of(agent(tools=[broken, full, clock])).akickoff({"topic": "AI"})
    assert types(events) == [
        *("tool_usage_error", "tool_usage_finished", "tool_failure_detected"),
        *("tool_selection_error", "tool_usage_error", "tool_validate_input_error", "tool_usage_error"),
    ]
    assert events[0].error == "ValueError: no such place"
    assert events[1].failure.message == events[2].failure.message == "the disk is full"


async def test_an_agent_that_is_asked_directly(bus: CrewAIEventsBus) -> None:
    """It has no task, and events of its own, as with CrewAI."""
    events = keep(bus, LiteAgentExecutionStartedEvent, LiteAgentExecutionCompletedEvent, *AGENT)
    async with scripted("four"):
        await agent("Counter").akickoff("What is two and two?")
    assert types(events) == ["lite_agent_execution_started", "lite_agent_execution_completed"]
    assert (events[0].agent_info["role"], events[0].messages, events[1].output) == (
        "Counter",
        [{"role": "user", "content": "What is two and two?"}],
        "four",
    )


async def test_a_flow_and_its_methods(bus: CrewAIEventsBus) -> None:
    """The state is a copy of what it was then."""

    class Count(Flow):
        @start()
        def one(self) -> int:
            self.state["n"] = 1
            return 1

        @listen(one)
        async def two(self) -> int:
            self.state["n"] = 2
            return 2

    events = keep(bus, FlowStartedEvent, FlowFinishedEvent, MethodExecutionStartedEvent, MethodExecutionFinishedEvent)
    assert await Count().akickoff({"n": 0}) == 2
    assert [(event.type, getattr(event, "method_name", None)) for event in events] == [
        ("flow_started", None),
        ("method_execution_started", "one"),
        ("method_execution_finished", "one"),
        ("method_execution_started", "two"),
        ("method_execution_finished", "two"),
        ("flow_finished", None),
    ]
    assert events[0].inputs == {"n": 0}
    assert [event.state["n"] for event in events[1:]] == [0, 1, 1, 2, 2]
    assert [event.result for event in events if event.type == "method_execution_finished"] == [1, 2]


async def test_a_method_that_fails(bus: CrewAIEventsBus) -> None:
    """The event has the exception."""

    class Broken(Flow):
        @start()
        def one(self) -> None:
            raise ValueError("no")

    events = keep(bus, MethodExecutionFailedEvent)
    with pytest.raises(ValueError, match="no"):
        await Broken().akickoff()
    assert [(event.flow_name, event.method_name, str(event.error)) for event in events] == [("Broken", "one", "no")]


def test_a_sync_kickoff_sends_its_events_too(bus: CrewAIEventsBus) -> None:
    """They are all there when it returns."""
    events = keep(bus, *CREW)
    crew = crew_of(agent(llm="offline"))
    crew.kickoff({"topic": "AI"})
    assert types(events) == ["crew_kickoff_started", "crew_kickoff_completed"]


async def test_handlers_run_in_a_thread_one_at_a_time_with_the_rows_context(bus: CrewAIEventsBus) -> None:
    """64 rows at once: a handler needs no lock, sees its row's context variables and events in the row's order."""
    of_row: ContextVar[str] = ContextVar("of_row", default="")
    seen: dict[str, list[str]] = {}
    inside = 0
    threads = set()

    def handler(source: Any, event: BaseEvent) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        assert event.row_id == of_row.get()
        seen.setdefault(str(event.row_id), []).append(event.type)
        threads.add(threading.current_thread().name)
        inside -= 1

    async def awaited(source: Any, event: BaseEvent) -> None:
        nonlocal inside
        inside += 1
        await anyio.sleep(0)
        assert inside == 1
        inside -= 1

    for kind in ALL:
        bus.on(kind)(handler)
        bus.on(kind)(awaited)

    async def answer(request: ChatRequest) -> str:
        await anyio.sleep(len(request.messages[1].content) % 7 / 1000)
        return "ok"

    async def run(row: Row) -> None:
        of_row.set(row.id)
        await worker.run(row)

    gateway = Gateway(transport=ScriptedTransport(answer, forever=True))
    async with Worker(CrewTarget(crew_of(agent())), gateway) as worker, anyio.create_task_group() as group:
        for index in range(64):
            group.start_soon(run, Row(index, index + 1, f"row-{index}", {"topic": "x" * index}))
    order = [
        *("crew_kickoff_started", "task_started", "agent_execution_started", "llm_call_started", "llm_call_completed"),
        *("agent_execution_completed", "task_completed", "crew_kickoff_completed"),
    ]
    assert seen == {f"row-{index}": order for index in range(64)}
    assert threads == {"crewrun-events"}


async def test_a_handler_that_raises_is_one_warning(bus: CrewAIEventsBus) -> None:
    """For each class of events, with its place; other handlers are called, and the row is fine."""

    def broken_handler(source: Any, event: BaseEvent) -> None:
        raise RuntimeError("no connection")

    async def broken_awaited(source: Any, event: BaseEvent) -> None:
        raise SystemExit(3)

    bus.on(TaskStartedEvent)(broken_handler)
    bus.on(TaskStartedEvent)(broken_awaited)
    events = keep(bus, TaskStartedEvent)
    kickoffs = [partial(crew_of(agent()).akickoff, {"topic": "AI"}) for _ in range(3)]
    async with scripted("the text", forever=True):
        with pytest.warns(CrewrunWarning) as warned:
            await gather(kickoffs)
    assert len(events) == 3
    texts = [str(one.message) for one in warned]
    assert [text.partition("<locals>.")[2] for text in texts] == [
        "broken_handler failed at TaskStartedEvent: RuntimeError: no connection",
        "broken_awaited failed at TaskStartedEvent: SystemExit: 3",
    ]
    assert "test_events.py:" in texts[0]


async def test_rows_wait_for_slow_handlers_before_they_begin_and_lose_no_event(
    bus: CrewAIEventsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that have begun go on; the others begin when there is room for their events again."""
    delivery = Delivery(max_waiting=10)
    monkeypatch.setattr(bus, "_delivery", delivery)
    go_on = Event()

    def slow(source: Any, event: BaseEvent) -> None:
        go_on.wait()
        handled.append(event.type)

    handled: list[str] = []
    bus.on(TaskStartedEvent)(slow)
    bus.on(TaskCompletedEvent)(slow)
    transport = ScriptedTransport("ok", forever=True)
    gateway = Gateway(transport=transport)
    async with Worker(CrewTarget(crew_of(agent())), gateway) as worker, anyio.create_task_group() as group:
        for index in range(50):
            group.start_soon(worker.run, Row(index, index + 1, str(index), {"topic": "AI"}))
        await anyio.wait_all_tasks_blocked()
        assert 0 < len(transport.requests) < 10
        go_on.set()
    assert len(transport.requests) == 50
    assert sorted(handled) == ["task_completed"] * 50 + ["task_started"] * 50


async def test_a_handler_that_hangs_holds_nothing_up_for_long(
    bus: CrewAIEventsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning names it, rows go on, and the end says how many events were not sent."""
    delivery = Delivery(patience_s=0.05)
    monkeypatch.setattr(bus, "_delivery", delivery)
    never = Event()

    def hanging(source: Any, event: BaseEvent) -> None:
        never.wait()

    bus.on(TaskStartedEvent)(hanging)
    crew = crew_of(agent())
    async with scripted("the text", forever=True):
        with pytest.warns(CrewrunWarning) as warned:
            await crew.akickoff_for_each([{"topic": "AI"}, {"topic": "ML"}], max_concurrent=1)
    never.set()
    first, second = (str(one.message) for one in warned)
    assert "hanging has not returned for 0.05 s; until it does, no events are sent" in first
    assert second.endswith("events were not sent, since a handler hung")


class Noted(BaseEvent):
    """A user's own."""

    type: Literal["noted"] = "noted"
    text: str


async def test_a_program_sends_events_of_its_own(bus: CrewAIEventsBus) -> None:
    """In a row they come in order with the row's; outside, `emit` gives a future and `flush` waits."""
    events = keep(bus, Noted, ToolUsageStartedEvent, ToolUsageFinishedEvent)

    @tool
    def note(text: str) -> str:
        """Note a text."""
        bus.emit(None, Noted(text=text))
        return "noted"

    gateway = Gateway(transport=ScriptedTransport(calls("note", text="a"), "done"))
    async with Worker(CrewTarget(crew_of(agent(tools=[note]))), gateway) as worker:
        await worker.run(Row(0, 1, "r1", {"topic": "AI"}))
    assert [(event.type, event.row_id) for event in events] == [
        ("tool_usage_started", "r1"),
        ("noted", "r1"),
        ("tool_usage_finished", "r1"),
    ]
    assert events[1].parent_event_id == events[0].event_id
    assert bus.emit(None, BaseEvent(type="unheard")) is None
    future = bus.emit("me", Noted(text="b"))
    assert future is not None
    future.result(5)
    await bus.aemit("me", Noted(text="c"))
    assert [event.text for event in events[3:]] == ["b", "c"]
    assert bus.flush() is True


async def test_a_handler_sends_events_too(bus: CrewAIEventsBus) -> None:
    """They come after it: it cannot wait for what the same thread has to do."""
    notes = keep(bus, Noted)

    async def passing_on(source: Any, event: BaseEvent) -> None:
        await bus.aemit(source, Noted(text="from a handler"))

    bus.on(TaskStartedEvent)(passing_on)
    async with scripted("the text"):
        await crew_of(agent()).akickoff({"topic": "AI"})
    assert bus.flush(5)
    assert [note.text for note in notes] == ["from a handler"]


async def test_any_inputs_are_in_events_as_a_copy(bus: CrewAIEventsBus) -> None:
    """Also those with a key that is no text. What a handler does to them is not seen by the row."""
    inputs: Any = {"topic": "AI", 1: "one"}
    seen: list[Any] = []

    def changing(source: Any, event: Any) -> None:
        seen.append(dict(event.inputs))
        event.inputs["topic"] = "changed"

    bus.on(CrewKickoffStartedEvent)(changing)
    async with scripted("the text"):
        await crew_of(agent()).akickoff(inputs)
    assert seen == [inputs] == [{"topic": "AI", 1: "one"}]


def test_a_job_that_raises_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a warning about a handler, where warnings are errors."""
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    delivery = Delivery(patience_s=5)
    done = Event()
    delivery.put({}.pop, "missing")
    delivery.put(done.set)
    assert done.wait(5)
    assert [type(one.exc_value) for one in raised] == [KeyError]


async def test_a_listener_class_registers_itself(bus: CrewAIEventsBus) -> None:
    """Making it is enough; handlers may take CrewAI's third argument."""
    heard: list[Any] = []

    class Log(BaseEventListener):
        def __init__(self, name: str) -> None:
            self.name = name
            super().__init__()

        def setup_listeners(self, crewai_event_bus: CrewAIEventsBus) -> None:
            @crewai_event_bus.on(CrewKickoffStartedEvent)
            def started(source: Any, event: Any, state: Any) -> None:
                heard.append((self.name, type(source).__name__, event.type, state))

    Log("mine")
    async with scripted("the text"):
        await crew_of(agent()).akickoff({"topic": "AI"})
    assert heard == [("mine", "Crew", "crew_kickoff_started", None)]


async def test_without_handlers_no_row_has_events(bus: CrewAIEventsBus) -> None:
    """The last handler that goes takes the listener with it, also in a scope."""
    events = keep(bus, TaskStartedEvent)
    [handler] = bus._handlers.by_event[TaskStartedEvent]
    bus.off(TaskStartedEvent, handler)
    with bus.scoped_handlers():
        scoped = keep(bus, TaskStartedEvent)
        async with scripted("the text", forever=True):
            await crew_of(agent()).akickoff({"topic": "AI"})
    async with scripted("the text"):
        await crew_of(agent()).akickoff({"topic": "AI"})
    assert (len(events), len(scoped)) == (0, 1)


def test_handlers_that_depend_on_others_come_after_them(bus: CrewAIEventsBus) -> None:
    """Whatever the order in which they were registered."""
    called: list[str] = []

    def first(source: Any, event: BaseEvent) -> None:
        called.append("first")

    @bus.on(Noted, depends_on=Depends(first))
    def second(source: Any, event: BaseEvent) -> None:
        called.append("second")

    bus.on(Noted)(first)
    bus.emit(None, Noted(text="a"))
    bus.flush()
    assert called == ["first", "second"]


def test_handlers_that_depend_on_each_other_are_refused(bus: CrewAIEventsBus) -> None:
    """And on a handler that there is not."""

    def one() -> None: ...

    def two() -> None: ...

    with pytest.raises(CircularDependencyError, match=r"one → .*two → .*one|two → .*one → .*two"):
        in_order([one, two], {one: (Depends(two),), two: (Depends(one),)})
    bus.on(Noted, depends_on=Depends(one))(two)
    with pytest.raises(CircularDependencyError, match="one, which is no handler of the same event"):
        bus.validate_dependencies()


@given(st.permutations(range(6)), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8))
@settings(max_examples=60)
def test_any_order_of_dependencies(order: list[int], pairs: list[tuple[int, int]]) -> None:
    """Each handler once, after all that it depends on; a cycle is an error."""
    handlers: list[Handler] = [partial(int, number) for number in range(6)]
    dependencies = {handlers[after]: tuple(Depends(handlers[a]) for b, a in pairs if b == after) for after, _ in pairs}
    try:
        ordered = in_order([handlers[number] for number in order], dependencies)
    except CircularDependencyError:
        assert pairs
        return
    assert sorted(map(handlers.index, ordered)) == list(range(6))
    assert all(ordered.index(handlers[after]) > ordered.index(handlers[before]) for after, before in pairs)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (never_sent("MemoryQueryStartedEvent"), "MemoryQueryStartedEvent is never sent: crewrun has no memory"),
        (never_sent("SomethingNewEvent"), "SomethingNewEvent is never sent: crewrun has nothing of the kind"),
        (ToolUsageEvent, "handlers get events of exactly their class"),
    ],
)
def test_a_handler_of_an_event_that_never_comes_is_a_warning(
    bus: CrewAIEventsBus, event: type[BaseEvent], why: str
) -> None:
    """It says why."""
    with pytest.warns(CrewrunWarning, match=why):
        keep(bus, event)


def test_a_handler_of_no_event_is_an_error(bus: CrewAIEventsBus) -> None:
    """CrewAI finds out when nothing happens."""
    with pytest.raises(DefinitionError, match="such as CrewKickoffStartedEvent, not 'task_started'"):
        bus.on("task_started")  # type: ignore[arg-type]  # what a user may write


async def test_an_event_as_json(bus: CrewAIEventsBus) -> None:
    """Crews, agents and tools are their names, whatever is in them; other objects are texts."""
    events = keep(bus, CrewKickoffStartedEvent, AgentExecutionStartedEvent)
    async with scripted("the text"):
        await crew_of(agent(tools=[clock]), name="press").akickoff({"topic": "AI"})
    crew, work = (event.to_json(exclude={"timestamp"}) for event in events)
    assert (crew["crew"], crew["inputs"], crew["type"]) == ("press", {"topic": "AI"}, "crew_kickoff_started")
    assert (work["agent"], work["task"], work["tools"]) == ("Writer on AI", "write", ["clock"])
    assert "timestamp" not in crew
