"""Histograms: how many values lie between which edges."""

from bisect import bisect_right
from collections.abc import Sequence
from math import isqrt, log10
from typing import Any, Final

_MOST_BINS: Final = 24
_WIDEST: Final = 1e9  # the span of bins that grow
_LOG_FROM: Final = 30.0  # the largest by the smallest, from where bins that grow show more


def histogram(values: Sequence[float]) -> dict[str, Any] | None:
    """`edges`, one more than `counts`; a value is in the bin whose lower edge it has reached, the largest in the last.

    The edges grow by a factor where the positive values spread widely; values below the smallest positive one then have
    a bin of their own. None without values.
    """
    if not values:
        return None
    low, high = min(values), max(values)
    if low == high:
        return {"edges": [low, high], "counts": [len(values)]}
    edges = _edges(values, low, high)
    counts = [0] * (len(edges) - 1)
    last = len(counts) - 1
    for value in values:
        counts[min(max(bisect_right(edges, value) - 1, 0), last)] += 1
    return {"edges": [float(f"{edge:.9g}") for edge in edges], "counts": counts}


def _edges(values: Sequence[float], low: float, high: float) -> list[float]:
    bins = min(_MOST_BINS, 2 * isqrt(len(values)) + 1)
    least = max(min((value for value in values if value > 0), default=0.0), high / _WIDEST)
    if low < 0 or least <= 0 or high / least < _LOG_FROM:
        return [low + (high - low) * i / bins for i in range(bins)] + [high]
    span = log10(high / least)
    grown = [least * 10 ** (span * i / bins) for i in range(bins)] + [high]
    return [low, *grown] if low < least else grown
