"""The live display on a terminal, by rich. What it says is in `live_line`."""

from collections.abc import Callable, Iterator
from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from crewrun.batch.canary import Forecast
from crewrun.batch.progress import Progress
from crewrun.cli.live_line import (
    BETWEEN,
    Counts,
    counts_of,
    failure_words,
    left_s,
    narrower_lines,
    stopping_words,
    wait_words,
    waiting,
)
from crewrun.cli.wording import in_words

# Columns that stay empty at the end: a terminal echoes ^C there, and a line that fills the last one may wrap.
_MARGIN = 3


Lines = list[Text]


class LiveArea:
    """A few lines at the end of the terminal on stderr, drawn over themselves. Rich obeys NO_COLOR.

    What anything else prints meanwhile appears above them.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._lines = _Lines()
        self._live = Live(
            self._lines, console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop"
        )

    def start(self) -> None:
        """Start drawing."""
        self._live.start()

    def draw(self, render: Callable[[int], list[Text]]) -> None:
        """Draw what `render` makes for a number of columns."""
        self._rise()
        self._lines.render = render
        self._live.refresh()

    def put(self, line: str) -> None:
        """Print a line above."""
        self._console.print(line, markup=False)

    def stop(self) -> None:
        """Remove the lines."""
        self._rise()
        self._live.stop()

    def _rise(self) -> None:
        """Go up to where the first line begins now, if a narrower window has broken the lines."""
        width = self._console.width
        if width < self._lines.width:
            rows = sum(max(0, (length - 1) // width) for length in self._lines.lengths)
            up = [Control((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))] * rows
            self._console.control(*up)
        self._lines.width = width


class _Lines:
    """What `LiveArea` draws, for the width that the terminal has at that moment."""

    def __init__(self) -> None:
        self.render: Callable[[int], list[Text]] = lambda _: []
        self.width = 0
        self.lengths: list[int] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        lines = self.render(max(1, options.max_width - _MARGIN))
        self.width, self.lengths = options.max_width, [line.cell_len for line in lines]
        yield from lines


class RichDisplay:
    """The line of counters with what is waited for, the last failure and how the run stops below it."""

    interval_s = 0.25

    def __init__(self) -> None:
        self._screen = LiveArea()
        self._share: float | None = None

    def start(self) -> None:
        """Start drawing."""
        self._screen.start()

    def update(self, progress: Progress, share: float | None) -> None:
        """Draw the current counters."""
        self._share = share
        stopping = None
        if progress.stopping is not None:
            stopping = stopping_words(progress.stopping, progress.in_flight, left_s(progress.stopping))
        counts, now = counts_of(progress, share), datetime.now().astimezone()
        self._screen.draw(lambda width: lines(counts, now, width, stopping))

    def foresee(self, forecast: Forecast) -> None:
        """Print the forecast above."""
        self._screen.put(in_words(forecast))

    def stopping(self, progress: Progress) -> None:
        """Draw at once that the run stops."""
        self.update(progress, self._share)

    def stop(self) -> None:
        """Remove the lines; the summary follows."""
        self._screen.stop()


def lines(counts: Counts, now: datetime, width: int, stopping: str | None = None) -> list[Text]:
    """The lines to draw, none wider than `width` columns."""
    parts = _fitting(counts, now, width)
    first = Text(no_wrap=True)
    for number, part in enumerate(parts):
        first.append(BETWEEN if number else "", style="dim")
        first.append(part, style=_style(number, part, counts))
    first.truncate(width, overflow="ellipsis")
    report = [first]
    for wait in counts.waits:
        if waiting(wait) not in parts:
            forms = list(wait_words(wait))
            words = next((form for form in forms if cell_len(form) <= width), forms[-1])
            report.append(fitted(words, width, "yellow"))
    if counts.last_failure is not None:
        report.append(fitted(failure_words(counts.last_failure), width, "red"))
    if stopping is not None:
        report.append(fitted(stopping, width, "bold"))
    return report


def _fitting(counts: Counts, now: datetime, width: int) -> list[str]:
    """The parts of the line that fit into `width` columns."""
    parts: list[str] = []
    for parts in narrower_lines(counts, now):
        if cell_len(BETWEEN.join(parts)) <= width:
            break
    return parts


def _style(number: int, part: str, counts: Counts) -> str:
    if part.endswith(" failed"):
        return "red" if counts.failed else ""
    return "yellow" if part.startswith("waiting: ") else "" if number else "bold"


def fitted(words: str, width: int, style: str) -> Text:
    """`words` in at most `width` columns, with … where they are cut off."""
    if cell_len(words) > width:
        words = set_cell_size(words, max(0, width - 1)).rstrip() + "…"
    return Text(words, style=style, no_wrap=True)
