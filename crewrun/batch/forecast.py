"""Forecasts what a whole batch will take from a random sample of its rows: cost, share of failures, time.

The sample has to be random to be representative: the first rows of an input sorted by length would not be. The rows of
the sample are known; only the rest is estimated. Randomness is used only to choose rows, and is seeded.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import copysign, exp, hypot, inf, isfinite, isqrt, lgamma, log, sqrt
from random import Random
from statistics import NormalDist, fmean, stdev
from typing import Generic, TypeVar

T = TypeVar("T")

_BELOW = 0.04  # how often the true value may be below the interval of a sum
_ABOVE = 0.02  # and above it: the rows that a sample misses are rare and expensive, not rare and cheap
_TAIL = 0.05  # the same for both sides of the other intervals
_STEPS = 200  # of the numerical integral over time: trades precision against time
_REACH = 20  # rows longer than this many times the sample's longest row are not considered


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 90 % interval. `high` is infinite when there is no upper bound."""

    mean: float
    low: float
    high: float


def choose(count: int, n: int, seed: int) -> list[int]:
    """`n` of the positions 0 to `count` - 1, ascending, every set of them equally likely; all if `n` is more."""
    return sorted(Random(seed).sample(range(count), min(n, count)))  # noqa: S311  (not about secrets)


class Reservoir(Generic[T]):
    """A simple random sample of `n` items of a stream of unknown length: algorithm R (Vitter, ACM TOMS 11(1), 1985)."""

    def __init__(self, n: int, seed: int) -> None:
        self._n = n
        self._random = Random(seed)  # noqa: S311
        self._items: list[tuple[int, T]] = []
        self.count = 0

    def offer(self, item: T) -> None:
        """Take the stream's next item."""
        if len(self._items) < self._n:
            self._items.append((self.count, item))
        elif (place := self._random.randrange(self.count + 1)) < self._n:
            self._items[place] = (self.count, item)
        self.count += 1

    @property
    def items(self) -> list[T]:
        """The sample of the items offered so far, in the order of the stream."""
        return [item for _, item in sorted(self._items, key=lambda placed: placed[0])]


def extrapolate(samples: Sequence[float], total: int) -> Interval:
    """The sum over `total` rows, from the values `samples` of a random sample of them, none negative.

    Student's interval for a finite population, corrected for the sample's skewness (Hall, "On the removal of skewness
    by transformation", JRSS B 54, 1992). A small sample misses long rows, and its skewness shows that only in part, so
    the upper end is at least that of a lognormal with the same logarithms (Cox's method: Land, Technometrics 14(1),
    1972). No sample can show a kind of row that is not in it: when 2 % of the rows cost 30 times as much as the others,
    one of three samples of 50 and one of eight of 100 has none of them, and then the true value is above the interval.
    Raises ValueError without samples, or with more of them than rows.
    """
    n, sampled = len(samples), sum(samples)
    if not 0 < n <= total or not all(isfinite(x) and x >= 0 for x in samples):
        raise ValueError("a forecast needs at least one row, none below zero, and no more rows than there are")
    mean, rest = sampled / n, total - n
    whole = sampled + rest * mean
    if n == 1 and rest:
        return Interval(whole, sampled, inf)
    if not rest or (spread := stdev(samples)) <= 1e-12 * mean:
        return Interval(whole, whole, whole)
    error = sqrt(1 / n + 1 / rest)  # of the sample's mean and of the rest's, in units of the spread
    skewness = fmean(((x - mean) / spread) ** 3 for x in samples)
    low = mean - error * spread * _unbent(student(1 - _BELOW, n), skewness, n)
    high = mean - error * spread * _unbent(student(_ABOVE, n), skewness, n)
    if min(samples) > 0:
        high = max(high, _lognormal_end(samples, error))
    return Interval(whole, sampled + rest * max(0.0, low), sampled + rest * high)


def _unbent(t: float, skewness: float, n: int) -> float:
    """The quantile of a mean's t statistic, by the inverse of Hall's transformation, which removes its skewness."""
    a = skewness / sqrt(n)
    if abs(a) < 1e-6:
        return t
    cube = 1 + a * (t - a / 6)
    return 3 / a * (copysign(abs(cube) ** (1 / 3), cube) - 1)


def _lognormal_end(samples: Sequence[float], error: float) -> float:
    logs = [log(x) for x in samples]
    n, variance = len(logs), stdev(logs) ** 2
    step = error * sqrt(variance + variance**2 * n / (2 * (n - 1)))
    return exp(min(600.0, fmean(logs) + variance / 2 + student(1 - _ABOVE, n) * step))


