"""Tool calls in plain text, for models without native tools: the prompt that explains the form, and the parser.

The form is that of ReAct (https://arxiv.org/abs/2210.03629): thought, action, action input, observation, final answer.
Models also write calls in other forms without being asked: `crewrun.llm.replies.written_calls` reads those, and is used
here as well.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crewrun.llm.replies.written_calls import NameLookup, end_of_marks, find_calls, in_code, json_at, said_before
from crewrun.messages import Message, ToolSpec

# No two adjacent parts of a pattern match the same character, or one of them is bounded, so that matching takes time
# linear in the reply's length, even for a reply of blank lines.
_OBSERVATION = re.compile(r"^[^\S\n]*+\**+Observation\**[^\S\n]*+:", re.IGNORECASE | re.MULTILINE)
_OBSERVATION_IN_LINE = re.compile(r"\bObservation\*{0,2}[^\S\n]{0,9}:")
_FINAL = re.compile(r"^[^\S\n]*+\**+Final Answer\**+[^\S\n]*+:\**+", re.IGNORECASE | re.MULTILINE)
# Inside a line only in the prompt's own spelling, since prose has "the final answer: …".
_FINAL_IN_LINE = re.compile(r"\*{0,2}\bFinal Answer\*{0,2}[^\S\n]{0,9}:\*{0,2}")
_ACTION = re.compile(
    r"(?P<begins_line>^[^\S\n]*+(?:[-#>]{1,6}[^\S\n]{1,9})?\**+)?"
    r"\bAction\**+[^\S\n]*+(?:\d{1,6}[^\S\n]{0,9})?:\**+[^\S\n]*+(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
# The beginning of the first non-blank line after an action, or the rest of the tool's line.
_INPUT = re.compile(
    r"\s*+(?:[-#>]{1,6}[^\S\n]{1,9})?\**+(?P<whole>Action[^\S\n]*+(?:\d{1,6}[^\S\n]{0,9})?)?"
    r"(?:Input|Arguments|Args|Parameters)\**+[^\S\n]*+(?:\d{1,6}[^\S\n]{0,9})?:\**+",
    re.IGNORECASE,
)
_BARE_INPUT = re.compile(r"\s*+(?:```\w{0,20}\s{0,9})?(?=\{)")
_INPUT_IN_LINE = re.compile(
    r"[^\S\n]{1,9}\*{0,2}Action[^\S\n]{0,9}(?:\d{1,6}[^\S\n]{0,9})?Input\*{0,2}[^:\n]{0,9}:", re.I
)
# `look_up(…)`, `look_up[…]` and `look_up {…}` where the form has only the tool's name.
_WITH_ARGUMENTS = re.compile(r"(?P<tool>[\w .-]{1,64}?)[^\S\n]{0,9}(?P<opening>[(\[{])")
_LAST_THOUGHT = re.compile(r"\n[^\S\n]{0,9}\**Thought\**[^\S\n]{0,9}:[^\n]*+\s*+\Z", re.IGNORECASE)
# How far into a line a tool's name is looked for. Names on the wire have at most 64 characters; the rest is for words
# around them, as in "Use the search tool", in at most this many words. Longer lines are prose.
_MAX_NAME_LINE_CHARS = 200
_MAX_WORDS_AROUND_NAMES = 8
_AROUND_NAMES = " \t\r`*\"'.,;"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call in a reply: the tool's name, or what the model wrote for it, and the arguments as written."""

    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Actions:
    """The tool calls in a reply. `text` is the reply up to their end, `thought` the text before them."""

    text: str
    thought: str
    calls: tuple[ToolUse, ...]


def explain_tools(specs: Sequence[ToolSpec]) -> str:
    """The prompt that lists the tools and explains how to call one."""
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
    """A tool's result as text for the model."""
    return f"Observation: {result}"


def turns(actions: Actions, results: Sequence[str]) -> tuple[Message, Message]:
    """The calls of a reply and their results, as turns of the conversation."""
    return Message("assistant", actions.text), Message("user", "\n\n".join(map(observation, results)))


