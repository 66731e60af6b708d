"""`Columns`: which columns a table of result lines has, what is in them, and a line's cells.

Lines are read twice: `see` takes each of them first, then `cells` gives the values of one. `writers` writes them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from crewrun.errors import suggest
from crewrun.tables.writing.column_names import FIRST, LAST, Record, default_kind, getter, is_field
from crewrun.tables.writing.fields import MOST_COLUMNS, Field, Kind, Kinds, Leaf, Null, bits_of, kind_of

_DEEPEST: Final = 8  # objects inside objects that have columns
_SHOWN: Final = 20  # as many names as one reads


class Column(NamedTuple):
    """A column, with its name in the header."""

    name: str
    kind: Kind


class _Fixed:
    """A column that is there whatever the lines have, and the kinds of its values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.get = getter(name)
        self.bits = 0

    @property
    def column(self) -> Column:
        return Column(self.name, kind_of(self.bits, default_kind(self.name)))


class Columns:
    """The columns of a table: all, or those that `names` says.

    With `typed`, their kinds are wanted too; without, all of them are text.
    """

    def __init__(self, names: Sequence[str] | None = None, *, typed: bool = True) -> None:
        self._is_chosen = names is not None
        self._fixed = [_Fixed(name) for name in (names if names is not None else (*FIRST, *LAST))]
        self._seen = [fixed for fixed in self._fixed if typed or self._is_chosen]
        self._input, self._output = Field(most=MOST_COLUMNS), Field(most=MOST_COLUMNS)
        self._table: tuple[list[Column], list[Callable[[Record], list[Any]]]] | None = None

    def see(self, line: bytes) -> None:
        """Take the names and kinds of values of a result line."""
        record = decoded(line)
        for fixed in self._seen:
            fixed.bits |= bits_of(fixed.get(record))
        index = record.get("index") or 0  # lines without a run folder may lack some keys
        if (inputs := record.get("input")) != {}:
            self._input.see(inputs, index, 1)
        self._output.see(record.get("output"), index, _DEEPEST)

    def all(self) -> list[Column]:
        """The columns, after every line was seen. Columns that were chosen have their names before that."""
        return self._planned()[0]

    def cells(self, record: Record) -> list[Any]:
        """A row's values, in the order of `all`; None where it has none."""
        cells: list[Any] = []
        for get in self._planned()[1]:
            cells += get(record)
        return cells

    def unknown(self) -> list[str]:
        """A warning for each input or field that was chosen and no line has, after all were seen."""
        names = [_name(leaf) for leaf in self._leaves()]
        fields = {fixed.name: fixed.bits for fixed in self._fixed if is_field(fixed.name)}
        missing = [name for name, bits in fields.items() if bits in (0, Kinds.NOTHING) and name not in names]
        shown = ", ".join([*names[:_SHOWN], *(["…"] if len(names) > _SHOWN else [])])
        return [f"--columns: no row has {name!r}{suggest(name, names)}; they have {shown}" for name in missing]

    def _planned(self) -> tuple[list[Column], list[Callable[[Record], list[Any]]]]:
        """The columns, and functions that get the values of several at a time."""
        if self._table is None:
            first = self._fixed if self._is_chosen else self._fixed[: len(FIRST)]
            last = self._fixed[len(first) :]
            leaves = [] if self._is_chosen else list(self._leaves())
            names = [*(fixed.column for fixed in first), *(Column(_name(leaf), leaf.kind) for leaf in leaves)]
            names += [fixed.column for fixed in last]
            groups = (list(group) for _, group in groupby(leaves, key=lambda leaf: (leaf.path[:-1], leaf.is_whole)))
            self._table = _distinct(names), [_each(first), *map(_together, groups), _each(last)]
        return self._table

    def _leaves(self) -> Iterator[Leaf]:
        """The inputs, the output where it is no object or has no fields, and its fields."""
        if self._input.fields or self._input.bits & ~Kinds.NOTHING:
            yield from self._input.leaves(("input",))
        fields = self._output.leaves(("output",))
        if not self._output.fields or self._output.bits & ~Kinds.NOTHING:
            yield next(fields)
        else:
            yield Leaf(("output",), Kind.TEXT, is_whole=False)
        yield from fields


def decoded(line: bytes) -> Any:
    """The JSON of a result line."""
    try:
        return from_json(line, cache_strings="keys")  # in half the time
    except ValueError:  # a lone surrogate, which the standard library takes
        return json.loads(line)


def _each(columns: Sequence[_Fixed]) -> Callable[[Record], list[Any]]:
    getters = [fixed.get for fixed in columns]
    return lambda record: [get(record) for get in getters]


def _together(leaves: Sequence[Leaf]) -> Callable[[Record], list[Any]]:
    """A function that gets the values of columns in the same object."""
    *parents, _ = leaves[0].path
    keys = [leaf.path[-1] for leaf in leaves]
    is_whole = leaves[0].is_whole
    none = [None] * len(keys)

    def get(record: Record) -> list[Any]:
        inner: Any = record
        for key in parents:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            return none
        values = list(map(inner.get, keys))
        if not is_whole:
            return [None if value and isinstance(value, dict) else value for value in values]
        if parents and None in values:
            return [
                Null.NULL if value is None and key in inner else value for key, value in zip(keys, values, strict=True)
            ]
        return values

    return get


def _name(leaf: Leaf) -> str:
    return ".".join(leaf.path)


def _distinct(columns: Sequence[Column]) -> list[Column]:
    """The columns with distinct names: `{"a.b": 1, "a": {"b": 2}}` has two `output.a.b`."""
    counts: dict[str, int] = {}
    distinct = []
    for column in columns:
        count = counts[column.name] = counts.get(column.name, 0) + 1
        distinct.append(column if count == 1 else column._replace(name=f"{column.name} ({count})"))
    return distinct
