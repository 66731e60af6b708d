"""What every transport to a provider is held to: one case for each fault of `crewrun mock`, and OpenAI's form for
tools.

https://platform.openai.com/docs/guides/function-calling, https://platform.openai.com/docs/guides/structured-outputs
"""

from dataclasses import replace
from typing import Any

import pytest

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    EmptyReply,
    ModelNotFound,
    NetworkError,
    OutputInvalid,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from crewrun.messages import ChatRequest, Endpoint, Message, ReplySchema, ToolCall, ToolSpec
from crewrun.testing import TransportCase

_EXPECTED: list[tuple[str, type[CallError] | None, int | None]] = [
    ("hello", None, None),
    ("FAIL-LENGTH", None, None),
    ("FAIL-400", BadRequest, 400),
    ("FAIL-401", AuthRefused, 401),
    ("FAIL-404", ModelNotFound, 404),
    ("FAIL-429", RateLimited, 429),
    ("FAIL-QUOTA", QuotaExhausted, 429),
    ("FAIL-500", ServerError, 500),
    ("FAIL-409", ServerError, 409),
    ("FAIL-503", ServerError, 503),
    ("FAIL-CUT", NetworkError, None),
    ("FAIL-EMPTY", EmptyReply, 200),
]
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (ToolSpec("weather", "The weather in a city.", _CITY), ToolSpec("clock", "The time.", {"type": "object"}))
SCHEMA = ReplySchema("report", {**_CITY, "additionalProperties": False}, strict=True)


def request(endpoint: Endpoint, prompt: str) -> ChatRequest:
    """A request with `prompt` as the user's turn."""
    return ChatRequest(endpoint, (Message("system", "You are a clerk."), Message("user", prompt)))


def mock_cases(endpoint: Endpoint) -> list[TransportCase]:
    """The cases against `endpoint`, which leads to a mock."""
    schema = TransportCase("hello with a schema", replace(request(endpoint, "hello"), schema=SCHEMA))
    with_tools = [
        TransportCase(f"{word} with tools", replace(request(endpoint, word), tools=TOOLS))
        for word in ("hello", "CALL-ALL", "CALL-NONE")
    ]
    with_tools.append(
        TransportCase(
            "a cut call of a tool", replace(request(endpoint, "FAIL-LENGTH"), tools=TOOLS), OutputInvalid, 200
        )
    )
    plain = [TransportCase(word, request(endpoint, word), kind, status) for word, kind, status in _EXPECTED]
    return [*plain, *with_tools, schema]


def tool_talk(endpoint: Endpoint) -> ChatRequest:
    """A conversation in which two tools were called in one turn, one of them with words beside it, and may be again."""
    asked = (ToolCall("call_a", "weather", '{"city": "Rome"}'), ToolCall("call_b", "clock", "{}"))
    return ChatRequest(
        endpoint,
        (
            Message("system", "Be brief."),
            Message("user", "Weather?"),
            Message("assistant", "", asked),
            Message("tool", "sunny", tool_call_id="call_a"),
            Message("tool", "noon", tool_call_id="call_b"),
            Message("assistant", "Once more.", (ToolCall("call_c", "clock", "{}"),)),
            Message("tool", "one", tool_call_id="call_c"),
        ),
        TOOLS,
    )


# The same, as OpenAI has it.
TOOL_TALK: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
                {"id": "call_b", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_b", "content": "noon"},
        {
            "role": "assistant",
            "content": "Once more.",
            "tool_calls": [{"id": "call_c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_c", "content": "one"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "weather", "description": "The weather in a city.", "parameters": _CITY},
        },
        {
            "type": "function",
            "function": {"name": "clock", "description": "The time.", "parameters": {"type": "object"}},
        },
    ],
}
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "report", "schema": {**_CITY, "additionalProperties": False}, "strict": True},
}


def reply_with(message: dict[str, Any], finish_reason: str = "tool_calls") -> dict[str, Any]:
    """A chat completion with `message`."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }


def _call(name: str, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **fields}


# What servers send, with the text and the calls that it means.
TOOL_REPLIES = [
    pytest.param(
        {"content": None, "tool_calls": [_call("weather", "{}", id="call_1"), _call("clock", "{", id="call_2")]},
        ("", (ToolCall("call_1", "weather", "{}"), ToolCall("call_2", "clock", "{"))),
        id="several, one cut off",
    ),
    pytest.param(
        {"content": "I look.", "tool_calls": [_call("clock", "{}", id="call_1")]},
        ("I look.", (ToolCall("call_1", "clock", "{}"),)),
        id="words beside it",
    ),
    pytest.param(
        {"content": "", "tool_calls": [_call("weather", {"city": "Rome"}, id="call_1")]},
        ("", (ToolCall("call_1", "weather", '{"city": "Rome"}'),)),
        id="arguments as an object",
    ),
    pytest.param(
        {"tool_calls": [_call("weather", None, id="call_1")]},
        ("", (ToolCall("call_1", "weather", "{}"),)),
        id="no arguments, no content",
    ),
    pytest.param(
        {"content": None, "function_call": {"name": "clock", "arguments": "{}"}},
        ("", (ToolCall("call00000", "clock", "{}"),)),
        id="the older form",
    ),
    pytest.param({"content": "Hi", "tool_calls": []}, ("Hi", ()), id="no calls at all"),
]
GARBAGE = [
    pytest.param("x", id="a text"),
    pytest.param([1], id="a number"),
    pytest.param([{"id": "call_1"}], id="no function"),
    pytest.param([{"id": "call_1", "function": None}], id="function null"),
    pytest.param([{"id": "call_1", "function": {"arguments": "{}"}}], id="no name"),
    pytest.param([{"id": "call_1", "function": {"name": 5, "arguments": "{}"}}], id="a number for a name"),
]
