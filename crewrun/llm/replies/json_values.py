"""JSON in a reply: the values in it, wherever models put them, whole, in code fences or among words.

A value counts only as a whole: never a part of a larger one, and never a part of one that is broken, since an inner
object of a cut or misspelt answer may well look like an answer itself. What a reader takes of the values is its own
decision.

Every text costs its length. A bracket that begins no JSON fails at once; one that does is skipped with all that is in
it. https://www.rfc-editor.org/rfc/rfc8259
"""

import json
import re
from bisect import bisect_right
from collections import deque
from typing import Any, NamedTuple

# More in one reply are noise; the last ones are the ones that count.
_MOST_VALUES = 200
_FIRST_PIECE_CHARS = 128
# What of a number's, a word's or an escape's beginning can stand at a piece's end.
_LONGEST_WORD_CHARS = 16

_BRACKET = re.compile(r"[\[{]")
# A bracket that may begin JSON, by what stands behind it: a key, a value, or the end. In prose few do.
_OPENING = re.compile(
    r'\{\s*+(?:\}|"(?:[^"\\]|\\.)*+"\s*+:)'
    r'|\[\s*+(?:["\[{\]]|(?:-?\d[\d.eE+-]*+|-?Infinity|true|false|null)\s*+[,\]])',
    re.DOTALL,
)
# An object with a key, or a list of such.
_KEY = re.compile(r'(?:\[\s*+)?\{\s*+"(?:[^"\\]|\\.)*+"\s*+:', re.DOTALL)
_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_WHOLE_FENCE = re.compile(r"```(?:[\w+-]{0,20}(?=[\s{\[\"]))?(.*?)(?:```|\Z)", re.DOTALL)
# Strings and brackets. As far as the text was JSON a string ends at its quote, on whichever line.
_TOKEN_OF_JSON = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
# Behind a fault nobody knows which quotes open and which close: a string ends with its line, and a fence ends all.
_TOKEN_BEHIND_A_FAULT = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|[\[\]{}]|\n[^\S\n]*```')


class Value(NamedTuple):
    """A JSON value, and where in the text it stands."""

    value: Any
    start: int
    end: int


class Broken(NamedTuple):
    """What begins as JSON and is none, where it stands, and why. `has_key` says that it begins with an object that has
    a key, or with a list of such, as prose never does.
    """

    start: int
    end: int
    problem: str
    has_key: bool


class Values(NamedTuple):
    """What a text has: values, and broken ones, both in their order."""

    values: list[Value]
    broken: list[Broken]


def decode(text: str) -> Any:
    """The one JSON value that `text` is. Raises ValueError, and RecursionError for one that is too deep.

    Control characters inside strings are let through: models write line breaks there.
    """
    return _DECODER.decode(text.strip())


def decode_first(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value that begins at `start` and where it ends. Raises as `decode` does."""
    return _DECODER.raw_decode(text, start)


def unfenced(text: str) -> str:
    """`text` without blanks around it, and without the code fence that all of it stands in."""
    text = text.strip()
    if not text.startswith("```"):
        return text
    fenced = _WHOLE_FENCE.match(text)
    return fenced[1].strip() if fenced else text.strip("`").strip()


def decode_written(text: str) -> Any:
    """The value of a JSON text that may be fenced, and may be encoded twice. Raises as `decode` does."""
    value = decode(unfenced(text))
    if isinstance(value, str) and unfenced(value).startswith(("{", "[")):
        return decode(unfenced(value))
    return value


def find_values(text: str) -> Values:
    """The objects and arrays in `text`, and the values of other kinds that fill a code fence."""
    values: deque[Value] = deque(maxlen=_MOST_VALUES)
    broken: deque[Broken] = deque(maxlen=_MOST_VALUES)
    spans: list[tuple[int, int]] = []
    at = 0
    while opening := _OPENING.search(text, at):
        start = opening.start()
        try:
            value, at = _decode_at(text, start)
        except _Fault as fault:
            if fault.at is not None and not _begins_as_json(text, start, fault.at):
                at = start + 1
                continue
            at = _end_of_broken(text, start, fault.at or start)
            broken.append(Broken(start, at, str(fault), _KEY.match(text, start) is not None))
        else:
            values.append(Value(value, start, at))
        spans.append((start, at))
    return Values(sorted([*values, *_scalars(text, spans)], key=lambda one: one.start), list(broken))


class _Fault(Exception):
    """Why there is no value; `at` is where in the text, None where that is not known."""

    def __init__(self, problem: str, at: int | None) -> None:
        super().__init__(problem)
        self.at = at


def _decode_at(text: str, start: int) -> tuple[Any, int]:
    """`decode_first` on pieces that grow: a JSONDecodeError counts the lines before it, from the text's beginning on.

    Raises _Fault.
    """
    size = _FIRST_PIECE_CHARS
    while True:
        piece = text[start : start + size]
        is_rest = start + size >= len(text)
        try:
            value, length = _DECODER.raw_decode(piece)
        except json.JSONDecodeError as wrong:
            # Near the end of a piece, or in a string, the fault may be that the piece ends there.
            if is_rest or (wrong.pos < size - _LONGEST_WORD_CHARS and not wrong.msg.startswith("Unterminated")):
                raise _Fault(str(wrong), start + wrong.pos) from None
        except (ValueError, RecursionError) as wrong:
            raise _Fault(str(wrong), None) from None
        else:
            return value, start + length
        size *= 16


def _begins_as_json(text: str, start: int, fault_at: int) -> bool:
    """Whether a bracket opens JSON that is broken only later: an object with a key, an array with something in it that
    has brackets. `[1]: see`, `{topic}` and `[0, 5)` are prose.
    """
    if text[start] == "{":
        return text.find(":", start, fault_at) >= 0
    return _BRACKET.search(text, start + 1, fault_at) is not None


def _end_of_broken(text: str, start: int, fault_at: int) -> int:
    """Where the brackets that are open at the fault have been closed again, as far as one can tell."""
    if text.startswith("```", fault_at):
        return fault_at
    depth = 0
    for pattern, begin, end in (
        (_TOKEN_OF_JSON, start, fault_at),
        (_TOKEN_BEHIND_A_FAULT, fault_at, len(text)),
    ):
        for token in pattern.finditer(text, begin, end):
            match token[0][0]:
                case "{" | "[":
                    depth += 1
                case "}" | "]":
                    depth -= 1
                    if depth <= 0:
                        return token.end()
                case "\n":
                    return token.start()
    return len(text)


def _scalars(text: str, spans: list[tuple[int, int]]) -> list[Value]:
    """Texts, numbers and the like that fill a code fence. `spans` are taken, in their order."""
    if "```" not in text:
        return []
    found = []
    for fence in _FENCED.finditer(text):
        inner, start = fence[1].strip(), fence.start(1)
        before = bisect_right(spans, (start, len(text))) - 1
        if inner.startswith(("{", "[")) or (before >= 0 and spans[before][1] > start):
            continue
        try:
            found.append(Value(_DECODER.decode(inner), start, fence.end(1)))
        except (ValueError, RecursionError):
            continue
    return found[-_MOST_VALUES:]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0:
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, strict=False)
