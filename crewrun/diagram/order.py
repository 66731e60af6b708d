"""In which order the spots of each row stand, so that few edges cross: sweeps by barycentre, the best of them kept.

K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system structures", 1981.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise

from crewrun.diagram.layers import Grid, Spot

_SWEEPS = 16


def untangle(grid: Grid) -> None:
    """Reorder the rows."""
    best, fewest = [list(row) for row in grid.rows], crossings(grid.rows)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        for by, row in pairwise(grid.rows if downwards else reversed(grid.rows)):
            _sort(row, by, up=downwards)
        found = crossings(grid.rows)
        if found < fewest:
            best, fewest = [list(row) for row in grid.rows], found
    grid.rows[:] = best


def crossings(rows: Sequence[Sequence[Spot]]) -> int:
    """How often edges cross between the rows."""
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
    """Each spot goes to the mean place of what it is linked with in the row `by`; one without links stays."""
    places = {spot: float(i) for i, spot in enumerate(by)}
    wanted = {}
    for i, spot in enumerate(row):
        linked = spot.above if up else spot.below
        wanted[spot] = sum(places[one] for one in linked) / len(linked) if linked else i * len(by) / len(row)
    row.sort(key=wanted.__getitem__)
