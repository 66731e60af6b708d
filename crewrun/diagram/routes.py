"""How edges get from node to node: down through the rows, or, where they lead back, up in a lane beside them."""

from dataclasses import dataclass
from itertools import pairwise

from crewrun.diagram.layers import Grid, Spot, grid_of
from crewrun.diagram.model import Diagram, Edge
from crewrun.diagram.order import untangle
from crewrun.diagram.places import TRACK_GAP, place

_LANE_GAP, _MARGIN, _CORNER, _STEM = 14.0, 24.0, 9.0, 9.0
BACK = "back"


@dataclass(frozen=True, slots=True)
class Route:
    """An edge as it is drawn: the commands of an SVG path, and its kind."""

    edge: Edge
    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is, in pixels from the upper left corner of a picture of `width` × `height`."""

    spots: dict[str, Spot]
    routes: list[Route]
    width: float
    height: float


@dataclass(slots=True)
class _Lane:
    """The way of an edge that leads back: sideways on a track below its source and one above its target."""

    edge: Edge
    source: Spot
    target: Spot
    below: int
    above: int
    x: float = 0.0
    side: int = 1


def lay_out(diagram: Diagram) -> Layout:
    """Find a place for every node and a way for every edge."""
    grid = grid_of(diagram)
    untangle(grid)
    tracks = [0] * (len(grid.rows) + 1)
    lanes = [_lane(edge, grid, tracks) for edge in grid.back]
    place(grid, tracks)
    _spread(lanes, grid)
    spots = [spot for row in grid.rows for spot in row]
    left = min([*(lane.x for lane in lanes), *(spot.x - spot.width / 2 for spot in spots)], default=0)
    right = max([*(lane.x for lane in lanes), *(spot.x + spot.width / 2 for spot in spots)], default=0)
    bottom = max((s.y + s.height / 2 for s in grid.spots.values()), default=0)
    for spot in spots:
        spot.x, spot.y = round(spot.x - left + _MARGIN, 1), round(spot.y + _MARGIN, 1)
    for lane in lanes:
        lane.x += _MARGIN - left
    routes = [Route(edge, _down(way), edge.kind) for edge, way in grid.ways]
    routes += [Route(lane.edge, _around(lane), BACK) for lane in lanes]
    return Layout(
        grid.spots, routes, round(right - left + 2 * _MARGIN), round(bottom + tracks[-1] * TRACK_GAP + 2 * _MARGIN)
    )


def _lane(edge: Edge, grid: Grid, tracks: list[int]) -> _Lane:
    source, target = grid.spots[edge.source], grid.spots[edge.target]
    lane = _Lane(edge, source, target, tracks[source.row + 1], tracks[target.row])
    tracks[source.row + 1] += 1
    tracks[target.row] += 1
    return lane


def _spread(lanes: list[_Lane], grid: Grid) -> None:
    """Give each lane an x outside of the rows that it passes, on the nearer side, short ones inside of long ones."""
    taken: list[_Lane] = []
    for lane in sorted(lanes, key=lambda one: one.source.row - one.target.row):
        passed = [spot for row in grid.rows[lane.target.row : lane.source.row + 1] for spot in row]
        left = min(spot.x - spot.width / 2 for spot in passed)
        right = max(spot.x + spot.width / 2 for spot in passed)
        middle = (lane.source.x + lane.target.x) / 2
        lane.side = 1 if right - middle <= middle - left else -1
        lane.x = right + _LANE_GAP * 1.5 if lane.side > 0 else left - _LANE_GAP * 1.5
        beside = [
            one
            for one in taken
            if one.side == lane.side and one.target.row <= lane.source.row + 1 and one.source.row >= lane.target.row - 1
        ]
        for one in sorted(beside, key=lambda one: one.x * one.side):
            if abs(one.x - lane.x) < _LANE_GAP:
                lane.x = one.x + lane.side * _LANE_GAP
        taken.append(lane)


def _down(way: list[Spot]) -> str:
    """Curves between the rows that are upright at both ends; past a row, and into an arrow, the edge goes straight."""
    commands = [f"M{way[0].x:g} {_bottom(way[0]):g}"]
    for upper, lower in pairwise(way):
        y0, y1 = _row_bottom(upper), _row_top(lower) - (_STEM if lower.node else 0)
        middle = round((y0 + y1) / 2, 1)
        if upper.x != lower.x:
            commands.append(f"V{y0:g}C{upper.x:g} {middle:g} {lower.x:g} {middle:g} {lower.x:g} {y1:g}")
    return "".join([*commands, f"V{_top(way[-1]):g}"])


def _bottom(spot: Spot) -> float:
    return round(spot.y + spot.height / 2, 1)


def _top(spot: Spot) -> float:
    return round(spot.y - spot.height / 2, 1)


def _row_bottom(spot: Spot) -> float:
    return round(spot.y + spot.row_height / 2, 1)


def _row_top(spot: Spot) -> float:
    return round(spot.y - spot.row_height / 2, 1)


def _around(lane: _Lane) -> str:
    """Out at the bottom, up beside everything, in at the top."""
    start_x = round(lane.source.x + lane.side * _aside(lane.source), 1)
    end_x = round(lane.target.x + lane.side * _aside(lane.target), 1)
    low = _row_bottom(lane.source) + TRACK_GAP * (lane.below + 1)
    high = _row_top(lane.target) - TRACK_GAP * (lane.above + 1.5)
    points = [
        (start_x, _bottom(lane.source)),
        (start_x, low),
        (lane.x, low),
        (lane.x, high),
        (end_x, high),
        (end_x, _top(lane.target)),
    ]
    commands = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        into, out = _towards(x1, y1, x0, y0), _towards(x1, y1, x2, y2)
        commands.append(f"L{into[0]:g} {into[1]:g}Q{x1:g} {y1:g} {out[0]:g} {out[1]:g}")
    return "".join([*commands, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _aside(spot: Spot) -> float:
    """How far from its middle such an edge leaves a node, beside those that lead on; on the straight of its border."""
    return min(20.0, max(spot.width - spot.height, 0.0) / 2)


def _towards(x: float, y: float, to_x: float, to_y: float) -> tuple[float, float]:
    """The point where the rounding of a corner at (x, y) begins."""
    length = abs(to_x - x) + abs(to_y - y)
    share = min(_CORNER / length, 0.5) if length else 0.0
    return round(x + (to_x - x) * share, 1), round(y + (to_y - y) * share, 1)
