"""By what a request is found in the journal again: everything that decides the answer, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from crewrun.llm.request_identity import Identities, tool_identity
from crewrun.messages import ChatRequest, Endpoint, Message, ReplySchema, ToolCall, ToolSpec

ENDPOINT = Endpoint("direct", "openai", "gpt-4.1-mini", "https://api.example.com/v1", params={"seed": 1})
TOOL = ToolSpec("add", "Adds.", {"type": "object"})
SCHEMA = ReplySchema("Answer", {"type": "object"})
TURNS = (
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "", (ToolCall("c1", "add", "{}"),)),
    Message("tool", "2", tool_call_id="c1"),
)
REQUEST = ChatRequest(ENDPOINT, TURNS, (TOOL,), SCHEMA)


def identity(request: ChatRequest) -> str:
    return Identities().of(request).hex()


def with_turn(number: int, **fields: Any) -> ChatRequest:
    """The request with one of its turns changed."""
    turns = list(TURNS)
    turns[number] = replace(turns[number], **fields)
    return replace(REQUEST, messages=tuple(turns))


def with_endpoint(**fields: Any) -> ChatRequest:
    """The request to another endpoint."""
    return replace(REQUEST, endpoint=replace(ENDPOINT, **fields))


def test_the_identity_of_a_request_is_fixed() -> None:
    """Journals of earlier versions hold these: a change of one of them pays for every call again."""
    bare = ChatRequest(ENDPOINT, TURNS[:2])
    assert [identity(bare), identity(REQUEST)] == [
        "07a58e38662929e51f49bbb68e5e86a3",
        "edb62142916fd4fd7ac553b432e4f98d",
    ]
    assert tool_identity("v1", "add", '{"a": 1}').hex() == "94f7ffff99cb5e2a8926c819a32b4375"


def test_the_tier_decides_no_answer() -> None:
    """A run begun at one tier goes on at another; what older versions recorded with the LLM's own word is found too."""
    flex = with_endpoint(params={"seed": 1, "service_tier": "flex"})
    assert identity(flex) == identity(REQUEST)
    of_older_versions = "bc0d0b594f12cf40c05bcce3e6039365"
    assert [one.hex() for one in Identities().all_of(flex)] == [identity(REQUEST), of_older_versions]
    assert [one.hex() for one in Identities().all_of(REQUEST)] == [identity(REQUEST)]
    key = ("direct", "openai", "gpt-4.1-mini")
    elsewhere = Identities({key: "http://other"}).all_of(flex)
    assert (len(elsewhere), of_older_versions in [one.hex() for one in elsewhere]) == (4, True)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(with_turn(0, role="developer"), id="a role"),
        pytest.param(with_turn(1, role="assistant"), id="who speaks"),
        pytest.param(with_turn(1, content="Hi!"), id="a text"),
        pytest.param(with_turn(2, tool_calls=(ToolCall("c1", "sub", "{}"),)), id="the tool that is asked for"),
        pytest.param(with_turn(2, tool_calls=(ToolCall("c1", "add", "{ }"),)), id="its arguments"),
        pytest.param(with_turn(2, tool_calls=(ToolCall("c2", "add", "{}"),)), id="the call's id"),
        pytest.param(with_turn(3, tool_call_id="c2"), id="the call that is answered"),
        pytest.param(with_turn(2, carried='{"x":1}'), id="what goes with a turn"),
        pytest.param(
            with_turn(2, tool_calls=(ToolCall("c1", "add", "{}", carried='{"x":1}'),)), id="what goes with a call"
        ),
        pytest.param(replace(REQUEST, messages=(TURNS[1], TURNS[0], *TURNS[2:])), id="the order of the turns"),
        pytest.param(replace(REQUEST, tools=()), id="no tools"),
        pytest.param(replace(REQUEST, tools=(replace(TOOL, name="sum"),)), id="a tool's name"),
        pytest.param(replace(REQUEST, tools=(replace(TOOL, description="Sums."),)), id="a tool's description"),
        pytest.param(replace(REQUEST, tools=(replace(TOOL, parameters={}),)), id="a tool's parameters"),
        pytest.param(replace(REQUEST, schema=None), id="no schema"),
        pytest.param(replace(REQUEST, schema=replace(SCHEMA, name="Reply")), id="the schema's name"),
        pytest.param(replace(REQUEST, schema=replace(SCHEMA, schema={})), id="the schema"),
        pytest.param(replace(REQUEST, schema=replace(SCHEMA, strict=True)), id="a strict schema"),
        pytest.param(with_endpoint(provider="azure"), id="the provider"),
        pytest.param(with_endpoint(model="gpt-4.1"), id="the model"),
        pytest.param(with_endpoint(transport_name="litellm"), id="the transport"),
        pytest.param(with_endpoint(base_url="https://eu.example.com/v1"), id="the address"),
        pytest.param(with_endpoint(params={"seed": 2}), id="a parameter"),
    ],
)
def test_what_decides_an_answer_is_another_request(other: ChatRequest) -> None:
    """Each change alone."""
    assert identity(other) != identity(REQUEST)


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(with_endpoint(api_key="sk-other"), id="the key"),
        pytest.param(with_endpoint(timeout_s=5.0), id="the time limit"),
    ],
)
def test_what_decides_no_answer_is_the_same_request(same: ChatRequest) -> None:
    """A new key pays for nothing again."""
    assert identity(same) == identity(REQUEST)


def test_a_text_is_not_taken_for_the_next_turn() -> None:
    """Turns are told apart by their lengths, whatever is written in them."""
    two = ChatRequest(ENDPOINT, (Message("user", "a"), Message("user", "b")))
    one = ChatRequest(ENDPOINT, (Message("user", "a\nuser 1\nb"),))
    assert identity(two) != identity(one)


@pytest.mark.parametrize(
    "other", [("v2", "add", "{}"), ("v1", "sub", "{}"), ("v1", "add", "{ }")], ids=["version", "name", "arguments"]
)
def test_another_tool_call_is_another_record(other: tuple[str, str, str]) -> None:
    """Its version stands for its code and settings."""
    assert tool_identity(*other) != tool_identity("v1", "add", "{}")
