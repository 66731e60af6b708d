"""Finds tool calls in a reply's text, in the formats that models were trained to write.

A server turns them into `tool_calls`, unless its parser is off or for another model, or the model missed a bracket.
They are then part of the text, which must not be mistaken for an answer. Only calls of tools that the caller has are
read; a text that merely mentions a tool does not call it.

The formats: Hermes and Qwen `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, the same JSON bare, fenced or after
Mistral's and Llama's marks, LangChain's `{"action": …, "action_input": …}`; Llama's and Qwen's
`<function=name>…</function>`, Anthropic's `<invoke name="…">`, GLM's `<arg_key>`; DeepSeek's, Kimi's, Mistral's and
gpt-oss's marks between a name and JSON; a reply that consists of `name(key="value")`, as Gemma and Llama write it.
"""

import ast
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from crewrun.llm.replies.json_values import decode_first, find_values

# Maps a name as the model wrote it to the caller's name for that tool; None if the caller has no such tool.
NameLookup = Callable[[str], str | None]

_NAME_KEYS = ("name", "tool", "tool_name", "function", "function_name", "action")
_ARGUMENT_KEYS = ("arguments", "args", "parameters", "params", "input", "tool_input", "action_input")
_NO_ARGUMENTS = object()
# More calls in one turn are a model that repeats itself.
_MOST_CALLS = 64
# Parsing takes many times a text's size in memory, and a reply that is nothing but calls is short.
_LONGEST_CODE_CHARS = 20_000

# The start of a malformed call in JSON.
_NAMED = re.compile(
    rf'[\[{{\s]*+[^\[\]{{}}]{{0,4000}}?"(?:{"|".join(_NAME_KEYS)})"\s*+:\s*+"(?P<name>[^"\n]{{1,100}})"\s*+,\s*+'
    rf'"(?:{"|".join(_ARGUMENT_KEYS)})"\s*+:\s*+'
)
# `<function=x>`, `<invoke name="x">`, and the same with a mark before the word, `<｜DSML｜invoke name="x">`.
_ELEMENT = re.compile(
    r"""<(?:function=|[^<>\s]{0,20}invoke\s{1,9}name=)["']?(?P<name>[^"'<>\n]{1,100}+)["']?[^<>\n]{0,80}>"""
)
_ELEMENT_END = re.compile(r"</[^<>\n]{0,20}(?:function|invoke)>")
_PARAMETER = re.compile(
    r"""<[^<>\n]{0,20}parameter(?:=|\s{1,9}name=)["']?([^"'<>\n]{1,100}+)["']?[^<>\n]{0,80}>|<arg_key>([^<>\n]{1,100})</arg_key>"""
)
_PARAMETER_END = re.compile(r"</[^<>\n]{0,20}parameter>|</arg_value>")
_TAG = "<tool_call>"
_GLM = re.compile(r"<tool_call>\s{0,9}(?P<name>[\w.-]{1,100})\s{0,9}(?=<arg_key>)")
# Marks between a name and its arguments in JSON, each with a text that all such calls contain. A name with no mark
# before it must start at the start of a word, or a long word would be tried at every character.
_MARKED = (
    (_TAG, re.compile(r"<tool_call>\s{0,9}(?P<name>[\w.-]{1,100})\s{0,9}(?=\{)")),
    ("[TOOL_CALLS]", re.compile(r"\[TOOL_CALLS\]\s{0,9}(?P<name>[\w.-]{1,100})\s{0,9}(?=\{)")),
    (
        "[ARGS]",
        re.compile(r"(?:\[TOOL_CALLS\]\s{0,9})?(?<![\w.-])(?P<name>[\w.-]{1,100})(?:\[CALL_ID\][\w-]{1,40})?\[ARGS\]"),
    ),
    (
        "<|tool_call_argument_begin|>",
        re.compile(r"(?<![\w.-])(?P<name>[\w.-]{1,100})(?::\d{1,6})?\s{0,9}<\|tool_call_argument_begin\|>"),
    ),
    ("<｜tool▁sep｜>", re.compile(r"<｜tool▁sep｜>(?P<name>[\w.-]{1,100})\s{0,9}(?=```|\{)")),
    ("<｜tool▁sep｜>", re.compile(r"(?<![\w.-])(?P<name>[\w.-]{1,100})<｜tool▁sep｜>(?=\s{0,9}\{)")),
    ("<|message|>", re.compile(r"to=(?P<name>functions\.[\w-]{1,100}+)[^{\n]{0,80}<\|message\|>")),
)
_FENCE = re.compile(r"\s{0,9}(?:```\w{0,20}\s{0,9})?")
_CODE = re.compile(r"```\w{0,20}\s*+(.*)```", re.DOTALL)
_CALL_IN_CODE = re.compile(r"\[?\s{0,9}(?:print\(\s{0,9})?(?P<name>[A-Za-z_][\w.]{0,100})\(")
# Marks before a call, which are not part of the text that comes with it.
_MARKS = re.compile(r"(?:\s{0,9}(?:<[^<>\n]{1,40}>|\[TOOL_CALLS\]|```\w{0,20}))+\s*+$")
_CLOSING_MARKS = re.compile(r"(?:\s{0,9}(?:</[^<>\n]{1,40}>|```))*")
_TAG_BEFORE = re.compile(r"(?:<[^<>\n]{1,40}>|\[TOOL_CALLS\])\s{0,9}$")


