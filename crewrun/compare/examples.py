"""A row of two runs to look at: its outputs or errors, and where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crewrun.compare.equality import is_same
from crewrun.compare.fields import fields_of
from crewrun.compare.row_changes import RowChange
from crewrun.compare.word_diff import Segment, word_diff
from crewrun.row import as_json
from crewrun.tables.writing.column_names import Record

_MOST_FIELDS: Final = 20
_LONGEST: Final = 20_000  # characters of a value


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs: its value in each run as far as it has one, and the segments if both are texts or lists."""

    field: str
    values: Mapping[str, Any]
    segments: Sequence[Segment]

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it: without `a` or `b` where the field is missing."""
        return {"field": self.field, **self.values, "diff": [list(segment) for segment in self.segments]}


@dataclass(frozen=True, slots=True)
class Example:
    """A row. `inputs` are those in A, or None where B has others; `a` and `b` are how it ended.

    `differences` are those of a row that is ok in both, at most 20; `more` is how many further fields differ.
    """

    id: str
    change: RowChange
    inputs: Any
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    differences: Sequence[Difference] = ()
    more: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it."""
        return {
            "id": self.id,
            "change": self.change,
            "input": self.inputs,
            "a": self.a,
            "b": self.b,
            "differences": [difference.to_json() for difference in self.differences],
            "more_differences": self.more,
        }


def example_of(change: RowChange, old: Record, new: Record) -> Example:
    """The example that a row is, by its results in A and B."""
    inputs = bounded(old.get("input")) if is_same(old.get("input"), new.get("input")) else None
    names = _names(old, new) if change == "changed" else []
    before, after = fields_of(old.get("output")), fields_of(new.get("output"))
    differences = [_difference(name, before, after) for name in names[:_MOST_FIELDS]]
    more = len(names) - len(differences)
    return Example(str(old["id"]), change, inputs, _ending(old), _ending(new), differences, more)


def bounded(value: Any) -> Any:
    """`value`, or the beginning of its text if that is longer than 20,000 characters."""
    text = _text(value)
    return value if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _names(old: Record, new: Record) -> list[str]:
    """The fields that differ."""
    before, after = fields_of(old.get("output")), fields_of(new.get("output"))
    names = {**before, **after}
    return [n for n in names if n not in before or n not in after or not is_same(before[n], after[n])]


def _difference(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    values = {side: bounded(fields[name]) for side, fields in (("a", before), ("b", after)) if name in fields}
    segments: Sequence[Segment] = ()
    if len(values) == 2 and all(isinstance(fields[name], str | list) for fields in (before, after)):
        segments = word_diff(_text(before[name]), _text(after[name]))
    return Difference(name, values, segments)


def _ending(record: Record) -> dict[str, Any]:
    """How a row ended, without what is long."""
    error = record.get("error")
    if not isinstance(error, dict):
        error = None
    shown = error and {key: bounded(error.get(key)) for key in ("category", "type", "message", "task")}
    return {"status": record.get("status"), "output": bounded(record.get("output")), "error": shown}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value).decode()
