"""Agents with tools: what a tool is, the turns with the model, and what goes wrong with a call."""

import json
import threading
from collections.abc import Sequence
from datetime import date
from enum import Enum
from functools import partial
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from pydantic import BaseModel, Field

from crewrun import LLM, Agent, Crew, DefinitionError, Task, ToolFailed
from crewrun.errors import (
    AuthRefused,
    BadRequest,
    ContextTooLong,
    CrewrunError,
    EmptyReply,
    ModelNotFound,
    OutputInvalid,
    TaskTimedOut,
)
from crewrun.messages import ChatRequest, Completion, Message, ToolCall, Usage
from crewrun.testing import Step, scripted
from crewrun.tools import BaseTool, tool
from crewrun.tools.foreign import as_tool
from crewrun.tools.structured_tool import CrewStructuredTool
from crewrun.tools.toolbox import Toolbox

pytestmark = pytest.mark.anyio

NATIVE = LLM(model="gpt-4o-mini")
UNKNOWN = LLM(model="openai/nobody-knows-it")
IN_WORDS = LLM(model="openai/nobody-knows-it", function_calling=False)


@tool
def look_up(word: str, times: int = 1) -> str:
    """Look a word up.

    Args:
        word: the word
        times: how often to say it
    """
    return f"meaning of {word}" * times


def asks(*calls: tuple[str, Any], text: str = "") -> Completion:
    """A turn of the model that asks for tools; arguments that are a text stand for themselves."""
    made = (
        ToolCall(f"call_{i}", name, arguments if isinstance(arguments, str) else json.dumps(arguments))
        for i, (name, arguments) in enumerate(calls)
    )
    return Completion(text, Usage(10, 0, 5), tool_calls=tuple(made))


def crew_with(*tools: Any, llm: LLM = NATIVE, **fields: Any) -> Crew:
    agent = Agent(role="Finder", goal="Find", backstory="b", tools=list(tools), llm=llm, **fields)
    return Crew(agents=[agent], tasks=[Task(description="Find it", expected_output="A fact", agent=agent)])


async def ask(crew: Crew, *script: Step) -> tuple[str, list[ChatRequest]]:
    """The crew's answer, and what the model was asked."""
    async with scripted(*script) as model:
        output = await crew.akickoff()
    return output.raw, model.requests


def results(messages: Sequence[Message]) -> list[str]:
    """What tools said in a conversation."""
    return [m.content for m in messages if m.role == "tool"]


async def test_a_tool_s_schema_comes_from_signature_and_docstring() -> None:
    """Types, defaults and descriptions; the docstring's first part is the tool's description."""
    (spec,) = Toolbox([look_up]).specs
    assert (spec.name, spec.description, dict(spec.parameters)) == (
        "look_up",
        "Look a word up.",
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "word": {"type": "string", "description": "the word"},
                "times": {"type": "integer", "default": 1, "description": "how often to say it"},
            },
            "required": ["word"],
        },
    )


async def test_the_calls_of_one_turn_run_together_and_are_answered_in_order() -> None:
    """Both tools wait for each other: one after another they would never end."""
    both = anyio.Event(), anyio.Event()

    @tool
    async def meet(mine: int) -> str:
        """Meet."""
        both[mine].set()
        await both[1 - mine].wait()
        return f"met {mine}"

    answer, requests = await ask(crew_with(meet), asks(("meet", {"mine": 0}), ("meet", {"mine": 1})), "done")
    assert answer == "done"
    assert requests[1].messages[2:] == (
        Message(
            "assistant", "", (ToolCall("call_0", "meet", '{"mine": 0}'), ToolCall("call_1", "meet", '{"mine": 1}'))
        ),
        Message("tool", "met 0", tool_call_id="call_0"),
        Message("tool", "met 1", tool_call_id="call_1"),
    )


async def test_a_sync_tool_runs_in_a_thread_and_does_not_block_the_loop() -> None:
    """It waits for something that only the loop can do."""
    done = threading.Event()

    @tool
    def wait_for_the_loop() -> str:
        """Wait."""
        return str(done.wait(10))

    async with scripted(asks(("wait_for_the_loop", {})), "done") as model:
        async with anyio.create_task_group() as group:
            group.start_soon(crew_with(wait_for_the_loop).akickoff)
            await anyio.wait_all_tasks_blocked()
            done.set()
        assert model.requests[1].messages[-1].content == "True"


class Area(BaseModel):
    width: int = Field(gt=0)


class Square(BaseTool):
    name: str = "Square it"
    description: str = "Squares."
    args_schema: type[BaseModel] | None = Area

    def _run(self, width: int) -> dict[str, int]:
        return {"area": width * width}


@pytest.mark.parametrize(
    ("called", "arguments", "said"),
    [
        pytest.param("square_it", {"width": "4"}, '{"area": 16}', id="coerced"),
        pytest.param("Square It", {"width": 4}, '{"area": 16}', id="name-as-written"),
        pytest.param(
            "square_it",
            {"width": 0},
            "The arguments do not fit: width: Input should be greater than 0. The arguments are: width.",
            id="refused-by-its-schema",
        ),
        pytest.param(
            "square_it",
            {"with": 2},
            "The arguments do not fit: width: Field required. The arguments are: width.",
            id="missing",
        ),
        pytest.param(
            "square_it",
            '{"width": ',
            "The arguments do not fit: they are not JSON: Expecting value: line 1 column 10 (char 9)",
            id="not-json",
        ),
        pytest.param(
            "square_it", "[1]", "The arguments do not fit: they must be a JSON object, not list", id="not-an-object"
        ),
        pytest.param("square_it", "{'width': 3}", '{"area": 9}', id="python-s-quotes"),
        pytest.param(
            "squareit",
            {},
            "There is no tool 'squareit' (did you mean 'square_it'?). The tools are: square_it.",
            id="no-such-tool",
        ),
    ],
)
async def test_arguments_are_validated_and_the_model_is_told(called: str, arguments: Any, said: str) -> None:
    """A wrong call costs a turn, not the row."""
    _, requests = await ask(crew_with(Square()), asks((called, arguments)), "done")
    assert results(requests[1].messages) == [said]


