"""Hooks around models and tools, CrewAI's: `@before_llm_call` and the like."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.workspace import Place

from crewrun import LLM, Agent, Crew, CrewrunWarning, DefinitionError, Task
from crewrun.errors import LLMCallBlockedError
from crewrun.hooks import (
    HookAborted,
    InterceptionPoint,
    LLMCallHookContext,
    ToolCallHookContext,
    after_llm_call,
    after_tool_call,
    before_llm_call,
    before_tool_call,
    clear_all_global_hooks,
    clear_all_hooks,
    get_before_llm_call_hooks,
    on,
    register_after_llm_call_hook,
    register_before_llm_call_hook,
    unregister_before_llm_call_hook,
    unregister_hook,
)
from crewrun.project import CrewBase, agent, crew, task
from crewrun.testing import calls, scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio

CREW = """
from pathlib import Path
from crewai import Agent, Crew, Task
from crewai.hooks import after_llm_call, before_llm_call

LOG = Path(__file__).parent / "hooks.txt"

@before_llm_call
def first(context):
    topic = context.task.description.removeprefix("About ")
    context.messages.append({{"role": "user", "content": f"mind {{topic}}{more}"}})

@after_llm_call
def after(context):
    with LOG.open("a") as log:
        log.write(context.task.description + "\\n")
    if (LOG.parent / "broken").exists():
        raise ValueError("no luck")
    return context.task.description + " by " + context.agent.role

agent = Agent(role="Writer of {{topic}}", goal="g", backstory="b", llm="gpt-4.1-mini")
crew = Crew(agents=[agent], tasks=[Task(description="About {{topic}}", expected_output="text", agent=agent)])
"""


@pytest.fixture(autouse=True)
def _no_hooks() -> Iterator[None]:
    """Hooks are the process's."""
    yield
    clear_all_hooks()


@tool
def double(n: int) -> str:
    """Double a number."""
    return str(2 * n)


def worker(**fields: Any) -> Agent:
    return Agent(role="Worker", goal="g", backstory="b", llm=LLM("openai/m"), **fields)


def crew_file(place: Place, more: str = "") -> None:
    (place.folder / "crew.py").write_text(CREW.format(more=more))


def sent(place: Place) -> list[str]:
    """What the last messages of all requests say, sorted."""
    return sorted(request["messages"][-1]["content"] for request in place.mock.ledger(last=1000)["requests"])


def test_what_a_hook_changes_is_sent_and_is_part_of_the_call(place: Place) -> None:
    """Each row's hooks see that row; another change is another call, and the same one is answered from the cache."""
    crew_file(place)
    place.rows(*({"topic": str(i)} for i in range(20)))
    place.batch("--crew", "crew.py:crew", "-j", "20", "--cache", "c")
    assert sent(place) == sorted(f"mind {i}" for i in range(20))
    rows = [json.loads(line) for line in place.results.read_text().splitlines()]
    assert sorted(row["output"] for row in rows) == sorted(f"About {i} by Writer of {i}" for i in range(20))
    assert len(place.batch("--crew", "crew.py:crew", "--cache", "c", "--fresh")) == 0
    crew_file(place, more="!")
    assert len(place.batch("--crew", "crew.py:crew", "--cache", "c")) == 20  # another hook makes another crew


def test_hooks_after_a_call_run_again_when_it_is_replayed(place: Place) -> None:
    """The journal has the model's reply; a hook that raised is mended, and nothing is paid for twice."""
    crew_file(place)
    (place.folder / "broken").touch()
    place.rows({"topic": "1"})
    assert len(place.batch("--crew", "crew.py:crew", code=3)) == 1
    assert "crew.py:18: ValueError: no luck" in place.stderr
    (place.folder / "broken").unlink()
    assert place.batch("--crew", "crew.py:crew") == []
    assert json.loads(place.results.read_text())["output"] == "About 1 by Writer of 1"
    assert (place.folder / "hooks.txt").read_text() == "About 1\n" * 2


