"""`Field`: the keys that objects in many rows have, in the order of the rows, and the kinds of their values."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from typing import Any, Final, NamedTuple

# An object with more keys than this is a mapping, such as counts by customer, and stays JSON in one column; the outer
# limit is the number of columns that Excel takes.
MOST_FIELDS: Final = 256
MOST_COLUMNS: Final = 16_384
_MOST_SHAPES: Final = 1000  # of one object: more come from keys that differ in each row
_EXACT: Final = 1 << 53  # larger integers have no exact double
_INT64: Final = 1 << 63


class Null(Enum):
    """The null of an input or an output's field, where None says that the row has no such value."""

    NULL = "null"


class Kinds(IntFlag):
    """What the values of a column are. `LONG` integers have no exact double, `NOTHING` is null."""

    BOOL = 1
    INT = 2
    LONG = 4
    FLOAT = 8
    TEXT = 16
    JSON = 32
    NOTHING = 64


class Kind(Enum):
    """The one type that holds every value of a column; `TEXT` also where they differ."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    TEXT = "text"


# As plain numbers: operators of an IntFlag take many times as long, and there is one for each value of each row.
_INT, _LONG, _TEXT, _JSON, _NOTHING = map(int, (Kinds.INT, Kinds.LONG, Kinds.TEXT, Kinds.JSON, Kinds.NOTHING))
_BITS: Final[dict[type, int]] = {
    bool: int(Kinds.BOOL),
    float: int(Kinds.FLOAT),
    str: _TEXT,
    type(None): _NOTHING,
    Null: _NOTHING,
}
_SINGLE: Final = {
    int(Kinds.BOOL): Kind.BOOL,
    int(Kinds.INT): Kind.INT,
    int(Kinds.LONG): Kind.INT,
    int(Kinds.INT | Kinds.LONG): Kind.INT,
    int(Kinds.FLOAT): Kind.FLOAT,
    int(Kinds.INT | Kinds.FLOAT): Kind.FLOAT,
}


def bits_of(value: Any) -> int:
    """The kind of a value."""
    bits = _BITS.get(type(value))
    if bits is not None:
        return bits
    if type(value) is not int or not -_INT64 <= value < _INT64:
        return _JSON
    return _INT if -_EXACT <= value <= _EXACT else _LONG


def kind_of(bits: int, default: Kind) -> Kind:
    """The type that holds values of these kinds without loss; `default` for a column without values."""
    bits &= ~_NOTHING
    return _SINGLE.get(bits, Kind.TEXT) if bits else default


class Leaf(NamedTuple):
    """A column: `path` leads to its value. Where `is_whole` is false, it has what is no object with fields."""

    path: tuple[str, ...]
    kind: Kind
    is_whole: bool


class _Shape(NamedTuple):
    """The fields of objects with the same keys, and the index of the first row that had one."""

    first: int
    fields: list["Field"]


@dataclass(slots=True)
class Field:
    """A key: where it first was (a row's index, its place in that row), and the kinds of values.

    Objects with at most `most` keys have `fields` of their own.
    """

    first: tuple[int, int] = (0, 0)
    most: int = MOST_FIELDS
    bits: int = 0
    fields: dict[str, "Field"] = field(default_factory=dict)
    is_json: bool = False
    _shapes: dict[tuple[str, ...], _Shape] = field(default_factory=dict)

    def see(self, value: Any, index: int, depth: int) -> None:
        """Take the value of the row with this index. Objects in objects have fields down to `depth`."""
        if type(value) is not dict or not value or not depth or self.is_json:
            self.bits |= bits_of(value)
            return
        keys = tuple(value)
        shape = self._shapes.get(keys)
        if shape is None or index < shape.first:
            shape = self._learn(keys, index)
            if shape is None:
                return
        for below, inner in zip(shape.fields, value.values(), strict=True):
            if type(inner) is str:
                below.bits |= _TEXT
            elif type(inner) is dict:
                below.see(inner, index, depth - 1)
            else:
                below.bits |= bits_of(inner)

    def leaves(self, path: tuple[str, ...]) -> Iterator[Leaf]:
        """The columns of this field, which is at `path`, and of those in it."""
        fields = self.fields
        if not fields or self.bits & ~_NOTHING:
            yield Leaf(path, kind_of(self.bits, Kind.TEXT), not fields)
        for key in sorted(fields, key=lambda key: fields[key].first):
            yield from fields[key].leaves((*path, key))

    def _learn(self, keys: tuple[str, ...], index: int) -> _Shape | None:
        """Note the keys of an object; None when there are too many by now."""
        for place, key in enumerate(keys):
            below = self.fields.get(key)
            if below is None:
                self.fields[key] = Field((index, place))
            elif (index, place) < below.first:
                below.first = (index, place)
        if len(self.fields) > self.most:
            self.is_json = True
            self.bits |= _JSON
            self.fields.clear()
            self._shapes.clear()
            return None
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        shape = self._shapes[keys] = _Shape(index, [self.fields[key] for key in keys])
        return shape
