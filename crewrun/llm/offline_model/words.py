"""Reads the tools and schemas that a prompt describes, as a model would, and writes replies in the same format.

The wording is that of `crewrun.crew.text_protocol` and `crewrun.crew.prompts`, which belong to a higher layer.
"""

import json
import re
from typing import Any

from crewrun.messages import ToolSpec

_TOOLS = "You have these tools and no others:\n"
_TOOL = re.compile(r"- ([a-zA-Z0-9_-]+): ")
_PARAMETERS = "\n  Arguments (JSON Schema): "
_HOW_TO_ASK = "\nAction: the name of one tool\n"
_SCHEMA = "validates against this JSON Schema: "
_OBSERVATION = "Observation: "
_DECODER = json.JSONDecoder()


def described_tools(text: str) -> tuple[ToolSpec, ...]:
    """The tools that `text` lists, in its order; none unless it also says how to call one."""
    at = text.find(_TOOLS)
    if at < 0 or _HOW_TO_ASK not in text:
        return ()
    at += len(_TOOLS)
    tools = []
    while named := _TOOL.match(text, at):
        begin = text.find(_PARAMETERS, named.end())
        parameters, at = _json_at(text, begin + len(_PARAMETERS)) if begin >= 0 else (None, at)
        if not isinstance(parameters, dict):
            break
        tools.append(ToolSpec(named[1], text[named.end() : begin], parameters))
        at += 1  # the newline
    return tuple(tools)


def described_schema(text: str) -> dict[str, Any] | None:
    """The JSON Schema that `text` asks the answer to follow, or None."""
    begin = text.find(_SCHEMA)
    schema = _json_at(text, begin + len(_SCHEMA))[0] if begin >= 0 else None
    return schema if isinstance(schema, dict) else None


def observed(text: str) -> str | None:
    """The tool result in the turn `text`, None if it is any other turn."""
    return text[len(_OBSERVATION) :] if text.startswith(_OBSERVATION) else None


def action(name: str, arguments: str) -> str:
    """A reply that calls a tool."""
    return f"Thought: {name} may tell more\nAction: {name}\nAction Input: {arguments}"


def final_answer(text: str) -> str:
    """A reply that answers, to a prompt that describes tools."""
    return f"Thought: I know the answer\nFinal Answer: {text}"


def excerpt(text: str, most_chars: int) -> str:
    """The beginning of `text`, on one line."""
    looked_at = text[: 4 * most_chars]
    words = " ".join(looked_at.split())
    return words if len(words) <= most_chars and len(looked_at) == len(text) else words[:most_chars] + "…"


def _json_at(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that starts at `at`, and where it ends; None if there is no valid one."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at
