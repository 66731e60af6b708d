"""A model asked directly, without an agent: `LLM.call` and `LLM.acall`."""

import json
from typing import Any

import anyio.to_thread
import pytest
from pydantic import BaseModel

from crewrun import LLM, Gateway, GatewayOptions
from crewrun.errors import BadRequest, CallError, CrewrunWarning, OutputInvalid
from crewrun.messages import Message
from crewrun.testing import calls, scripted

pytestmark = pytest.mark.anyio

KNOWN = {"model": "gpt-4o-mini"}
UNKNOWN = {"model": "openai/nobody-knows-it", "structured_output": False}
ADD = {
    "name": "add",
    "description": "Adds one.",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
}


class Dog(BaseModel):
    name: str


async def test_a_text_is_a_user_s_message_and_messages_go_as_they_are() -> None:
    """Nothing is put around them; what comes back is the reply's text."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    async with scripted("one", "two") as model:
        replies = [
            await LLM("openai/m").acall("Hi"),
            await LLM("openai/m").acall(turns, callbacks=[], from_agent=object()),
        ]
    assert replies == ["one", "two"]
    assert [request.messages for request in model.requests] == [
        (Message("user", "Hi"),),
        (Message("system", "Be brief."), Message("user", "Hi")),
    ]


async def test_a_call_in_a_thread_of_a_run_is_part_of_that_run() -> None:
    """With the run's model, as a crew's kickoff has it."""
    async with Gateway(GatewayOptions(model="offline")):
        reply = await anyio.to_thread.run_sync(LLM("gpt-4o-mini").call, "Hi")
    assert reply.startswith("[offline ")


def test_a_call_outside_any_run_needs_no_loop() -> None:
    """As a kickoff does not; a second one has a loop of its own."""
    llm = LLM("offline")
    assert [llm.call("Hi")[:9], llm.call([{"role": "user", "content": "Hi"}])[:9]] == ["[offline "] * 2


async def test_a_sync_call_inside_a_loop_names_the_async_one() -> None:
    """It blocks whatever else the loop has to do, and works."""
    with pytest.warns(CrewrunWarning, match=r"call\(\) blocks the running .* write `await ….acall\(…\)`$"):
        assert LLM("offline").call("Hi").startswith("[offline ")


@pytest.mark.parametrize("fields", [KNOWN, UNKNOWN], ids=["as a schema", "in words"])
@pytest.mark.parametrize("where", ["call", "llm"])
async def test_a_pydantic_class_makes_the_reply_an_instance(fields: dict[str, Any], where: str) -> None:
    """Whether the call names it or the LLM; its schema goes to models that take one, and stands in the prompt."""
    llm = LLM(**fields, response_format=Dog) if where == "llm" else LLM(**fields)
    async with scripted('```json\n{"name": "Kona"}\n```') as model:
        reply = await llm.acall("Which dog?", response_model=None if where == "llm" else Dog)
    (request,) = model.requests
    assert reply == Dog(name="Kona")
    assert (request.schema.name if request.schema else None) == ("Dog" if fields is KNOWN else None)
    assert request.messages[0].content.startswith("Which dog?\n\nReply with one JSON value only, ")


async def test_a_reply_that_does_not_validate_is_sent_back_once() -> None:
    """With its faults; then the call fails and has the reply."""
    async with scripted("{}", '{"name": "Kona"}', "{}", "no dog") as model:
        assert await LLM(**KNOWN).acall("Which?", response_model=Dog) == Dog(name="Kona")
        with pytest.raises(OutputInvalid, match=r"^the answer does not validate, nor did its repair: ") as failed:
            await LLM(**KNOWN).acall("Which?", response_model=Dog)
    assert failed.value.raw == "no dog"
    opening, said, repair = model.requests[1].messages
    assert (opening, said) == (model.requests[0].messages[0], Message("assistant", "{}"))
    assert repair.content.startswith("This answer cannot be used: name: Field required\n")


async def test_a_schema_that_is_refused_goes_in_words() -> None:
    """And is not sent to that model again."""
    refused = BadRequest("response_format is not supported", http_status=400)
    async with scripted(refused, refused, refused, '{"name": "Kona"}', '{"name": "Rex"}') as model:
        dogs = [await LLM(**KNOWN).acall("Which?", response_model=Dog) for _ in range(2)]
    assert dogs == [Dog(name="Kona"), Dog(name="Rex")]
    assert [request.schema is not None for request in model.requests] == [True, True, True, False, False]


async def test_a_mapping_as_response_format_leaves_the_reply_a_text() -> None:
    """It is a field of the request, like any other."""
    wanted = {"type": "json_object"}
    async with scripted('{"name": "Kona"}') as model:
        assert await LLM(**KNOWN, response_format=wanted).acall("Which?") == '{"name": "Kona"}'
    assert model.requests[0].endpoint.params == {"response_format": wanted}


@pytest.mark.parametrize("tool", [ADD, {"type": "function", "function": ADD}], ids=["plain", "OpenAI's"])
async def test_a_tool_that_the_reply_asks_for_is_run(tool: dict[str, Any]) -> None:
    """Its result is what the call gives, as text; a reply that asks for none is given as it is."""

    async def add(n: int) -> int:
        return n + 1

    async with scripted(calls("add", n=1), "no tool") as model:
        replies = [
            await LLM(**KNOWN).acall("Add", tools=[tool], available_functions={"add": function})
            for function in (add, lambda n: n + 1)
        ]
    assert replies == ["2", "no tool"]
    assert [(t.name, t.description, t.parameters) for t in model.requests[0].tools] == [tuple(ADD.values())]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(calls(("add", json.dumps('{"n": 1}'))), id="encoded twice"),
        pytest.param(calls(("add", '```json\n{"n": 1}\n```')), id="fenced"),
        pytest.param('<tool_call>{"name": "add", "arguments": {"n": 1}}</tool_call>', id="in the text"),
        pytest.param('I add.\n{"name": "functions.add", "arguments": "{\\"n\\": 1}"}', id="bare"),
    ],
)
async def test_a_call_is_read_as_models_write_it(reply: Any) -> None:
    """Also where the server took it for text."""
    async with scripted(reply):
        assert await LLM(**KNOWN).acall("Add", tools=[ADD], available_functions={"add": lambda n: n + 1}) == "2"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            calls(("ad", {})),
            "the model asks for a tool 'ad', which available_functions does not have (did you mean 'add'?)",
        ),
        (calls(("add", "[1]")), "the model asks for tool 'add' with arguments that are no JSON object"),
    ],
    ids=["unknown tool", "arguments"],
)
async def test_a_reply_that_is_of_no_use_fails_the_call(asked: Any, said: str) -> None:
    """CrewAI goes on with an empty text."""
    async with scripted(asked):
        with pytest.raises(CallError) as failed:
            await LLM(**KNOWN).acall("Add", tools=[ADD], available_functions={"add": abs})
    assert (type(failed.value), str(failed.value)) == (OutputInvalid, said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"messages": []},
            "a model's call has no messages; give a text, or a list of messages with `role` and `content`",
        ),
        (
            {"messages": [{"content": 1}]},
            "messages[0] has no role; a role is one of system, developer, user, assistant, tool",
        ),
        ({"response_model": dict}, "response_model is a pydantic class, not <class 'dict'>"),
        (
            {"tools": [abs]},
            "tools[0] is no mapping with `name`, `description` and `parameters` (a JSON Schema), as OpenAI's chat "
            "completions have them; an Agent takes tools of other kinds",
        ),
        (
            {"tools": [ADD]},
            "tools: available_functions has nothing to run 'add'; call with available_functions={'add': function}, "
            "or let an Agent use the tool",
        ),
    ],
    ids=["none", "no text", "no model", "no tool", "no function"],
)
async def test_arguments_that_do_not_fit_fail_before_the_call(given: dict[str, Any], said: str) -> None:
    """And say which, and what would."""
    async with scripted():
        with pytest.raises(TypeError) as refused:
            await LLM("openai/m").acall(**{"messages": "Hi", **given})
    assert str(refused.value) == said
