"""Who works with whom: hierarchical crews, coworkers, and agents that are asked directly."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from crewrun import Agent, Crew, CrewrunWarning, DefinitionError, GuardrailFailed, Process, Task
from crewrun.messages import ChatRequest, Completion, ToolCall, Usage
from crewrun.testing import scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio

LLM = "gpt-4o-mini"


def agent(role: str, **fields: Any) -> Agent:
    return Agent(**{"role": role, "goal": "g", "backstory": "b", "llm": LLM, **fields})


def task(doer: Agent | None = None, **fields: Any) -> Task:
    return Task(**{"description": "Write", "expected_output": "A text", "agent": doer, **fields})


def asks(name: str, **arguments: str) -> Completion:
    return Completion("", Usage(10, 0, 5), tool_calls=(ToolCall("c", name, json.dumps(arguments)),))


def delegates(coworker: str, work: str = "the work", context: str = "") -> Completion:
    return asks("delegate_work_to_coworker", task=work, context=context, coworker=coworker)


def offered(request: ChatRequest) -> list[str]:
    return [spec.name for spec in request.tools]


@tool
def a_tool() -> str:
    """Do nothing."""
    return ""


BOTH = ["delegate_work_to_coworker", "ask_question_to_coworker"]


async def test_the_manager_of_a_hierarchical_crew_does_every_task_and_delegates() -> None:
    """The task has no agent, so all of them are offered; what it cost is in the task's account."""
    writer, critic = agent("Writer"), agent("Critic")
    crew = Crew(agents=[writer, critic], tasks=[task()], process=Process.hierarchical, manager_llm="gpt-4o")
    script = (delegates(" WRITER ", "a line", "for children"), "a line by the writer", "the line")
    async with scripted(*script) as model:
        output = await crew.akickoff()
    managing, delegated, after = model.requests
    assert (output.raw, output.tasks_output[0].agent, output.token_usage.successful_requests) == (
        "the line",
        "Crew Manager",
        3,
    )
    assert [r.endpoint.model for r in model.requests] == ["gpt-4o", "gpt-4o-mini", "gpt-4o"]
    assert offered(managing) == BOTH
    assert "one of these coworkers: Writer; Critic." in managing.tools[0].description
    assert delegated.messages[0].content.startswith("You are Writer.")
    assert "Your task: a line\n" in delegated.messages[1].content
    assert delegated.messages[1].content.endswith("earlier:\nfor children")
    assert after.messages[-1].content == "a line by the writer"


async def test_a_task_with_an_agent_offers_only_that_one() -> None:
    """And a `manager_agent` is the manager."""
    writer, critic, boss = agent("Writer"), agent("Critic"), agent("Boss", llm="gpt-4.1")
    crew = Crew(agents=[writer, critic], tasks=[task(critic)], process=Process.hierarchical, manager_agent=boss)
    async with scripted("done") as model:
        output = await crew.akickoff()
    assert output.tasks_output[0].agent == "Boss"
    assert "one of these coworkers: Critic." in model.requests[0].tools[0].description


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (lambda a, b: {}, "needs manager_llm or manager_agent"),
        (lambda a, b: {"manager_agent": a}, "manager_agent 'A' is among the agents"),
        (lambda a, b: {"manager_agent": agent("M", tools=[a_tool])}, "manager_agent 'M' has tools"),
    ],
    ids=["none", "among-agents", "tools"],
)
async def test_a_manager_only_manages(fields: Any, message: str) -> None:
    """Each mistake is named when the crew is made."""
    a, b = agent("A"), agent("B")
    with pytest.raises(DefinitionError, match=message):
        Crew(agents=[a, b], tasks=[task()], process=Process.hierarchical, **fields(a, b))


async def test_a_task_s_tools_are_the_manager_s() -> None:
    """Beside those that delegate."""
    writer = agent("Writer")
    crew = Crew(agents=[writer], tasks=[task(tools=[a_tool])], process=Process.hierarchical, manager_llm=LLM)
    async with scripted("done") as model:
        await crew.akickoff()
    assert offered(model.requests[0]) == ["a_tool", *BOTH]


async def test_an_agent_that_may_delegate_gets_two_more_tools() -> None:
    """In a sequential crew; coworkers are the other agents, and its own tools stay."""
    lead, helper = agent("Lead", allow_delegation=True, tools=[a_tool]), agent("Helper")
    async with scripted(asks("ask_question_to_coworker", question="why", coworker="helper"), "so", "done") as model:
        await Crew(agents=[lead, helper], tasks=[task(lead)]).akickoff()
    assert offered(model.requests[0]) == ["a_tool", *BOTH]
    assert "Your task: why\n" in model.requests[1].messages[1].content
    assert offered(model.requests[1]) == []


async def test_alone_there_is_nobody_to_delegate_to() -> None:
    """No tools that could only fail."""
    lead = agent("Lead", allow_delegation=True)
    async with scripted("done") as model:
        await Crew(agents=[lead], tasks=[task(lead)]).akickoff()
    assert offered(model.requests[0]) == []


async def test_an_unknown_coworker_is_told_to_the_model() -> None:
    """With who there is."""
    lead, helper = agent("Lead", allow_delegation=True), agent("Helper")
    async with scripted(delegates("Helpre"), "done") as model:
        await Crew(agents=[lead, helper], tasks=[task(lead)]).akickoff()
    assert model.requests[1].messages[-1].content == (
        "There is no coworker 'Helpre' (did you mean 'Helper'?). Coworkers: Helper."
    )


