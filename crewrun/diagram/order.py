"""Orders the spots in each row so that few edges cross: barycentre sweeps, of which the best one is kept.

K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system structures", 1981.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise

from crewrun.diagram.layers import Grid, Spot

# Graphviz's dot allows 24 iterations for graphs that are far larger than a flow.
_SWEEPS = 16


def untangle(grid: Grid) -> None:
    """Reorder the rows of `grid` in place."""
    best, fewest = [list(row) for row in grid.rows], crossings(grid.rows)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        for by, row in pairwise(grid.rows if downwards else reversed(grid.rows)):
            _sort(row, by, up=downwards)
        count = crossings(grid.rows)
        if count < fewest:
            best, fewest = [list(row) for row in grid.rows], count
    grid.rows[:] = best


def crossings(rows: Sequence[Sequence[Spot]]) -> int:
    """How many times edges cross between the rows."""
    count = 0
    for upper, lower in pairwise(rows):
        place = {spot: i for i, spot in enumerate(lower)}
        ends: list[int] = []
        for spot in upper:
            reached = sorted(place[one] for one in spot.below)
            count += sum(len(ends) - bisect_right(ends, end) for end in reached)
            for end in reached:
                insort(ends, end)
    return count


def _sort(row: list[Spot], by: Sequence[Spot], *, up: bool) -> None:
    """Sort `row` by the mean position of each spot's neighbours in the row `by`; a spot without neighbours stays."""
    places = {spot: float(i) for i, spot in enumerate(by)}
    targets = {}
    for i, spot in enumerate(row):
        linked = spot.above if up else spot.below
        targets[spot] = sum(places[one] for one in linked) / len(linked) if linked else i * len(by) / len(row)
    row.sort(key=targets.__getitem__)