class WrittenCall(NamedTuple):
    """A call, with its arguments as written, and its position in the text."""

    name: str
    arguments: str
    start: int
    end: int


def find_calls(text: str, lookup: NameLookup, schema: str = "") -> tuple[WrittenCall, ...]:
    """The calls in `text`, in order, at most 64. Nearly all answers have no calls, which is found quickly.

    Bare JSON is not a call if `schema`, the answer's JSON Schema as text, has the keys of a call itself.
    """
    if _TAG in text and text.lstrip().startswith(_TAG):
        lookup = _or_itself(lookup)  # never an answer, whatever it names
    result: list[WrittenCall] = []
    if "<" in text or "[" in text:
        for guard, read_form in _FORMS:
            if guard in text:
                result += _not_overlapping(read_form(text, lookup), result)
    if "{" in text and any(f'"{key}"' in text for key in _ARGUMENT_KEYS):
        calls = _in_json(text, lookup)
        if schema and _has_keys_of_a_call(schema):
            calls = (call for call in calls if _TAG_BEFORE.search(text, max(0, call.start - 60), call.start))
        result += _not_overlapping(calls, result)
    if result:
        return tuple(sorted(result, key=lambda call: call.start)[:_MOST_CALLS])
    return in_code(text, lookup) or _in_unknown_form(text)


def said_before(text: str, start: int) -> str:
    """The text before the call that starts at `start`, without the call's marks."""
    near = max(0, start - 200)
    return (text[:near] + _MARKS.sub("", text[near:start])).strip()


def end_of_marks(text: str, end: int) -> int:
    """Where the closing marks of a call end, given that the call itself ends at `end`."""
    marks = _CLOSING_MARKS.match(text, end)
    return marks.end() if marks else end


def _in_unknown_form(text: str) -> tuple[WrittenCall, ...]:
    """A reply that starts like a call but cannot be read, as a call of a tool that does not exist."""
    tagged = text.lstrip()
    if not tagged.startswith(_TAG):
        return ()
    return (WrittenCall(tagged.removeprefix(_TAG).strip()[:60], "", len(text) - len(tagged), len(text)),)


def _or_itself(lookup: NameLookup) -> NameLookup:
    return lambda name: lookup(name) or name.strip()


def _not_overlapping(calls: Iterator[WrittenCall], others: Sequence[WrittenCall]) -> list[WrittenCall]:
    """The first of `calls` that do not overlap any of `others`."""
    apart = (c for c in calls if not any(other.start < c.end and c.start < other.end for other in others))
    return list(islice(apart, _MOST_CALLS))


def _has_keys_of_a_call(schema: str) -> bool:
    return any(f'"{key}"' in schema for key in _NAME_KEYS) and any(f'"{key}"' in schema for key in _ARGUMENT_KEYS)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _in_json(text: str, lookup: NameLookup) -> Iterator[WrittenCall]:
    json_values = find_values(text)
    for one in json_values.values:
        for name, arguments in _calls_in(one.value, lookup):
            yield WrittenCall(name, arguments, one.start, one.end)
    for broken in json_values.broken:
        named = _NAMED.match(text, broken.start, broken.end)
        own_name = lookup(named["name"]) if named else None
        if named and own_name is not None:
            arguments = _broken(json_at(text, named.end(), broken.end)[0])
            yield WrittenCall(own_name, arguments, broken.start, broken.end)


def _calls_in(value: Any, lookup: NameLookup) -> list[tuple[str, str]]:
    """The names and arguments of one call, or of a list of nothing but calls; empty for anything else."""
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    if isinstance(value, list):
        calls = [_call_in(one, lookup) for one in value[:_MOST_CALLS]]
        return [call for call in calls if call is not None] if None not in calls else []
    call = _call_in(value, lookup)
    return [] if call is None else [call]


def _call_in(value: Any, lookup: NameLookup) -> tuple[str, str] | None:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):  # as in OpenAI's messages
        value = value["function"]
    if not isinstance(value, dict):
        return None
    written = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    arguments = next((value[key] for key in _ARGUMENT_KEYS if key in value), _NO_ARGUMENTS)
    name = lookup(written) if written is not None else None
    if name is None or not isinstance(arguments, dict | str | None):
        return None
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


def json_at(text: str, start: int, end: int) -> tuple[str, int]:
    """The JSON object that starts at `start`, possibly in a fence, and where it ends; else everything up to `end`.

    Malformed arguments are passed on unchanged, and the model is told what is wrong with them.
    """
    fence = _FENCE.match(text, start, end)
    begin = fence.end() if fence else start
    if text.startswith("{", begin, end):
        try:
            length = decode_first(text[begin:end])[1]
        except (ValueError, RecursionError):
            pass
        else:
            return text[begin : begin + length], begin + length
    return text[start:end].strip(), end