@tool
def broken() -> str:
    """Fail."""
    raise ValueError("no luck")


@tool
def leaves() -> str:
    """Leave."""
    raise SystemExit(3)


@tool
def huge() -> str:
    """Say much."""
    return "x" * 10_000_000


@tool
def odd() -> object:
    """Return what is no JSON."""
    return {1, 2} - {2}


@tool(max_usage_count=1)
def once() -> str:
    """Work once."""
    return "here"


@pytest.mark.parametrize(
    ("one", "said"),
    [
        pytest.param(broken, "The tool failed: ValueError: no luck", id="raises"),
        pytest.param(leaves, "The tool failed: RuntimeError: it called sys.exit(3)", id="exits"),
        pytest.param(huge, "x" * 100_000 + "\n[… 9,900,000 more characters left out]", id="10-MB"),
        pytest.param(odd, "{1}", id="not-json"),
    ],
)
async def test_what_a_tool_does_wrong_is_told_to_the_model(one: BaseTool, said: str) -> None:
    """The row goes on."""
    answer, requests = await ask(crew_with(one), asks((one.name, {})), "done")
    assert (answer, results(requests[1].messages)) == ("done", [said])


async def test_a_tool_that_fails_its_row_on_purpose_does() -> None:
    """ToolFailed is not told to the model; its category is `tool`."""

    @tool
    def gone() -> str:
        """Fail for good."""
        raise ToolFailed("the database is gone")

    with pytest.raises(ToolFailed, match="the database is gone") as raised:
        await ask(crew_with(gone), asks(("gone", {})))
    assert raised.value.category == "tool"


async def test_a_failed_tool_is_tried_anew_as_often_as_max_retry_limit_says() -> None:
    """The agent starts its task over."""
    tries = iter([ToolFailed("gone"), "back"])

    @tool
    def flaky() -> Any:
        """Fail once."""
        result = next(tries)
        if isinstance(result, Exception):
            raise result
        return result

    turn = asks(("flaky", {}))
    answer, requests = await ask(crew_with(flaky, max_retry_limit=1), turn, turn, "done")
    assert (answer, len(requests)) == ("done", 3)


def test_a_tool_that_hangs_is_given_up_after_its_time() -> None:
    """`timeout_s` of the tool, on a virtual clock."""

    @tool(timeout_s=30)
    async def hang() -> str:
        """Hang."""
        await anyio.sleep_forever()
        return ""

    async def main() -> tuple[float, list[str]]:
        began = trio.current_time()
        _, requests = await ask(crew_with(hang), asks(("hang", {})), "done")
        return trio.current_time() - began, results(requests[1].messages)

    took_s, said = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert took_s == pytest.approx(30)
    assert said == ["The tool gave no result within 30 seconds."]


async def test_a_sync_tool_that_hangs_is_given_up_too() -> None:
    """Its thread cannot be stopped, but nobody waits for it."""
    end = threading.Event()

    @tool(timeout_s=0.02)
    def hang() -> str:
        """Hang."""
        end.wait(60)
        return ""

    try:
        _, requests = await ask(crew_with(hang), asks(("hang", {})), "done")
    finally:
        end.set()
    assert results(requests[1].messages) == ["The tool gave no result within 0.02 seconds."]


async def test_a_tool_may_be_used_so_often_in_each_run() -> None:
    """`max_usage_count` counts anew for each kickoff: a definition is not written to."""
    crew = crew_with(once)
    for _ in range(2):
        _, requests = await ask(crew, asks(("once", {}), ("once", {})), asks(("once", {})), "done")
        refused = "once may be used once, and was. Go on without it."
        assert results(requests[2].messages) == ["here", refused, refused]


async def test_a_result_as_answer_is_the_answer() -> None:
    """No further call; an error of the tool is not an answer."""

    @tool(result_as_answer=True)
    def final(what: str) -> str:
        """Answer."""
        return f"exactly {what}"

    answer, requests = await ask(crew_with(final), asks(("final", {})), asks(("final", {"what": "this"})))
    assert (answer, len(requests)) == ("exactly this", 2)


async def test_after_max_iter_turns_the_model_must_answer_without_tools() -> None:
    """One last call offers none."""
    turn = asks(("look_up", {"word": "a"}))
    answer, requests = await ask(crew_with(look_up, max_iter=2), turn, turn, "at last")
    assert answer == "at last"
    assert [len(request.tools) for request in requests] == [1, 1, 0]
    assert requests[2].messages[-1].content.startswith("You have used all the turns")


async def test_a_model_that_calls_tools_forever_fails_as_output_invalid() -> None:
    """Even the last call, which offers no tools, asks for one."""
    turn = asks(("look_up", {"word": "a"}))
    with pytest.raises(OutputInvalid, match=r"still asks for tools after 2 turns \(max_iter\)"):
        await ask(crew_with(look_up, max_iter=2), turn, turn, turn)