async def test_agents_that_delegate_to_each_other_come_to_an_end() -> None:
    """After three times the tools are no longer offered."""
    a, b = agent("A", allow_delegation=True), agent("B", allow_delegation=True)

    async def always(request: ChatRequest) -> Any:
        asked = request.messages[-1].role == "user" and request.tools
        return delegates("B" if "You are A" in request.messages[0].content else "A") if asked else "end"

    async with scripted(always, forever=True) as model:
        output = await Crew(agents=[a, b], tasks=[task(a)]).akickoff()
    deepest = [request for request in model.requests if not request.tools]
    assert (output.raw, len(model.requests), len(deepest)) == ("end", 7, 1)


async def test_roles_from_a_row_are_what_the_model_sees() -> None:
    """In the tools' description and when the coworker is looked for."""
    lead, helper = agent("Lead", allow_delegation=True), agent("{topic} expert")
    async with scripted(delegates("ant expert"), "by the expert", "done") as model:
        await Crew(agents=[lead, helper], tasks=[task(lead)]).akickoff({"topic": "Ant"})
    assert "one of these coworkers: Ant expert." in model.requests[0].tools[0].description
    assert model.requests[1].messages[0].content.startswith("You are Ant expert.")


async def test_of_two_agents_of_one_role_the_first_is_handed_the_work() -> None:
    """With a warning, as CrewAI has it; without delegation there is nothing to say."""
    twins = [agent("Twin", name="first"), agent(" twin ", name="second")]
    Crew(agents=twins, tasks=[task(twins[0])])
    with pytest.warns(CrewrunWarning, match="agents 'first' and 'second' have the same role 'twin'; .* the first one"):
        Crew(agents=twins, tasks=[task()], process=Process.hierarchical, manager_llm=LLM)


# --- agents alone -----------------------------------------------------------------------------------------------------


class Mood(BaseModel):
    mood: str


@pytest.mark.parametrize("given", [{"messages": "Classify"}, {"query": "Classify"}], ids=["messages", "query"])
async def test_an_agent_is_asked_directly(given: dict[str, Any]) -> None:
    """By text, or by `query=` as the tutorials write it; `str()` is the answer."""
    async with scripted("positive") as model:
        output = await agent("Classifier").kickoff_async(**given)
    assert [(m.role, m.content) for m in model.requests[0].messages] == [
        ("system", "You are Classifier. b\nYour personal goal: g"),
        ("user", "Classify"),
    ]
    assert (str(output), output.agent_role, output.usage_metrics["total_tokens"]) == ("positive", "Classifier", 15)
    assert output.messages[-1] == {"role": "assistant", "content": "positive"}


async def test_an_agent_takes_a_conversation() -> None:
    """The last message is the task."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    async with scripted("d") as model:
        await agent("R").akickoff(turns)
    assert [m.content for m in model.requests[0].messages[1:]] == ["a", "b", "c"]


async def test_an_agent_alone_has_its_tools_and_a_response_format() -> None:
    """Several turns, then a validated answer."""
    async with scripted(asks("a_tool"), '{"mood": "good"}') as model:
        output = await agent("R", tools=[a_tool]).akickoff("How?", response_format=Mood)
    assert (output.pydantic, output.raw, len(model.requests)) == (Mood(mood="good"), '{"mood": "good"}', 2)


async def test_an_agent_alone_keeps_to_its_guardrail() -> None:
    """As a task does."""
    careful = agent("R", guardrail=lambda output: (output.raw == "good", "not good"), guardrail_max_retries=1)
    async with scripted("bad", "good", "bad", "worse"):
        assert (await careful.akickoff("How?")).usage_metrics.successful_requests == 2
        with pytest.raises(GuardrailFailed, match="in 2 tries; the last one: not good"):
            await careful.akickoff("How?")


def test_an_agent_is_asked_in_sync_code() -> None:
    """`kickoff` with an event loop of its own."""
    output = agent("R", llm="offline").kickoff("hello")
    assert output.raw.endswith("hello")


async def test_kickoff_inside_a_loop_names_what_to_await() -> None:
    """It blocks everything else, and works: awaited, as in CrewAI, and not."""
    with pytest.warns(CrewrunWarning, match=r"inside async code write `await ….akickoff\(…\)`"):
        outputs = agent("R", llm="offline").kickoff("hello"), await agent("R", llm="offline").kickoff("hello")
    assert [output.raw.endswith("hello") for output in outputs] == [True, True]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "takes messages or query="),
        ([{"role": "robot", "content": "x"}], r"messages\[0\] has the role 'robot'; a role is one of"),
        ([{"role": "user", "content": 1}], r"messages\[0\] has 1 as `content`; it is a text, or a list of parts"),
        (["x"], r"messages\[0\] is 'x'; a message is a mapping"),
        ([], "no messages"),
    ],
    ids=["nothing", "role", "content", "text", "empty"],
)
async def test_what_is_no_message_is_refused(messages: Any, message: str) -> None:
    """Before a call."""
    with pytest.raises((TypeError, ValueError), match=message):
        await agent("R").akickoff(messages)
