"""`crewrun help`: the pages of the manual, and the helps of the commands."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from crewrun.terminal import visible

if TYPE_CHECKING:
    from crewrun.manual import Page
    from crewrun.manual.topics import Section

_NAME_WIDTH = 19  # the longest topic with two blanks on either side
_LEAST_WIDTH = 40


def show_help(
    context: typer.Context,
    topic: list[str] = typer.Argument(
        None, metavar="[TOPIC]", help="A page, a command, or a word that the pages have."
    ),
) -> None:
    """Show a page of the manual, or without a TOPIC the list of them.

    On a terminal a page is shown by $PAGER (less, if that is not set; PAGER= for none); in a pipe it is Markdown.
    TOPIC may be abbreviated. The name of a command shows that command's help; any other word, such as a flag or an exit
    code, shows where the manual has it.

    Exit codes: 0 shown; 2 there is no such topic.
    """
    from crewrun.manual import TOPICS, page

    word = " ".join(topic or [])
    commands = _commands(context)
    if not word:
        _show_list(_list_pages())
        return
    name = _resolve(word, commands)
    if name is None:
        _show_list(_list_mentions(word))
    elif name in TOPICS:
        _show(page(name))
    else:
        commands[name].main(["--help"], prog_name=name, standalone_mode=False, parent=context.parent)


def _commands(context: typer.Context) -> dict[str, Any]:
    """The commands by their names; Typer has no public name for their class."""
    group: Any = context.parent.command if context.parent else None
    return {name: command for name, command in group.commands.items() if not command.hidden} if group else {}


def _resolve(word: str, commands: dict[str, Any]) -> str | None:
    """The page or command to show, None if `word` is no name but in the text of several pages."""
    from crewrun.errors import UsageError
    from crewrun.manual import TOPICS
    from crewrun.manual.topics import find, guess, mentions
    from crewrun.terminal import say

    name = None if word.startswith("-") else find(word, commands)
    if name is not None:
        return name
    topics = {section.topic for section in mentions(word)}
    if topics:
        return topics.pop() if len(topics) == 1 else None
    near = guess(word, commands)
    if near is None:
        raise UsageError(f"the manual has no {word!r}; its pages are {', '.join(TOPICS)}")
    correct, name = near
    say(f"the manual has no {word!r}; this is {correct!r}" + (f", of {name!r}" if correct != name else ""))
    return name


def _list_pages() -> Iterator[str]:
    from crewrun.manual import TOPICS, page

    yield "The pages of the manual. To read one: crewrun help TOPIC"
    yield ""
    for topic in TOPICS:
        yield _entry(topic, page(topic).summary)
    yield ""
    yield "The flags of a command: crewrun help COMMAND. The commands: crewrun --help"


def _list_mentions(word: str) -> Iterator[str]:
    from crewrun.manual.topics import mentions

    yield f"{word} is in these pages. To read one: crewrun help TOPIC"
    yield ""
    by_topic: dict[str, list[Section]] = {}
    for section in mentions(word):
        by_topic.setdefault(section.topic, []).append(section)
    for topic, sections in by_topic.items():
        yield _entry(topic, "; ".join(section.heading for section in sections if section.heading))


def _entry(name: str, text: str) -> str:
    return f"  {name:{_NAME_WIDTH - 2}}{text}".rstrip()


def _show(page: "Page") -> None:
    if sys.stdout.isatty():
        from crewrun.cli.markdown import render
        from crewrun.cli.pager import show_in_pager

        show_in_pager(render(page))
    else:
        _print(page.text.splitlines())


def _show_list(lines: Iterable[str]) -> None:
    fitting = _fit(lines)
    if sys.stdout.isatty():
        from crewrun.cli.pager import show_in_pager

        show_in_pager("".join(f"{visible(line)}\n" for line in fitting))
    else:
        _print(fitting)


def _print(lines: Iterable[str]) -> None:
    from crewrun.cli.setup import open_stdout, tell

    tell(open_stdout(), lines)


def _fit(lines: Iterable[str]) -> Iterator[str]:
    """Lines of a list, wrapped on a terminal; whole in a pipe, for `grep`."""
    width = max(shutil.get_terminal_size().columns, _LEAST_WIDTH) if sys.stdout.isatty() else sys.maxsize
    for line in lines:
        indent = " " * (_NAME_WIDTH if line.startswith(" ") else 0)
        yield from textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
