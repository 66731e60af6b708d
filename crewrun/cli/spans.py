"""Lines whose parts have colours: wrapped and coloured on a terminal, plain in a pipe.

A part that only one of two texts has is red or green; without colours it is marked as `git diff --word-diff` does:
`[-old-]{+new+}`.
"""

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from crewrun.redaction.redactor import redact_line
from crewrun.terminal import visible

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink

REMOVED: Final = "strike red"
ADDED: Final = "green"
_MARKS: Final = {REMOVED: ("[-", "-]"), ADDED: ("{+", "+}")}


class Span(NamedTuple):
    """A part of a line and rich's style for it, empty for none. With `is_marked` a style is shown without colours too,
    by the marks of a word diff.
    """

    text: str
    style: str = ""
    is_marked: bool = False


class SpanLine(NamedTuple):
    """A line of spans behind `indent` blanks, which further lines of it have too when it is wrapped."""

    spans: Sequence[Span]
    indent: int = 0


def line(text: str, style: str = "", indent: int = 0) -> SpanLine:
    """A line of one span."""
    return SpanLine([Span(text, style)], indent)


async def print_lines(stdout: "StreamSink", lines: Iterable[SpanLine]) -> None:
    """Print lines on standard output. Raises OutputFailed, or OutputClosed when the reader is gone."""
    width = stdout.columns
    if width is None:
        texts = [" " * one.indent + "".join(map(_marked, one.spans)) for one in lines]
        await stdout.write([f"{text}\n".encode() for text in texts])
        return
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, width=width, highlight=False, markup=False, emoji=False)
    for one in lines:
        for text in _wrapped(console, one, width):
            console.print(text, soft_wrap=True)
    await stdout.write([buffer.getvalue().encode()], is_escaped=True)


def _wrapped(console: Console, one: SpanLine, width: int) -> Iterable[Text]:
    has_colours = console.color_system is not None and not console.no_color
    text = Text()
    for span in one.spans:
        text.append(_safe(span.text) if has_colours else _marked(span), span.style)
    if text.cell_len + one.indent <= width:
        return [Text.assemble(" " * one.indent, text)]
    room = max(20, width - one.indent)
    return [Text.assemble(" " * one.indent, part) for part in text.wrap(console, room, overflow="fold")]


def _marked(span: Span) -> str:
    before, after = _MARKS.get(span.style, ("", "")) if span.is_marked else ("", "")
    return f"{before}{_safe(span.text)}{after}"


def _safe(text: str) -> str:
    return visible(redact_line(text))
