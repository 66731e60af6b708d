"""`RowFields`: which fields of a record become a row's `input` and id, and which fill its placeholders.

`--fields` names the former, `--map` the columns of placeholders that have other names, `-i` inputs for all rows.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crewrun.errors import InputInvalid, suggest
from crewrun.row import Row
from crewrun.tables.reading.input_options import InputOptions
from crewrun.templates import alike, find_key


class RowFields:
    """What `options` say about the fields of each row."""

    def __init__(self, options: InputOptions) -> None:
        self._fields = options.fields
        self._columns = options.map
        self._constants = options.constants
        self._is_plain = options.fields is None and not options.map and not options.constants

    def own(self, record: dict[str, Any]) -> dict[str, Any]:
        """The fields that the row's id is made of, and that its result repeats."""
        if self._fields is None:
            return record
        return {key: record[key] for name in self._fields for key in keys_like(name, record)}

    def complete(self, row: Row, record: dict[str, Any]) -> Row:
        """`row` with all inputs of its `record`. A column that the record lacks becomes the row's problem."""
        if self._is_plain:
            return row
        inputs, fault = self.inputs(record)
        problem = row.problem or (f"line {row.line}: {fault}" if fault else None)
        return replace(row, inputs=inputs, problem=problem, fields=row.inputs)

    def inputs(self, record: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """What placeholders are filled from, and what the record lacks for that, None if nothing.

        Columns of `--map` win over fields of the placeholder's name, and these over inputs for all rows.
        """
        inputs, fault = {**self._constants, **record}, None
        for name, column in self._columns.items():
            try:
                inputs[name] = value_of(column, record)
            except KeyError:
                inputs.pop(name, None)
                fault = fault or f"has no {column!r}{suggest(column, list(record))}, which fills {{{name}}} (--map)"
            except InputInvalid as ambiguous:
                fault = fault or f"--map {name}: {ambiguous}"
        return inputs, fault


def keys_like(name: str, record: Mapping[str, Any]) -> list[str]:
    """The keys of `record` that `name` may mean: an equal one, else all that are alike."""
    return [name] if name in record else [key for key in record if alike(key) == alike(name)]


def has_value(column: str, record: Mapping[str, Any]) -> bool:
    """Whether the record has the column, or several that are alike."""
    try:
        value_of(column, record)
    except KeyError:
        return False
    except InputInvalid:  # each row says so
        return True
    return True


def value_of(column: str, record: Mapping[str, Any]) -> Any:
    """The value of a column, which may be `a.b` for a field of an object. Raises KeyError without one, InputInvalid if
    several columns are alike and none is equal.
    """
    key = find_key(column, record)
    if key is not None:
        return record[key]
    dot = column.find(".")
    while dot >= 0:
        outer = find_key(column[:dot], record)
        if outer is not None and isinstance(record[outer], Mapping):
            return value_of(column[dot + 1 :], record[outer])
        dot = column.find(".", dot + 1)
    raise KeyError(column)
