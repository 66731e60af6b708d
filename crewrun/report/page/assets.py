"""The scripts and styles of the page: one text each, and their hashes for the Content-Security-Policy."""

import hashlib
import re
from base64 import b64encode
from functools import cache
from importlib.resources import files

from crewrun.diagram.look import look

# In the order in which they are run: a script imports from those before it.
SCRIPTS = (
    "dom",
    "format",
    "packs",
    "values",
    "words",
    "row_link",
    "charts",
    "columns",
    "texts",
    "query",
    "shown_columns",
    "table",
    "filters",
    "drawer",
    "detail",
    "overview",
    "crew",
    "timeline",
    "distributions",
    "failures",
    "comparison",
    "scores",
    "theme",
    "main",
)
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./(\w+)\.js\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|let|class)", re.MULTILINE)


@cache
def script() -> str:
    """All scripts as one: without their imports and exports, since they share one scope."""
    return (
        '"use strict";\n(() => {\n'
        + "\n".join(_EXPORT.sub("", _IMPORT.sub("", source(s))) for s in SCRIPTS)
        + "})();\n"
    )


@cache
def style() -> str:
    """The look that all our pages share, and what only the report has."""
    return look() + files(__package__).joinpath("report.css").read_text(encoding="utf-8")


def source(name: str) -> str:
    """The script called `name`, as it is in this folder."""
    return files(__package__).joinpath(f"{name}.js").read_text(encoding="utf-8")


def policy() -> str:
    """The Content-Security-Policy: nothing is loaded or sent, and only our own script and style apply."""
    return (
        f"default-src 'none'; script-src '{_digest(script())}'; style-src '{_digest(style())}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