async def test_messages_that_a_hook_adds_stay_in_the_conversation() -> None:
    """As CrewAI's do; `iterations` counts the calls of the agent."""
    seen = []

    @before_llm_call
    def hint(context: LLMCallHookContext) -> None:
        seen.append((context.iterations, context.agent.role, context.llm.model))
        if context.iterations == 0:
            context.messages.insert(1, {"role": "user", "content": "hint"})

    async with scripted(calls("double", n=21), "42") as model:
        assert (await worker(tools=[double]).akickoff("What is it?")).raw == "42"
    assert seen == [(0, "Worker", "openai/m"), (1, "Worker", "openai/m")]
    assert [[m.content for m in request.messages[1:3]] for request in model.requests] == [["hint", "What is it?"]] * 2
    assert [m.role for m in model.requests[1].messages[-2:]] == ["assistant", "tool"]


async def test_a_text_takes_the_reply_s_place_and_none_leaves_it() -> None:
    """In the order of registration; a turn that asks for tools is no reply."""
    seen = []

    @after_llm_call
    def look(context: LLMCallHookContext) -> None:
        seen.append(context.response)

    register_after_llm_call_hook(lambda context: context.response.replace("secret", "***"))
    register_after_llm_call_hook(look)
    async with scripted(calls("double", n=21), "the secret is 42", "direct secret"):
        assert (await worker(tools=[double]).akickoff("What is it?")).raw == "the *** is 42"
        assert await LLM("openai/m").acall("Hi") == "direct ***"
    assert seen == ["the secret is 42", "the *** is 42", "direct secret", "direct ***"]


@pytest.mark.parametrize("how", ["False", "raised"])
async def test_a_hook_may_refuse_a_call(how: str) -> None:
    """Then its row fails, and nothing is sent. CrewAI raises ValueError for False."""

    @before_llm_call(agents=["Worker"])
    def refuse(context: LLMCallHookContext) -> bool:
        if how == "raised":
            raise HookAborted("not today", source="me")
        return False

    async with scripted("other's") as model:
        with pytest.raises(ValueError if how == "False" else HookAborted, match=r"blocked by before_llm|not today"):
            await worker().akickoff("Hi")
        assert (await worker().model_copy(update={"role": "Other"}).akickoff("Hi")).raw == "other's"
    assert len(model.requests) == 1
    assert issubclass(LLMCallBlockedError, HookAborted)


async def test_async_hooks_are_awaited() -> None:
    """CrewAI has sync ones only."""

    @before_llm_call
    async def hint(context: LLMCallHookContext) -> None:
        context.messages.append({"role": "user", "content": "hint"})

    async with scripted("yes") as model:
        await worker().akickoff("Hi")
    assert model.requests[0].messages[-1].content == "hint"


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ([{"role": "usr", "content": "x"}], r"after the hooks context.messages\[0\] has the role 'usr'"),
        ("text", "a hook left str as context.messages"),
        ([], "a hook left no messages; return False to keep the call from being made"),
    ],
    ids=["a role", "no list", "none at all"],
)
async def test_messages_that_are_none_are_told(left: Any, said: str) -> None:
    """With the position in the list."""

    @before_llm_call
    def spoil(context: LLMCallHookContext) -> None:
        context.messages = left

    async with scripted():
        with pytest.raises(TypeError, match=said):
            await worker().akickoff("Hi")


async def test_tools_are_called_as_hooks_say() -> None:
    """They change arguments and results, for the tools and agents that they name."""
    seen: list[Any] = []

    @before_tool_call(tools=["Double"], agents=["Worker"])
    def more(context: ToolCallHookContext) -> None:
        context.tool_input["n"] += 1
        seen.append((context.tool_name, context.tool.name, context.agent.role, context.tool_result))

    @before_tool_call(tools=["other"])
    def other(context: ToolCallHookContext) -> bool:
        return False

    @after_tool_call
    def framed(context: ToolCallHookContext) -> str:
        seen.append((context.tool_input, context.raw_tool_result))
        return f"[{context.tool_result}]"

    async with scripted(calls("double", n=20), "done") as model:
        assert (await worker(tools=[double]).akickoff("Hi")).raw == "done"
    assert model.requests[1].messages[-1].content == "[42]"
    assert seen == [("double", "double", "Worker", None), ({"n": 21}, "42")]


@pytest.mark.parametrize("how", ["False", "raised"])
async def test_a_hook_may_refuse_a_tool(how: str) -> None:
    """The model is told, and may go on."""

    @before_tool_call
    def refuse(context: ToolCallHookContext) -> bool:
        if how == "raised":
            raise HookAborted("not today")
        return False

    async with scripted(calls("double", n=20), "done") as model:
        output = await worker(tools=[double]).akickoff("Hi")
    assert (output.raw, output.tool_failures) == ("done", [])
    why = "not today" if how == "raised" else "before_tool_call hook returned False"
    assert model.requests[1].messages[-1].content == f"The call of double was refused: {why}"


