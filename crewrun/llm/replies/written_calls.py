"""Tool calls that stand in a reply's text, in the forms that models were trained to write.

A server turns them into `tool_calls`, unless its parser is off, is another model's, or the model missed a bracket. Then
they are text, which must not be taken for an answer. Read are only calls of tools that the caller has; a text that
mentions a tool is no call of it.

The forms: Hermes and Qwen `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, the same JSON bare, fenced or behind
Mistral's and Llama's marks, LangChain's `{"action": …, "action_input": …}`; Llama's and Qwen's
`<function=name>…</function>`, Anthropic's `<invoke name="…">`, GLM's `<arg_key>`; DeepSeek's, Kimi's, Mistral's and
gpt-oss's marks between a name and JSON; a reply that is nothing but `name(key="value")`, as Gemma and Llama write it.
"""

import ast
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from crewrun.llm.replies.json_values import decode_first, find_values

# What a written name means: the caller's own, None for no tool of it.
Known = Callable[[str], str | None]

_NAME_KEYS = ("name", "tool", "tool_name", "function", "function_name", "action")
_ARGUMENT_KEYS = ("arguments", "args", "parameters", "params", "input", "tool_input", "action_input")
_NO_ARGUMENTS = object()
_MOST_CALLS = 64
_LONGEST_CODE_CHARS = 20_000

# What a broken call begins with.
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
# Marks between a name and its arguments in JSON, each with a text that all of its calls have. A name without a mark
# before it is looked for where a word begins: else a long word would be tried at each of its characters.
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
# Marks before a call, which are no part of what is said with it.
_MARKS = re.compile(r"(?:\s{0,9}(?:<[^<>\n]{1,40}>|\[TOOL_CALLS\]|```\w{0,20}))+\s*+$")
_CLOSING_MARKS = re.compile(r"(?:\s{0,9}(?:</[^<>\n]{1,40}>|```))*")
_TAG_BEFORE = re.compile(r"(?:<[^<>\n]{1,40}>|\[TOOL_CALLS\])\s{0,9}$")


class WrittenCall(NamedTuple):
    """A call, with its arguments as they are written, and where in the text it stands."""

    name: str
    arguments: str
    start: int
    end: int


def find_calls(text: str, known: Known, schema: str = "") -> tuple[WrittenCall, ...]:
    """The calls in `text`, in their order, at most 64. Empty for nearly all answers, and quick for them.

    Where an answer to `schema`, a JSON Schema as text, may have the keys of a call, bare JSON is no call.
    """
    if _TAG in text and text.lstrip().startswith(_TAG):
        known = _or_itself(known)  # no answer, whatever it names
    found: list[WrittenCall] = []
    if "<" in text or "[" in text:
        for guard, read_form in _FORMS:
            if guard in text:
                found += _besides(read_form(text, known), found)
    if "{" in text and any(f'"{key}"' in text for key in _ARGUMENT_KEYS):
        calls = _in_json(text, known)
        if schema and _has_keys_of_a_call(schema):
            calls = (call for call in calls if _TAG_BEFORE.search(text, max(0, call.start - 60), call.start))
        found += _besides(calls, found)
    if found:
        return tuple(sorted(found, key=lambda call: call.start)[:_MOST_CALLS])
    return in_code(text, known) or _in_unknown_form(text)


def said_before(text: str, start: int) -> str:
    """What `text` says before the call that begins at `start`, without the marks of the call."""
    near = max(0, start - 200)
    return (text[:near] + _MARKS.sub("", text[near:start])).strip()


def end_of_marks(text: str, end: int) -> int:
    """Where the marks end that close a call which ends at `end`."""
    marks = _CLOSING_MARKS.match(text, end)
    return marks.end() if marks else end


def _in_unknown_form(text: str) -> tuple[WrittenCall, ...]:
    """What a reply has that begins as a call and is none: a tool that nobody has."""
    tagged = text.lstrip()
    if not tagged.startswith(_TAG):
        return ()
    return (WrittenCall(tagged.removeprefix(_TAG).strip()[:60], "", len(text) - len(tagged), len(text)),)


def _or_itself(known: Known) -> Known:
    return lambda name: known(name) or name.strip()


def _besides(calls: Iterator[WrittenCall], others: Sequence[WrittenCall]) -> list[WrittenCall]:
    """The first of `calls` that stand elsewhere than `others` do."""
    apart = (c for c in calls if not any(other.start < c.end and c.start < other.end for other in others))
    return list(islice(apart, _MOST_CALLS))


def _has_keys_of_a_call(schema: str) -> bool:
    return any(f'"{key}"' in schema for key in _NAME_KEYS) and any(f'"{key}"' in schema for key in _ARGUMENT_KEYS)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _in_json(text: str, known: Known) -> Iterator[WrittenCall]:
    found = find_values(text)
    for one in found.values:
        for name, arguments in _calls_in(one.value, known):
            yield WrittenCall(name, arguments, one.start, one.end)
    for broken in found.broken:
        named = _NAMED.match(text, broken.start, broken.end)
        known_name = known(named["name"]) if named else None
        if named and known_name is not None:
            arguments = _broken(json_at(text, named.end(), broken.end)[0])
            yield WrittenCall(known_name, arguments, broken.start, broken.end)


