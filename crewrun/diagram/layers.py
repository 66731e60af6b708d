"""Which row each node goes into: below all that leads to it. Rows that would become too wide are broken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import pairwise

from crewrun.diagram.model import Diagram, Edge, Node
from crewrun.diagram.text import size_of

NODE_GAP, EDGE_GAP = 28.0, 14.0
_ROW_WIDTH = 1500.0

Ahead = Mapping[str, list[Edge]]


@dataclass(slots=True, eq=False)
class Spot:
    """A place in a row: that of a node, or of an edge that passes by (`node` None). `x` and `y` are its middle.

    `row_height` is that of the highest spot in its row.
    """

    node: Node | None
    row: int
    width: float = 0.0
    height: float = 0.0
    row_height: float = 0.0
    x: float = 0.0
    y: float = 0.0
    above: "list[Spot]" = field(default_factory=list)
    below: "list[Spot]" = field(default_factory=list)

    @property
    def gap(self) -> float:
        """How far away others keep from it."""
        return EDGE_GAP if self.node is None else NODE_GAP


@dataclass(slots=True)
class Grid:
    """The rows from top to bottom; `ways` has the spots that each edge leads through, from its source to its target.

    The edges in `back` lead upwards, or to where they come from, and have no spots of their own.
    """

    rows: list[list[Spot]]
    spots: dict[str, Spot]
    ways: list[tuple[Edge, list[Spot]]]
    back: list[Edge]


def grid_of(diagram: Diagram) -> Grid:
    """The rows, in the order of the diagram's nodes, and what is linked with what."""
    back = set(_back_edges(diagram))
    forward = [edge for edge in diagram.edges if edge not in back]
    spots = {
        node.id: Spot(node, row, *size_of(node))
        for node, row in zip(diagram.nodes, _rows(diagram, forward), strict=True)
    }
    rows: list[list[Spot]] = [[] for _ in range(max((spot.row for spot in spots.values()), default=-1) + 1)]
    for spot in spots.values():
        rows[spot.row].append(spot)
    ways = [(edge, _way(spots[edge.source], spots[edge.target], rows)) for edge in forward]
    return Grid(rows, spots, ways, [edge for edge in diagram.edges if edge in back])


def _way(source: Spot, target: Spot, rows: list[list[Spot]]) -> list[Spot]:
    way = [source, *(Spot(None, row) for row in range(source.row + 1, target.row)), target]
    for spot in way[1:-1]:
        rows[spot.row].append(spot)
    for upper, lower in pairwise(way):
        upper.below.append(lower)
        lower.above.append(upper)
    return way


def _leaving(diagram: Diagram, edges: Sequence[Edge]) -> Ahead:
    leaving: dict[str, list[Edge]] = {node.id: [] for node in diagram.nodes}
    for edge in edges:
        leaving[edge.source].append(edge)
    return leaving


def _back_edges(diagram: Diagram) -> Iterator[Edge]:
    """Those that lead to where a walk from the first nodes has come through."""
    leaving = _leaving(diagram, diagram.edges)
    known: set[str] = set()
    for node in diagram.nodes:
        if node.id in known:
            continue
        known.add(node.id)
        path = {node.id: iter(leaving[node.id])}
        while path:
            here = next(reversed(path))
            edge = next(path[here], None)
            if edge is None:
                del path[here]
            elif edge.target in path:
                yield edge
            elif edge.target not in known:
                known.add(edge.target)
                path[edge.target] = iter(leaving[edge.target])


def _rows(diagram: Diagram, edges: list[Edge]) -> list[int]:
    """The row of each node. Where a row has no room for all, those that most depends on come first."""
    leaving = _leaving(diagram, edges)
    waits = {node.id: 0 for node in diagram.nodes}
    for edge in edges:
        waits[edge.target] += 1
    ranks = _ranks(leaving)
    widths = {node.id: size_of(node)[0] + NODE_GAP for node in diagram.nodes}
    ready = [name for name, count in waits.items() if not count]
    rows: dict[str, int] = {}
    row = 0
    while ready:
        taken, ready = _fitting(sorted(ready, key=ranks.__getitem__), widths)
        rows.update(dict.fromkeys(taken, row))
        for edge in (edge for name in taken for edge in leaving[name]):
            waits[edge.target] -= 1
            ready += [] if waits[edge.target] else [edge.target]
        row += 1
    return [rows[node.id] for node in diagram.nodes]


def _fitting(names: list[str], widths: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """The names that one row has room for, at least one, and the others."""
    room, taken, left = _ROW_WIDTH, list[str](), list[str]()
    for name in names:
        fits = not taken or widths[name] <= room
        (taken if fits else left).append(name)
        room -= widths[name] if fits else 0
    return taken, left


def _ranks(leaving: Ahead) -> dict[str, tuple[int, int]]:
    """What comes first: that from which the longest way leads on, then that which the diagram has first."""
    heights: dict[str, int] = {}
    onwards = {name: [edge.target for edge in edges] for name, edges in leaving.items()}
    for name in TopologicalSorter(onwards).static_order():  # the last ones first
        heights[name] = max((heights[target] + 1 for target in onwards[name]), default=0)
    return {name: (-heights[name], position) for position, name in enumerate(leaving)}
