"""The language of --fail-if: `changed>5%`, `broken>0`, `cost.low>10%`, `output.city<95%`.

A condition is parsed before anything is read, and evaluated on a `Comparison`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any, Final, Literal

from crewrun.compare.metrics import NAMES, SCORE, Metric
from crewrun.compare.row_changes import COUNTS
from crewrun.errors import UsageError, nearest, suggest

if TYPE_CHECKING:
    from crewrun.compare.comparison import Comparison

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {">": gt, ">=": ge, "<": lt, "<=": le}
_OPERATOR: Final = re.compile(r"[<>=!~]+")
_NUMBER: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)\s*")
_DIGITS: Final = 9  # what is behind them is an error of floating-point sums, which should not decide
_EXAMPLES: Final = "'changed>5%', 'broken>0', 'cost>10%' or 'output.city<95%'"

Part = Literal["mean", "low", "high"]
_PARTS: Final[dict[str, Part]] = {"mean": "mean", "low": "low", "high": "high"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as the user wrote it. `name` is a count of rows, a metric, a score or a field; `part` says which end
    of a metric's interval is meant.
    """

    text: str
    name: str
    operator: str
    number: float
    is_percent: bool
    part: Part = "mean"

    def check(self, comparison: "Comparison") -> "Check":
        """Whether it holds. Raises UsageError when the runs do not have what it is about."""
        value = round(self._value(comparison), _DIGITS)
        return Check(self, value, _OPERATORS[self.operator](value, self.number))

    def _value(self, comparison: "Comparison") -> float:
        if self.name in COUNTS:
            count = comparison.rows.count(self.name)
            return 100 * count / comparison.rows.joined if self.is_percent else count
        metric = comparison.metric(self.name)
        if metric is not None:
            return self._of_metric(metric)
        field = comparison.fields.find(self.name)
        if field is None:
            names = [*comparison.fields.names(), *(metric.name for metric in comparison.metrics)]
            hint = "; `crewrun score` makes scores of a run" if self.name.startswith(SCORE) else ""
            raise UsageError(f"--fail-if {self.text!r}: no row has {self.name!r}{suggest(self.name, names)}{hint}")
        return 100 * field.equal / field.rows

    def _of_metric(self, metric: Metric) -> float:
        if metric.a is None or metric.b is None:
            raise UsageError(f"--fail-if {self.text!r}: no row has its {self.name} in both runs")
        if self.part == "mean":
            if not self.is_percent:
                return metric.b - metric.a
            return 100 * (metric.b / metric.a - 1) if metric.a else 0.0 if not metric.b else inf
        interval = metric.change.relative if self.is_percent else metric.change.difference
        if interval is None:
            raise UsageError(
                f"--fail-if {self.text!r}: there is no interval with {metric.rows:,} rows or a mean of zero; "
                f"leave .{self.part} out"
            )
        return (interval.low if self.part == "low" else interval.high) * (100 if self.is_percent else 1)


@dataclass(frozen=True, slots=True)
class Check:
    """A condition with its `value` in the runs, in percent if the condition is, and whether it `holds`."""

    condition: Condition
    value: float
    holds: bool

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it; an infinite value, of a mean that was zero, is null."""
        return {
            "condition": self.condition.text,
            "value": None if abs(self.value) == inf else self.value,
            "unit": "%" if self.condition.is_percent else "",
            "holds": self.holds,
        }


def parse_condition(text: str) -> Condition:
    """The condition that `text` is. Raises UsageError with the place and the way out."""
    operators = list(_OPERATOR.finditer(text))
    if not operators:
        raise _refused(text, len(text), "a comparison is missing")
    operator = operators[-1]  # the name of a field may have others
    name = text[: operator.start()].strip()
    if operator[0] not in _OPERATORS:
        raise _refused(text, operator.start(), f"{operator[0]!r} is not one of >, >=, < and <=")
    number = _NUMBER.fullmatch(text, operator.end())
    if number is None or not isfinite(float(number[1])):
        rest = text[operator.end() :].strip()
        what = f"{rest!r} is not a number, such as 5 or 5%" if rest else "a number is missing, such as 5 or 5%"
        raise _refused(text, operator.end(), what)
    stem, part = _split(name)
    condition = Condition(text, stem, operator[0], float(number[1]), bool(number[2]), part)
    _check_name(condition, name)
    return condition


def _split(name: str) -> tuple[str, Part]:
    """`cost.low` as `cost` and `low`; the names of fields may end so too."""
    stem, _, end = name.rpartition(".")
    if end in _PARTS and (stem in NAMES or stem.startswith(SCORE)):
        return stem, _PARTS[end]
    return name, "mean"


def _check_name(condition: Condition, name: str) -> None:
    """Refuse what no comparison has. Raises UsageError."""
    stem = condition.name
    is_field = stem == "output" or stem.startswith("output.")
    if not name:
        raise _refused(condition.text, 0, "there is nothing to compare")
    if not (stem in COUNTS or stem in NAMES or is_field or stem.startswith(SCORE)):
        names = [*COUNTS, *NAMES, "output"]
        hint = "" if nearest(name, names) else f"; there are {', '.join(names)}, output.FIELD and score.NAME"
        raise _refused(condition.text, 0, f"{name!r} is not known{suggest(name, names)}{hint}")
    if is_field and not condition.is_percent:
        raise _refused(condition.text, len(condition.text), "the share of equal values needs a %")


def _refused(text: str, at: int, why: str) -> UsageError:
    return UsageError(f"--fail-if {text!r}: character {at + 1}: {why}; write it like {_EXAMPLES}")
