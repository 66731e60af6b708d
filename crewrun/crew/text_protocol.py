"""Tools in words, for models that take none: the prompt that explains them, and how a reply is read.

The form is that of ReAct (https://arxiv.org/abs/2210.03629): thought, action, action input, observation, final answer.
Other forms, in which models write calls unasked, are in `crewrun.llm.replies.written_calls`; they are read here as
well.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crewrun.llm.replies.written_calls import NameLookup, end_of_marks, find_calls, in_code, json_at, said_before
from crewrun.messages import Message, ToolSpec

# No two parts of a pattern can take the same character, or the shorter one is bounded: a reply of blank lines costs its
# length, not the square of it.
_OBSERVATION = re.compile(r"^[^\S\n]*+\**+Observation\**[^\S\n]*+:", re.IGNORECASE | re.MULTILINE)
_OBSERVATION_IN_LINE = re.compile(r"\bObservation\*{0,2}[^\S\n]{0,9}:")
_FINAL = re.compile(r"^[^\S\n]*+\**+Final Answer\**+[^\S\n]*+:\**+", re.IGNORECASE | re.MULTILINE)
# Inside a line only as the prompt writes it: prose has "the final answer: …".
_FINAL_IN_LINE = re.compile(r"\*{0,2}\bFinal Answer\*{0,2}[^\S\n]{0,9}:\*{0,2}")
_ACTION = re.compile(
    r"(?P<begins_line>^[^\S\n]*+(?:[-#>]{1,6}[^\S\n]{1,9})?\**+)?"
    r"\bAction\**+[^\S\n]*+(?:\d{1,6}[^\S\n]{0,9})?:\**+[^\S\n]*+(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
# What the first line after an action begins with that is not blank, or what follows the tool on its line.
_INPUT = re.compile(
    r"\s*+(?:[-#>]{1,6}[^\S\n]{1,9})?\**+(?P<whole>Action[^\S\n]*+(?:\d{1,6}[^\S\n]{0,9})?)?"
    r"(?:Input|Arguments|Args|Parameters)\**+[^\S\n]*+(?:\d{1,6}[^\S\n]{0,9})?:\**+",
    re.IGNORECASE,
)
_BARE_INPUT = re.compile(r"\s*+(?:```\w{0,20}\s{0,9})?(?=\{)")
_INPUT_IN_LINE = re.compile(
    r"[^\S\n]{1,9}\*{0,2}Action[^\S\n]{0,9}(?:\d{1,6}[^\S\n]{0,9})?Input\*{0,2}[^:\n]{0,9}:", re.I
)
# `look_up(…)`, `look_up[…]` and `look_up {…}` where only the tool was asked for.
_WITH_ARGUMENTS = re.compile(r"(?P<tool>[\w .-]{1,64}?)[^\S\n]{0,9}(?P<opening>[(\[{])")
_LAST_THOUGHT = re.compile(r"\n[^\S\n]{0,9}\**Thought\**[^\S\n]{0,9}:[^\n]*+\s*+\Z", re.IGNORECASE)
# A tool's name is not longer.
_LONGEST_NAME_CHARS = 200
_MOST_WORDS_AROUND_NAMES = 8
_AROUND_NAMES = " \t\r`*\"'.,;"


@dataclass(frozen=True, slots=True)
class Call:
    """One tool that a reply asks for, by the name it has or that the model gave it, with arguments as written."""

    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Actions:
    """The tools that a reply asks for. `said` is the reply up to their end, `thought` what it says before them."""

    said: str
    thought: str
    calls: tuple[Call, ...]


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


def turns(actions: Actions, results: Sequence[str]) -> tuple[Message, Message]:
    """What a reply asks for and what its tools gave, as turns of the conversation."""
    return Message("assistant", actions.said), Message("user", "\n\n".join(map(observation, results)))


def read_reply(text: str, known: NameLookup, schema: str = "", *, in_words: bool = True) -> Actions | str:
    """The tools that a reply asks for, else its final answer; a reply in neither form is all answer.

    `known` says which tools there are, `schema` what the answer must look like, as JSON Schema. Unless `in_words`, the
    model was not told of the forms: only calls of known tools are read then, and every other text is the answer as it
    is. What a model makes up after an action, as if the tool had answered, is cut off.
    """
    if not in_words:
        return _asked(text, known, schema, in_words=False) or text
    final = _FINAL.search(text) or ("Final Answer" in text and _FINAL_IN_LINE.search(text)) or None
    if final is None:
        return _asked(text, known, schema) or text.strip()
    # An answer in the same reply was written before the tool could say anything.
    if asked := _asked(text[: final.start()], known, schema):
        return asked
    answer = text[final.end() :].strip()
    if written := _written(answer, known, schema):
        return written
    action = _find_action(answer, known, in_words=False)
    if action is None:
        return answer
    # A model that does not stop goes on with a question of its own.
    before = _LAST_THOUGHT.sub("", answer[: action.start]).strip()
    return before or _as_actions(answer, action)


def _asked(text: str, known: NameLookup, schema: str, *, in_words: bool = True) -> Actions | None:
    action = _find_action(text, known, in_words=in_words)
    return _as_actions(text, action) if action is not None else _written(text, known, schema)


def _written(text: str, known: NameLookup, schema: str) -> Actions | None:
    calls = find_calls(text, known, schema)
    if not calls:
        return None
    said = text[: end_of_marks(text, calls[-1].end)].strip()
    return Actions(said, said_before(text, calls[0].start), tuple(Call(call.name, call.arguments) for call in calls))


@dataclass(frozen=True, slots=True)
class _Action:
    tool: str
    arguments: str
    start: int
    end: int


def _as_actions(text: str, action: _Action) -> Actions:
    thought = text[: action.start].strip().removeprefix("Thought:").strip()
    return Actions(text[: action.end].strip(), thought, (Call(action.tool, action.arguments),))


def _find_action(text: str, known: NameLookup, *, in_words: bool) -> _Action | None:
    """The first action: a known tool on a line of its own, or any tool with an input; among other words, or where
    nobody asked for this form, a known tool with an input.
    """
    if "ction" not in text and "CTION" not in text:
        return None
    for match in _ACTION.finditer(text):
        start = match.end()
        begins_line = match["begins_line"] is not None
        line_end = text.find("\n", start, start + _LONGEST_NAME_CHARS)
        line_end = line_end if line_end >= 0 else min(len(text), start + _LONGEST_NAME_CHARS)
        within = _INPUT_IN_LINE.search(text, start, line_end)
        name_end = within.start() if within else line_end
        written = text[start:name_end].strip(_AROUND_NAMES)
        tool = known(written)
        input_match = _INPUT.match(text, name_end)
        if input_match and input_match["whole"]:
            tool = tool or _known_among(written, known) or (written if begins_line and in_words else None)
        elif input_match is None or not (in_words or _BARE_INPUT.match(text, input_match.end())):
            input_match = _BARE_INPUT.match(text, name_end)
        if input_match and tool:
            arguments, end = json_at(text, input_match.end(), _end(text, match, input_match.end()))
            return _Action(tool, arguments, match.start(), end)
        if tool and in_words:
            return _Action(tool, "", match.start(), _end(text, match, line_end))
        if begins_line and (action := _with_arguments(text, match, known, in_words=in_words)):
            return action
    return None


def _known_among(written: str, known: NameLookup) -> str | None:
    """The tool in `Use the search tool`."""
    words = written.split()
    return next(filter(None, map(known, words)), None) if len(words) <= _MOST_WORDS_AROUND_NAMES else None


def _end(text: str, action: re.Match[str], start: int) -> int:
    """Where behind `start` a model begins to make up what its tool says."""
    invented = _OBSERVATION.search(text, start)
    if invented is None and action["begins_line"] is None:
        invented = _OBSERVATION_IN_LINE.search(text, start)
    return invented.start() if invented else len(text)


def _with_arguments(text: str, found: re.Match[str], known: NameLookup, *, in_words: bool) -> _Action | None:
    """The action of a line that has the arguments behind the tool."""
    start = found.end()
    line_end = text.find("\n", start)
    line = text[start : line_end if line_end >= 0 else len(text)].strip()
    named = _WITH_ARGUMENTS.match(line)
    tool = known(named["tool"]) if named else None
    if named is None or tool is None:
        return None
    end = start + len(line)
    if named["opening"] == "{":
        arguments, end = json_at(text, start + named.start("opening"), len(text))
    elif calls := in_code(line, known):
        arguments = calls[0].arguments
    elif in_words:
        arguments = line[named.end() :].strip().removesuffix(")").removesuffix("]")
    else:
        return None
    return _Action(tool, arguments, found.start(), end)