async def test_a_tool_without_a_docstring_is_refused_with_its_place() -> None:
    """When it is made, before anything runs."""
    with pytest.raises(DefinitionError, match=r"test_tools\.py:\d+: tool 'nameless' has no docstring"):

        @tool
        def nameless() -> str:
            return ""


def test_a_structured_tool_takes_from_its_function_what_is_not_said() -> None:
    """As CrewAI's does; a description of its own may take the docstring's place."""

    class Word(BaseModel):
        word: str

    def bare(word: str) -> str:
        return word

    own = CrewStructuredTool.from_function(look_up.func)
    said = CrewStructuredTool.from_function(
        bare, name="echo", description=" Say it.\n", args_schema=Word, return_direct=True, infer_schema=True
    )
    fields = [sorted(one.arguments.model_json_schema()["properties"]) for one in (own, said)]
    assert fields == [["times", "word"], ["word"]]
    assert (own.name, own.description, own.run(word="x")) == ("look_up", "Look a word up.", "meaning of x")
    assert (said.name, said.description, said.run(word="x")) == ("echo", "Say it.", "x")
    assert (own.result_as_answer, said.result_as_answer) == (False, True)
    with pytest.raises(DefinitionError) as caught:
        CrewStructuredTool.from_function(bare)
    assert str(caught.value) == "tool 'bare' has no description, and its function no docstring; write one of them"


async def test_a_second_tool_of_one_name_gets_a_number() -> None:
    """The model tells them apart; the same tool twice is one."""
    other = _twin()
    _, requests = await ask(crew_with(look_up, other, look_up), asks(("look_up_2", {"word": "ant"})), "done")
    assert [spec.name for spec in requests[0].tools] == ["look_up", "look_up_2"]
    assert results(requests[1].messages) == ["ant"]


class Both(BaseTool):
    name: str = "both"
    description: str = "Has both ways in, as many tools do."

    def _run(self) -> str:
        return "sync"

    async def _arun(self) -> str:
        raise NotImplementedError


async def test_a_tool_with_both_ways_in_is_run_in_a_thread() -> None:
    """Many an `_arun` only raises, or calls `_run` and blocks the loop."""
    _, requests = await ask(crew_with(Both()), asks(("both", {})), "done")
    assert results(requests[1].messages) == ["sync"]


def _twin() -> BaseTool:
    @tool("Look up")
    def other(word: str) -> str:
        """Look up elsewhere."""
        return word

    return other


async def test_a_task_s_tools_take_the_place_of_the_agent_s() -> None:
    """As in CrewAI."""
    agent = Agent(role="R", goal="g", backstory="b", tools=[look_up], llm=NATIVE)
    task = Task(description="d", expected_output="e", agent=agent, tools=[Square()])
    async with scripted("done") as model:
        await Crew(agents=[agent], tasks=[task]).akickoff()
    assert [spec.name for spec in model.requests[0].tools] == ["square_it"]


async def test_schemas_are_built_once_for_a_definition() -> None:
    """Every call of every kickoff is given the same objects."""
    crew = crew_with(look_up, Square(), once)
    seen = []
    for _ in range(2):
        _, requests = await ask(crew, asks(("look_up", {"word": "a"})), "done")
        seen += [request.tools for request in requests]
    assert all(specs is seen[0] for specs in seen)


# --- in words ---------------------------------------------------------------------------------------------------------


async def test_a_model_that_takes_no_tools_is_told_of_them_in_words() -> None:
    """Which models those are says the LLM, or litellm's table; the reply is read up to what the model makes up."""
    reply = 'Thought: I must look.\nAction: Look Up\nAction Input: {"word": "ant"}\nObservation: an elephant'
    answer, requests = await ask(
        crew_with(look_up, llm=IN_WORDS), reply, "Thought: I know the answer\nFinal Answer: An ant.\nReally."
    )
    assert answer == "An ant.\nReally."
    assert [request.tools for request in requests] == [(), ()]
    assert "- look_up: Look a word up." in requests[0].messages[0].content
    assert requests[1].messages[2:] == (
        Message("assistant", 'Thought: I must look.\nAction: Look Up\nAction Input: {"word": "ant"}'),
        Message("user", "Observation: meaning of ant"),
    )


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        pytest.param("Just this.", "Just this.", id="neither-form"),
        pytest.param("**Final Answer:** bold", "bold", id="bold"),
        pytest.param("Thought: no tool needed\nfinal answer: small", "small", id="lower-case"),
        pytest.param(
            "Final Answer: 1\nThought: and now?\nAction: look_up\nAction Input: {}",
            "1",
            id="answer-first",
        ),
    ],
)
async def test_a_reply_without_an_action_is_the_answer(reply: str, answer: str) -> None:
    """A model that answers in neither form has given its final answer."""
    assert (await ask(crew_with(look_up, llm=IN_WORDS), reply))[0] == answer


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param("Action: look_up\nAction Input: ant", "meaning of ant", id="bare-value"),
        pytest.param('Action: look_up\nAction Input: ```json\n{"word": "ant"}\n```', "meaning of ant", id="fenced"),
        pytest.param("Action: `look_up`\nAction Input: {'word': 'ant'}", "meaning of ant", id="python"),
        pytest.param(
            "Action: look_up",
            "The arguments do not fit: word: Field required. The arguments are: word, times.",
            id="none",
        ),
        pytest.param(
            'Action: look_up\nAction Input: {"word": "ant"}\nFinal Answer: too soon', "meaning of ant", id="both-forms"
        ),
    ],
)
async def test_actions_are_read_as_models_write_them(reply: str, said: str) -> None:
    """In words, the form varies."""
    _, requests = await ask(crew_with(look_up, llm=IN_WORDS), reply, "Final Answer: done")
    assert requests[1].messages[-1].content == f"Observation: {said}"


