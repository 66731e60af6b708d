"""Draws directed graphs: a `Diagram` of nodes and edges becomes a self-contained HTML page.

`model` has the values, `text` estimates the size of words, `layers`, `order` and `places` arrange the nodes, `routes`
the edges, `svg` makes the drawing and `page` the page around it. Nothing here knows about flows.
"""

from crewrun.diagram.model import Diagram, Edge, Node, Shape, Table
from crewrun.diagram.page import Picture, draw, page, write

__all__ = ["Diagram", "Edge", "Node", "Picture", "Shape", "Table", "draw", "page", "write"]
