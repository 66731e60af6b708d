"""The mock's wires by themselves: whatever a client sends is read, or refused as a mistake of the client."""

import json
import re
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun.mock.anthropic_messages import AnthropicMessages
from crewrun.mock.calls import Calls
from crewrun.mock.clock import MockClock
from crewrun.mock.gemini_content import GeminiContent
from crewrun.mock.input_lines import read_lines, texts_of
from crewrun.mock.openai_chat import OpenAIChat
from crewrun.mock.openai_responses import OpenAIResponses
from crewrun.mock.request_body import request_digest
from crewrun.mock.settings import Settings
from crewrun.mock.wire import Wire

# The names and words that the wires look at, so that most of what is made up gets some way.
NAMES = st.sampled_from(
    re.findall(
        r"\w+",
        """messages input role content text type tool_calls tool_call_id id name function parameters input_schema tools
        tool_choice tool_use_id call_id output stream stream_options service_tier format json_schema schema
        response_format output_config max_tokens instructions system arguments description dimensions parts
        functionCall functionResponse response functionDeclarations systemInstruction toolConfig generationConfig
        functionCallingConfig allowedFunctionNames mode responseMimeType responseSchema""",
    )
)
WORDS = st.sampled_from(
    re.findall(
        r"\w+",
        """user assistant tool system message text function tool_use tool_result function_call function_call_output auto
        any none required json_schema json_object object a""",
    )
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)
REQUESTS = st.dictionaries(NAMES, VALUES, max_size=8)
TURNS = st.lists(st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=3)


WIRES = [OpenAIChat(), OpenAIResponses(), AnthropicMessages(), GeminiContent()]


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: type(wire).__name__)
@settings(max_examples=25)
@given(request=REQUESTS, turns=TURNS)
def test_a_request_is_answered_or_refused(wire: Wire, request: dict[str, Any], turns: list[Any]) -> None:
    """Never an error of the server: live, as a stream, and as a line of a job."""
    body = {"max_tokens": 1, **request, "model": "m", "messages": turns, "input": turns, "contents": turns}
    calls = Calls(Settings(), MockClock())
    live = anyio.run(calls.chat, wire, json.dumps(body).encode(), ("", 0))
    line = calls.line(wire, body, "a", "job")
    assert {live.status, line.status} <= {200, 400}
    assert bool(live.body) != bool(live.pieces)
    assert calls.ledger.report()["totals"]["requests"] == 2


@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        pytest.param(OpenAIResponses(), {"tools": 5}, id="tools that are a number"),
        pytest.param(
            OpenAIResponses(),
            {"tools": [{"type": "function", "name": "a", "parameters": [1]}]},
            id="a list of parameters",
        ),
        pytest.param(
            AnthropicMessages(),
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": []}]}]},
            id="an id that is a list",
        ),
        pytest.param(OpenAIResponses(), {"input": [{"type": "reasoning"}]}, id="no message"),
        pytest.param(AnthropicMessages(), {"max_tokens": None}, id="no max_tokens"),
        pytest.param(AnthropicMessages(), {"tools": [{"name": "a", "input_schema": {}}]}, id="a schema of no object"),
        pytest.param(AnthropicMessages(), {"output_config": {"format": {"type": "text"}}}, id="an unknown format"),
        pytest.param(AnthropicMessages(), {"messages": [{"role": "tool", "content": "a"}]}, id="an unknown role"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(wire: Wire, fields: dict[str, Any]) -> None:
    """As a mistake of the client, and not billed."""
    body = {"model": "m", "max_tokens": 1, "input": "a", "messages": [{"role": "user", "content": "a"}], **fields}
    calls = Calls(Settings(), MockClock())
    assert anyio.run(calls.chat, wire, json.dumps(body).encode(), ("", 0)).status == 400
    assert calls.ledger.report()["totals"]["billed"] == 0


@settings(max_examples=20)
@given(request=REQUESTS)
def test_texts_to_embed_are_embedded_or_refused(request: dict[str, Any]) -> None:
    """Live and as a line."""
    calls = Calls(Settings(), MockClock())
    body = {**request, "model": "m"}
    assert anyio.run(calls.embeddings, json.dumps(body).encode(), ("", 0)).status in (200, 400)
    assert calls.line(None, body, "a", "job").status in (200, 400)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=30) | st.builds(lambda value: json.dumps(value).encode(), VALUES), max_size=5))
def test_each_line_of_a_file_is_read_or_has_an_error(rows: list[bytes]) -> None:
    """None is dropped silently."""
    content = b"\n".join(rows)
    lines, errors = read_lines(content, "/v1/chat/completions")
    count = sum(bool(row.strip()) for row in content.splitlines())
    assert len(lines) + len(errors) == (count or 1)


@settings(max_examples=20)
@given(request=REQUESTS)
def test_fault_words_are_looked_for_in_any_request(request: dict[str, Any]) -> None:
    """Also in one that will be refused."""
    assert all(isinstance(text, str) for text in texts_of(request))


def test_the_same_request_has_the_same_digest_however_it_is_sent() -> None:
    """As a stream, at another tier, with its keys in another order; a parameter makes another one."""
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "é"}]}
    others: list[dict[str, Any]] = [
        dict(reversed(body.items())),
        {**body, "stream": True, "stream_options": {"include_usage": True}},
        {**body, "service_tier": "flex"},
    ]
    assert {request_digest(other) for other in others} == {request_digest(body)}
    assert request_digest({**body, "temperature": 0}) != request_digest(body)