@pytest.mark.parametrize("says", [True, False], ids=["native", "in-words"])
async def test_the_llm_overrules_what_the_table_knows(says: bool) -> None:
    """`function_calling` on the LLM."""
    llm = LLM(model=(IN_WORDS if says else NATIVE).model, function_calling=says)
    _, requests = await ask(crew_with(look_up, llm=llm), "Final Answer: done")
    assert (len(requests[0].tools), "function_calling" in requests[0].endpoint.params) == (int(says), False)


async def test_a_provider_that_refuses_tools_is_asked_in_words_and_remembered() -> None:
    """A probe says that it refuses them of everybody; the second kickoff does not try again."""
    refused = BadRequest("HTTP 400: this model does not support tools", http_status=400)
    crew = crew_with(look_up, llm=UNKNOWN)
    async with scripted(refused, refused, "Final Answer: one", "Final Answer: two") as model:
        answers = [(await crew.akickoff()).raw for _ in range(2)]
    assert answers == ["one", "two"]
    assert [len(request.tools) for request in model.requests] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    "reply", ["OK", EmptyReply("the model's reply is empty", http_status=200)], ids=["OK", "empty"]
)
async def test_a_probe_that_is_answered_leaves_the_tools_and_is_on_the_bill(reply: Step) -> None:
    """The refusal was its call's own, which fails with all that was sent for it; the next kickoff has its tools."""
    refused = BadRequest("HTTP 400: this model does not support tools", http_status=400)
    crew = crew_with(look_up, llm=UNKNOWN)
    async with scripted(refused, reply, "done") as model:
        with pytest.raises(BadRequest, match="does not support tools") as failed:
            await crew.akickoff()
        answer = (await crew.akickoff()).raw
    error = failed.value
    assert (answer, [len(request.tools) for request in model.requests]) == ("done", [1, 1, 1])
    assert (error.attempts, error.probes, bool(error.billed[0].total_tokens)) == (1, 1, reply == "OK")


async def test_what_one_model_refuses_is_asked_of_it_once_however_many_llms_name_it() -> None:
    """Two agents, each with an `LLM` object of its own."""
    refused = BadRequest("HTTP 400: this model does not support tools", http_status=400)
    agents = [
        Agent(role=role, goal="Find", backstory="b", tools=[look_up], llm=LLM(model=UNKNOWN.model))
        for role in ("One", "Two")
    ]
    crew = Crew(
        agents=agents, tasks=[Task(description="Find it", expected_output="A fact", agent=agent) for agent in agents]
    )
    _, requests = await ask(crew, refused, refused, "Final Answer: one", "Final Answer: two")
    assert [len(request.tools) for request in requests] == [1, 1, 0, 0]


async def test_a_model_that_nobody_knows_is_tried_with_tools() -> None:
    """A server of one's own mostly takes them."""
    _, requests = await ask(crew_with(look_up, llm=UNKNOWN), asks(("look_up", {"word": "ant"})), "done")
    assert [len(request.tools) for request in requests] == [1, 1]


async def test_a_model_with_such_a_name_is_not_taken_for_one_without_tools() -> None:
    """It is only not there yet."""
    missing = ModelNotFound(
        'HTTP 404: model "llama3-groq-tool-use:8b" not found, try pulling it first', http_status=404
    )
    with pytest.raises(ModelNotFound) as failed:
        await ask(crew_with(look_up, llm=LLM(model="openai/llama3-groq-tool-use:8b")), missing)
    assert type(failed.value) is ModelNotFound


async def test_a_refusal_of_something_else_is_not_taken_for_that() -> None:
    """The row fails with the provider's own words."""
    with pytest.raises(BadRequest, match="bad temperature"):
        await ask(crew_with(look_up), BadRequest("HTTP 400: bad temperature", http_status=400))


# --- other libraries' tools -------------------------------------------------------------------------------------------


class CrewAILike:
    """As CrewAI's tools look from outside."""

    name = "Adder"
    description = "Tool Name: adder\nTool Arguments: {}\nTool Description: Adds."
    args_schema = None
    result_as_answer = False
    max_usage_count = None

    def _run(self, a: int, b: int) -> int:
        return a + b


class LangChainLike:
    """As LangChain's StructuredTool looks from outside."""

    name = "adder"
    description = "Adds."
    return_direct = False
    coroutine = None

    class args_schema(BaseModel):  # noqa: N801  # the field's name
        a: int
        b: int

    @staticmethod
    def func(a: int, b: int) -> int:
        return a + b

    def _run(self, *args: Any, config: Any, **kwargs: Any) -> Any:
        raise AssertionError("wants a config")


class AsyncLike:
    """Only an async entrance."""

    name = "adder"
    description = "Adds."

    async def _arun(self, a: int, b: int) -> int:
        return a + b


