"""Assigns each node a row, below all nodes that lead to it. Rows that would become too wide are split."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import pairwise

from crewrun.diagram.model import Diagram, Edge, Node
from crewrun.diagram.text import size_of

# In pixels, chosen by eye: 28 keeps boxes apart at a glance, and half of it is enough between two lines.
NODE_GAP, EDGE_GAP = 28.0, 14.0
# The widest row: what a usual screen shows without scrolling, and about eight nodes.
_ROW_WIDTH = 1500.0

Ahead = Mapping[str, list[Edge]]


@dataclass(slots=True, eq=False)
class Spot:
    """A place in a row, for a node or for an edge that passes through the row (`node` is None). `x` and `y` are its
    centre, `row_height` the height of the tallest spot in the row.
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
        """The distance to keep from its neighbours."""
        return EDGE_GAP if self.node is None else NODE_GAP


@dataclass(slots=True)
class Grid:
    """The rows from top to bottom. `paths` has the spots that each edge passes, from its source to its target.

    The edges in `back` lead upwards, or back to their own node, and have no spots.
    """

    rows: list[list[Spot]]
    spots: dict[str, Spot]
    paths: list[tuple[Edge, list[Spot]]]
    back: list[Edge]


def grid_of(diagram: Diagram) -> Grid:
    """The rows, each in the order of the diagram's nodes, with linked spots connected."""
    back = set(_back_edges(diagram))
    forward = [edge for edge in diagram.edges if edge not in back]
    spots = {
        node.id: Spot(node, row, *size_of(node))
        for node, row in zip(diagram.nodes, _rows(diagram, forward), strict=True)
    }
    rows: list[list[Spot]] = [[] for _ in range(max((spot.row for spot in spots.values()), default=-1) + 1)]
    for spot in spots.values():
        rows[spot.row].append(spot)
    paths = [(edge, _path_between(spots[edge.source], spots[edge.target], rows)) for edge in forward]
    return Grid(rows, spots, paths, [edge for edge in diagram.edges if edge in back])


def _path_between(source: Spot, target: Spot, rows: list[list[Spot]]) -> list[Spot]:
    path = [source, *(Spot(None, row) for row in range(source.row + 1, target.row)), target]
    for spot in path[1:-1]:
        rows[spot.row].append(spot)
    for upper, lower in pairwise(path):
        upper.below.append(lower)
        lower.above.append(upper)
    return path


def _outgoing(diagram: Diagram, edges: Sequence[Edge]) -> Ahead:
    outgoing: dict[str, list[Edge]] = {node.id: [] for node in diagram.nodes}
    for edge in edges:
        outgoing[edge.source].append(edge)
    return outgoing


def _back_edges(diagram: Diagram) -> Iterator[Edge]:
    """The edges that close a cycle: in a depth-first walk, those to a node on the current path."""
    outgoing = _outgoing(diagram, diagram.edges)
    visited: set[str] = set()
    for node in diagram.nodes:
        if node.id in visited:
            continue
        visited.add(node.id)
        path = {node.id: iter(outgoing[node.id])}
        while path:
            here = next(reversed(path))
            edge = next(path[here], None)
            if edge is None:
                del path[here]
            elif edge.target in path:
                yield edge
            elif edge.target not in visited:
                visited.add(edge.target)
                path[edge.target] = iter(outgoing[edge.target])


def _rows(diagram: Diagram, edges: list[Edge]) -> list[int]:
    """The row of each node. If a row has no room for all, nodes with the longest chains below them come first."""
    outgoing = _outgoing(diagram, edges)
    waits = {node.id: 0 for node in diagram.nodes}
    for edge in edges:
        waits[edge.target] += 1
    ranks = _ranks(outgoing)
    widths = {node.id: size_of(node)[0] + NODE_GAP for node in diagram.nodes}
    ready = [name for name, count in waits.items() if not count]
    rows: dict[str, int] = {}
    row = 0
    while ready:
        taken, ready = _fitting(sorted(ready, key=ranks.__getitem__), widths)
        rows.update(dict.fromkeys(taken, row))
        for edge in (edge for name in taken for edge in outgoing[name]):
            waits[edge.target] -= 1
            ready += [] if waits[edge.target] else [edge.target]
        row += 1
    return [rows[node.id] for node in diagram.nodes]


def _fitting(names: list[str], widths: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """The names that fit into one row, at least one, and the rest."""
    room, taken, left = _ROW_WIDTH, list[str](), list[str]()
    for name in names:
        fits = not taken or widths[name] <= room
        (taken if fits else left).append(name)
        room -= widths[name] if fits else 0
    return taken, left


def _ranks(outgoing: Ahead) -> dict[str, tuple[int, int]]:
    """Sort keys: nodes with the longest path below them come first, then those that come first in the diagram."""
    heights: dict[str, int] = {}
    onwards = {name: [edge.target for edge in edges] for name, edges in outgoing.items()}
    for name in TopologicalSorter(onwards).static_order():  # targets before their sources
        heights[name] = max((heights[target] + 1 for target in onwards[name]), default=0)
    return {name: (-heights[name], position) for position, name in enumerate(outgoing)}
