"""Shows progress on stderr: as plain lines, as JSON lines, or not at all. `console` has the live display.

What the lines say is in `live_line`.
"""

import json
import os
import sys
from datetime import datetime
from typing import Any

from crewrun.batch.canary import Forecast
from crewrun.batch.progress import Progress
from crewrun.batch.watchers import Display
from crewrun.batch_flags import ProgressStyle
from crewrun.cli.live_line import counts_of, full_line, left_s, stopping_words
from crewrun.cli.wording import in_words
from crewrun.limits.waits import WaitKind, limiting
from crewrun.redaction.redactor import redact_line
from crewrun.terminal import say

_PLAIN_S = 10.0
_LOOK_S = 1.0
_JSON_S = 1.0
# What a log names at once, and not with the next line: rows may stand still for minutes.
_NOTABLE = (WaitKind.OUTAGE, WaitKind.RESET)
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
    if style != "plain" and _can_be_drawn_on() and not is_stdout_busy:
        from crewrun.cli.console import RichDisplay

        return RichDisplay()
    if style == "rich":
        why = "results are written to this terminal" if is_stdout_busy else "standard error is no terminal to draw on"
        say(f"--progress rich: {why}; a line every {_PLAIN_S:g} s instead")
    return PlainDisplay()


def _can_be_drawn_on() -> bool:
    return (
        sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown")
    )


def snapshot(progress: Progress, share: float | None) -> dict[str, Any]:
    """The current counters, as JSON."""
    eta_s, failure, budget, total = progress.eta_s(share), progress.last_failure, progress.budget, progress.total
    return {
        "ok": progress.ok,
        "failed": progress.failed,
        "in_flight": progress.in_flight,
        "elapsed_s": round(progress.elapsed_s, 1),
        "rows_per_s": round(progress.rows_per_s, 2),
        "total_tokens": progress.prompt_tokens + progress.completion_tokens,
        "cost_usd": None if progress.unpriced else round(progress.cost_usd, 6),
        "share": None if share is None else round(share, 4),
        "eta_s": None if eta_s is None else round(eta_s, 1),
        "limiting": limiting(progress.waits),
        "at": _now().isoformat(timespec="milliseconds"),
        "total": None if total is None or total.is_about else total.rows,
        "done_before": progress.done_before,
        "budget": None
        if budget is None
        else {"spent_usd": round(budget.spent_usd, 6), "limit_usd": round(budget.limit_usd, 6)},
        "waiting": [wait.to_json() for wait in progress.waits],
        "last_failure": None if failure is None else {**failure._asdict(), "message": redact_line(failure.message)},
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
        self._waits: set[tuple[WaitKind, str]] = set()

    def update(self, progress: Progress, share: float | None) -> None:
        """Print a line when one is due. A run that ends before the first has only its summary."""
        waits = {
            (wait.kind, wait.endpoint)
            for wait in progress.waits
            if wait.kind in _NOTABLE and (wait.kind is WaitKind.OUTAGE or (wait.left_s or 0.0) >= _LONG_RESET_S)
        }
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