def read_reply(text: str, lookup: NameLookup, schema: str = "", *, in_words: bool = True) -> Actions | str:
    """The tool calls in a reply, else its final answer; a reply in neither form is the answer as a whole.

    `lookup` finds a tool by name, `schema` is the JSON Schema of the answer. Without `in_words`, the model was not
    told about the form: then only calls of known tools count, and any other text is the answer as it is. Results that
    the model invents after an action are cut off.
    """
    if not in_words:
        return _actions_in(text, lookup, schema, in_words=False) or text
    final = _FINAL.search(text) or ("Final Answer" in text and _FINAL_IN_LINE.search(text)) or None
    if final is None:
        return _actions_in(text, lookup, schema) or text.strip()
    # An answer after a call in the same reply was written without the tool's result, so the call counts.
    if actions := _actions_in(text[: final.start()], lookup, schema):
        return actions
    answer = text[final.end() :].strip()
    if actions := _written_calls(answer, lookup, schema):
        return actions
    action = _find_action(answer, lookup, in_words=False)
    if action is None:
        return answer
    # The model did not stop after its answer and began another question: the answer ends before it.
    before = _LAST_THOUGHT.sub("", answer[: action.start]).strip()
    return before or _as_actions(answer, action)


def _actions_in(text: str, lookup: NameLookup, schema: str, *, in_words: bool = True) -> Actions | None:
    action = _find_action(text, lookup, in_words=in_words)
    return _as_actions(text, action) if action is not None else _written_calls(text, lookup, schema)


def _written_calls(text: str, lookup: NameLookup, schema: str) -> Actions | None:
    calls = find_calls(text, lookup, schema)
    if not calls:
        return None
    until = text[: end_of_marks(text, calls[-1].end)].strip()
    return Actions(
        until, said_before(text, calls[0].start), tuple(ToolUse(call.name, call.arguments) for call in calls)
    )


@dataclass(frozen=True, slots=True)
class _Action:
    tool: str
    arguments: str
    start: int
    end: int


def _as_actions(text: str, action: _Action) -> Actions:
    thought = text[: action.start].strip().removeprefix("Thought:").strip()
    return Actions(text[: action.end].strip(), thought, (ToolUse(action.tool, action.arguments),))


def _find_action(text: str, lookup: NameLookup, *, in_words: bool) -> _Action | None:
    """The first action: a known tool on a line of its own, or any tool with an input.

    Inside a line, or if the model was not told about the form, only a known tool with an input counts.
    """
    if "ction" not in text and "CTION" not in text:
        return None
    for match in _ACTION.finditer(text):
        start = match.end()
        begins_line = match["begins_line"] is not None
        line_end = text.find("\n", start, start + _MAX_NAME_LINE_CHARS)
        line_end = line_end if line_end >= 0 else min(len(text), start + _MAX_NAME_LINE_CHARS)
        within = _INPUT_IN_LINE.search(text, start, line_end)
        name_end = within.start() if within else line_end
        spelling = text[start:name_end].strip(_AROUND_NAMES)
        tool = lookup(spelling)
        input_match = _INPUT.match(text, name_end)
        if input_match and input_match["whole"]:
            tool = tool or _tool_among(spelling, lookup) or (spelling if begins_line and in_words else None)
        elif input_match is None or not (in_words or _BARE_INPUT.match(text, input_match.end())):
            input_match = _BARE_INPUT.match(text, name_end)
        if input_match and tool:
            arguments, end = json_at(text, input_match.end(), _end(text, match, input_match.end()))
            return _Action(tool, arguments, match.start(), end)
        if tool and in_words:
            return _Action(tool, "", match.start(), _end(text, match, line_end))
        if begins_line and (action := _with_arguments(text, match, lookup, in_words=in_words)):
            return action
    return None


def _tool_among(text: str, lookup: NameLookup) -> str | None:
    """A tool named among other words, as in `Use the search tool`."""
    words = text.split()
    return next(filter(None, map(lookup, words)), None) if len(words) <= _MAX_WORDS_AROUND_NAMES else None


def _end(text: str, action: re.Match[str], start: int) -> int:
    """Where after `start` a model begins to invent its tool's result."""
    invented = _OBSERVATION.search(text, start)
    if invented is None and action["begins_line"] is None:
        invented = _OBSERVATION_IN_LINE.search(text, start)
    return invented.start() if invented else len(text)


def _with_arguments(text: str, action_match: re.Match[str], lookup: NameLookup, *, in_words: bool) -> _Action | None:
    """The action of a line that has the arguments right after the tool."""
    start = action_match.end()
    line_end = text.find("\n", start)
    line = text[start : line_end if line_end >= 0 else len(text)].strip()
    call_match = _WITH_ARGUMENTS.match(line)
    tool = lookup(call_match["tool"]) if call_match else None
    if call_match is None or tool is None:
        return None
    end = start + len(line)
    if call_match["opening"] == "{":
        arguments, end = json_at(text, start + call_match.start("opening"), len(text))
    elif calls := in_code(line, lookup):
        arguments = calls[0].arguments
    elif in_words:
        arguments = line[call_match.end() :].strip().removesuffix(")").removesuffix("]")
    else:
        return None
    return _Action(tool, arguments, action_match.start(), end)
