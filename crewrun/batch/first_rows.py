"""`read_first_rows`: what a file's first rows have, before anything is sent for one of them.

A column with another name than the placeholder would fail every row, and braces that nothing fills in would be paid for
in every row.
"""

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from crewrun.batch.row_fields import has_value, keys_like
from crewrun.batch.source import Source
from crewrun.errors import UsageError, nearest, suggest
from crewrun.row import Row
from crewrun.tables.reading.input_options import InputOptions
from crewrun.target import Target

# One of these rows must have what the crew needs: more would delay the start, and a sparse column shows up by then.
FIRST_ROWS = 1000
# Rows in which braces that need no value may find one: a warning is not worth the time that more would take.
_ROWS_FOR_WARNINGS = 100
_MAX_NAMES = 12


class _Column(NamedTuple):
    """A column that a flag names; `is_in` tells whether a row has it."""

    flag: str
    name: str
    is_in: Callable[[str, Mapping[str, Any]], object]


@dataclass(slots=True)
class FirstRows:
    """The columns of the first `count` rows, the placeholders that none of them fills in, the fields of which `expect:`
    says something and that none of them has, and such columns that flags name.
    """

    count: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unexpected: dict[str, str] = field(default_factory=dict)
    unknown: list["_Column"] = field(default_factory=list)
    is_all: bool = True

    def check(self, inputs: str) -> None:
        """Raise UsageError if every row of `inputs` would fail."""
        if problem := self.problem(inputs):
            raise UsageError(problem)

    def problem(self, inputs: str) -> str | None:
        """The message that every row of `inputs` would fail, None if not."""
        if not self.count:
            return None
        rows = f"{self.count:,} row{'s' if self.count > 1 else ''}"
        which = f"none of its {rows}" if self.is_all else f"none of its first {rows}"
        columns = list(self.columns)
        if self.unknown:
            flag, column, _ = self.unknown[0]
            return f"{flag}: {inputs}: {which} has {column!r}{suggest(column, columns)}; {_in_words(columns)}"
        if not self.missing and self.unexpected:
            name, place = next(iter(self.unexpected.items()))
            return f"{place}: {inputs}: {which} has {name!r}{suggest(name, columns)}; {_in_words(columns)}"
        if not self.missing:
            return None
        named = ", ".join(f"{name!r} (needed by {place})" for name, place in self.missing.items())
        name = next(iter(self.missing))
        near = nearest(name, columns)
        example = shlex.quote(f"{name}={near or 'COLUMN'}")
        return (
            f"{inputs}: {which} has {named}; {_in_words(columns)}; --map {example} fills {{{name}}} from a column, "
            f"-i {name}=… is the same for all rows"
        )


async def read_first_rows(source: Source, target: Target, options: InputOptions) -> FirstRows:
    """What the first rows of `source`, read with `options`, have of the inputs of `target`.

    No more is read than it takes to tell.
    """
    row_fields = target.expectations.row_fields
    rows = FirstRows(missing=dict(target.placeholders), unexpected=row_fields, unknown=_named_columns(options))
    optional = set(target.named_inputs)
    others = {*options.constants, *(name for name, column in options.map.items() if name != column)}

    def see(row: Row) -> bool:
        if row.inputs is None:
            return False
        if rows.count == FIRST_ROWS:
            rows.is_all = False
            return True
        rows.count += 1
        own = row.own or {}
        columns = {name: value for name, value in row.inputs.items() if name in own or name not in others}
        rows.columns.update(dict.fromkeys(columns))
        rows.unknown = [column for column in rows.unknown if not column.is_in(column.name, columns)]
        for name in [name for name in rows.missing if target.is_filled(name, row.inputs)]:
            del rows.missing[name]
        for name in row_fields.keys() & row.inputs.keys():
            del row_fields[name]
        optional.difference_update([name for name in optional if target.is_filled(name, row.inputs)])
        is_complete = not (rows.missing or rows.unexpected or rows.unknown)
        return is_complete and (not optional or rows.count >= _ROWS_FOR_WARNINGS)

    await source.visit(see)
    return rows


def warnings_about(columns: Collection[str], target: Target, options: InputOptions) -> list[str]:
    """Warnings about texts that `columns` do not fill as it seems, and about columns whose changes go unnoticed.

    `columns` are empty where they are not known.
    """
    return [*target.text_warnings((*columns, *options.map), options.constants), *_left_out(columns, target, options)]


def _left_out(columns: Collection[str], target: Target, options: InputOptions) -> list[str]:
    if options.fields is None:
        return []
    record = dict.fromkeys(columns, "")
    own = {key for name in options.fields for key in keys_like(name, record)}
    sources = {name: options.map.get(name, name) for name in sorted(target.named_inputs)}
    return [
        f"--fields leaves out {column!r}, which fills {{{name}}}: a row counts as done though only that has changed"
        for name, column in sources.items()
        if any(key not in own for key in keys_like(column, record))
    ]


def _named_columns(options: InputOptions) -> list[_Column]:
    ids = [] if options.id_field is None else [_Column(f"--id-field {options.id_field}", options.id_field, _has)]
    mapped = [_Column(f"--map {name}={column}", column, has_value) for name, column in options.map.items()]
    return ids + mapped + [_Column(f"--fields {name}", name, keys_like) for name in options.fields or ()]


def _has(name: str, record: Mapping[str, Any]) -> bool:
    return name in record


def unknown_column(options: InputOptions, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str | None:
    """The flag that names a column which no row has, with a near one of `columns`; None if all are known."""
    unknown = _named_columns(options)
    for row in rows:
        unknown = [column for column in unknown if not column.is_in(column.name, row)]
    return f"{unknown[0].flag}: no column {unknown[0].name!r}{suggest(unknown[0].name, columns)}" if unknown else None


def listed(columns: Sequence[str]) -> str:
    """The first of several columns, and how many more there are."""
    shown = ", ".join(map(repr, columns[:_MAX_NAMES]))
    more = len(columns) - _MAX_NAMES
    return f"{shown}{f' and {more:,} more' if more > 0 else ''}"


def _in_words(columns: list[str]) -> str:
    return f"the rows have {listed(columns)}" if columns else "the rows have no fields"