# --- elements and marks -----------------------------------------------------------------------------------------------


def _in_elements(text: str, lookup: NameLookup) -> Iterator[WrittenCall]:
    """Elements that name a tool, with JSON or parameters inside."""
    openings = [*_ELEMENT.finditer(text), *_GLM.finditer(text)]
    openings.sort(key=lambda opening: opening.start())
    ends = [closing.start() for closing in _ELEMENT_END.finditer(text)]
    for i, opening in enumerate(openings):
        name = lookup(opening["name"])
        if name is None:
            continue
        limit = openings[i + 1].start() if i + 1 < len(openings) else len(text)
        closing = bisect_left(ends, opening.end())
        is_closed = closing < len(ends) and ends[closing] <= limit
        end = ends[closing] if is_closed else limit
        body = text[opening.end() : end]
        arguments = _parameters(body, is_closed=is_closed)
        yield WrittenCall(name, arguments or json_at(body, 0, len(body))[0], opening.start(), end)


def _parameters(body: str, *, is_closed: bool) -> str | None:
    """The parameters of an element as JSON, None without any. All values are strings; the tool's schema decides
    what they stand for.
    """
    _, *parts = _PARAMETER.split(body)
    if not parts:
        return None
    names, values = zip(parts[::3], parts[1::3], strict=True), parts[2::3]
    if not is_closed and _PARAMETER_END.search(values[-1]) is None:
        return _broken(body)
    texts = (_PARAMETER_END.split(value, maxsplit=1)[0].replace("<arg_value>", "", 1) for value in values)
    parameters = {(name or key).strip(): text.strip("\r\n") for (name, key), text in zip(names, texts, strict=True)}
    return json.dumps(parameters, ensure_ascii=False)


def _broken(arguments: str) -> str:
    """Arguments that were cut off, in a form that is not JSON and cannot be mistaken for a tool's single parameter."""
    return arguments if arguments.startswith("{") else f"{{{arguments}"


def _after_marks(pattern: re.Pattern[str]) -> Callable[[str, NameLookup], Iterator[WrittenCall]]:
    def read(text: str, lookup: NameLookup) -> Iterator[WrittenCall]:
        openings = list(pattern.finditer(text))
        for i, opening in enumerate(openings):
            name = lookup(opening["name"])
            if name is not None:
                limit = openings[i + 1].start() if i + 1 < len(openings) else len(text)
                arguments, end = json_at(text, opening.end(), limit)
                yield WrittenCall(name, arguments, opening.start(), end)

    return read


def _in_tags(text: str, lookup: NameLookup) -> Iterator[WrittenCall]:
    """Calls between `<tool_call>` tags that are written as Python dicts."""
    for part in re.finditer(r"<tool_call>\s{0,9}(\{'[^<>]*+)", text):
        for name, arguments in _calls_in(_literal(part[1].strip()), lookup):
            yield WrittenCall(name, arguments, *part.span())


def _literal(code: str) -> Any:
    if len(code) > _LONGEST_CODE_CHARS:
        return None
    try:
        return ast.literal_eval(code)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


_FORMS: tuple[tuple[str, Callable[[str, NameLookup], Iterator[WrittenCall]]], ...] = (
    ("<function=", _in_elements),
    ("invoke", _in_elements),
    ("<arg_key>", _in_elements),
    ("{'", _in_tags),
    *((guard, _after_marks(pattern)) for guard, pattern in _MARKED),
)


# --- Python -----------------------------------------------------------------------------------------------------------


def in_code(text: str, lookup: NameLookup) -> tuple[WrittenCall, ...]:
    """The calls of a reply that consists of them: `name(key="value")`, a list of these, or one inside print()."""
    if ")" not in text[-20:] or len(text) > _LONGEST_CODE_CHARS:
        return ()
    fenced = _CODE.fullmatch(text.strip())
    code = fenced[1].rstrip() if fenced else text.strip()
    begin = _CALL_IN_CODE.match(code)
    if begin is None or lookup(begin["name"]) is None:
        return ()
    try:
        tree = ast.parse(code, mode="eval").body
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "print" and tree.args:
        tree = tree.args[0]
    calls = [_call_in_code(node, lookup) for node in (tree.elts if isinstance(tree, ast.List) else [tree])]
    if None in calls:
        return ()
    return tuple(WrittenCall(*call, 0, len(text)) for call in calls if call is not None)


def _call_in_code(node: ast.expr, lookup: NameLookup) -> tuple[str, str] | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
        return None
    try:
        name = lookup(ast.unparse(node.func))
        values = {one.arg: ast.literal_eval(one.value) for one in node.keywords}
        positional = [ast.literal_eval(one) for one in node.args]
        arguments = json.dumps(positional[0] if positional else values, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return None
    return None if name is None or None in values or len(positional) + bool(values) > 1 else (name, arguments)
