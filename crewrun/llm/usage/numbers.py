"""Reads numbers and mappings from a usage object, whose values may be anything."""

import re
from collections.abc import Mapping
from typing import Any

# More than any model's context: a larger count is a mistake of the server.
MOST_TOKENS = 50_000_000
NOTHING: Mapping[str, Any] = {}
# A count in a string; more digits than these cannot be a count.
_COUNT = re.compile(r"\s*(\d{1,11})(?:\.\d{1,11})?\s*", re.ASCII)


def count(counts: Mapping[str, Any], name: str) -> int:
    """The tokens under `name`, rounded; 0 if the value is missing, negative, absurd or not a number."""
    value = counts.get(name)
    if type(value) is int:
        return value if 0 < value < MOST_TOKENS else 0
    if isinstance(value, str) and _COUNT.fullmatch(value):
        value = float(value)
    return round(value) if isinstance(value, float) and 0 < value < MOST_TOKENS else 0


def is_left_out(counts: Mapping[str, Any], prompt: int, completion: int) -> bool:
    """Whether one of the two counts is missing, null or nonsense. A completion may have 0 tokens, a prompt may not."""
    if completion:
        return not prompt
    value = counts.get("completion_tokens", counts.get("output_tokens"))
    return bool(prompt) and (value is None or isinstance(value, bool) or value not in (0, "0"))


def details_of(counts: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The mapping under the first of `names` that has one, else an empty mapping."""
    for name in names:
        if isinstance(value := counts.get(name), dict):
            return value
    return NOTHING
