"""What is drawn: nodes, the edges between them, and the text around the picture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

# A box has a tag, a title and lines; a rounded box starts something, one with cut corners decides something. A join is
# a small circle, a label a word between one node and others.
Shape = Literal["box", "rounded", "cut", "join", "label"]


@dataclass(frozen=True, slots=True)
class Node:
    """One node. `kind` selects its colour and its entry in the legend; `tip` is its tooltip."""

    id: str
    title: str
    kind: str
    shape: Shape = "box"
    tag: str = ""
    lines: tuple[str, ...] = ()
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From the node with the id `source` to the one with the id `target`. An edge to a label has no arrow."""

    source: str
    target: str
    kind: str = "plain"
    has_arrow: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """The same content as a table. Each row has as many cells as there are `heads`."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Diagram:
    """A graph to draw. `legend` explains the kinds, in its own order; kinds that do not occur are left out.

    An edge that closes a cycle is drawn as kind `back`, whatever its own kind. In a cycle, nodes that come first in
    `nodes` are drawn on top. Both ends of every edge are in `nodes`.
    """

    title: str
    caption: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    legend: Mapping[str, str]
    table: Table

    def with_lines(self, lines: Mapping[str, tuple[str, ...]]) -> "Diagram":
        """The same with more `lines`, by the titles of boxes, below those that they have."""
        nodes = tuple(
            node if node.shape in ("join", "label") else replace(node, lines=(*node.lines, *lines.get(node.title, ())))
            for node in self.nodes
        )
        return replace(self, nodes=nodes)
