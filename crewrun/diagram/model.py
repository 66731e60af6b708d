"""What is drawn: nodes, edges between them, and the words around the picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# A box has a tag, a title and lines; a rounded one begins something, one with cut corners decides something. A join is
# a small round, a label a word on the way from one node to others.
Shape = Literal["box", "rounded", "cut", "join", "label"]


@dataclass(frozen=True, slots=True)
class Node:
    """`kind` is what the legend and the colours go by; `tip` is shown where the pointer rests."""

    id: str
    title: str
    kind: str
    shape: Shape = "box"
    tag: str = ""
    lines: tuple[str, ...] = ()
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From the node with the id `source` to that with the id `target`. Without an arrow it leads to a label."""

    source: str
    target: str
    kind: str = "plain"
    has_arrow: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """The picture in words: as many cells in each row as there are heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Diagram:
    """`legend` says what the kinds mean, in its order; those that the picture does not have are left out.

    An edge that closes a cycle is of the kind `back`, whatever its own. Nodes that come first are drawn first in such
    a cycle. Every edge's ends are among `nodes`.
    """

    title: str
    caption: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    legend: Mapping[str, str]
    table: Table
