"""What a program shows of a run: on a terminal what the command shows, in a notebook a line in place, else nothing."""

import importlib
import sys
from datetime import datetime
from html import escape
from threading import Lock
from typing import Any

from crewrun.aio.notebook import is_in_notebook
from crewrun.batch.canary import Forecast
from crewrun.batch.progress import Progress
from crewrun.batch.settings import BatchSettings
from crewrun.batch.watchers import Display
from crewrun.cli.display import NoDisplay, choose_display, is_drawable
from crewrun.cli.live_line import BETWEEN, counts_of, failure_words, full_line, left_s, stopping_words
from crewrun.cli.wording import duration, in_words, money

# The process has one terminal to draw on.
_terminal = Lock()
_STYLE = "font-family: monospace; white-space: pre-wrap"


def display_for(settings: BatchSettings) -> Display:
    """The display that `progress` and `quiet` ask for. Called in the thread of the program."""
    if settings.progress == "auto" and not settings.quiet:
        if is_in_notebook():
            return NotebookDisplay()
        if not is_drawable(sys.stderr):
            return NoDisplay()
    display = choose_display(settings.progress, settings.quiet)
    return OnlyDisplay(display) if is_drawable(sys.stderr) else display


def shows_report(settings: BatchSettings) -> bool:
    """Whether the end is reported as the command does; a notebook shows the run itself."""
    if settings.quiet or settings.progress in ("none", "json"):
        return False
    return settings.progress != "auto" or (is_drawable(sys.stderr) and not is_in_notebook())


class OnlyDisplay:
    """`display`, unless another run of this process is drawing on the terminal when it starts."""

    def __init__(self, display: Display) -> None:
        self.interval_s = display.interval_s
        self._display = display
        self._is_shown = False

    def start(self) -> None:
        """Start drawing if no other does."""
        self._is_shown = _terminal.acquire(blocking=False)
        if self._is_shown:
            self._display.start()

    def update(self, progress: Progress, share: float | None) -> None:
        """As `display`."""
        if self._is_shown:
            self._display.update(progress, share)

    def foresee(self, forecast: Forecast) -> None:
        """As `display`."""
        if self._is_shown:
            self._display.foresee(forecast)

    def stopping(self, progress: Progress) -> None:
        """As `display`."""
        if self._is_shown:
            self._display.stopping(progress)

    def stop(self) -> None:
        """Leave the terminal to others."""
        if self._is_shown:
            self._display.stop()
            self._is_shown = False
            _terminal.release()


class NotebookDisplay:
    """The line of counters below a cell, drawn over itself, with the last failure and how the run stops under it."""

    interval_s = 0.5

    def __init__(self) -> None:
        # By its name, since crewrun does not depend on it: in a notebook it is there.
        self._show = importlib.import_module("IPython.display").display
        self._handle: Any = None
        self._forecast: list[str] = []
        self._share: float | None = None
        self._progress: Progress | None = None

    def start(self) -> None:
        """Show an empty line."""
        self._handle = self._show(_shown([]), raw=True, display_id=True)

    def update(self, progress: Progress, share: float | None) -> None:
        """Show the current counters."""
        self._share, self._progress = share, progress
        counts = counts_of(progress, share)
        lines = [*self._forecast, full_line(counts, datetime.now().astimezone())]
        if counts.last_failure is not None:
            lines.append(failure_words(counts.last_failure))
        if progress.stopping is not None:
            lines.append(stopping_words(progress.stopping, progress.in_flight, left_s(progress.stopping)))
        self._handle.update(_shown(lines), raw=True)

    def foresee(self, forecast: Forecast) -> None:
        """Show the forecast above, from the next update on."""
        self._forecast = [in_words(forecast)]

    def stopping(self, progress: Progress) -> None:
        """Show at once that the run stops."""
        self.update(progress, self._share)

    def stop(self) -> None:
        """Leave the result: how many rows ended how, what they cost, and how long they took."""
        if self._progress is not None:
            self._handle.update(_shown([_result(self._progress), *self._failure()]), raw=True)

    def _failure(self) -> list[str]:
        last = None if self._progress is None else self._progress.last_failure
        return [] if last is None else [failure_words(last)]


def _result(progress: Progress) -> str:
    before = progress.done_before
    parts = [f"{progress.ok:,} ok", f"{progress.failed:,} failed", *([f"{before:,} done before"] if before else [])]
    spent = None if progress.unpriced else money(progress.cost_usd)
    return BETWEEN.join([*parts, *([spent] if spent else []), duration(progress.elapsed_s)])


def _shown(lines: list[str]) -> dict[str, str]:
    text = "\n".join(lines)
    return {"text/plain": text, "text/html": f'<div style="{_STYLE}">{escape(text)}</div>'}
