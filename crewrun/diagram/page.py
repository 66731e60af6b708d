"""The page around a drawing: heading, legend, picture, and the same as a table. It loads nothing and runs no script."""

import os
from collections.abc import Iterator
from pathlib import Path

from crewrun.diagram.model import Diagram, Table
from crewrun.diagram.page_file import check_page
from crewrun.diagram.routes import Layout, lay_out
from crewrun.diagram.svg import sample_of_edge, sample_of_node, svg
from crewrun.diagram.text import markup
from crewrun.errors import UsageError

# Whatever the names in the user's code contain, the browser fetches nothing and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2330; --soft: #5b6575; --rule: #d9dee6; --edge: #7c8797; --well: #f7f8fa;
  --start: #0b7a4b; --start-fill: #e3f5ec; --router: #9a5b00; --router-fill: #fdf1dc;
  --plain: #2f5fb3; --plain-fill: #eaf1fc; --async: #7a3fb0; --async-fill: #f3eafb; --back: #c0392b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181f; --ink: #e8ecf2; --soft: #a2adbd; --rule: #333c4a; --edge: #8390a3; --well: #1a2029;
    --start: #4cc38a; --start-fill: #14342a; --router: #e5a84b; --router-fill: #3a2c14;
    --plain: #7fa9ee; --plain-fill: #1b2b47; --async: #c493ee; --async-fill: #33224a; --back: #ff8577;
  }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 24px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 22px; overflow-wrap: anywhere; }
p { margin: 2px 0 14px; color: var(--soft); }
ul { display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 0 0 14px; padding: 0; list-style: none; color: var(--soft);
  font-size: 13px; }
li { display: flex; align-items: center; gap: 8px; }
figure { margin: 0 0 20px; padding: 4px; overflow: auto; border: 1px solid var(--rule); border-radius: 8px;
  background: var(--well); }
figure > svg { display: block; margin: auto; }
label { display: inline-flex; gap: 6px; align-items: center; margin-bottom: 8px; font-size: 13px; color: var(--soft); }
body:has(#fit:checked) figure > svg { max-width: 100%; height: auto; }
details { color: var(--soft); } summary { cursor: pointer; margin-bottom: 8px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; color: var(--ink); }
th, td { padding: 4px 18px 4px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td:first-child, .title, .word { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.title { font-size: 13px; font-weight: 600; fill: var(--ink); }
.line { font-size: 12px; fill: var(--soft); }
.tag { font-size: 10px; font-weight: 600; letter-spacing: 0.06em; text-transform: uppercase; fill: var(--tone); }
.word { font-size: 12px; fill: var(--tone); }
.node { --tone: var(--plain); --fill: var(--plain-fill); }
.node.start { --tone: var(--start); --fill: var(--start-fill); }
.node.router { --tone: var(--router); --fill: var(--router-fill); }
.node.async { --tone: var(--async); --fill: var(--async-fill); }
.node.label, .node.open-label { --tone: var(--router); --fill: var(--paper); }
.node.and, .node.or { --tone: var(--ink); --fill: var(--paper); }
.node > rect, .node > polygon { fill: var(--fill); stroke: var(--tone); stroke-width: 1.4; }
.node.start > rect { stroke-width: 2.4; }
.node.async > rect { stroke-dasharray: 6 3; }
.node.open-label > rect { stroke-dasharray: 2 3; }
.node.or > rect { stroke-dasharray: 3 2; }
.node.and .word, .node.or .word { font-weight: 600; }
.edge { fill: none; stroke: var(--edge); stroke-width: 1.5; }
.head { fill: var(--edge); }
.edge.back { stroke: var(--back); stroke-dasharray: 7 4; }
.head.back { fill: var(--back); }
.edge.order { stroke-dasharray: 2 4; }
.edge.context { stroke: var(--plain); stroke-width: 1.8; }
.head.context { fill: var(--plain); }
.sample { flex: none; }
@media print { body { padding: 0; } label, details > summary { display: none; }
  figure { border: 0; } figure > svg { max-width: 100%; height: auto; } }
"""


def page(diagram: Diagram) -> str:
    """An HTML document that shows `diagram`."""
    layout = lay_out(diagram)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{markup(diagram.title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{markup(diagram.title)}</h1>",
            f"<p>{markup(diagram.caption)}</p>",
            *_legend(diagram, layout),
            '<label><input type="checkbox" id="fit"> fit the picture into the window</label>',
            f"<figure>{svg(diagram.title, layout)}</figure>",
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
    yield "<ul>"
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
