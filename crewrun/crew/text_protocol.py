"""Tools in words, for models that take none: the prompt that explains them, and how a reply is read.

The form is that of ReAct (https://arxiv.org/abs/2210.03629): thought, action, action input, observation, final answer.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crewrun.messages import ToolSpec

# Each is tried at the beginnings of lines only, and no two parts of one can take the same character: a reply of blank
# lines costs its length, not the square of it.
_OBSERVATION = re.compile(r"^[^\S\n]*\**Observation\**[^\S\n]*:", re.IGNORECASE | re.MULTILINE)
_FINAL = re.compile(r"^[^\S\n]*\**Final Answer\**[^\S\n]*:\**", re.IGNORECASE | re.MULTILINE)
_ACTION = re.compile(
    r"^[^\S\n]*\**Action\**[^\S\n]*(?:\d+[^\S\n]*)?:\**[^\S\n]*(?P<tool>\S[^\n]*)", re.IGNORECASE | re.MULTILINE
)
# What the first line after an action begins with that is not blank.
_INPUT = re.compile(r"\s*\**Action[^\S\n]*(?:\d+[^\S\n]*)?Input\**[^\S\n]*(?:\d+[^\S\n]*)?:\**", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Action:
    """A tool that the reply asks for. `said` is the reply up to the end of the action."""

    said: str
    tool: str
    arguments: str


def explain_tools(specs: Sequence[ToolSpec]) -> str:
    """How to ask for a tool, and which there are."""
    tools = "\n".join(
        f"- {spec.name}: {spec.description}\n"
        f"  Arguments (JSON Schema): {json.dumps(spec.parameters, ensure_ascii=False)}"
        for spec in specs
    )
    return (
        f"You have these tools and no others:\n{tools}\n\n"
        "To use a tool, reply in exactly this form and then stop; what the tool gives comes back as an Observation:\n"
        "Thought: what you need and why\n"
        "Action: the name of one tool\n"
        "Action Input: its arguments as one JSON object\n\n"
        "When you know the answer, reply in this form:\n"
        "Thought: I know the answer\n"
        "Final Answer: the complete answer"
    )


def observation(result: str) -> str:
    """A tool's result as the model is told it."""
    return f"Observation: {result}"


def read_reply(text: str) -> Action | str:
    """The tool that a reply asks for, else its final answer; a reply in neither form is all answer.

    What a model makes up after an action, as if the tool had answered, is cut off.
    """
    final, action = _FINAL.search(text), _ACTION.search(text)
    if final and not (action and action.start() < final.start()):
        return text[final.end() :].strip()
    if action is None:
        return text.strip()
    # An answer in the same reply was written before the tool could say anything.
    invented = (_OBSERVATION.search(text, action.end()), final)
    end = min((found.start() for found in invented if found), default=len(text))
    given = _INPUT.match(text, action.end(), end)
    arguments = text[given.end() : end] if given else ""
    return Action(text[:end].strip(), action["tool"].strip().strip("`*\"'"), arguments.strip())
