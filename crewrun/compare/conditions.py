"""The language of --fail-if: `changed>5%`, `broken>0`, `cost.low>10%`, `output.city<95%`.

A condition is parsed before anything is read, and evaluated on a `Comparison`.
"""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Literal

from crewrun.compare.metrics import EXPECT, NAMES, OF_JUDGED, SCORE, Metric
from crewrun.compare.row_changes import COUNTS
from crewrun.errors import UsageError, nearest, suggest
from crewrun.score.inequality import Check, Inequality, parse_inequality, refused

if TYPE_CHECKING:
    from crewrun.compare.comparison import Comparison

_HINTS: Final = {
    SCORE: "; `crewrun score` makes scores of a run",
    EXPECT: "; rows have what `expect:` said when they ran, and `crewrun score --expect` checks it now, as "
    "score.expect.NAME",
}
_EXAMPLES: Final = "'changed>5%', 'broken>0', 'cost>10%' or 'output.city<95%'"

Part = Literal["mean", "low", "high"]
_PARTS: Final[dict[str, Part]] = {"mean": "mean", "low": "low", "high": "high"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition with its `name`: a count of rows, a metric, a score or a field. `part` says which end of a metric's
    interval is meant.
    """

    inequality: Inequality
    name: str
    part: Part = "mean"

    @property
    def text(self) -> str:
        """As the user wrote it."""
        return self.inequality.text

    def check(self, comparison: "Comparison") -> "Check":
        """Whether it holds. Raises UsageError when the runs do not have what it is about."""
        return self.inequality.check(self._value(comparison))

    def _value(self, comparison: "Comparison") -> float:
        if self.name in COUNTS:
            count = comparison.rows.count(self.name)
            return 100 * count / comparison.rows.joined if self.inequality.is_percent else count
        metric = comparison.metric(self.name)
        if metric is not None:
            return self._of_metric(metric)
        field = comparison.fields.find(self.name)
        if field is None:
            names = [*comparison.fields.names(), *(metric.name for metric in comparison.metrics)]
            hint = next((hint for start, hint in _HINTS.items() if self.name.startswith(start)), "")
            raise UsageError(f"--fail-if {self.text!r}: no row has {self.name!r}{suggest(self.name, names)}{hint}")
        return 100 * field.equal / field.rows

    def _of_metric(self, metric: Metric) -> float:
        if metric.a is None or metric.b is None:
            raise UsageError(f"--fail-if {self.text!r}: no row has its {self.name} in both runs")
        if self.part == "mean":
            if not self.inequality.is_percent:
                return metric.b - metric.a
            return 100 * (metric.b / metric.a - 1) if metric.a else 0.0 if not metric.b else inf
        interval = metric.change.relative if self.inequality.is_percent else metric.change.difference
        if interval is None:
            raise UsageError(
                f"--fail-if {self.text!r}: there is no interval with {metric.rows:,} rows or a mean of zero; "
                f"leave .{self.part} out"
            )
        return (interval.low if self.part == "low" else interval.high) * (100 if self.inequality.is_percent else 1)


def parse_condition(text: str) -> Condition:
    """The condition that `text` is. Raises UsageError with the place and the way out."""
    inequality = parse_inequality(text, _EXAMPLES)
    condition = Condition(inequality, *_split(inequality.name))
    _check_name(condition)
    return condition


def _split(name: str) -> tuple[str, Part]:
    """`cost.low` as `cost` and `low`; the names of fields may end so too."""
    stem, _, end = name.rpartition(".")
    if end in _PARTS and (stem in NAMES or stem.startswith(OF_JUDGED)):
        return stem, _PARTS[end]
    return name, "mean"


def _check_name(condition: Condition) -> None:
    """Refuse what no comparison has. Raises UsageError."""
    stem, text, name = condition.name, condition.text, condition.inequality.name
    is_field = stem == "output" or stem.startswith("output.")
    if not (stem in COUNTS or stem in NAMES or is_field or stem.startswith(OF_JUDGED)):
        names = [*COUNTS, *NAMES, "output"]
        others = "output.FIELD, expect.NAME and score.NAME"
        hint = "" if nearest(name, names) else f"; there are {', '.join(names)}, {others}"
        raise refused(text, 0, f"{name!r} is not known{suggest(name, names)}{hint}", _EXAMPLES)
    if is_field and not condition.inequality.is_percent:
        raise refused(text, len(text), "the share of equal values needs a %", _EXAMPLES)
