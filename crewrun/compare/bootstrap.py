"""Intervals of paired differences, by resampling rows.

The bootstrap draws as many rows as there are, with replacement, and looks at how the result varies over such draws
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993). 1,000 draws of 100,000 rows would take Python half a
minute. With more than 1,000 rows, they are therefore dealt at random into 1,000 groups of equal size, and groups are
drawn instead: the mean of a group has the variance of a row's divided by the group's size, so the mean of all has the
same variance either way; what the dealing adds is an error of the interval's width of 1/sqrt(2 * 999), about 2 %
(buckets of rows: Chamandy et al., Estimating Uncertainty for Massive Data Streams, Google, 2012).

The percentiles of the draws are a little too narrow with few rows; they are widened to what Student's t would have
(Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015, section 4.2).
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, sqrt
from operator import itemgetter
from random import Random
from statistics import NormalDist
from typing import Final

from crewrun.batch.forecast import Interval, student

LEVEL: Final = 0.9
FEWEST_ROWS: Final = 5  # fewer do not show how much rows vary
_GROUPS: Final = 1000
_DRAWS: Final = 1000
_NOTHING: Final = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Change:
    """By how much the mean of B is above that of A: `difference` in the unit of the values, `relative` as a share of
    A's mean. The intervals are None with fewer than `FEWEST_ROWS` rows; `relative` is None if A's mean is zero.
    """

    difference: Interval | None
    relative: Interval | None


class Bootstrap:
    """Draws rows, the same for the same number of rows: `seed` determines them all."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._plans: dict[int, _Plan] = {}

    def change(self, a: Sequence[float], b: Sequence[float]) -> Change:
        """The change from `a` to `b`, the values of the same rows in both runs."""
        rows = len(a)
        if rows < FEWEST_ROWS:
            return Change(None, None)
        if a == b:
            return Change(_NOTHING, _NOTHING if any(a) else None)
        plan = self._plans.get(rows)
        if plan is None:
            plan = self._plans[rows] = _Plan(rows, self._seed)
        totals_a, totals_b = plan.totals(a), plan.totals(b)
        sum_a, sum_b = sum(a), sum(b)
        means = [(y - x) / n for x, y, n in zip(totals_a, totals_b, plan.counts, strict=True)]
        difference = plan.interval((sum_b - sum_a) / rows, means)
        if not sum_a or not all(totals_a):
            return Change(difference, None)
        shares = [y / x - 1 for x, y in zip(totals_a, totals_b, strict=True)]
        return Change(difference, plan.interval(sum_b / sum_a - 1, shares))


class _Plan:
    """Which rows are in which group, and which groups are drawn. `counts` are the numbers of rows in the draws."""

    def __init__(self, rows: int, seed: int) -> None:
        random = Random(seed)  # noqa: S311  (no secret)
        self._groups = min(rows, _GROUPS)
        self._order = array("q", range(rows))
        if rows > _GROUPS:
            random.shuffle(self._order)
        groups = list(range(self._groups))  # a list, so that all draws refer to the same numbers
        self._draws = [itemgetter(*random.choices(groups, k=self._groups)) for _ in range(_DRAWS)]
        self.counts = self._drawn([len(range(group, rows, self._groups)) for group in groups])

    def totals(self, values: Sequence[float]) -> list[float]:
        """The sum of the values in each draw."""
        get = values.__getitem__
        return self._drawn([sum(map(get, self._order[group :: self._groups])) for group in range(self._groups)])

    def interval(self, value: float, draws: list[float]) -> Interval:
        """The interval around `value` that the draws show."""
        ordered = sorted(draws)
        below = NormalDist().cdf(student((1 - LEVEL) / 2, self._groups) * sqrt(self._groups / (self._groups - 1)))
        return Interval(value, _quantile(ordered, below), _quantile(ordered, 1 - below))

    def _drawn(self, sums: Sequence[float]) -> list[float]:
        return [sum(draw(sums)) for draw in self._draws]


def quantiles(ordered: Sequence[float], shares: Sequence[float]) -> list[float]:
    """The quantiles of one value or more in ascending order, interpolated between neighbours."""
    return [_quantile(ordered, share) for share in shares]


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    at = min(floor(place), len(ordered) - 2)
    if at < 0:
        return ordered[0]
    return ordered[at] + (place - at) * (ordered[at + 1] - ordered[at])
