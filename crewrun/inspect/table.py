"""Result lines as a table: its columns, and how they are written as CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

# The columns of every table. A row's inputs, its output and the output's fields come after `_FIRST`.
_FIRST: Final = ("id", "index", "status")
_ERROR: Final = ("error.category", "error.message")
_LAST: Final = ("cost_usd", "prompt_tokens", "completion_tokens", "duration_s", "models")
# A spreadsheet takes text that begins so for a formula, and may run it:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

# For each name the index of the first row that has it, and its place in that row.
_Names = dict[str, tuple[int, int]]


class Columns:
    """The names of the inputs and output fields of all lines that were passed to `see`.

    They are in the order of the input's rows, whichever row was done first.
    """

    def __init__(self) -> None:
        self._inputs: _Names = {}
        self._fields: _Names = {}

    def see(self, line: bytes) -> None:
        """Take the names of a result line."""
        row = json.loads(line)
        _note(self._inputs, row["input"], row["index"])
        _note(self._fields, row.get("output"), row["index"])

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return sorted(self._inputs, key=self._inputs.__getitem__)

    @property
    def fields(self) -> list[str]:
        """The field names of outputs that are objects."""
        return sorted(self._fields, key=self._fields.__getitem__)


def _note(names: _Names, value: object, index: int) -> None:
    for place, name in enumerate(_object(value)):
        first = names.get(name)
        if first is None or (index, place) < first:
            names[name] = (index, place)


def as_csv(lines: Iterable[bytes], columns: Columns, *, guards_formulas: bool) -> Iterator[bytes]:
    """A header and a record for each line, as in RFC 4180.

    With `guards_formulas`, text that a spreadsheet would take as a formula gets an apostrophe in front; numbers of the
    row never do.

    Each input and each field of an output has a column of its own, with nested values as JSON; an output that is not an
    object, or has no fields, is in `output`. A cell is empty where the row has no value.
    """
    inputs, fields = columns.inputs, columns.fields
    named = [f"input.{name}" for name in inputs], [f"output.{name}" for name in fields]
    text = _guarded if guards_formulas else str
    yield _record([text(name) for name in (*_FIRST, *named[0], "output", *named[1], *_ERROR, *_LAST)])
    for line in lines:
        values = _values(json.loads(line), inputs, fields)
        yield _record([text(value) if isinstance(value, str) else _written(value) for value in values])


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _values(row: dict[str, Any], inputs: Sequence[str], fields: Sequence[str]) -> list[Any]:
    """A row's value for each column. Lines without a run folder may lack some keys."""
    row_inputs, output, error, usage = (_object(row.get(name)) for name in ("input", "output", "error", "usage"))
    models = row.get("models")
    return [
        *(_filled(row.get(name)) for name in _FIRST),
        *(row_inputs.get(name, "") for name in inputs),
        "" if output else _filled(row.get("output")),
        *(output.get(name, "") for name in fields),
        *(_filled(error.get(name)) for name in ("category", "message")),
        _filled(row.get("cost_usd")),
        *(_filled(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")),
        _filled(row.get("duration_s")),
        ", ".join(map(_written, models)) if isinstance(models, list) else _filled(models),
    ]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _filled(value: Any) -> Any:
    return "" if value is None else value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _record(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    # JSON may contain lone surrogates, which UTF-8 cannot encode.
    return text.getvalue().encode("utf-8", "backslashreplace")
