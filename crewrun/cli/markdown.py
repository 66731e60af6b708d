"""A page of the manual for a terminal: its Markdown in colours."""

import re
import shutil
from io import StringIO

from rich.console import Console
from rich.markdown import Markdown
from rich.theme import Theme

from crewrun.manual import Page

# Longer lines are hard to read; a wider terminal leaves the rest empty.
_MOST_COLUMNS = 100
# Rich's own style of code has a black background, a bar on a light terminal; these use the terminal's own colours.
_THEME = Theme({"markdown.code": "bold cyan", "markdown.h2": "bold magenta", "markdown.h3": "bold"})
_CODE_THEME = "ansi_light"
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def render(page: Page) -> str:
    """The page as wide as the terminal, with colours unless NO_COLOR or TERM forbid them."""
    text = StringIO()
    width = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    console = Console(file=text, width=width, theme=_THEME, force_terminal=True, highlight=False)
    console.print(Markdown(_LINK.sub(_name_page, page.text), code_theme=_CODE_THEME, hyperlinks=False))
    return text.getvalue()


def _name_page(link: re.Match[str]) -> str:
    """A link to another page as the command that shows it, and one to a file of the repository as its path."""
    text, path = link[1], link[2]
    if "/" in path:
        return f"{text} ({path.lstrip('./')})"
    return f"{text} (`crewrun help {path.removesuffix('.md')}`)" if path else text
