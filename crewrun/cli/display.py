"""Shows progress on stderr: as plain lines, as JSON lines, or not at all. `console` has the live display.

What the lines say is in `live_line`.
"""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

from crewrun.batch.canary import Forecast
from crewrun.batch.progress import Progress
from crewrun.batch.snapshot import snapshot
from crewrun.batch.watchers import Display
from crewrun.batch_flags import ProgressStyle
from crewrun.cli.live_line import counts_of, full_line, left_s, stopping_words
from crewrun.cli.wording import in_words
from crewrun.limits.waits import Wait, WaitKind
from crewrun.redaction.redactor import redact_line
from crewrun.terminal import say

_PLAIN_S = 10.0
_LOOK_S = 1.0
_JSON_S = 1.0
# What a provider asks to wait is named at once in a log from here on.
_LONG_RESET_S = 10.0


def choose_display(style: ProgressStyle, quiet: bool, *, is_stdout_busy: bool = False) -> Display:
    """The display for `--progress` and `-q`: live on a terminal that can be drawn on, else plain.

    `is_stdout_busy` says that results are written to a terminal, whose lines a live display would tear apart.
    """
    if quiet:
        return NoDisplay()
    if style == "none":
        return SilentDisplay()
    if style == "json":
        return JsonDisplay()
    if style != "plain" and is_drawable(sys.stderr) and not is_stdout_busy:
        from crewrun.cli.console import RichDisplay

        return RichDisplay()
    if style == "rich":
        why = "results are written to this terminal" if is_stdout_busy else "standard error is no terminal to draw on"
        say(f"--progress rich: {why}; a line every {_PLAIN_S:g} s instead")
    return PlainDisplay()


def is_drawable(stream: TextIO) -> bool:
    """Whether a stream is a terminal that knows how to move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def news_of(waits: Sequence[Wait]) -> set[tuple[str, str]]:
    """Those of `waits` that a log names at once, by kind and endpoint: rows may stand still for minutes."""
    return {
        (wait.kind, wait.endpoint)
        for wait in waits
        if wait.kind is WaitKind.OUTAGE or (wait.kind is WaitKind.RESET and (wait.left_s or 0.0) >= _LONG_RESET_S)
    }


class NoDisplay:
    """Shows nothing."""

    interval_s = 3600.0

    def start(self) -> None:
        """Nothing."""

    def update(self, progress: Progress, share: float | None) -> None:
        """Nothing."""

    def foresee(self, forecast: Forecast) -> None:
        """Nothing."""

    def stopping(self, progress: Progress) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class SilentDisplay(NoDisplay):
    """Shows no progress, only a canary's forecast, and what happens when the run stops."""

    def foresee(self, forecast: Forecast) -> None:
        """Print the forecast as a line."""
        self._say(in_words(forecast))

    def stopping(self, progress: Progress) -> None:
        """Print what happens to the rows in flight."""
        if progress.stopping is not None:
            self._say(stopping_words(progress.stopping, progress.in_flight, left_s(progress.stopping)))

    def _say(self, line: str) -> None:
        say(line)


class PlainDisplay(SilentDisplay):
    """Prints a line every ten seconds, for logs, and at once when a provider stops answering. Each has the time."""

    interval_s = _LOOK_S

    def __init__(self) -> None:
        self._shown = 0.0
        self._waits: set[tuple[str, str]] = set()

    def update(self, progress: Progress, share: float | None) -> None:
        """Print a line when one is due. A run that ends before the first has only its summary."""
        waits = news_of(progress.waits)
        is_news = not waits <= self._waits
        self._waits |= waits
        if is_news or progress.elapsed_s - self._shown >= _PLAIN_S * 0.9:
            self._shown = progress.elapsed_s
            self._waits = waits
            self._say(full_line(counts_of(progress, share), _now()))

    def _say(self, line: str) -> None:
        say(f"{_now():%H:%M:%S} {line}")


class JsonDisplay(NoDisplay):
    """Prints a JSON object every second and at the end, for programs."""

    interval_s = _JSON_S

    def update(self, progress: Progress, share: float | None) -> None:
        """Print the counters as an object."""
        say(json.dumps(snapshot(progress, share)))

    def foresee(self, forecast: Forecast) -> None:
        """Print the forecast as an object."""
        say(json.dumps({"forecast": forecast.to_json()}))

    def stopping(self, progress: Progress) -> None:
        """Print what happens to the rows in flight as an object."""
        if (stopping := progress.stopping) is not None:
            words = {
                "kind": stopping.reason.kind,
                "why": redact_line(stopping.reason.why),
                "in_flight": progress.in_flight,
                "left_s": round(left_s(stopping), 1),
                "is_stuck": stopping.is_stuck,
            }
            say(json.dumps({"stopping": words, "at": _now().isoformat(timespec="milliseconds")}))


def _now() -> datetime:
    return datetime.now().astimezone()
