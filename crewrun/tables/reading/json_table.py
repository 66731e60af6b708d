"""Tells whether one JSON object is a whole table, as programs write it that were not asked for rows."""

import json
from collections.abc import Collection
from typing import Any, Final

_RECORDS: Final = "write it as records (pandas: to_json(orient='records'))"
_SPLIT: Final = frozenset({"columns", "data"})  # keys of pandas' to_json(orient='split')


def rows_in(value: dict[str, Any]) -> str | None:
    """How `value` holds rows, and how to get them, in words; None when it seems to be a row itself."""
    for name, inner in value.items():
        if isinstance(inner, list) and inner and all(isinstance(element, dict) for element in inner):
            return f"with a list of objects as {name!r}; if those are the rows: jq -c '.[{json.dumps(name)}][]'"
    values = list(value.values())
    if value.keys() >= _SPLIT and all(isinstance(value[key], list) for key in _SPLIT):
        return f"with the rows of a table as lists in 'data'; {_RECORDS}"
    if all(isinstance(inner, dict) and inner for inner in values) and _is_frame(value, values):
        return f"with a table's columns or rows as objects; {_RECORDS}"
    if len(values) > 1 and all(isinstance(inner, list) for inner in values):
        sizes = {len(inner) for inner in values}
        if len(sizes) == 1 and sizes.pop() > 1:
            return f"with a table's columns as lists; {_RECORDS}"
    return None


def _is_frame(value: dict[str, Any], values: list[dict[str, Any]]) -> bool:
    """Whether objects are the columns of a table with numbered rows, or numbered rows of the same columns."""
    return (
        bool(values)
        and all(inner.keys() == values[0].keys() for inner in values)
        and (_counts(value.keys()) or _counts(values[0].keys()))
    )


def _counts(keys: Collection[str]) -> bool:
    return list(keys) == [str(n) for n in range(len(keys))]
