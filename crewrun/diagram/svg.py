"""The drawing itself: one `<g>` per node and one `<path>` per edge. Colours come from the page's style sheet.

`data-node`, `data-from` and `data-to` hold the ids, for programs that read the picture.
"""

from collections.abc import Iterator

from crewrun.diagram.layers import Spot
from crewrun.diagram.model import Node, Shape
from crewrun.diagram.routes import Layout, Route
from crewrun.diagram.text import LINE_HEIGHT, PADDING_PX, TAG_HEIGHT, TITLE_HEIGHT, markup, short

_CUT = 12.0  # pixels that the corners of a "cut" box lose, chosen by eye


def svg(title: str, layout: Layout) -> str:
    """The picture as an `<svg>` element labelled `title`."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{markup(title)}" '
            f'viewBox="0 0 {layout.width:g} {layout.height:g}" width="{layout.width:g}" height="{layout.height:g}">',
            *_arrows(layout),
            *(_edge(route) for route in layout.routes),
            *(line for spot in layout.spots.values() if spot.node for line in _node(spot.node, spot)),
            "</svg>",
        ]
    )


def sample_of_node(kind: str, shape: Shape) -> str:
    """A small node, for the legend."""
    return _sample(f'<g class="node {kind}">{_outline(shape, 1, 1, 32, 16)}</g>')


def sample_of_edge(kind: str) -> str:
    """A short edge, for the legend."""
    return _sample(f'<path class="edge {kind}" d="M2 9H31" marker-end="url(#arrow-{kind})"/>')


def _sample(drawn: str) -> str:
    return f'<svg class="sample" width="34" height="18" viewBox="0 0 34 18" aria-hidden="true">{drawn}</svg>'


def _arrows(layout: Layout) -> Iterator[str]:
    """An arrow head for each kind of edge, since not every browser lets a head inherit the colour of its line."""
    yield "<defs>"
    for kind in sorted({route.kind for route in layout.routes}):
        yield (
            f'<marker id="arrow-{kind}" class="head {kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path d="M0 0L10 5L0 10z"/>'
            "</marker>"
        )
    yield "</defs>"


def _edge(route: Route) -> str:
    head = f' marker-end="url(#arrow-{route.kind})"' if route.edge.has_arrow else ""
    ends = f'data-from="{markup(route.edge.source)}" data-to="{markup(route.edge.target)}"'
    return f'<path class="edge {route.kind}" {ends} d="{route.path}"{head}/>'


def _node(node: Node, spot: Spot) -> Iterator[str]:
    x, y = round(spot.x - spot.width / 2, 1), round(spot.y - spot.height / 2, 1)
    yield f'<g class="node {node.kind}" data-node="{markup(node.id)}">'
    if node.tip:
        yield f"<title>{markup(node.tip)}</title>"
    yield _outline(node.shape, x, y, spot.width, spot.height)
    if node.shape in ("join", "label"):
        yield _text("word", spot.x, spot.y + 4, short(node.title), anchor="middle")
    else:
        yield from _words(node, x + PADDING_PX, y + 9)
    yield "</g>"


def _words(node: Node, x: float, y: float) -> Iterator[str]:
    if node.tag:
        y += TAG_HEIGHT
        yield _text("tag", x, y - 3, node.tag)
    y += TITLE_HEIGHT
    yield _text("title", x, y - 4.5, short(node.title))
    for line in node.lines:
        y += LINE_HEIGHT
        yield _text("line", x, y - 3.5, line)


def _text(kind: str, x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{markup(words)}</text>'


def _outline(shape: Shape, x: float, y: float, width: float, height: float) -> str:
    if shape == "cut":
        cut = min(_CUT, height / 2)
        left, right, top, bottom = x, x + width, y, y + height
        points = [
            (left + cut, top),
            (right - cut, top),
            (right, top + cut),
            (right, bottom - cut),
            (right - cut, bottom),
            (left + cut, bottom),
            (left, bottom - cut),
            (left, top + cut),
        ]
        return f'<polygon points="{" ".join(f"{px:g},{py:g}" for px, py in points)}"/>'
    radius = {"box": 5.0, "rounded": 18.0, "join": 11.0, "label": 11.0}[shape]
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{min(radius, height / 2, width / 2):g}"/>'
    )
