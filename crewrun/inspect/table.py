"""Result lines as a table: which columns they have, and how they are written as CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

# What every row has. Behind the first ones stand its inputs, its output and the fields of that.
_FIRST: Final = ("id", "index", "status")
_ERROR: Final = ("error.category", "error.message")
_LAST: Final = ("cost_usd", "prompt_tokens", "completion_tokens", "duration_s", "models")
# A spreadsheet takes text that begins so for a formula, and may run it:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

# Names by the first row of the input that has them, and where in it.
_Names = dict[str, tuple[int, int]]


class Columns:
    """The inputs and the output fields of all lines that were given to `see`: what they are called is kept, no more.

    They stand in the order in which the input's rows have them, whichever row was done first.
    """

    def __init__(self) -> None:
        self._inputs: _Names = {}
        self._fields: _Names = {}

    def see(self, line: bytes) -> None:
        """A line of results."""
        row = json.loads(line)
        _note(self._inputs, row["input"], row["index"])
        _note(self._fields, row.get("output"), row["index"])

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return sorted(self._inputs, key=self._inputs.__getitem__)

    @property
    def fields(self) -> list[str]:
        """The names in outputs that are objects."""
        return sorted(self._fields, key=self._fields.__getitem__)


def _note(names: _Names, value: object, index: int) -> None:
    for place, name in enumerate(_object(value)):
        first = names.get(name)
        if first is None or (index, place) < first:
            names[name] = (index, place)


def as_csv(lines: Iterable[bytes], columns: Columns, *, guards_formulas: bool) -> Iterator[bytes]:
    """A header, and a record for each line, as RFC 4180 has them.

    With `guards_formulas`, an apostrophe is put before text that a spreadsheet would take for a formula; what is a
    number in the row never gets one.

    An input and a field of an output have a column each, with what is nested in them as JSON; an output that is no
    object, or has no fields, is in `output`. What a row has not is empty.
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
    """What a row has in each column. Lines of a run have everything, those of a file without one may lack some."""
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
    # JSON may have lone surrogates, UTF-8 has none.
    return text.getvalue().encode("utf-8", "backslashreplace")
