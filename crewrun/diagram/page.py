"""The page around a drawing: heading, legend, picture, and the same as a table. It loads nothing and runs no script."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crewrun.diagram.look import look
from crewrun.diagram.model import Diagram, Table
from crewrun.diagram.page_file import check_page
from crewrun.diagram.routes import Layout, lay_out
from crewrun.diagram.svg import sample_of_edge, sample_of_node, svg
from crewrun.diagram.text import markup
from crewrun.errors import UsageError

# Whatever the names in the user's code contain, the browser fetches nothing and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { padding: 24px; }
p { margin: 2px 0 14px; color: var(--soft); }
label { display: inline-flex; gap: 6px; align-items: center; margin-bottom: 8px; font-size: 13px; color: var(--soft); }
body:has(#fit:checked) figure > svg { max-width: 100%; height: auto; }
details { color: var(--soft); } summary { cursor: pointer; margin-bottom: 8px; }
td:first-child { font-family: var(--mono); }
@media print { body { padding: 0; } label, details > summary { display: none; } }
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing and its legend, as markup in which all text is escaped."""

    svg: str
    legend: str


def draw(diagram: Diagram) -> Picture:
    """The picture of `diagram`, for a page with `look.look()`."""
    layout = lay_out(diagram)
    return Picture(svg(diagram.title, layout), "\n".join(_legend(diagram, layout)))


def page(diagram: Diagram) -> str:
    """An HTML document that shows `diagram`."""
    picture = draw(diagram)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{markup(diagram.title)}</title>",
            f"<style>{look()}{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{markup(diagram.title)}</h1>",
            f"<p>{markup(diagram.caption)}</p>",
            picture.legend,
            '<label><input type="checkbox" id="fit"> fit the picture into the window</label>',
            f"<figure>{picture.svg}</figure>",
            *_table(diagram.table),
            "</body>",
            "</html>",
            "",
        ]
    )


def write(diagram: Diagram, path: str | os.PathLike[str]) -> Path:
    """Write the page to `path`, replacing an existing page, and return the path.

    Raises UsageError when it cannot be written, or when the file there is not an HTML page.
    """
    file = Path(path)
    try:
        check_page(file)
        file.write_text(page(diagram), encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{file}: the picture cannot be written: {why}") from None
    return file


def _legend(diagram: Diagram, layout: Layout) -> Iterator[str]:
    shapes = {node.kind: node.shape for node in diagram.nodes}
    lines = {route.kind for route in layout.routes}
    yield '<ul class="legend">'
    for kind, words in diagram.legend.items():
        if kind in shapes or kind in lines:
            sample = sample_of_node(kind, shapes[kind]) if kind in shapes else sample_of_edge(kind)
            yield f"<li>{sample}{markup(words)}</li>"
    yield "</ul>"


def _table(table: Table) -> Iterator[str]:
    yield "<details open><summary>In words</summary>"
    yield '<div class="scroll"><table>'
    yield f"<thead><tr>{''.join(f'<th>{markup(head)}</th>' for head in table.heads)}</tr></thead><tbody>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{markup(cell)}</td>' for cell in row)}</tr>"
    yield "</tbody></table></div></details>"
