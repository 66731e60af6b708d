"""What rows took in two runs, cost, tokens and time, what they met of expectations, and scores. Each has the interval
of its change.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from crewrun.batch.forecast import Interval
from crewrun.compare.bootstrap import Bootstrap, Change
from crewrun.compare.equality import is_number
from crewrun.tables.writing.column_names import Record

Unit = Literal["USD", "tokens", "s", ""]


def _cost(record: Record) -> Any:
    return record.get("cost_usd")


def _time(record: Record) -> Any:
    """The row's duration, unless some of its calls were answered from the journal, which takes no time."""
    return None if record.get("replayed") else record.get("duration_s")


def _usage(name: str) -> Callable[[Record], Any]:
    def get(record: Record) -> Any:
        usage = record.get("usage")
        return usage.get(name) if isinstance(usage, dict) else None

    return get


# Name, unit, and how to get the value of a row.
_OF_ROWS: Final[Sequence[tuple[str, Unit, Callable[[Record], Any]]]] = (
    ("cost", "USD", _cost),
    ("tokens", "tokens", _usage("total_tokens")),
    ("prompt_tokens", "tokens", _usage("prompt_tokens")),
    ("completion_tokens", "tokens", _usage("completion_tokens")),
    ("time", "s", _time),
)
SCORE: Final = "score."  # what the names of scores begin with
EXPECT: Final = "expect."  # and those of expectations
OF_JUDGED: Final = (SCORE, EXPECT)
NAMES: Final = tuple(name for name, _, _ in _OF_ROWS)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of the `rows` that have it in both runs: the means of A and B, None without such rows, and the change
    from one to the other.
    """

    name: str
    unit: Unit
    rows: int
    a: float | None
    b: float | None
    change: Change

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it."""
        return {
            "unit": self.unit,
            "rows": self.rows,
            "a": self.a,
            "b": self.b,
            "difference": _interval_json(self.change.difference),
            "relative": _interval_json(self.change.relative),
        }


class Pairs:
    """The values of one metric in both runs, of the rows that have it in both: 16 bytes per row."""

    def __init__(self, name: str, unit: Unit) -> None:
        self._name, self._unit = name, unit
        self._a, self._b = array("d"), array("d")

    def take(self, a: Any, b: Any) -> None:
        """Take a row's values; what is no number, or infinite, does not count."""
        if is_number(a) and is_number(b):
            self._a.append(a)
            self._b.append(b)

    def metric(self, bootstrap: Bootstrap) -> Metric:
        """The means and their change."""
        rows = len(self._a)
        a, b = (sum(values) / rows if rows else None for values in (self._a, self._b))
        return Metric(self._name, self._unit, rows, a, b, bootstrap.change(self._a, self._b))


class RowMetrics:
    """Cost, tokens and time of all rows that are in both runs, also of those that failed."""

    def __init__(self) -> None:
        self._pairs = [(get, Pairs(name, unit)) for name, unit, get in _OF_ROWS]

    def take(self, a: Record, b: Record) -> None:
        """Take the results of a row."""
        for get, pairs in self._pairs:
            pairs.take(get(a), get(b))

    def metrics(self, bootstrap: Bootstrap) -> list[Metric]:
        """All of them."""
        return [pairs.metric(bootstrap) for _, pairs in self._pairs]


class ExpectationMetrics:
    """How many of the rows that are in both runs met each expectation, as their results say."""

    def __init__(self) -> None:
        self._pairs: dict[str, Pairs] = {}

    def take(self, a: Record, b: Record) -> None:
        """Take the results of a row."""
        old, new = a.get("expectations"), b.get("expectations")
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return
        for name in old:
            if name in new:
                pairs = self._pairs.setdefault(name, Pairs(f"{EXPECT}{name}", ""))
                pairs.take(float(old[name] is True), float(new[name] is True))

    def metrics(self, bootstrap: Bootstrap) -> list[Metric]:
        """The share of each, in the order of the crew file."""
        return [pairs.metric(bootstrap) for pairs in self._pairs.values()]


def _interval_json(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high}
