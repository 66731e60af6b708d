"""Which `tool_choice` forces the model to call a tool: such a one is left out once a tool has been called."""

from typing import Any

import pytest

from crewrun.llm.parameters import forces


@pytest.mark.parametrize(
    ("choice", "does"),
    [
        (None, False),
        ("auto", False),
        ("NONE", False),
        ("required", True),
        ("any", True),
        ({"type": "auto"}, False),
        ({"type": "function", "function": {"name": "search"}}, True),
        ({"type": "tool", "name": "search"}, True),
        ({}, False),
        (7, False),
    ],
    ids=str,
)
def test_what_forces_a_call(choice: Any, does: bool) -> None:
    """As OpenAI, Anthropic and others write it."""
    assert forces(choice) == does
