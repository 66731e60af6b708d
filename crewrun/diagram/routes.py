"""Routes the edges: down through the rows or, for edges that lead back, up along a detour outside the rows."""

from dataclasses import dataclass
from itertools import pairwise

from crewrun.diagram.layers import Grid, Spot, grid_of
from crewrun.diagram.model import Diagram, Edge
from crewrun.diagram.order import untangle
from crewrun.diagram.places import TRACK_GAP, place

# In pixels, chosen by eye: between parallel detours, around the picture, the radius of a detour's corners, and the
# straight piece that an arrow's head needs.
_DETOUR_GAP, _MARGIN, _CORNER, _STEM = 14.0, 24.0, 9.0, 9.0
BACK = "back"


@dataclass(frozen=True, slots=True)
class Route:
    """An edge as drawn: the commands of an SVG path, and the kind that it is drawn as."""

    edge: Edge
    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The positions of everything, in pixels from the upper left corner of a picture of `width` × `height`."""

    spots: dict[str, Spot]
    routes: list[Route]
    width: float
    height: float


@dataclass(slots=True)
class _Detour:
    """The route of an edge that leads back: sideways on a track below its source, up, then above its target."""

    edge: Edge
    source: Spot
    target: Spot
    below: int
    above: int
    x: float = 0.0
    side: int = 1


def lay_out(diagram: Diagram) -> Layout:
    """Position every node and route every edge."""
    grid = grid_of(diagram)
    untangle(grid)
    tracks = [0] * (len(grid.rows) + 1)
    detours = [_detour_of(edge, grid, tracks) for edge in grid.back]
    place(grid, tracks)
    _spread(detours, grid)
    spots = [spot for row in grid.rows for spot in row]
    left = min([*(detour.x for detour in detours), *(spot.x - spot.width / 2 for spot in spots)], default=0)
    right = max([*(detour.x for detour in detours), *(spot.x + spot.width / 2 for spot in spots)], default=0)
    bottom = max((s.y + s.height / 2 for s in grid.spots.values()), default=0)
    for spot in spots:
        spot.x, spot.y = round(spot.x - left + _MARGIN, 1), round(spot.y + _MARGIN, 1)
    for detour in detours:
        detour.x += _MARGIN - left
    routes = [Route(edge, _down(path), edge.kind) for edge, path in grid.paths]
    routes += [Route(detour.edge, _around(detour), BACK) for detour in detours]
    return Layout(
        grid.spots, routes, round(right - left + 2 * _MARGIN), round(bottom + tracks[-1] * TRACK_GAP + 2 * _MARGIN)
    )


def _detour_of(edge: Edge, grid: Grid, tracks: list[int]) -> _Detour:
    source, target = grid.spots[edge.source], grid.spots[edge.target]
    detour = _Detour(edge, source, target, tracks[source.row + 1], tracks[target.row])
    tracks[source.row + 1] += 1
    tracks[target.row] += 1
    return detour


def _spread(detours: list[_Detour], grid: Grid) -> None:
    """Give each detour an x outside the rows that it passes, on the nearer side, short ones inside long ones."""
    placed: list[_Detour] = []
    for detour in sorted(detours, key=lambda one: one.source.row - one.target.row):
        passed = [spot for row in grid.rows[detour.target.row : detour.source.row + 1] for spot in row]
        left = min(spot.x - spot.width / 2 for spot in passed)
        right = max(spot.x + spot.width / 2 for spot in passed)
        middle = (detour.source.x + detour.target.x) / 2
        detour.side = 1 if right - middle <= middle - left else -1
        detour.x = right + _DETOUR_GAP * 1.5 if detour.side > 0 else left - _DETOUR_GAP * 1.5
        parallel = [
            one
            for one in placed
            if one.side == detour.side
            and one.target.row <= detour.source.row + 1
            and one.source.row >= detour.target.row - 1
        ]
        for one in sorted(parallel, key=lambda one: one.x * one.side):
            if abs(one.x - detour.x) < _DETOUR_GAP:
                detour.x = one.x + detour.side * _DETOUR_GAP
        placed.append(detour)


def _down(spots: list[Spot]) -> str:
    """Curves between the rows that end vertically; along a row, and into an arrow, the edge runs straight down."""
    commands = [f"M{spots[0].x:g} {_bottom(spots[0]):g}"]
    for upper, lower in pairwise(spots):
        y0, y1 = _row_bottom(upper), _row_top(lower) - (_STEM if lower.node else 0)
        middle = round((y0 + y1) / 2, 1)
        if upper.x != lower.x:
            commands.append(f"V{y0:g}C{upper.x:g} {middle:g} {lower.x:g} {middle:g} {lower.x:g} {y1:g}")
    return "".join([*commands, f"V{_top(spots[-1]):g}"])


def _bottom(spot: Spot) -> float:
    return round(spot.y + spot.height / 2, 1)


def _top(spot: Spot) -> float:
    return round(spot.y - spot.height / 2, 1)


def _row_bottom(spot: Spot) -> float:
    return round(spot.y + spot.row_height / 2, 1)


def _row_top(spot: Spot) -> float:
    return round(spot.y - spot.row_height / 2, 1)


def _around(detour: _Detour) -> str:
    """Out at the bottom of the source, up outside all the rows passed, in at the top of the target."""
    start_x = round(detour.source.x + detour.side * _offset(detour.source), 1)
    end_x = round(detour.target.x + detour.side * _offset(detour.target), 1)
    low = _row_bottom(detour.source) + TRACK_GAP * (detour.below + 1)
    high = _row_top(detour.target) - TRACK_GAP * (detour.above + 1.5)
    points = [
        (start_x, _bottom(detour.source)),
        (start_x, low),
        (detour.x, low),
        (detour.x, high),
        (end_x, high),
        (end_x, _top(detour.target)),
    ]
    commands = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        into, out = _towards(x1, y1, x0, y0), _towards(x1, y1, x2, y2)
        commands.append(f"L{into[0]:g} {into[1]:g}Q{x1:g} {y1:g} {out[0]:g} {out[1]:g}")
    return "".join([*commands, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _offset(spot: Spot) -> float:
    """How far from a node's middle a detour starts or ends: apart from its other edges, on the straight part of its
    border.
    """
    return min(20.0, max(spot.width - spot.height, 0.0) / 2)


def _towards(x: float, y: float, to_x: float, to_y: float) -> tuple[float, float]:
    """The point where the rounding of a corner at (x, y) starts."""
    length = abs(to_x - x) + abs(to_y - y)
    share = min(_CORNER / length, 0.5) if length else 0.0
    return round(x + (to_x - x) * share, 1), round(y + (to_y - y) * share, 1)
