"""Finds JSON values in a reply, wherever models put them: alone, in code fences or in the middle of prose.

Only whole values count: never a part of a larger one, and never a part of a broken one, since an object inside a
truncated or malformed answer may well look like an answer itself. The caller decides which of the values to use.

The time is linear in the text's length: a bracket that does not start JSON fails immediately, and one that does is
skipped together with its contents. https://www.rfc-editor.org/rfc/rfc8259
"""

import json
import re
from bisect import bisect_right
from collections import deque
from typing import Any, NamedTuple

# More values in one reply are noise; the last ones are kept, since drafts come before the answer.
_MOST_VALUES = 200
# Most brackets in prose fail within this many characters; pieces then grow 16-fold, so a long value is read few times.
_FIRST_PIECE_CHARS = 128
# How much of a number, a word or an escape may be cut off at the end of a piece.
_LONGEST_WORD_CHARS = 16

_BRACKET = re.compile(r"[\[{]")
# A bracket that may start JSON, judged by what follows: a key, a value, or the end. Few brackets in prose match.
_OPENING = re.compile(
    r'\{\s*+(?:\}|"(?:[^"\\]|\\.)*+"\s*+:)'
    r'|\[\s*+(?:["\[{\]]|(?:-?\d[\d.eE+-]*+|-?Infinity|true|false|null)\s*+[,\]])',
    re.DOTALL,
)
# An object with a key, or a list of such objects.
_KEY = re.compile(r'(?:\[\s*+)?\{\s*+"(?:[^"\\]|\\.)*+"\s*+:', re.DOTALL)
_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_WHOLE_FENCE = re.compile(r"```(?:[\w+-]{0,20}(?=[\s{\[\"]))?(.*?)(?:```|\Z)", re.DOTALL)
# Strings and brackets. In valid JSON a string ends at its closing quote, on whichever line.
_TOKEN_OF_JSON = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
# After a fault it is unknown which quotes open and which close: a string ends with its line, and a fence ends the
# value.
_TOKEN_AFTER_A_FAULT = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|[\[\]{}]|\n[^\S\n]*```')


class JsonValue(NamedTuple):
    """A JSON value and its position in the text."""

    value: Any
    start: int
    end: int


class Broken(NamedTuple):
    """A part of the text that starts like JSON but is malformed, its position, and the problem. `has_key` says that it
    starts with an object that has a key, or with a list of such objects, as prose never does.
    """

    start: int
    end: int
    problem: str
    has_key: bool


class Values(NamedTuple):
    """The values in a text and the broken ones, both in order."""

    values: list[JsonValue]
    broken: list[Broken]


def decode(text: str) -> Any:
    """Parse `text` as one JSON value. Raises ValueError, or RecursionError if it is nested too deeply.

    Control characters in strings are accepted, since models write line breaks there.
    """
    return _DECODER.decode(text.strip())


def decode_first(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value that starts at `start`, and where it ends. Raises like `decode`."""
    return _DECODER.raw_decode(text, start)


def unfenced(text: str) -> str:
    """`text` without surrounding whitespace and without a code fence around all of it."""
    text = text.strip()
    if not text.startswith("```"):
        return text
    fenced = _WHOLE_FENCE.match(text)
    return fenced[1].strip() if fenced else text.strip("`").strip()


def decode_written(text: str) -> Any:
    """The value of a JSON text that may be in a code fence, and may be encoded twice. Raises like `decode`."""
    value = decode(unfenced(text))
    if isinstance(value, str) and unfenced(value).startswith(("{", "[")):
        return decode(unfenced(value))
    return value


def find_values(text: str) -> Values:
    """The objects and arrays in `text`, and values of other types if one fills a code fence."""
    values: deque[JsonValue] = deque(maxlen=_MOST_VALUES)
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
            values.append(JsonValue(value, start, at))
        spans.append((start, at))
    return Values(sorted([*values, *_scalars(text, spans)], key=lambda one: one.start), list(broken))


class _Fault(Exception):
    """The reason why there is no value; `at` is its position in the text, None if unknown."""

    def __init__(self, problem: str, at: int | None) -> None:
        super().__init__(problem)
        self.at = at


def _decode_at(text: str, start: int) -> tuple[Any, int]:
    """`decode_first` on growing pieces: a JSONDecodeError counts the lines before it, from the start of what it is
    given, so failing on the whole text would take quadratic time.

    Raises _Fault.
    """
    size = _FIRST_PIECE_CHARS
    while True:
        piece = text[start : start + size]
        is_rest = start + size >= len(text)
        try:
            value, length = _DECODER.raw_decode(piece)
        except json.JSONDecodeError as error:
            # Near the end of a piece, or inside a string, the fault may just be that the piece ends there.
            if is_rest or (error.pos < size - _LONGEST_WORD_CHARS and not error.msg.startswith("Unterminated")):
                raise _Fault(str(error), start + error.pos) from None
        except (ValueError, RecursionError) as error:
            raise _Fault(str(error), None) from None
        else:
            return value, start + length
        size *= 16


def _begins_as_json(text: str, start: int, fault_at: int) -> bool:
    """Whether a bracket starts JSON that breaks only later: an object with a key, or an array that contains brackets.
    `[1]: see`, `{topic}` and `[0, 5)` are prose.
    """
    if text[start] == "{":
        return text.find(":", start, fault_at) >= 0
    return _BRACKET.search(text, start + 1, fault_at) is not None


def _end_of_broken(text: str, start: int, fault_at: int) -> int:
    """Where the brackets that are open at the fault are closed, as far as that can be told."""
    if text.startswith("```", fault_at):
        return fault_at
    depth = 0
    for pattern, begin, end in (
        (_TOKEN_OF_JSON, start, fault_at),
        (_TOKEN_AFTER_A_FAULT, fault_at, len(text)),
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


def _scalars(text: str, spans: list[tuple[int, int]]) -> list[JsonValue]:
    """Strings, numbers and other scalars that fill a code fence. `spans` are occupied already, in order."""
    if "```" not in text:
        return []
    values = []
    for fence in _FENCED.finditer(text):
        inner, start = fence[1].strip(), fence.start(1)
        before = bisect_right(spans, (start, len(text))) - 1
        if inner.startswith(("{", "[")) or (before >= 0 and spans[before][1] > start):
            continue
        try:
            values.append(JsonValue(_DECODER.decode(inner), start, fence.end(1)))
        except (ValueError, RecursionError):
            continue
    return values[-_MOST_VALUES:]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0:
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, strict=False)
