"""Numbers and mappings out of a usage object, whose values may be anything."""

import re
from collections.abc import Mapping
from typing import Any

# More than any model takes: a count beyond is a slip of the server.
MOST_TOKENS = 50_000_000
NOTHING: Mapping[str, Any] = {}
# A count in a string; longer ones are no counts.
_COUNT = re.compile(r"\s*(\d{1,11})(?:\.\d{1,11})?\s*", re.ASCII)


def count(counts: Mapping[str, Any], name: str) -> int:
    """The number of tokens under `name`, 0 for what is missing, negative or no number; a fraction is rounded."""
    value = counts.get(name)
    if type(value) is int:
        return value if value > 0 else 0
    if isinstance(value, str) and _COUNT.fullmatch(value):
        value = float(value)
    return round(value) if isinstance(value, float) and 0 < value < 10 * MOST_TOKENS else 0


def details_of(counts: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The mapping under the first of `names` that has one, else an empty one."""
    for name in names:
        if isinstance(value := counts.get(name), dict):
            return value
    return NOTHING
