"""`crewrun.testing` as the tests of a user's crew have it."""

import json

import pytest

from crewrun import Agent
from crewrun.testing import calls, scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio


@tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def test_a_scripted_model_asks_for_tools() -> None:
    """One with keywords, several as pairs; arguments that are a text go out as they are, and requests are recorded."""
    agent = Agent(role="Adder", goal="Add", backstory="b", tools=[add], llm="gpt-4o-mini")
    several = calls(("add", {"a": 5}), ("add", "not JSON: {"))
    async with scripted(calls("add", a=1, b=2), several, "done") as model:
        output = await agent.akickoff("Add them")
    first, second, third = model.requests
    assert [spec.name for spec in first.tools] == ["add"]
    (asked,) = second.messages[-2].tool_calls
    assert (asked.id, asked.name, json.loads(asked.arguments)) == ("call_1", "add", {"a": 1, "b": 2})
    # An id of an earlier turn is given a new one, as with every model.
    assert [call.id for call in third.messages[-3].tool_calls] == ["call00001", "call_2"]
    results = [message.content for message in third.messages if message.role == "tool"]
    assert (results[:2], output.raw) == (["3", "6"], "done")
    assert results[2].startswith("The arguments do not fit: ")
