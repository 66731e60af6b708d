"""A page of the manual on a terminal: its Markdown in colours, through a pager."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from io import StringIO
from typing import IO

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


def show_in_pager(page: Page) -> None:
    """Show a page with $PAGER, `less` if that is not set; without a pager if it is empty or not installed."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or shutil.which(command[0]) is None:
        _render(page, sys.stdout)
        return
    text = StringIO()
    _render(page, text)
    # As git does: colours, no pager for what fits on the screen, and what was read stays on it.
    env = {"LESS": "FRX"} | os.environ
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C belongs to the pager, which ends by itself
    subprocess.run(command, input=text.getvalue().encode(), env=env, check=False)  # noqa: S603  # the user's own command


def _render(page: Page, file: IO[str]) -> None:
    """Write the page as wide as the terminal, with colours unless NO_COLOR or TERM forbid them."""
    width = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    console = Console(file=file, width=width, theme=_THEME, force_terminal=True, highlight=False)
    console.print(Markdown(_LINK.sub(_name_page, page.text), code_theme=_CODE_THEME, hyperlinks=False))


def _name_page(link: re.Match[str]) -> str:
    """A link to another page as the command that shows it, and one to a file of the repository as its path."""
    text, path = link[1], link[2]
    if "/" in path:
        return f"{text} ({path.lstrip('./')})"
    return f"{text} (`crewrun help {path.removesuffix('.md')}`)" if path else text
