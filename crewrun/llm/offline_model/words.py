"""Tools and schemas that a prompt explains in words, read as a model reads them, and replies in the same form.

The wording is the crew's, `crewrun.crew.text_protocol` and `crewrun.crew.prompts`, which stand above this layer.
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


def tools_told(text: str) -> tuple[ToolSpec, ...]:
    """The tools that `text` lists, in its order; none unless it also says how to ask for one."""
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
        at += 1  # the line's end
    return tuple(tools)


def schema_told(text: str) -> dict[str, Any] | None:
    """The JSON Schema that `text` wants its answer to validate against, None without one."""
    begin = text.find(_SCHEMA)
    schema = _json_at(text, begin + len(_SCHEMA))[0] if begin >= 0 else None
    return schema if isinstance(schema, dict) else None


def observed(text: str) -> str | None:
    """The tool's result that the turn `text` brings, None when it is another turn."""
    return text[len(_OBSERVATION) :] if text.startswith(_OBSERVATION) else None


def action(name: str, arguments: str) -> str:
    """A reply that asks for a tool."""
    return f"Thought: {name} may tell more\nAction: {name}\nAction Input: {arguments}"


def final_answer(text: str) -> str:
    """A reply that is an answer, where tools were explained."""
    return f"Thought: I know the answer\nFinal Answer: {text}"


def excerpt(text: str, most_chars: int) -> str:
    """The beginning of `text`, on one line."""
    looked_at = text[: 4 * most_chars]
    words = " ".join(looked_at.split())
    return words if len(words) <= most_chars and len(looked_at) == len(text) else words[:most_chars] + "…"


def _json_at(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at `at` and where it ends; None when there is none."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at