async def test_hooks_of_a_crew_class_are_its_own_crew_s() -> None:
    """They are methods, bound to the object whose crew runs; another crew's calls do without them."""

    @CrewBase
    class Team:
        agents: Any
        tasks: Any
        word = "mine"

        @before_llm_call
        def hint(self, context: LLMCallHookContext) -> None:
            context.messages.append({"role": "user", "content": f"{self.word} {context.crew.name}"})

        @after_tool_call(tools=["double"])
        def framed(self, context: ToolCallHookContext) -> str:
            return f"{self.word} {context.tool_result} {context.task.description}"

        @agent
        def one(self) -> Agent:
            return worker(tools=[double])

        @task
        def only(self) -> Task:
            return Task(description="About {topic}", expected_output="e", agent=self.one())

        @crew
        def crew(self) -> Crew:
            return Crew(agents=self.agents, tasks=self.tasks)

    async with scripted(calls("double", n=21), "done", "other") as model:
        assert (await Team().crew().akickoff({"topic": "it"})).raw == "done"
        await worker().akickoff("Hi")
    assert model.requests[0].messages[-1].content == "mine Team"
    assert model.requests[1].messages[-2].content == "mine 42 About it"
    assert model.requests[2].messages[-1].content == "Hi"


def test_hooks_of_a_crew_class_keep_things_for_their_row(place: Place) -> None:
    """Each row has an object of its own."""
    (place.folder / "crew.py").write_text(
        """
from crewai import Agent, Crew, Task
from crewai.hooks import after_llm_call, before_llm_call
from crewai.project import CrewBase, agent, crew, task

@CrewBase
class Team:
    @before_llm_call
    def keep(self, context):
        self.topic = context.task.description

    @after_llm_call
    def tell(self, context):
        return self.topic

    @agent
    def one(self):
        return Agent(role="r", goal="g", backstory="b", llm="gpt-4.1-mini")

    @task
    def only(self):
        return Task(description="About {topic}", expected_output="e", agent=self.one())

    @crew
    def crew(self):
        return Crew(agents=self.agents, tasks=self.tasks)
"""
    )
    place.rows(*({"topic": str(i)} for i in range(20)))
    place.batch("--crew", "crew.py:Team", "-j", "20")
    rows = [json.loads(line) for line in place.results.read_text().splitlines()]
    assert sorted(row["output"] for row in rows) == sorted(f"About {i}" for i in range(20))


def test_hooks_are_registered_and_forgotten() -> None:
    """Under CrewAI's names, those with filters too."""

    @before_llm_call(agents=["Worker"])
    def chosen(context: LLMCallHookContext) -> None:
        """Not called here."""

    def plain(context: LLMCallHookContext) -> None:
        """Not called here."""

    register_before_llm_call_hook(plain)
    assert len(get_before_llm_call_hooks()) == 2
    assert unregister_hook(InterceptionPoint.PRE_MODEL_CALL, chosen)
    assert (unregister_before_llm_call_hook(plain), unregister_before_llm_call_hook(plain)) == (True, False)
    register_before_llm_call_hook(plain)
    on(InterceptionPoint.POST_TOOL_CALL)(plain)
    assert clear_all_global_hooks() == {"llm_hooks": (1, 0), "tool_hooks": (0, 1), "total": (1, 1)}


def test_a_point_that_crewrun_does_not_have_is_told() -> None:
    """A hook that is never called would be missed by nobody."""
    with pytest.warns(CrewrunWarning, match=r"hook 'start' at 'execution_start' is never called"):

        @on(InterceptionPoint.EXECUTION_START)
        def start(context: Any) -> None:
            """Not called."""


async def test_a_hook_that_asks_somebody_is_refused() -> None:
    """Nobody answers in a batch."""
    for register in (before_llm_call, before_tool_call):

        @register
        def ask(context: Any) -> None:
            context.request_human_input("May I?")

    async with scripted():
        with pytest.raises(DefinitionError, match=r"a hook asks for human input \('May I\?'\)"):
            await worker().akickoff("Hi")
