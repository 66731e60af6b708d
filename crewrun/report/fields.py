"""`OutputFields`: the fields of structured outputs, as columns of the rows and as distributions."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from crewrun.compare.equality import is_number
from crewrun.report.columns import Codes, Numbers
from crewrun.report.histograms import histogram
from crewrun.report.packs import is_too_large

_MOST_FIELDS: Final = 24  # as many columns as a table of rows has room for
_DEEPEST: Final = 3
_MOST_VALUES: Final = 50
_LONGEST: Final = 80  # characters of a value that is one of few
# Texts are one of few values if each occurs this often on average, so that three rows with three texts are not an enum.
_LEAST_REPEATS: Final = 2


class OutputFields:
    """Sees the output of each row. Fields of objects are named `output.address.city`; an output that is no object is
    the field `output`. `notes` say what is left out.
    """

    def __init__(self) -> None:
        self._fields: dict[str, _Field] = {}
        self.notes: list[str] = []
        self._ok = 0

    def see(self, row: int, output: Any) -> None:
        """Take the output of the successful row with this number."""
        self._ok += 1
        for name, value in dict(_leaves("output", output, 0)).items():  # {"a.b": 1, "a": {"b": 2}} has one `a.b`
            field = self._fields.get(name)
            if field is None:
                if len(self._fields) == _MOST_FIELDS:
                    self.notes = [f"outputs have more than {_MOST_FIELDS} fields; the figures are those of the first"]
                    continue
                field = self._fields[name] = _Field()
            field.see(row, value)

    def columns(self, rows: int) -> dict[str, Numbers | Codes]:
        """The columns of fields that are numbers or have few values, for all `rows`."""
        columns = {name: field.column(rows) for name, field in self._fields.items()}
        return {name: column for name, column in columns.items() if column is not None}

    def to_json(self) -> list[dict[str, Any]]:
        """What the head of the page says of each field."""
        described = [field.to_json(name, self._ok) for name, field in self._fields.items()]
        return [one for one in described if one["key"] != "output" or one["kind"] != "text"]


class _Field:
    """The values of one field: as numbers, as one of few values, or neither."""

    def __init__(self) -> None:
        self._numbers: Numbers | None = Numbers()
        self._codes: Codes | None = Codes()
        self._counts: Counter[Any] = Counter()
        self.filled = 0
        self._kinds: set[str] = set()

    def see(self, row: int, value: Any) -> None:
        kind = _kind(value)
        if kind is None:
            return
        self.filled += 1
        self._kinds.add(kind)
        if kind != "number":
            self._numbers = None
        if self._numbers is not None:
            self._numbers.fill(row)
            self._numbers.add(float(value))
        if self._codes is not None:
            self._see_code(row, value, kind)

    def _see_code(self, row: int, value: Any, kind: str) -> None:
        word = _word(value)
        is_long = kind == "text" and (not isinstance(value, str) or len(value) > _LONGEST)
        if self._codes is None or is_long or (word not in self._counts and len(self._counts) == _MOST_VALUES):
            self._codes = None
            return
        self._codes.fill(row)
        self._codes.add(word)
        self._counts[word] += 1

    @property
    def kind(self) -> str:
        if self._kinds == {"bool"}:
            return "bool"
        if self._numbers is not None and self._kinds:
            return "number"
        return "enum" if self._is_enum else "text"

    @property
    def _is_enum(self) -> bool:
        return self._codes is not None and self.filled >= _LEAST_REPEATS * max(len(self._counts), 1)

    def column(self, rows: int) -> Numbers | Codes | None:
        kind = self.kind
        column = self._numbers if kind == "number" else self._codes if kind != "text" else None
        if column is not None:
            column.fill(rows)
        return column

    def to_json(self, name: str, rows: int) -> dict[str, Any]:
        kind = self.kind
        described: dict[str, Any] = {
            "key": name,
            "title": name.removeprefix("output."),
            "kind": kind,
            "empty_share": round(1 - self.filled / rows, 6) if rows else None,
        }
        if kind in ("enum", "bool"):
            described["values"] = [list(pair) for pair in self._counts.most_common()]
        if kind == "number" and self._numbers is not None:
            values = list(self._numbers.values())
            described |= {"min": min(values), "max": max(values), "mean": sum(values) / len(values)}
            described["histogram"] = histogram(values)
        return described


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and depth < _DEEPEST:
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner, depth + 1)
    else:
        yield name, value


def _kind(value: Any) -> str | None:
    """The kind of a value, None for one that is empty."""
    if value is None or (isinstance(value, str | list | dict) and not value):
        return None
    if isinstance(value, bool):
        return "bool"
    # An integer of more digits than browsers calculate with is an id, and no amount.
    return "number" if is_number(value) and not is_too_large(value) else "text"


def _word(value: Any) -> Any:
    """A value as the page lists it: true and false in words, a number or text as it is."""
    return str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else str(value)
