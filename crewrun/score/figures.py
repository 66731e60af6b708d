"""Sums up scores: a `ScoreCollector` has mean, interval, distribution and worst rows of each score."""

import heapq
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import ceil, sqrt
from statistics import NormalDist, fmean, stdev
from typing import Any

from crewrun.batch.forecast import student
from crewrun.score.values import REASON, numbers_in

_BINS = 10
_WORST = 5
_LARGEST_WHOLE = 2.0**52  # above, floats have no place for one more
_TAIL = 0.05  # of the 90 % interval, on each side
# Student's quantile by the number of rows, where the approximation in `student` is more than 1 % off.
_STUDENT = {2: 6.3138, 3: 2.9200, 4: 2.3534}


@dataclass(frozen=True, slots=True)
class WorstRow:
    """A row with one of the lowest scores, and why it has it."""

    id: str
    score: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """One score over all rows. `low` to `high` is the 90 % interval of the mean, None for fewer than two rows: Wilson's
    for true and false, else Student's. `counts` are those of the ranges between `edges`; the last range includes its
    end. With `is_whole` all scores are whole numbers, and a range has those below its end. `worst` are the rows with
    the lowest scores, without those that have the highest one, or true.
    """

    name: str
    rows: int
    is_share: bool
    mean: float
    low: float | None
    high: float | None
    p10: float
    median: float
    p90: float
    edges: list[float]
    counts: list[int]
    is_whole: bool
    worst: list[WorstRow]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


@dataclass(slots=True)
class _Collected:
    values: "array[float]" = field(default_factory=lambda: array("d"))
    worst: list[tuple[float, int, str, str | None]] = field(default_factory=list)
    is_share: bool = True

    def add(self, row_id: str, value: float, reason: str | None, *, is_bool: bool) -> None:
        self.is_share = self.is_share and is_bool
        entry = (-value, -len(self.values), row_id, reason)
        self.values.append(value)
        if len(self.worst) < _WORST:
            heapq.heappush(self.worst, entry)
        elif entry > self.worst[0]:
            heapq.heapreplace(self.worst, entry)


class ScoreCollector:
    """Takes scores row by row: 8 bytes of each, and the worst rows."""

    def __init__(self) -> None:
        self._collected: dict[str, _Collected] = {}

    def add(self, row_id: str, output: Any) -> dict[str, float]:
        """Take the output of a line of scores. Returns the numbers in it by the names of the scores."""
        numbers = numbers_in(output)
        for name, value in numbers.items():
            one = self._collected.setdefault(name, _Collected())
            one.add(row_id, value, _reason_for(name, output.get(REASON)), is_bool=isinstance(output[name], bool))
        return numbers

    def figures(self) -> list[ScoreFigures]:
        """The figures of each score, in the order in which they appeared."""
        return [_figures(name, one) for name, one in self._collected.items()]


def _reason_for(name: str, reason: Any) -> str | None:
    """The reason for one score: its own where there is one by name, else that for all of them."""
    own = reason.get(name) if isinstance(reason, Mapping) else reason
    return None if own is None else str(own)


def _figures(name: str, one: _Collected) -> ScoreFigures:
    values = sorted(one.values)
    mean = fmean(values)
    low, high = _wilson(mean, len(values)) if one.is_share else _interval(values, mean)
    is_whole = _is_whole(values)
    edges, counts = _whole_histogram(values) if is_whole else _histogram(values, is_share=one.is_share)
    worst = [WorstRow(row_id, -value, reason) for value, _, row_id, reason in sorted(one.worst, reverse=True)]
    return ScoreFigures(
        name=name,
        rows=len(values),
        is_share=one.is_share,
        mean=mean,
        low=low,
        high=high,
        p10=_nearest_rank(values, 0.1),
        median=_nearest_rank(values, 0.5),
        p90=_nearest_rank(values, 0.9),
        edges=edges,
        counts=counts,
        is_whole=is_whole,
        worst=[row for row in worst if row.score < (1 if one.is_share else values[-1])],
    )


def _interval(values: list[float], mean: float) -> tuple[float | None, float | None]:
    """The interval of a mean by Student's t; of scores from 0 to 1, no further than these."""
    if len(values) < 2:
        return None, None
    quantile = _STUDENT.get(len(values)) or student(1 - _TAIL, len(values))
    reach = quantile * stdev(values, mean) / sqrt(len(values))
    low, high = mean - reach, mean + reach
    return (max(0.0, low), min(1.0, high)) if values[0] >= 0 and values[-1] <= 1 else (low, high)


def _wilson(share: float, n: int) -> tuple[float | None, float | None]:
    """Wilson's score interval of a share, which does not vanish when all rows have the same
    (https://doi.org/10.1080/01621459.1927.10502953).
    """
    if n < 2:
        return None, None
    z = NormalDist().inv_cdf(1 - _TAIL)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach))


def _nearest_rank(values: list[float], share: float) -> float:
    """Of sorted values, the least that `share` of them do not exceed."""
    return values[max(0, -int(-share * len(values) // 1) - 1)]


def _histogram(values: list[float], *, is_share: bool) -> tuple[list[float], list[int]]:
    """Ten ranges from the least to the greatest value, from 0 to 1 where these hold all; two of true and false."""
    low, high = (0.0, 1.0) if values[0] >= 0 and values[-1] <= 1 else (values[0], values[-1])
    if low == high:
        return [low, high], [len(values)]
    bins = 2 if is_share else _BINS
    width = high / bins - low / bins  # the difference alone may be more than a float holds
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / width - low / width))] += 1
    return [*(float(f"{low + i * width:.12g}") for i in range(bins)), high], counts


def _is_whole(values: list[float]) -> bool:
    """Whether sorted values are different whole numbers on a scale of their own, not one from 0 to 1."""
    is_scale = values[0] >= 0 and values[-1] <= 1
    if is_scale or values[0] == values[-1] or max(-values[0], values[-1]) > _LARGEST_WHOLE:
        return False
    return all(map(float.is_integer, values))


def _whole_histogram(values: list[float]) -> tuple[list[float], list[int]]:
    """At most ten ranges, each with as many whole numbers, so that none is empty only for its edges."""
    low = values[0]
    width = ceil((values[-1] - low + 1) / _BINS)
    bins = int((values[-1] - low) // width) + 1
    counts = [0] * bins
    for value in values:
        counts[int((value - low) // width)] += 1
    return [low + i * width for i in range(bins + 1)], counts
