"""Positions the spots of ordered rows, in pixels: close to their neighbours in other rows, and never overlapping."""

from collections.abc import Sequence
from itertools import pairwise

from crewrun.diagram.layers import Grid, Spot

# Each pass moves a row as far as its neighbours allow, so long chains need several. These are far more than the rows of
# a usual flow, and 60 nodes with 110 edges are still laid out in under a second.
_SWEEPS, _STRAIGHTENINGS = 48, 12
# In pixels, chosen by eye. A spot that is off by less than half a node's gap looks like a mistake, so it is aligned.
ROW_GAP, MOST_ROW_GAP = 40.0, 120.0
TRACK_GAP = 12.0
_ALMOST = 14.0
# Keeping long edges straight takes precedence over centring nodes: the weights of Gansner et al., "A technique for
# drawing directed graphs", 1993, section 4.
_NODE_WEIGHT, _END_WEIGHT, _EDGE_WEIGHT = 1.0, 2.0, 8.0


def place(grid: Grid, tracks: Sequence[int]) -> None:
    """Set every spot's `x` and `y`. `tracks` counts the edges that run sideways above each row, and below the last."""
    for row in grid.rows:
        _settle(row, [0.0] * len(row), [1.0] * len(row))
    for sweep in range(_SWEEPS):
        rows = grid.rows if sweep % 2 == 0 else list(reversed(grid.rows))
        for row in rows[1:]:
            _pull(row, up=sweep % 2 == 0, both=sweep >= _SWEEPS / 2)
    for _ in range(_STRAIGHTENINGS):
        _straighten(grid)
    for row in grid.rows[1:]:
        _align(row)
    y = tracks[0] * TRACK_GAP if tracks else 0.0
    for i, row in enumerate(grid.rows):
        height = max(spot.height for spot in row)
        for spot in row:
            spot.y, spot.row_height = y + height / 2, height
        y += height + _gap_below(row) + tracks[i + 1] * TRACK_GAP


def _gap_below(row: Sequence[Spot]) -> float:
    """Wider where edges run far to the side, so that they are not too flat."""
    farthest = max((abs(spot.x - one.x) for spot in row for one in spot.below), default=0.0)
    return min(ROW_GAP + max(farthest - 160, 0) * 0.08, MOST_ROW_GAP)


def _pull(row: Sequence[Spot], *, up: bool, both: bool) -> None:
    """Move the row's spots towards their neighbours in the row above, the row below, or both."""
    targets, weights = [], []
    for spot in row:
        linked = [*spot.above, *spot.below] if both else spot.above if up else spot.below
        pulls = [(one.x, _weight(spot, one)) for one in linked]
        total = sum(weight for _, weight in pulls)
        targets.append(sum(x * weight for x, weight in pulls) / total if pulls else spot.x)
        weights.append(total if pulls else 0.1)
    _settle(row, targets, weights)


def _straighten(grid: Grid) -> None:
    """Align the spots of each edge that passes several rows, as far as other spots allow."""
    targets: dict[Spot, float] = {}
    for _, path in grid.paths:
        passing = path[1:-1]
        targets.update(dict.fromkeys(passing, sum(spot.x for spot in passing) / max(len(passing), 1)))
    for row in grid.rows:
        weights = [_EDGE_WEIGHT if spot.node is None else _NODE_WEIGHT for spot in row]
        _settle(row, [targets.get(spot, spot.x) for spot in row], weights)


def _align(row: Sequence[Spot]) -> None:
    """Move spots that are almost below a neighbour exactly below it."""
    targets = []
    for spot in row:
        away = min((one.x - spot.x for one in spot.above), key=abs, default=0.0)
        targets.append(spot.x + away if abs(away) <= _ALMOST else spot.x)
    _settle(row, targets, [1.0] * len(row))


def _weight(one: Spot, two: Spot) -> float:
    if one.node is None and two.node is None:
        return _EDGE_WEIGHT
    return _END_WEIGHT if one.node is None or two.node is None else _NODE_WEIGHT


def _settle(row: Sequence[Spot], targets: Sequence[float], weights: Sequence[float]) -> None:
    """Give the spots, in their order, the x nearest to `targets` (least squares) that keeps them apart.

    After subtracting the minimum distances this is isotonic regression: neighbours that would overlap are pooled, and
    each pool is placed at the weighted mean of its spots' targets.
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + min(left.gap, right.gap))
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many spots
    for x, weight, offset in zip(targets, weights, offsets, strict=True):
        mean, total, size = x - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            other, other_weight, other_size = pools.pop()
            mean = (mean * total + other * other_weight) / (total + other_weight)
            total, size = total + other_weight, size + other_size
        pools.append((mean, total, size))
    means = [mean for mean, _, size in pools for _ in range(size)]
    for spot, mean, offset in zip(row, means, offsets, strict=True):
        spot.x = mean + offset
