"""`Screen`: prints the lines of a report on a terminal, wrapped at words and coloured by what they say."""

from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from crewrun.cli.final_report_layout import Line
from crewrun.redaction.redactor import redact_line
from crewrun.terminal import visible

# What is coloured in the lines of a role: patterns and rich's styles.
_STYLES = {
    "counts": ((r"^[1-9][\d,]* ok", "green"), (r"\b[1-9][\d,]* failed( before)?", "bold red")),
    "stop": ((r"^stopped:", "bold yellow"),),
    "failure": ((r"^ +[\d,]+ × [a-z_]+", "red"),),
    "hint": ((r".+", "cyan"),),
    "tool": ((r"^ +[\d,]+ calls? of tool", "yellow"),),
    "note": ((r"^warning:", "yellow"),),
    "results": (),
    "next": ((r"^[1-9][\d,]* ok", "bold green"), (r"\b[1-9][\d,]* failed( before)?", "bold red")),
}


class Screen:
    """stderr as a terminal. Rich finds out its size and its colours, and obeys NO_COLOR and TERM=dumb."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def height(self) -> int:
        """Lines of the screen."""
        return self._console.size.height

    def lines_of(self, line: Line) -> int:
        """How many lines of the screen `line` takes."""
        return sum(max(1, -(-text.cell_len // self._console.width)) for text in self._texts(line))

    def show(self, lines: Iterable[Line]) -> None:
        """Print lines; a closed stderr is not an error."""
        with suppress(OSError):
            for line in lines:
                for text in self._texts(line):
                    self._console.print(text, soft_wrap=True)

    def _texts(self, line: Line) -> list[Text]:
        """The lines to print: a command that does not fit is on a line of its own, which only the terminal breaks."""
        whole = self._styled(line, line.in_full)
        if not line.command or whole.cell_len <= self._console.width:
            return self._wrapped(line, whole)
        above = self._styled(line, line.in_full.removesuffix(f" {line.command}"))
        return [*self._wrapped(line, above), Text(_safe(line.command))]

    def _styled(self, line: Line, words: str) -> Text:
        text = Text(_safe(words))
        for pattern, style in _STYLES[line.role]:
            text.highlight_regex(pattern, style)
        return text

    def _wrapped(self, line: Line, text: Text) -> list[Text]:
        width = self._console.width
        if line.is_cut:
            text.truncate(width, overflow="ellipsis")
        if text.cell_len <= width:
            return [text]
        indent = len(text.plain) - len(text.plain.lstrip(" "))
        hang = min(line.hang, width // 3)
        first, *others = text[indent:].wrap(self._console, width - max(indent, hang), overflow="fold")
        return [Text.assemble(" " * indent, first), *(Text.assemble(" " * hang, other) for other in others)]


def _safe(text: str) -> str:
    return visible(redact_line(text))