def student(p: float, n: int) -> float:
    """Student's t quantile with `n` - 1 degrees of freedom (Abramowitz and Stegun, 26.7.5)."""
    z, v = NormalDist().inv_cdf(p), n - 1
    terms: list[float] = [(z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96]
    return z + sum(term / float(v) ** k for k, term in enumerate(terms, 1))


def proportion(failures: int, n: int, total: int) -> Interval:
    """The share of failures, 0 to 1, among `total` rows, from `failures` in a random sample of `n`.

    Clopper and Pearson's exact interval (Biometrika 26(4), 1934), with the hypergeometric distribution instead of the
    binomial since the number of rows is finite. It covers the true value at least nine times out of ten, more often
    when failures are few. Raises ValueError for impossible counts.
    """
    if not (0 <= failures <= n <= total and n > 0):
        raise ValueError(f"no sample: {failures} failures in {n} of {total} rows")
    # The lowest and the highest number of failures in all rows under which the sample is not improbable.
    may_be = range(failures, total - n + failures + 1)
    low = bisect_left(may_be, True, key=lambda bad: _chance(n - failures, n, total - bad, total) > _TAIL)
    high = bisect_left(may_be, True, key=lambda bad: _chance(failures, n, bad, total) <= _TAIL) - 1
    return Interval(failures / n, (failures + low) / total, (failures + high) / total)


def _chance(most: int, n: int, marked: int, total: int) -> float:
    """The probability that at most `most` of the `marked` rows are among `n` rows drawn from `total`."""
    every, counts = _log_ways(total, n), range(max(0, n - total + marked), min(most, marked, n) + 1)
    return sum(exp(_log_ways(marked, k) + _log_ways(total - marked, n - k) - every) for k in counts)


def _log_ways(total: int, n: int) -> float:
    return lgamma(total + 1) - lgamma(n + 1) - lgamma(total - n + 1)


def duration(samples_s: Sequence[float], total: int, in_flight: int, elapsed_s: float = 0.0) -> Interval:
    """How many seconds `total` rows take with `in_flight` of them at a time.

    `samples_s` is how long each row of a random sample took, `elapsed_s` how long all of them took together. Of the
    rest, one row starts as another ends, until no row is left to start; then the run waits for the longest row still in
    flight. How much of a row is left at that moment is the residual life of renewal theory (Feller, vol. II, XI.4). The
    upper end allows for rows longer than any in the sample, but not for limits that only the rest runs into. Raises
    ValueError as `extrapolate` does, and without a row in flight.
    """
    if in_flight < 1:
        raise ValueError(f"no batch runs with {in_flight} rows in flight")
    work, sampled_s, rest = extrapolate(samples_s, total), sum(samples_s), total - len(samples_s)
    if not rest or not sampled_s:
        return Interval(elapsed_s, elapsed_s, elapsed_s)
    if rest <= in_flight:  # all start at once
        last = _longest(samples_s, rest)
        return Interval(elapsed_s + last.mean, elapsed_s + last.low, elapsed_s + last.high)
    left_s = sum(x * x for x in samples_s) / (2 * sampled_s)
    last = _last(samples_s, 0, in_flight)
    longest_s = max(last.high, _last(samples_s, isqrt(len(samples_s)), in_flight).high)
    mean = (work.mean - sampled_s) / in_flight - left_s + last.mean
    below = hypot((work.mean - work.low) / in_flight, last.mean - last.low)
    above = hypot((work.high - work.mean) / in_flight, longest_s - last.mean)
    return Interval(elapsed_s + mean, elapsed_s + max(0.0, mean - below), elapsed_s + mean + above)


def _longest(samples: Sequence[float], count: int) -> Interval:
    """How long the longest of `count` rows takes."""
    ordered = sorted(samples)
    within = [((i + 1) / len(ordered)) ** count for i in range(len(ordered))]
    mean = sum(x * (p - q) for x, p, q in zip(ordered, within, [0.0, *within], strict=False))
    return Interval(mean, min(mean, ordered[bisect_left(within, _TAIL)]), ordered[bisect_left(within, 1 - _TAIL)])


def _last(samples: Sequence[float], k: int, in_flight: int) -> Interval:
    """How long the last of the rows in flight takes to end.

    The tail above the `k` longest rows of the sample is a power law, as in Hill (Annals of Statistics 3(5), 1975).
    """
    ordered, n = sorted(samples), len(samples)
    k = k if ordered[n - k - 1] > 0 else 0
    start, sums = ordered[n - k - 1], list(accumulate(ordered, initial=0.0))
    slope = fmean(log(x / start) for x in ordered[n - k :]) if k else 0.0
    power = 1 / min(0.5, slope) - 1 if slope else inf

    def overrun(s: float) -> float:
        """By how much all rows together exceed `s`."""
        if s >= start:
            decay: float = (start / s) ** power
            return k * start / power * decay
        i = bisect_right(ordered, s, hi=n - k)
        return sums[n - k] - sums[i] - s * (n - k - i) + k * (start - s + start / power)

    end, every = ordered[-1] * (_REACH if k else 1), overrun(0.0)
    times = [end * (i / _STEPS) ** 2 for i in range(_STEPS + 1)]
    within = [max(0.0, 1 - overrun(time) / every) ** in_flight for time in times]
    mean = sum((1 - (p + q) / 2) * (b - a) for (a, p), (b, q) in pairwise(zip(times, within, strict=True)))
    low, high = max(0, bisect_left(within, _TAIL) - 1), min(bisect_left(within, 1 - _TAIL), _STEPS)
    return Interval(mean, times[low], times[high])
