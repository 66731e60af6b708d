"""`compare`: joins the rows of two runs by their ids, and says what became of each and of all of them.

A is read line by line; the lines of B are looked up.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crewrun._version import __version__
from crewrun.batch.forecast import Reservoir
from crewrun.compare.bootstrap import LEVEL, Bootstrap
from crewrun.compare.equality import is_same
from crewrun.compare.examples import Example, example_of
from crewrun.compare.fields import FieldComparisons
from crewrun.compare.join import RowJoin
from crewrun.compare.metrics import ExpectationMetrics, Metric, RowMetrics
from crewrun.compare.row_changes import JOINED, RowChange, RowCounts
from crewrun.inspect.export import Lines
from crewrun.tables.writing.column_names import Record
from crewrun.tables.writing.columns import decoded

# The changes that have examples, in the order in which people want to see them.
_SHOWN: Final[tuple[RowChange, ...]] = ("broken", "changed", "fixed")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many `rows` of each change are drawn as examples, and the `seed` of these and of the intervals."""

    rows: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs compared. `examples` are drawn rows, those that broke first; `sampling` says how. `models_a` and
    `models_b` are the models that answered the joined rows.
    """

    join: RowJoin
    rows: RowCounts
    metrics: Sequence[Metric]
    fields: FieldComparisons
    examples: Sequence[Example]
    sampling: Sampling
    models_a: Collection[str]
    models_b: Collection[str]

    def metric(self, name: str) -> Metric | None:
        """The metric of this name, None without one."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it, without the names of the runs."""
        return {
            "rows": self.rows.to_json(),
            "shares": {name: round(self.rows.share(name), 6) for name in JOINED},
            "metrics": {metric.name: metric.to_json() for metric in self.metrics},
            "fields": [field.to_json() for field in self.fields],
            "fields_left_out": self.fields.left_out,
            "examples": [example.to_json() for example in self.examples],
            "sample": self.sampling.rows,
            "seed": self.sampling.seed,
            "interval": LEVEL,
            "crewrun": __version__,
        }


def compare(a: Lines, b: Lines, sampling: Sampling) -> Comparison:
    """The comparison of two runs by their result lines, one of each row. Memory is about 150 bytes per row."""
    rows = _Rows(b, sampling)
    for number, line in enumerate(a):
        rows.take(number, decoded(line))
    bootstrap = Bootstrap(sampling.seed)
    return Comparison(
        rows.join,
        rows.row_counts(),
        [*rows.metrics.metrics(bootstrap), *rows.expectations.metrics(bootstrap)],
        rows.fields,
        rows.examples(a),
        sampling,
        *rows.models,
    )


class _Rows:
    """One pass over the rows of A."""

    def __init__(self, b: Lines, sampling: Sampling) -> None:
        self.join = RowJoin(b)
        self.metrics, self.expectations = RowMetrics(), ExpectationMetrics()
        self.fields = FieldComparisons(sampling.seed)
        self.models: tuple[set[str], set[str]] = (set(), set())
        self._counts: Counter[RowChange] = Counter()
        self._failed_in_both = self._other_input = 0
        self._drawn: dict[RowChange, Reservoir[tuple[int, int]]] = {
            change: Reservoir(sampling.rows, sampling.seed) for change in _SHOWN
        }

    def take(self, number: int, old: Record) -> None:
        """Take the row in the line of A with this number."""
        position = self.join.find(old["id"])
        if position is None:
            self._counts["only_a"] += 1
            return
        new = self.join.record(position)
        change = self._change(old, new)
        self._counts[change] += 1
        self._other_input += not is_same(old.get("input"), new.get("input"))
        self.join.note(position, change)
        self.metrics.take(old, new)
        self.expectations.take(old, new)
        for models, record in zip(self.models, (old, new), strict=True):
            if isinstance(names := record.get("models"), list):  # lines without a run folder may have anything
                models.update(name for name in names if isinstance(name, str))
        if change in self._drawn:
            self._drawn[change].offer((number, position))

    def _change(self, old: Record, new: Record) -> RowChange:
        was_ok, is_ok = old["status"] == "ok", new["status"] == "ok"
        if was_ok and is_ok:
            a, b = old.get("output"), new.get("output")
            if is_same(a, b):
                self.fields.take_equal(a)
                return "same"
            self.fields.take(a, b)
            return "changed"
        if was_ok is is_ok:
            self._failed_in_both += 1
            return "same"
        return "fixed" if is_ok else "broken"

    def row_counts(self) -> RowCounts:
        """The counts, after all rows of A were taken."""
        self._counts["only_b"] = self.join.count_only_b()
        return RowCounts(self._counts, self._failed_in_both, self._other_input)

    def examples(self, a: Lines) -> list[Example]:
        """The drawn rows."""
        return [
            example_of(change, decoded(a.at(number)), self.join.record(position))
            for change, drawn in self._drawn.items()
            for number, position in drawn.items
        ]