def _calls_in(value: Any, known: Known) -> list[tuple[str, str]]:
    """Names and arguments of one call, or of a list that has nothing but calls; empty for everything else."""
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    if isinstance(value, list):
        calls = [_call_in(one, known) for one in value[:_MOST_CALLS]]
        return [call for call in calls if call is not None] if None not in calls else []
    call = _call_in(value, known)
    return [] if call is None else [call]


def _call_in(value: Any, known: Known) -> tuple[str, str] | None:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):  # as OpenAI's messages have it
        value = value["function"]
    if not isinstance(value, dict):
        return None
    written = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    arguments = next((value[key] for key in _ARGUMENT_KEYS if key in value), _NO_ARGUMENTS)
    name = known(written) if written is not None else None
    if name is None or not isinstance(arguments, dict | str | None):
        return None
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


def json_at(text: str, start: int, end: int) -> tuple[str, int]:
    """The JSON object that begins at `start`, perhaps in a fence, and its end; else all up to `end`.

    What is broken goes to the tool as it is, and the model is told.
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


def _in_elements(text: str, known: Known) -> Iterator[WrittenCall]:
    """Elements that are named for a tool, with JSON or with parameters inside."""
    openings = [*_ELEMENT.finditer(text), *_GLM.finditer(text)]
    openings.sort(key=lambda opening: opening.start())
    ends = [closing.start() for closing in _ELEMENT_END.finditer(text)]
    for i, opening in enumerate(openings):
        name = known(opening["name"])
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
    """The parameters of an element as JSON, None without any. What they are but texts, the tool's schema knows."""
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
    """What was cut off, so that it is no JSON and not taken for the one value that a tool wants."""
    return arguments if arguments.startswith("{") else f"{{{arguments}"


def _behind_marks(pattern: re.Pattern[str]) -> Callable[[str, Known], Iterator[WrittenCall]]:
    def read(text: str, known: Known) -> Iterator[WrittenCall]:
        openings = list(pattern.finditer(text))
        for i, opening in enumerate(openings):
            name = known(opening["name"])
            if name is not None:
                limit = openings[i + 1].start() if i + 1 < len(openings) else len(text)
                arguments, end = json_at(text, opening.end(), limit)
                yield WrittenCall(name, arguments, opening.start(), end)

    return read


def _in_tags(text: str, known: Known) -> Iterator[WrittenCall]:
    """What stands between `<tool_call>` tags in Python's spelling."""
    for part in re.finditer(r"<tool_call>\s{0,9}(\{'[^<>]*+)", text):
        for name, arguments in _calls_in(_literal(part[1].strip()), known):
            yield WrittenCall(name, arguments, *part.span())


def _literal(code: str) -> Any:
    if len(code) > _LONGEST_CODE_CHARS:
        return None
    try:
        return ast.literal_eval(code)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


_FORMS: tuple[tuple[str, Callable[[str, Known], Iterator[WrittenCall]]], ...] = (
    ("<function=", _in_elements),
    ("invoke", _in_elements),
    ("<arg_key>", _in_elements),
    ("{'", _in_tags),
    *((guard, _behind_marks(pattern)) for guard, pattern in _MARKED),
)


# --- Python -----------------------------------------------------------------------------------------------------------


def in_code(text: str, known: Known) -> tuple[WrittenCall, ...]:
    """The calls of a reply that is nothing else: `name(key="value")`, a list of these, or one inside print()."""
    if ")" not in text[-20:] or len(text) > _LONGEST_CODE_CHARS:
        return ()
    fenced = _CODE.fullmatch(text.strip())
    code = fenced[1].rstrip() if fenced else text.strip()
    begin = _CALL_IN_CODE.match(code)
    if begin is None or known(begin["name"]) is None:
        return ()
    try:
        tree = ast.parse(code, mode="eval").body
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "print" and tree.args:
        tree = tree.args[0]
    calls = [_call_in_code(node, known) for node in (tree.elts if isinstance(tree, ast.List) else [tree])]
    if None in calls:
        return ()
    return tuple(WrittenCall(*call, 0, len(text)) for call in calls if call is not None)


def _call_in_code(node: ast.expr, known: Known) -> tuple[str, str] | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
        return None
    try:
        name = known(ast.unparse(node.func))
        values = {one.arg: ast.literal_eval(one.value) for one in node.keywords}
        given = [ast.literal_eval(one) for one in node.args]
        arguments = json.dumps(given[0] if given else values, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return None
    return None if name is None or None in values or len(given) + bool(values) > 1 else (name, arguments)
