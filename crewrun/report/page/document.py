"""Writes the page. The data are elements of types that no browser runs; the script reads them as text."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from crewrun.diagram.text import markup
from crewrun.report.page.assets import policy, script, style
from crewrun.unfinished import replacement


def write_page(
    to: str | os.PathLike[str] | IO[bytes], head: Mapping[str, Any], packs: Iterable[tuple[str, bytes]]
) -> None:
    """Write a report to a file, or to an open binary stream.

    `head` is what the page shows at once; `head["diagram"]["svg"]` and `["legend"]` are markup of `crewrun.diagram`.
    `packs` are names and base64 of gzip-compressed JSON, which are written as they come, one in memory at a time. A
    file is replaced when the page is complete, and readable by its owner only. Raises OSError.
    """
    if not isinstance(to, str | os.PathLike):
        to.writelines(_pieces(head, packs))
        return
    path = Path(to)
    with replacement(path) as part:
        with part.open("wb") as file:
            file.writelines(_pieces(head, packs))
        os.replace(part, path)


def _pieces(head: Mapping[str, Any], packs: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    diagram = head.get("diagram") or {}
    data = {**head, "diagram": {**diagram, "svg": None, "legend": None} if diagram else None}
    yield _before(str(head.get("title") or "crewrun report"), diagram).encode()
    yield b'<script type="application/json" id="head">' + as_text(data).encode() + b"</script>\n"
    yield f"<script>{script()}</script>\n".encode()
    for name, content in packs:
        yield f'<script type="text/plain" class="pack" id="{markup(name)}">'.encode()
        yield content
        yield b"</script>\n"
    yield b"</body>\n</html>\n"


def as_text(data: Any) -> str:
    """JSON in ASCII without `<`, `>` and `&`: no value can end its element, begin a comment, or be half a character."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _before(title: str, diagram: Mapping[str, Any]) -> str:
    """Everything before the data. What a browser without scripts shows is one sentence."""
    figure = f"<figure>{diagram['svg']}</figure>{diagram.get('legend') or ''}" if diagram.get("svg") else ""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy()}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{markup(title)}</title>",
            f"<style>{style()}</style>",
            "</head>",
            '<body class="report">',
            "<noscript><p>This report needs JavaScript: it draws everything from the data in this file.</p></noscript>",
            f'<div id="drawing" hidden>{figure}</div>',
            "",
        ]
    )
