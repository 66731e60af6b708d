"""Makes up texts and numbers, and picks from an enum. `turn` counts values that must differ, from 0."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from crewrun.llm.offline_model.demands import NoValue, count_in, fraction_in, list_in, types_in
from crewrun.llm.offline_model.patterns import matching

# Longer than any answer of a real model; a larger minLength has no value.
_MAX_CHARS = 20_000
# An example of each, https://json-schema.org/draft/2020-12/json-schema-validation#section-7.3
_FORMATS = {
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def pick(schema: Mapping[str, Any], turn: int) -> Any:
    """The value of `const`, or the `turn`th of `enum`, if the schema's types allow it. Raises NoValue if not."""
    values, types = list_in(schema, "enum"), types_in(schema)
    if "const" in schema:
        values = [schema["const"]] if "enum" not in schema or schema["const"] in values else []
    fitting = [value for value in values if not types or any(_is_a(kind, value) for kind in types)]
    if not fitting:
        raise NoValue
    return fitting[turn % len(fitting)]


def _is_a(kind: str, value: Any) -> bool:
    if kind in ("integer", "number"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind == "number" or value % 1 == 0)
    python = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, python[kind])


def text(schema: Mapping[str, Any], seed_text: str, turn: int) -> str:
    """A text with the schema's format, pattern or length: `seed_text` if that fits. Raises NoValue."""
    named = schema.get("format")
    if isinstance(named, str) and named in _FORMATS:
        return _FORMATS[named]
    fewest, most = count_in(schema, "minLength", 0), min(count_in(schema, "maxLength", _MAX_CHARS), _MAX_CHARS)
    if fewest > most:
        raise NoValue
    if isinstance(pattern := schema.get("pattern"), str):
        for repeats in (max(fewest, 1), 0):
            made = matching(pattern, repeats)
            if made is not None and fewest <= len(made) <= most:
                return made
    made = f"{turn + 1} {seed_text}" if turn else seed_text
    while len(made) < fewest:
        made = f"{made} {made}"
    return made if len(made) <= most else made[:most]


def number(schema: Mapping[str, Any], turn: int, *, whole: bool) -> int | float:
    """A number within the schema's bounds, 1 if they allow that. Raises NoValue."""
    step = fraction_in(schema, "multipleOf")
    step = step if step is not None and step > 0 else None
    # The integers among the multiples of p/q are the multiples of p.
    grid = Fraction(step.numerator if step else 1) if whole else step or Fraction(1)
    low, high = _lowest(schema), _highest(schema)
    first = None if low is None else math.ceil(low[0] / grid) + (low[1] and low[0] % grid == 0)
    last = None if high is None else math.floor(high[0] / grid) - (high[1] and high[0] % grid == 0)
    if first is None or last is None or first <= last:
        return _plain(_nth_nearest_1(first, last, turn) * grid)
    if low is None or high is None or low[0] > high[0] or whole or step:
        raise NoValue
    return _plain((low[0] + high[0]) / 2)


def _lowest(schema: Mapping[str, Any]) -> tuple[Fraction, bool] | None:
    """The lower bound, and whether it is exclusive."""
    bounds = [(b, x) for b, x in ((fraction_in(schema, w), w != "minimum") for w in _LOW) if b is not None]
    return max(bounds, default=None)


def _highest(schema: Mapping[str, Any]) -> tuple[Fraction, bool] | None:
    bounds = [(b, x) for b, x in ((fraction_in(schema, w), w != "maximum") for w in _HIGH) if b is not None]
    return min(bounds, key=lambda bound: (bound[0], not bound[1]), default=None)


_LOW = ("minimum", "exclusiveMinimum")
_HIGH = ("maximum", "exclusiveMaximum")


def _nth_nearest_1(first: int | None, last: int | None, turn: int) -> int:
    """The `turn`th integer between `first` and `last`, counting up from 1 (or the nearest to it), then down from there;
    beyond the last one, that one repeated.
    """
    start = 1 if first is None else max(1, first)
    start = start if last is None else min(start, last)
    if last is None or start + turn <= last:
        return start + turn
    below = start - (turn - (last - start))
    return below if first is None else max(below, first)


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
