"""A drawing by itself, as an SVG image: it has its own colours and needs no page."""

from base64 import b64encode

from crewrun.diagram.look import look
from crewrun.diagram.model import Diagram
from crewrun.diagram.routes import lay_out
from crewrun.diagram.svg import svg

# An image does not know the theme of the page around it, so it brings its background.
_STYLE = "svg { background: var(--paper); font-family: var(--sans); }"


def image_url(diagram: Diagram) -> str:
    """The picture of `diagram` as a `data:` address. In an `<img>` it can neither run nor fetch anything."""
    drawing = svg(diagram.title, lay_out(diagram))
    begin = drawing.index(">") + 1
    document = f"{drawing[:begin]}<style><![CDATA[{look()}{_STYLE}]]></style>{drawing[begin:]}"
    return f"data:image/svg+xml;base64,{b64encode(document.encode('utf-8', 'replace')).decode()}"
