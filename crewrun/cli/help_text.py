"""What `--help` prints: usage, description, examples, arguments, flags in panels, exit codes, wrapped to the terminal.

Typer draws panels with rich, whose import alone takes 85 ms of CPU where all of `crewrun --help` takes 180; so the
layout is ours. `cli.command_line` has Typer print it.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any, Protocol

from crewrun.cli.examples import EXAMPLES, Example
from crewrun.flag_fields import Panel

# Lines longer than this are hard to read, however wide the terminal is; below the other no layout helps.
_WIDEST, _NARROWEST = 100, 40
# Commands with fewer flags list them in one panel.
_MANY_FLAGS = 16
_OTHER = "Options"
_EXIT_CODES = re.compile(r"\bExit codes: (.+)", re.DOTALL)
_EXIT_CODE = re.compile(r"((?:\d+(?:, | and )?)+) (.+)", re.DOTALL)


class Parameter(Protocol):
    """What a parameter of Typer's has in all its versions."""

    name: str
    opts: list[str]
    secondary_opts: list[str]
    param_type_name: str
    metavar: str | None
    envvar: Any
    nargs: int
    required: bool
    default: Any


def choices(parameter: Any) -> Sequence[str]:
    """The words that a parameter takes, none if it takes others too."""
    kind = getattr(parameter, "type_descriptor", None) or getattr(
        parameter, "type", None
    )  # the latter up to Typer 0.2x
    return [str(getattr(choice, "value", choice)) for choice in getattr(kind, "choices", None) or ()]


def help_of_command(path: str, text: str, parameters: Sequence[Any]) -> str:
    """The help of the command that `path` calls, such as `crewrun batch`. `text` is its docstring."""
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    flags = [one for one in parameters if one.param_type_name == "option" and not one.hidden]
    description, exit_codes = _split(text)
    page = _Page()
    page.usage(usage(path, parameters))
    page.text(description)
    page.examples(EXAMPLES.get(path.rpartition(" ")[2], ()))
    page.table("Arguments", [(_argument(one), one.help or "") for one in arguments])
    for title, panel in _panels(flags).items():
        page.table(title, [(_flag(one), _flag_help(one)) for one in panel])
    from_environment = next((one for one in flags if one.envvar), None)
    if from_environment is not None:
        page.text(
            f"Defaults may be in the environment ({from_environment.opts[0]} is {from_environment.envvar}), and in "
            "crewrun.toml or pyproject.toml's [tool.crewrun]."
        )
    page.table("Exit codes", exit_codes)
    return page.content


def help_of_group(path: str, text: str, parameters: Sequence[Any], commands: Mapping[str, Any]) -> str:
    """The help of the program: its commands in groups, each with the whole first sentence of its own help."""
    page = _Page()
    page.usage(f"{path} COMMAND [ARGS]...")
    page.text(text)
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, command in commands.items():
        if not command.hidden:
            first = (command.help or "").strip().partition("\n\n")[0]
            groups.setdefault(command.rich_help_panel or "Commands", []).append((name, " ".join(first.split())))
    widest = max(map(len, commands), default=0)
    for title, rows in groups.items():
        page.table(title, rows, least=widest)
    page.table(_OTHER, [(_flag(one), _flag_help(one)) for one in parameters], least=widest)
    page.examples(EXAMPLES[""])
    page.text(f"`{path} COMMAND --help` explains a command, `{path} help` lists the pages of the manual.")
    return page.content


def usage(path: str, parameters: Sequence[Any]) -> str:
    """How the command is called: `crewrun batch [OPTIONS] INPUTS`."""
    arguments = (_argument(one) for one in parameters if one.param_type_name == "argument")
    return " ".join([path, "[OPTIONS]", *arguments])


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """A docstring's description, and its exit codes with their meanings."""
    match = _EXIT_CODES.search(text)
    if match is None:
        return text, []
    meanings = " ".join(match[1].split()).removesuffix(".").split("; ")
    codes = [_EXIT_CODE.fullmatch(meaning) for meaning in meanings]
    if not all(codes):
        return text, []
    return text[: match.start()], [(code[1], code[2]) for code in codes if code]


