"""How many tokens a prompt counts before it is sent: mostly, for limits, and at most, for budgets."""

import pytest

from crewrun.limits.estimates import fewest_tokens
from crewrun.messages import ChatRequest, Endpoint, Message, ReplySchema, ToolCall, ToolSpec

ENDPOINT = Endpoint("direct", "openai", "m", "https://example.com/v1")
TEXT = Message("user", "x" * 400)
TOOL = ToolSpec("add", "y" * 40, {})  # and two bytes of parameters
SCHEMA = ReplySchema("Answer", {"a": "b" * 32})  # 41 bytes, as Python writes them
CALL = Message("assistant", "", (ToolCall("c1", "add", "z" * 17, carried="{}"),), carried='{"a":1}')


@pytest.mark.parametrize(
    ("messages", "more", "mostly", "at_most"),
    [
        pytest.param((TEXT,), {}, 100 + 8, 400 + 8, id="a text"),
        pytest.param((TEXT, TEXT), {}, 200 + 16, 800 + 16, id="two messages"),
        pytest.param((Message("user", "ä" * 400),), {}, 100 + 8, 800 + 8, id="two bytes a character"),
        pytest.param((CALL,), {}, 8, 8 + 3 + 17 + 2 + 7, id="a call of a tool"),
        pytest.param((TEXT,), {"tools": (TOOL,)}, 108 + 10 + 64, 408 + 42 + 64, id="a tool"),
        pytest.param((TEXT,), {"tools": (TOOL, TOOL)}, 108 + 21 + 128, 408 + 84 + 128, id="two tools"),
        pytest.param(
            (TEXT,),
            {"tools": (ToolSpec("add", "ä" * 40, {}),)},
            108 + 10 + 64,
            408 + 82 + 64,
            id="a tool in two bytes a character",
        ),
        pytest.param((TEXT,), {"schema": SCHEMA}, 108 + 10, 408 + 41, id="a schema"),
    ],
)
def test_a_prompt_counts(messages: tuple[Message, ...], more: dict[str, object], mostly: int, at_most: int) -> None:
    """Four bytes a token mostly, one at most, and what a chat template puts around messages and tools."""
    request = ChatRequest(ENDPOINT, messages, **more)  # type: ignore[arg-type]  # tools or a schema
    assert (fewest_tokens(request), fewest_tokens(request, 1)) == (mostly, at_most)
