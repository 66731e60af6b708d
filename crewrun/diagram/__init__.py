"""Pictures of what follows what: a `Diagram` of nodes and edges becomes a page that needs nothing but itself.

`model` has the values, `text` how much room words take, `layers`, `order` and `places` where the nodes go, `routes` how
edges get from one to the other, `svg` the drawing and `page` the page around it. Nothing here knows what a flow is.
"""

from crewrun.diagram.model import Diagram, Edge, Node, Shape, Table
from crewrun.diagram.page import page, write

__all__ = ["Diagram", "Edge", "Node", "Shape", "Table", "page", "write"]
