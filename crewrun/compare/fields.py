"""How each field of the outputs differs between two runs: `FieldComparisons` takes the outputs of rows that are ok in
both.

Fields are named as `export` names columns: `output.city`, `output.address.zip`; an output that is no object is
`output`. A list is one value.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any, Final

from crewrun.batch.forecast import Reservoir
from crewrun.compare.bootstrap import quantiles
from crewrun.compare.equality import is_number, is_same

_DEEPEST: Final = 8  # objects inside objects that have fields of their own, as in tables
_MOST_FIELDS: Final = 500  # names that models make up would fill the memory
_MOST_VALUES: Final = 50  # of an enum; a field with more different values is free text
_LONGEST_VALUE: Final = 80
_MOST_NUMBERS: Final = 10_000  # differences; beyond, quantiles are those of a random sample of as many
_COMMONEST: Final = 10
_SHARES: Final = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}

Fields = Mapping[str, Any]


def fields_of(output: Any) -> Fields:
    """The fields of an output by their names."""
    return dict(_leaves("output", output, 0)) if isinstance(output, dict) and output else {"output": output}


def _leaves(name: str, value: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and depth < _DEEPEST - 1:
            yield from _leaves(f"{name}.{key}", inner, depth + 1)
        else:
            yield f"{name}.{key}", inner


class FieldComparison:
    """One field in the rows that are ok in both runs. `rows` have it in A or B, `equal` of them the same value;
    `numeric` is how many have a number in both.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.rows = self.equal = self.only_a = self.only_b = self.numeric = 0
        self._sum, self._least, self._most = 0.0, inf, -inf
        self._differences: Reservoir[float] = Reservoir(_MOST_NUMBERS, seed)  # those that are not 0
        self._values: set[str] = set()
        self._changes: Counter[tuple[str, str]] = Counter()
        self._is_enum = True

    @property
    def share(self) -> float:
        """The share of the rows with the same value."""
        return self.equal / self.rows

    @property
    def mean(self) -> float | None:
        """The mean of B - A in the rows with a number in both, None without any."""
        return self._sum / self.numeric if self.numeric else None

    def take(self, a: Fields, b: Fields) -> None:
        """Take the values of a row that has the field in `a`, `b` or both."""
        name = self.name
        if name in a and name in b:
            old, new = a[name], b[name]
            if is_same(old, new):
                self.take_equal(old)
            else:
                self.rows += 1
                self._take_change(old, new)
        else:
            self.rows += 1
            self.only_a += name in a
            self.only_b += name in b

    def take_equal(self, value: Any) -> None:
        """Take a value that a row has in both runs."""
        self.rows += 1
        self.equal += 1
        if is_number(value):
            self.numeric += 1
        elif self._is_enum:
            self._note(value)

    def _take_change(self, old: Any, new: Any) -> None:
        if is_number(old) and is_number(new):
            self.numeric += 1
            difference = float(new - old)
            self._sum += difference
            self._least, self._most = min(self._least, difference), max(self._most, difference)
            self._differences.offer(difference)
            return
        self._note(old)
        self._note(new)
        if self._is_enum:
            self._changes[json.dumps(old), json.dumps(new)] += 1  # `true` and 1 would be the same key

    def _note(self, value: Any) -> None:
        """Note a value of what may be an enum: a field with few different values, all of them short."""
        if type(value) is str and value in self._values:
            return
        is_short = len(value) <= _LONGEST_VALUE if isinstance(value, str) else not isinstance(value, dict | list)
        if is_short and self._is_enum:
            self._values.add(value if isinstance(value, str) else f"\0{value}")
        if not is_short or len(self._values) > _MOST_VALUES:
            self._is_enum = False
            self._values.clear()
            self._changes.clear()

    def changes(self) -> list[tuple[Any, Any, int]]:
        """The commonest changes of an enum: the values in A and in B, and the number of rows."""
        commonest = self._changes.most_common(_COMMONEST)
        return [(json.loads(old), json.loads(new), count) for (old, new), count in commonest]

    def differences(self) -> dict[str, float] | None:
        """B - A in the rows with a number in both: `min`, the quantiles `p05` to `p95`, `max`; None without any."""
        if not self.numeric:
            return None
        values, zeros = self._differences.items, self.numeric - self._differences.count
        ends = (min(self._least, 0.0), max(self._most, 0.0)) if zeros else (self._least, self._most)
        if values:  # which may be a sample of those that are not 0
            zeros = round(zeros * len(values) / self._differences.count)
        ordered = sorted([*values, *([0.0] * zeros)])
        numbers = zip(_SHARES, quantiles(ordered, list(_SHARES.values())), strict=True)
        return {"min": ends[0], **dict(numbers), "max": ends[1]}

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it."""
        numbers = self.differences()
        return {
            "name": self.name,
            "rows": self.rows,
            "equal": self.equal,
            "share": round(self.share, 6),
            "only_a": self.only_a,
            "only_b": self.only_b,
            "numeric": {"rows": self.numeric, "mean": self.mean, **numbers} if numbers else None,
            "changes": [{"a": old, "b": new, "rows": count} for old, new, count in self.changes()],
        }


class FieldComparisons:
    """All fields, in the order in which rows have them. `left_out` counts values of fields beyond the first 500."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._fields: dict[str, FieldComparison] = {}
        self.left_out = 0

    def take(self, a: Any, b: Any) -> None:
        """Take the outputs of a row that differ."""
        old, new = fields_of(a), fields_of(b)
        for name in old if old.keys() == new.keys() else {**old, **new}:
            if (field := self._fields.get(name) or self._add(name)) is not None:
                field.take(old, new)

    def take_equal(self, output: Any) -> None:
        """Take an output that a row has in both runs."""
        for name, value in fields_of(output).items():
            if (field := self._fields.get(name) or self._add(name)) is not None:
                field.take_equal(value)

    def _add(self, name: str) -> FieldComparison | None:
        if len(self._fields) >= _MOST_FIELDS:
            self.left_out += 1
            return None
        field = self._fields[name] = FieldComparison(name, self._seed)
        return field

    def __iter__(self) -> Iterator[FieldComparison]:
        return iter(self._fields.values())

    def find(self, name: str) -> FieldComparison | None:
        """The field of this name, None if no row has it."""
        return self._fields.get(name)

    def names(self) -> list[str]:
        """The names of all fields."""
        return list(self._fields)
