"""A page with the data of a report, and nothing that shows them yet."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from crewrun.report.packs import Pack, encoded
from crewrun.unfinished import replacement


def write_page(to: Path | IO[bytes], head: Mapping[str, Any], packs: Iterable[Pack]) -> None:
    """Write a report to a file, all or nothing, or to an open stream. Raises OSError."""
    if isinstance(to, Path):
        with replacement(to) as part:
            with part.open("wb") as file:
                write_page(file, head, packs)
            part.replace(to)
        return
    to.write(b'<!doctype html>\n<meta charset="utf-8">\n<title>crewrun report</title>\n')
    text = encoded(head).replace(b"<", b"\\u003c")
    to.write(b'<script type="application/json" id="head">' + text + b"</script>\n")
    for name, content in packs:
        to.write(b'<script type="text/plain" class="pack" id="%s">' % name.encode() + b64encode(content))
        to.write(b"</script>\n")