@pytest.mark.parametrize("kind", [CrewAILike, LangChainLike, AsyncLike])
async def test_other_libraries_tools_work_as_they_are(kind: type) -> None:
    """Anything with a name, a description and a way to run it."""
    adopted = as_tool(kind())
    _, requests = await ask(crew_with(kind()), asks(("adder", {"a": 2, "b": "3"})), "done")
    assert (adopted.description, results(requests[1].messages)) == ("Adds.", ["5"])


class Mood(Enum):
    GLAD = "glad"


class Stop(BaseModel):
    place: str
    on: date = Field(alias="day")
    mood: Mood = Mood.GLAD


class Trip(BaseModel):
    first: Stop
    stops: list[Stop] = []
    by_name: dict[str, Stop] = {}
    last: Stop | None = None
    note: str = Field(default="none", alias="remark")


class PlanTrip(BaseTool):
    name: str = "plan"
    description: str = "Plan."
    args_schema: type[BaseModel] | None = Trip

    def _run(self, **trip: Any) -> str:
        return repr(trip)


class CrewAITrip:
    """As CrewAI's tools look from outside."""

    name, description, args_schema, result_as_answer = "plan", "Plan.", Trip, False

    def _run(self, **trip: Any) -> str:
        return repr(trip)


class LangChainTrip:
    """As LangChain's tools look from outside."""

    name, description, args_schema, return_direct = "plan", "Plan.", Trip, False

    @staticmethod
    def func(**trip: Any) -> str:
        return repr(trip)


@tool
def plan(first: Stop, stops: list[Stop], by_name: dict[str, Stop], last: Stop | None = None, note: str = "none") -> str:
    """Plan."""
    return repr({"first": first, "stops": stops, "by_name": by_name, "last": last, "note": note})


STOP = {"place": "Rome", "day": "2026-01-02"}
AS_DICT = {"place": "Rome", "on": date(2026, 1, 2), "mood": Mood.GLAD}


@pytest.mark.parametrize(
    ("planner", "stop"),
    [
        pytest.param(PlanTrip(), AS_DICT, id="BaseTool"),
        pytest.param(plan, AS_DICT, id="function"),
        pytest.param(CrewAITrip(), AS_DICT, id="CrewAI"),
        pytest.param(LangChainTrip(), Stop(place="Rome", day=date(2026, 1, 2)), id="LangChain"),
    ],
)
async def test_nested_arguments_are_what_the_library_of_the_tool_gives(planner: Any, stop: Any) -> None:
    """CrewAI's tools get what `model_dump` gives: dicts by the fields' names, dates and enums as they are."""
    given = {"first": STOP, "stops": [STOP], "by_name": {"x": STOP}}
    _, requests = await ask(crew_with(planner), asks(("plan", given)), "done")
    got = {"first": stop, "stops": [stop], "by_name": {"x": stop}, "last": None, "note": "none"}
    assert results(requests[1].messages) == [repr(got)]


@pytest.mark.parametrize("value", [42, "SerperDevTool", object()], ids=["number", "text", "object"])
async def test_what_is_no_tool_is_refused(value: object) -> None:
    """With what a tool is."""
    with pytest.raises(DefinitionError, match="is no tool; a tool is a BaseTool"):
        crew_with(value)


# --- the context ------------------------------------------------------------------------------------------------------


async def test_a_tool_s_result_is_shortened_when_the_context_is_full() -> None:
    """The longest thing that a tool said is halved until it fits; the task's own words stay."""
    long = "start " + "x" * 4000 + " end"

    @tool
    def much() -> str:
        """Say much."""
        return long

    answer, requests = await ask(
        crew_with(much), asks(("much", {})), ContextTooLong("full"), ContextTooLong("full"), "done"
    )
    lengths = [len(results(request.messages)[0]) for request in requests[1:]]
    assert (answer, lengths[0]) == ("done", len(long))
    assert lengths[1] < lengths[0] / 1.9
    assert lengths[2] < lengths[1] / 1.8
    assert requests[3].messages[1] == requests[0].messages[1]
    assert results(requests[3].messages)[0].startswith("start xxx")


async def test_without_respect_context_window_a_full_context_fails_at_once() -> None:
    """And so does one in which only the task's own words stand."""
    long = tool("much")(_say_much)
    with pytest.raises(ContextTooLong):
        await ask(crew_with(long, respect_context_window=False), asks(("much", {})), ContextTooLong("full"))
    with pytest.raises(ContextTooLong):
        await ask(crew_with(), ContextTooLong("full"))


def _say_much() -> str:
    """Say much."""
    return "x" * 5000


async def test_an_earlier_task_s_answer_is_shortened_too() -> None:
    """It is the context that gives way, not the task."""
    agent = Agent(role="R", goal="g", backstory="b")
    tasks = [Task(description=f"Task {i}", expected_output="e", agent=agent) for i in range(2)]
    async with scripted("y" * 4000, ContextTooLong("full"), "done") as model:
        await Crew(agents=[agent], tasks=tasks).akickoff()
    sizes = [request.messages[-1].content.count("y") for request in model.requests[1:]]
    assert (sizes[0] >= 4000, sizes[1] in range(2000, 2100)) == (True, True)
    assert "Your task: Task 1" in model.requests[2].messages[-1].content