def _panels(flags: Sequence[Any]) -> dict[str, list[Any]]:
    """The flags by panel: those of the command alone, then in the order of `Panel`. Few flags are one panel."""
    if len(flags) < _MANY_FLAGS:
        return {_OTHER: list(flags)}
    shared = [panel.value for panel in Panel]
    own = [flag.rich_help_panel for flag in flags if flag.rich_help_panel not in (None, *shared)]
    panels: dict[str, list[Any]] = {title: [] for title in (*own, *shared)}
    for flag in flags:
        panels.setdefault(flag.rich_help_panel or _OTHER, []).append(flag)
    return {title: panel for title, panel in panels.items() if panel}


def _argument(argument: Parameter) -> str:
    name = argument.metavar or argument.name.upper()
    if argument.nargs == -1 and not name.endswith(("...", "…")):
        name += "..."
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _flag(flag: Any) -> str:
    shorts = [name for name in flag.opts if not name.startswith("--")]
    names = ", ".join([*shorts, *(name for name in flag.opts if name not in shorts)])
    if not flag.is_flag:
        return f"{names} {metavar(flag)}"
    if flag.secondary_opts == [f"--no-{flag.opts[0][2:]}"]:
        return names.replace("--", "--[no-]")
    return " / ".join([names, *flag.secondary_opts])


def metavar(parameter: Any) -> str:
    """What stands for the value of a flag."""
    return parameter.metavar or "|".join(choices(parameter)) or "VALUE"


def _flag_help(flag: Any) -> str:
    text = flag.help or ""
    if flag.required:
        return f"{text} [required]"
    if not flag.show_default or flag.default in (None, False, 0, "") or "[default:" in text:
        return text
    return f"{text} [default: {'on' if flag.default is True else flag.default}]"


class _Page:
    """Text as wide as the terminal, up to `_WIDEST` columns."""

    def __init__(self) -> None:
        self.width = max(min(shutil.get_terminal_size().columns, _WIDEST), _NARROWEST)
        self._blocks: list[str] = []
        self._bold = "\033[1m{}\033[0m" if _takes_colours() else "{}"

    @property
    def content(self) -> str:
        """The whole page."""
        return "\n\n".join(self._blocks) + "\n"

    def usage(self, call: str) -> None:
        """The first line."""
        lines = _wrapped(f"Usage: {call}", self.width, " " * 9)
        self._blocks.append("\n".join([self._bold.format(lines[0][:6]) + lines[0][6:], *lines[1:]]))

    def text(self, text: str) -> None:
        """Paragraphs, indented."""
        for paragraph in text.strip().split("\n\n"):
            lines = _wrapped(" ".join(paragraph.split()), self.width - 2)
            self._blocks.append("\n".join(f"  {line}" for line in lines))

    def examples(self, examples: Iterable[Example]) -> None:
        """Commands, each below what it does. They are not wrapped, so that they can be copied."""
        lines = []
        for example in examples:
            lines += [f"  # {line}" for line in _wrapped(example.what, self.width - 4)]
            lines.append(f"  {example.command}")
        if lines:
            self._block("Examples", lines)

    def table(self, title: str, rows: Sequence[tuple[str, str]], *, least: int = 0) -> None:
        """Names, and behind or below each its text. The column of names has at least `least` columns."""
        most = self.width * 2 // 5
        column = max([least, *(len(name) for name, _ in rows if len(name) <= most)])
        lines = []
        for name, text in rows:
            texts = _wrapped(text, self.width - column - 4)
            if len(name) > column or not texts:
                lines += _wrapped(name, self.width - 2, "    ", initial="  ", at="|")
            else:
                lines.append(f"  {name:<{column}}  {texts.pop(0)}")
            lines += [f"{'':<{column + 4}}{line}" for line in texts]
        if rows:
            self._block(title, lines)

    def _block(self, title: str, lines: Iterable[str]) -> None:
        self._blocks.append("\n".join([self._bold.format(f"{title}:"), *lines]))


def _wrapped(text: str, width: int, indent: str = "", *, initial: str = "", at: str = "") -> list[str]:
    """Lines of at most `width`, broken at blanks, and `at` a character where that does not help."""
    if at and len(initial + text) > width:
        text = text.replace(at, f"{at} ")
    lines = wrap(text, width, initial_indent=initial, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace(f"{at} ", at) for line in lines] if at else lines


def _takes_colours() -> bool:
    from os import environ

    return sys.stdout.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
