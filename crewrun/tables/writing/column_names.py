"""The names of columns: those that every table has, and those that `--columns` may say."""

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from crewrun.errors import UsageError, suggest
from crewrun.tables.writing.cell_text import text_of
from crewrun.tables.writing.fields import Kind, Null

Record = Mapping[str, Any]

# The columns of every table. A row's inputs, its output and the output's fields come between them.
FIRST: Final = ("id", "index", "status")
LAST: Final = (
    *("error.category", "error.message"),
    *("cost_usd", "prompt_tokens", "completion_tokens", "duration_s", "models"),
)
# Result lines have more, which --columns can name.
_FURTHER: Final = (
    *("input", "schema", "attempts", "started_at", "tasks", "files", "replayed", "tool_failures"),
    "expectations",
    *("error.type", "error.task", "error.http_status", "error.retryable", "error.attempts", "error.raw"),
    *("calls", "total_tokens", "cached_prompt_tokens", "reasoning_tokens", "cache_write_prompt_tokens"),
    "estimated_calls",
)
_OF_USAGE: Final = frozenset(
    {
        *("prompt_tokens", "completion_tokens", "calls", "total_tokens", "cached_prompt_tokens", "reasoning_tokens"),
        *("cache_write_prompt_tokens", "estimated_calls"),
    }
)
_FIELDS: Final = ("input.", "output.")
_EXPECTED: Final = "expectations."
# The kinds of columns that may have no value in any row.
_KINDS: Final = {
    **dict.fromkeys((*_OF_USAGE, "index", "attempts", "error.http_status", "error.attempts"), Kind.INT),
    **dict.fromkeys(("cost_usd", "duration_s"), Kind.FLOAT),
    "error.retryable": Kind.BOOL,
}


def split_names(text: str) -> list[str]:
    """The names in `a,b`. One that has a comma is in quotes, as in a CSV."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def parse_columns(columns: Sequence[str] | None) -> list[str] | None:
    """The columns of these names, None for all. Raises UsageError for a name that no result line can have."""
    if columns is None:
        return None
    names = list(columns)
    if not names or not all(names):
        raise UsageError("--columns is empty; it needs names with commas between them, as in --columns id,output")
    for name in names:
        _check(name)
        if names.count(name) > 1:
            raise UsageError(f"--columns: {name!r} is there twice")
    return names


def is_field(name: str) -> bool:
    """Whether it is an input, or a field of an output, which rows may have or not."""
    return name.startswith(_FIELDS)


def default_kind(name: str) -> Kind:
    """The kind of a column that has no value in any row."""
    return _KINDS.get(name, Kind.TEXT)


def getter(name: str) -> Callable[[Record], Any]:
    """A function that gets the value of a column from a result line, None where the line has none."""
    if name == "models":
        return _models
    if name in _OF_USAGE:
        return lambda record: _object(record.get("usage")).get(name)
    top, dot, rest = name.partition(".")
    if not dot:
        return lambda record: record.get(name)
    if not is_field(name):
        return lambda record: _object(record.get(top)).get(rest)
    return lambda record: _at(record.get(top), rest)


def _check(name: str) -> None:
    fixed = (*FIRST, "output", *LAST, *_FURTHER)
    if name in fixed or (name.startswith((*_FIELDS, _EXPECTED)) and name not in (*_FIELDS, _EXPECTED)):
        return
    names = ", ".join((*FIRST, "input.NAME", "output", "output.FIELD", *LAST, *_FURTHER, f"{_EXPECTED}NAME"))
    near = suggest(name, fixed) or f" (an input is 'input.{name}', a field of the output 'output.{name}')"
    raise UsageError(f"--columns: no column {name!r}{near}; the columns are {names}")


def _at(value: Any, path: str) -> Any:
    """The value at `a.b` in nested objects, whose keys may have dots."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return Null.NULL if value[path] is None else value[path]
    at = path.find(".")
    while at >= 0:
        if path[:at] in value and (inner := _at(value[path[:at]], path[at + 1 :])) is not None:
            return inner
        at = path.find(".", at + 1)
    return None


def _models(record: Record) -> Any:
    models = record.get("models")
    return ", ".join(map(text_of, models)) if isinstance(models, list) else models


def _object(value: Any) -> Record:
    return value if isinstance(value, dict) else {}
