"""Makes a text that matches a regular expression, from the expression's parts according to Python's own parser."""

import re
import warnings
from collections.abc import Iterable
from importlib import import_module
from typing import Any

# Longer texts are given up: no sensible pattern needs one, and `(a{1000}){1000}` would take all memory.
_MAX_CHARS = 10_000
_CATEGORIES = {"CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
_ODD_CATEGORIES = {"CATEGORY_NOT_DIGIT": "a", "CATEGORY_NOT_WORD": "-", "CATEGORY_NOT_SPACE": "a"}
# Characters to try for a negated set.
_ANY = "aA1 -_.,/"


class _Unknown(Exception):
    """A part that is not supported: a look-around, a reference to a group."""


def matching(pattern: str, repeats: int) -> str | None:
    """A text that `pattern` matches, None if it is not a valid expression or has unsupported parts.

    Repeated parts occur `repeats` times, as far as the pattern allows.
    """
    # Undocumented but unchanged since 3.11. An expression in another dialect fails here just as it does in `re`.
    parser: Any = import_module("re._parser")
    try:
        with warnings.catch_warnings(action="ignore"):  # about syntax that a later Python may change
            return _spell(parser.parse(pattern), repeats)
    except (re.error, ValueError, _Unknown, RecursionError, OverflowError):
        return None


def _spell(parts: Iterable[tuple[Any, Any]], repeats: int) -> str:
    text = ""
    for kind, value in parts:
        text += _part(str(kind), value, repeats)
        if len(text) > _MAX_CHARS:
            raise _Unknown
    return text


def _part(kind: str, value: Any, repeats: int) -> str:
    match kind:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return "b" if value == ord("a") else "a"
        case "ANY":
            return "a"
        case "AT":
            return ""
        case "IN":
            return _from_set([(str(name), detail) for name, detail in value])
        case "SUBPATTERN":
            return _spell(value[-1], repeats)
        case "BRANCH":
            return _spell(value[1][0], repeats)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, part = value
            times = max(least, min(repeats, most))
            if times > _MAX_CHARS:
                raise _Unknown
            return _times(_spell(part, repeats), times)
    raise _Unknown


def _times(text: str, times: int) -> str:
    if len(text) * times > _MAX_CHARS:
        raise _Unknown
    return text * times


def _from_set(members: list[tuple[str, Any]]) -> str:
    kind, value = members[0]
    match kind:
        case "LITERAL":
            return chr(value)
        case "RANGE":
            return chr(value[0])
        case "CATEGORY":
            return {**_CATEGORIES, **_ODD_CATEGORIES}[str(value)]
    # NEGATE: the other members are excluded.
    for char in _ANY:
        if not any(_is_in(char, *member) for member in members[1:]):
            return char
    raise _Unknown


def _is_in(char: str, kind: str, value: Any) -> bool:
    match kind:
        case "LITERAL":
            return char == chr(value)
        case "RANGE":
            return bool(value[0] <= ord(char) <= value[1])
    digit, space = char.isdigit(), char.isspace()
    named = {"CATEGORY_DIGIT": digit, "CATEGORY_SPACE": space, "CATEGORY_WORD": char.isalnum() or char == "_"}
    inside = named.get(str(value).replace("NOT_", ""), False)
    return inside != ("NOT_" in str(value))