@pytest.mark.parametrize(
    "after",
    [
        pytest.param("\n\nI will wait.", id="words"),
        pytest.param("\nThought: and then\nAction: look_up\nAction Input: {}", id="a-second-action"),
        pytest.param("}", id="a-brace"),
    ],
)
@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
async def test_what_follows_the_arguments_is_no_part_of_them(llm: LLM, after: str) -> None:
    """The first object is taken."""
    arguments = '{"word": "ant"}' + after
    turn = asks(("look_up", arguments)) if llm is NATIVE else f"Action: look_up\nAction Input: {arguments}"
    _, requests = await ask(crew_with(look_up, llm=llm), turn, "Final Answer: done")
    assert requests[1].messages[-1].content.removeprefix("Observation: ") == "meaning of ant"


@tool
def count(words: list[str], about: dict[str, int]) -> str:
    """Count."""
    return f"{words} {about}"


TWICE = json.dumps('{"word": "ant"}')


@pytest.mark.parametrize(
    ("called", "arguments", "said"),
    [
        pytest.param("look_up", TWICE, "meaning of ant", id="twice"),
        pytest.param("look_up", '```json\n{"word": "ant"}\n```', "meaning of ant", id="fenced"),
        pytest.param("look_up", f"```\n{TWICE}\n```", "meaning of ant", id="fenced-twice"),
        pytest.param("look_up", json.dumps('```json5\n{"word": "ant"}\n```'), "meaning of ant", id="twice-fenced"),
        pytest.param("look_up", '"ant"', "meaning of ant", id="quoted-value"),
        pytest.param("look_up", json.dumps({"word": "[1]"}), "meaning of [1]", id="json-where-text-is-wanted"),
        pytest.param("count", {"words": '["a"]', "about": '{"b": 1}'}, "['a'] {'b': 1}", id="each-twice"),
        pytest.param(
            "look_up",
            json.dumps(TWICE),
            "The arguments do not fit: they must be a JSON object, not str",
            id="three-times",
        ),
    ],
)
@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
async def test_arguments_that_do_not_fit_are_decoded_once_more(
    llm: LLM, called: str, arguments: Any, said: str
) -> None:
    """Models encode them twice, or one of them, or put them into a fence."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    turn = asks((called, text)) if llm is NATIVE else f"Action: {called}\nAction Input: {text}"
    _, requests = await ask(crew_with(look_up, count, llm=llm), turn, "Final Answer: done")
    assert requests[1].messages[-1].content.removeprefix("Observation: ") == said


CALL = '{"name": "look_up", "arguments": {"word": "ant"}}'
_WRITTEN = {
    "hermes": f"<tool_call>\n{CALL}\n</tool_call>",
    "hermes-left-open": f"I shall look.\n<tool_call>{CALL}",
    "hermes-a-brace-short": f"<tool_call>{CALL[:-1]}</tool_call>",
    "hermes-encoded-twice": '<tool_call>{"name": "look_up", "arguments": "{\\"word\\": \\"ant\\"}"}</tool_call>',
    "hermes-in-python": "<tool_call>{'name': 'look_up', 'arguments': {'word': 'ant'}}</tool_call>",
    "bare": f"I call it now:\n{CALL}\nThen I shall know.",
    "fenced": f"```json\n{CALL}\n```",
    "langchain": '```json\n{"thought": "hm", "action": "look_up", "action_input": {"word": "ant"}}\n```',
    "openai": f'{{"tool_calls": [{{"id": "1", "type": "function", "function": {CALL}}}]}}',
    "mistral": f"[TOOL_CALLS][{CALL}]",
    "mistral-new": '[TOOL_CALLS]look_up[ARGS]{"word": "ant"}',
    "llama": '<|python_tag|>{"type": "function", "name": "look_up", "parameters": {"word": "ant"}}',
    "llama-element": '<function=look_up>{"word": "ant"}</function>',
    "llama-code": '[look_up(word="ant")]',
    "gemma": '```tool_code\nprint(default_api.look_up(word="ant"))\n```',
    "qwen-coder": "<tool_call>\n<function=look_up>\n<parameter=word>\nant\n</parameter>\n</function>\n</tool_call>",
    "anthropic": '<invoke name="look_up"><parameter name="word">ant</parameter></invoke>',
    "glm": "<tool_call>look_up\n<arg_key>word</arg_key>\n<arg_value>ant</arg_value>\n</tool_call>",
    "deepseek": '<｜tool▁call▁begin｜>function<｜tool▁sep｜>look_up\n```json\n{"word": "ant"}\n```<｜tool▁call▁end｜>',
    "deepseek-new": '<｜tool▁call▁begin｜>look_up<｜tool▁sep｜>{"word": "ant"}<｜tool▁call▁end｜>',
    "kimi": '<|tool_call_begin|>functions.look_up:0<|tool_call_argument_begin|>{"word": "ant"}<|tool_call_end|>',
    "gpt-oss": '<|channel|>commentary to=functions.look_up <|constrain|>json<|message|>{"word": "ant"}',
    "react": 'Thought: I must.\nAction: look_up\nAction Input: {"word": "ant"}\nObservation: none',
    "react-in-a-line": 'Thought: I must. Action: look_up Action Input: {"word": "ant"} Observation: none',
    "react-as-a-list": '- Action: Look Up\n- Action Input: {"word": "ant"}',
    "react-with-a-fence": 'Action: look_up\n```json\n{"word": "ant"}\n```',
    "react-as-a-function": 'Action: look_up(word="ant")',
    "react-in-a-sentence": 'Action: Use the `look_up` tool.\nAction Input: {"word": "ant"}',
}


@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
@pytest.mark.parametrize("reply", _WRITTEN.values(), ids=_WRITTEN)
async def test_a_call_that_stands_in_the_text_is_one(llm: LLM, reply: str) -> None:
    """In whatever form models were trained to write it, and whether or not tools were sent natively."""
    answer, requests = await ask(crew_with(look_up, llm=llm), reply, "Final Answer: done")
    assert requests[1].messages[-1] == Message("user", "Observation: meaning of ant")
    assert answer == ("Final Answer: done" if llm is NATIVE else "done")
    said = requests[1].messages[-2]
    assert (said.role, said.content in reply, "none" in said.content) == ("assistant", True, False)


@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
async def test_several_calls_in_the_text_run_together(llm: LLM) -> None:
    """What they give is told in their order."""
    other = CALL.replace("ant", "bee")
    reply = f"Both.\n<tool_call>{CALL}</tool_call>\n<tool_call>{other}</tool_call>"
    _, requests = await ask(crew_with(look_up, llm=llm), reply, "Final Answer: done")
    assert requests[1].messages[-2:] == (
        Message("assistant", reply),
        Message("user", "Observation: meaning of ant\n\nObservation: meaning of bee"),
    )


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            '<tool_call>{"name": "look_up", "arguments": {"word": ant}}</tool_call>',
            "The arguments do not fit: they are not JSON: ",
        ),
        ('<function=look_up>{"word": </function>', "The arguments do not fit: they are not JSON: "),
        ("<function=look_up>\n<parameter=word>\nan", "The arguments do not fit: they are not JSON: "),
        ('{"name": "look_up", "arguments": "{\\"word', "The arguments do not fit: they are not JSON: "),
        ('<tool_call>{"name": "look_in", "arguments": {}}</tool_call>', "There is no tool 'look_in' (did you mean "),
        ("<tool_call>look for ants</tool_call>", "There is no tool 'look for ants"),
    ],
    ids=["no-json", "cut", "cut-parameter", "cut-text", "no-such-tool", "no-call"],
)
@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
async def test_a_call_in_the_text_that_cannot_be_run_is_sent_back(llm: LLM, reply: str, said: str) -> None:
    """As one that came natively would be; it is no answer."""
    _, requests = await ask(crew_with(look_up, llm=llm), reply, "Final Answer: done")
    assert requests[1].messages[-1].content.startswith(f"Observation: {said}")


_PROSE = {
    "mention": "I used look_up to find ants: {ant: insect}. Action taken, see [1].",
    "plan": "Problem: ants\nAction: escalate to the team\nOwner: Bob",
    "in-a-sentence": "We suggest this action: look_up comes first (twice).",
    "signature": "The function look_up(word) gives a meaning; look_up(word) may fail.",
    "name-only": '{"name": "look_up", "price": 3}',
    "other-name": '{"name": "Ann", "arguments": {"for": 1}}',
    "part-of-an-answer": '{"steps": [{"name": "look_up", "arguments": {}}], "total": 1}',
    "list-of-others": '[{"name": "look_up", "arguments": {}}, {"name": "Ann", "arguments": {}}]',
    "tags": "Models write <tool_call> and <function=name> around calls.",
}


@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
@pytest.mark.parametrize("reply", _PROSE.values(), ids=_PROSE)
async def test_an_answer_that_mentions_a_tool_is_an_answer(llm: LLM, reply: str) -> None:
    """Only a form of call that names an own tool is a call."""
    assert (await ask(crew_with(look_up, llm=llm), reply))[0] == reply


class Choice(BaseModel):
    action: str
    action_input: dict[str, str]


async def test_an_answer_whose_schema_has_the_keys_of_a_call_is_an_answer() -> None:
    """Unless it is marked as a call."""
    reply = '{"action": "look_up", "action_input": {"word": "ant"}}'
    for script in ([reply], [f"<tool_call>{CALL}</tool_call>", reply]):
        crew = crew_with(look_up)
        crew.tasks[0].output_pydantic = Choice
        async with scripted(*script):
            output = await crew.akickoff()
        assert output.pydantic == Choice(action="look_up", action_input={"word": "ant"})


@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
@pytest.mark.parametrize("reply", _WRITTEN.values(), ids=_WRITTEN)
async def test_a_call_in_the_text_is_no_last_answer(llm: LLM, reply: str) -> None:
    """When the turns are used up the row fails, with the reply."""
    with pytest.raises(OutputInvalid, match="still asks for tools after 1 turns") as raised:
        await ask(crew_with(look_up, llm=llm, max_iter=1), reply, reply)
    assert raised.value.raw == reply


@pytest.mark.parametrize("llm", [NATIVE, IN_WORDS], ids=["native", "in-words"])
async def test_a_call_in_the_text_mends_no_answer(llm: LLM) -> None:
    """Though the schema may take it for one."""
    crew = crew_with(look_up, llm=llm)
    crew.tasks[0].output_schema = {"type": "object"}
    with pytest.raises(OutputInvalid, match="asks for a tool instead of mending its answer"):
        await ask(crew, "no object", CALL)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("I now know the final answer. Final Answer: 42", "42"),
        ("Thought: done **Final Answer:** 42\nand more", "42\nand more"),
        ("Thought: my final answer: it is near\nFinal Answer: 42", "42"),
        ("It is so, and this is my final answer: 42", "It is so, and this is my final answer: 42"),
    ],
    ids=["preamble", "bold", "own-line-first", "prose"],
)
async def test_a_final_answer_may_follow_on_the_line(reply: str, answer: str) -> None:
    """As the prompt words it; prose is no mark."""
    assert (await ask(crew_with(look_up, llm=IN_WORDS), reply))[0] == answer


async def test_a_call_in_the_text_may_give_the_answer() -> None:
    """`result_as_answer`, and the step callback is told of it."""
    steps: list[Any] = []

    @tool(result_as_answer=True)
    def know(word: str) -> str:
        """Know."""
        return f"known {word}"

    reply = f"Well.\n<tool_call>{CALL.replace('look_up', 'know')}</tool_call>"
    answer, _ = await ask(crew_with(know, step_callback=steps.append), reply)
    assert answer == "known ant"
    assert [(step.thought, step.tool, step.tool_input, step.result) for step in steps[:1]] == [
        ("Well.", "know", '{"word": "ant"}', "known ant")
    ]


async def test_a_parameter_may_have_any_name() -> None:
    """Also one that our own functions have."""

    @tool
    def sync(function: str, timeout_s: int, args: str, kwargs: str) -> str:
        """Join."""
        return f"{function} {timeout_s} {args} {kwargs}"

    @tool
    async def other(function: str, timeout_s: int, args: str, kwargs: str) -> str:
        """Join."""
        return f"{function} {timeout_s} {args} {kwargs}"

    given = {"function": "f", "timeout_s": 1, "args": "a", "kwargs": "k"}
    _, requests = await ask(crew_with(sync, other), asks(("sync", given), ("other", given)), "done")
    assert results(requests[1].messages) == ["f 1 a k"] * 2


class Greeter:
    """Greet.

    Args:
        name: who
    """

    def __call__(self, name: str) -> str:
        return f"hello {name}"


class AsyncGreeter:
    async def __call__(self, name: str) -> str:
        """Greet.

        Args:
            name: who
        """
        return f"hello {name}"


def _greet(word: str, name: str) -> str:
    """Greet.

    Args:
        name: who
    """
    return f"{word} {name}"


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(partial(_greet, "hello"), id="partial"),
        pytest.param(partial(_greet, word="hello"), id="partial-by-name"),
        pytest.param(partial(Greeter()), id="partial-of-an-object"),
        pytest.param(Greeter(), id="object"),
        pytest.param(AsyncGreeter(), id="async-object"),
    ],
)
async def test_whatever_can_be_called_with_names_is_a_tool(function: Any) -> None:
    """What a partial has set is not for the model to see."""
    greet = tool("greet")(function)
    _, requests = await ask(crew_with(greet), asks(("greet", {"name": "Ann"})), "done")
    (spec,) = requests[0].tools
    shown = {"name": {"type": "string", "description": "who"}}
    assert (spec.description, dict(spec.parameters)["properties"]) == ("Greet.", shown)
    assert results(requests[1].messages) == ["hello Ann"]


def _by_position(x: int, /) -> int:
    """Give back."""
    return x


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        pytest.param(
            max,
            "tool 't': <built-in function max> does not tell its parameters; "
            "write a function with named parameters that calls it",
            id="built-in",
        ),
        pytest.param(
            _by_position,
            f"tool 't': parameter 'x' of {_by_position!r} cannot be given by its name, as a tool's arguments are; "
            "remove the '/' after it, or write a function with named parameters that calls it",
            id="positional-only",
        ),
    ],
)
async def test_a_function_that_cannot_be_called_with_names_is_refused(function: Any, problem: str) -> None:
    """When it is made a tool, with the way out."""
    with pytest.raises(DefinitionError) as raised:
        tool("t")(function)
    assert str(raised.value) == problem


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(TimeoutError(), "The tool failed: TimeoutError", id="own-timeout"),
        pytest.param(TimeoutError("db"), "The tool failed: TimeoutError: db", id="own-timeout-with-words"),
        pytest.param(
            ValueError("key sk-abcdefghijkl is wrong"), "The tool failed: ValueError: key [redacted] is wrong", id="key"
        ),
    ],
)
async def test_a_tool_s_own_error_is_told_as_it_is(error: Exception, said: str) -> None:
    """Not as the time limit, and without keys."""

    @tool
    async def fails() -> str:
        """Fail."""
        raise error

    _, requests = await ask(crew_with(fails), asks(("fails", {})), "done")
    assert results(requests[1].messages) == [said]


@pytest.mark.parametrize(
    "error", [AuthRefused("no key"), OutputInvalid("nothing"), TaskTimedOut("late")], ids=lambda e: type(e).__name__
)
async def test_a_failed_model_call_inside_a_tool_fails_the_row(error: CrewrunError) -> None:
    """No other turn of the agent's model can help."""

    @tool
    async def asks_a_model() -> str:
        """Ask."""
        raise error

    with pytest.raises(type(error)) as raised:
        await ask(crew_with(asks_a_model), asks(("asks_a_model", {})))
    assert raised.value is error


async def test_a_coworker_without_a_key_fails_the_row() -> None:
    """What is wrong with the delegated call is not an answer to work with."""
    agents = [
        Agent(role=role, goal="g", backstory="b", llm=NATIVE, allow_delegation=role == "Boss")
        for role in ("Boss", "Writer")
    ]
    crew = Crew(agents=agents, tasks=[Task(description="d", expected_output="e", agent=agents[0])])
    turn = asks(("delegate_work_to_coworker", {"task": "write", "coworker": "Writer"}))
    with pytest.raises(AuthRefused, match="no key"):
        await ask(crew, turn, AuthRefused("no key"))
