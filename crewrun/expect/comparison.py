"""`Comparison`: a text such as `output.total == row.total`, which compares a row's output with a value.

    SIDE OPERATOR SIDE

A side is a path that begins with `output`, `row` or `input`, or a value as in JSON; texts may have single quotes.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from crewrun.errors import DefinitionError, suggest
from crewrun.expect.field_path import FieldPath, NoValue, kind_of, steps_of
from crewrun.patterns import Pattern

ROOTS = ("output", "row", "input")
OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "not in", "in", "not contains", "contains", "not matches", "matches")

_PATH = re.compile(r"""(?P<root>[^\W\d]\w*)(?P<steps>(?:\.[^\W\d][\w-]*|\[-?\d+\]|\[(?:'[^']*'|"[^"]*")\])*)""")
_TEXT = re.compile(r"'(?P<single>[^']*)'|\"(?:[^\"\\]|\\.)*\"")
_OPERATOR = re.compile(r"\s*(==|!=|<=|>=|<|>|(?:not\s+)?(?:in|contains|matches)\b)\s*")
_LONGEST_CHARS = 80  # of a value in a message


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)  # NaN equals nothing, so that no output could pass

Side = FieldPath | Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """What stands on the `left` and on the `right`, each a path or a value, and how they are compared."""

    left: Side
    operator: str
    right: Side
    pattern: Pattern | None = None

    @property
    def inputs(self) -> frozenset[str] | None:
        """The fields of the row that it reads; None if it reads all of them."""
        paths = [side for side in (self.left, self.right) if isinstance(side, FieldPath) and side.root != "output"]
        names = [path.steps[0] if path.steps else None for path in paths]
        return None if None in names else frozenset(map(str, names))

    def fault(self, roots: Mapping[str, Any]) -> str | None:
        """Why it does not hold, None if it does. `roots` are the output and the row by the names in `ROOTS`."""
        try:
            left, right = _value(self.left, roots), _value(self.right, roots)
            holds = self._holds(left, right)
        except NoValue as missing:
            return str(missing)
        if holds:
            return None
        sides = [_described(self.left, left), _described(self.right, right)]
        seen = " and ".join(side for side in sides if side)
        return seen or f"{shown(left)} {self.operator} {shown(right)} is false"

    def _holds(self, left: Any, right: Any) -> bool:
        name = self.operator.removeprefix("not ")
        holds = self._matches(left, right) if name == "matches" else _TESTS[name](left, right)
        return holds is not self.operator.startswith("not ")

    def _matches(self, left: Any, right: Any) -> bool:
        pattern = self.pattern or _compiled(_text(right, "the right side of matches"))
        return pattern.occurs_in(_text(left, "the left side of matches"))


def parse(text: str) -> Comparison:
    """The comparison in `text`. Raises DefinitionError, whose message says what is wrong with it."""
    source = text.strip()
    left, end = _side(source, 0)
    match = _OPERATOR.match(source, end)
    if match is None:
        raise DefinitionError(f"{source!r}: needs one of {', '.join(OPERATORS)} behind {source[:end]!r}")
    right, end = _side(source, match.end())
    if source[end:].strip():
        raise DefinitionError(
            f"{source!r}: {source[end:].strip()!r} is too much; a comparison has two sides, and another one is an "
            "expectation of its own"
        )
    if not any(isinstance(side, FieldPath) and side.root == "output" for side in (left, right)):
        raise DefinitionError(f"{source!r}: says nothing of the output; write output, or output.FIELD, on one side")
    operator = " ".join(match[1].split())
    pattern = None
    if operator.endswith("matches") and not isinstance(right, FieldPath):
        pattern = compiled(right)
    return Comparison(left, operator, right, pattern)


def compiled(pattern: Any) -> Pattern:
    """A regular expression. Raises DefinitionError."""
    if not isinstance(pattern, str):
        raise DefinitionError(f"matches needs a regular expression, not {kind_of(pattern)}")
    try:
        return Pattern(pattern)
    except ValueError as wrong:
        raise DefinitionError(f"{pattern!r} is not a regular expression: {wrong}") from None


def is_equal(left: Any, right: Any) -> bool:
    """Whether two values are the same. A text that is a number equals that number, as rows of a CSV have only texts."""
    if isinstance(left, bool) != isinstance(right, bool):
        flag, other = (left, right) if isinstance(left, bool) else (right, left)
        return isinstance(other, str) and other.strip().lower() == str(flag).lower()
    numbers = _numbers(left, right)
    if numbers is not None:
        return numbers[0] == numbers[1]
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_equal, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(is_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def contains(whole: Any, part: Any) -> bool:
    """Whether a text has `part` in it, or a list an entry equal to it. Raises NoValue for other values."""
    if isinstance(whole, str):
        return (part if isinstance(part, str) else shown(part)) in whole
    if isinstance(whole, list):
        return any(is_equal(entry, part) for entry in whole)
    raise NoValue(f"{kind_of(whole)} contains nothing; a text or a list does")


def shown(value: Any) -> str:
    """A value as JSON, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= _LONGEST_CHARS else f"{text[: _LONGEST_CHARS - 1]}…"


def _is_in(part: Any, whole: Any) -> bool:
    return contains(whole, part)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(left: Any, right: Any) -> bool:
        numbers = _numbers(left, right)
        if numbers is not None:
            return test(*numbers)
        if isinstance(left, str) and isinstance(right, str):
            return test(left, right)
        raise NoValue(f"{_kinds(left)} and {_kinds(right)} have no order")

    return holds


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": is_equal,
    "!=": lambda left, right: not is_equal(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "in": _is_in,
    "contains": contains,
}


def _side(source: str, start: int) -> tuple[Side, int]:
    """The side that begins at `start`, and where it ends."""
    while source[start : start + 1].isspace():
        start += 1
    path = _PATH.match(source, start)
    if path is not None and path["root"] in ROOTS:
        return FieldPath(path[0], path["root"], steps_of(path["steps"]) or ()), path.end()
    text = _TEXT.match(source, start)
    if text is not None and text["single"] is not None:
        return text["single"], text.end()
    try:
        value, end = _DECODER.raw_decode(source if text is not None else _as_json(source), start)
    except (ValueError, RecursionError):
        raise DefinitionError(_no_side(source, start, path)) from None
    return value, end


def _as_json(source: str) -> str:
    """`source` with single-quoted texts in lists as JSON has them; positions stay the same."""
    return re.sub(r"'([^'\"\\]*)'", r'"\1"', source)


def _no_side(source: str, start: int, path: re.Match[str] | None) -> str:
    rest = source[start:]
    if not rest:
        return f"{source!r}: ends where a value is needed"
    if path is not None:
        near = suggest(path["root"], ROOTS)
        advice = near or f"; a path begins with output, row or input, and a text has quotes: '{path[0]}'"
        return f"{source!r}: {path[0]!r} is no value{advice}"
    return f"{source!r}: {rest!r} is no value; write a path such as output.total, a number, or a text in quotes"


def _value(side: Side, roots: Mapping[str, Any]) -> Any:
    return side.value(roots) if isinstance(side, FieldPath) else side


def _described(side: Side, value: Any) -> str | None:
    return f"{side.text} is {shown(value)}" if isinstance(side, FieldPath) else None


def _numbers(left: Any, right: Any) -> tuple[Decimal, Decimal] | None:
    """Both sides as numbers if one is a number and the other one, or its text, is one too."""
    if not (_is_number(left) or _is_number(right)):
        return None
    try:
        return _decimal(left), _decimal(right)
    except (InvalidOperation, ValueError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _decimal(value: Any) -> Decimal:
    if not _is_number(value) and not isinstance(value, str):
        raise ValueError(value)
    number = Decimal(str(value).strip())
    if number.is_nan():
        raise ValueError(value)
    return number


def _kinds(value: Any) -> str:
    return f"{kind_of(value)} ({shown(value)})"


def _text(value: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    if _is_number(value):
        return str(value)
    raise NoValue(f"{what} is {kind_of(value)}, not a text")


def _compiled(pattern: str) -> Pattern:
    try:
        return compiled(pattern)
    except DefinitionError as wrong:
        raise NoValue(str(wrong)) from None
