"""Shows progress on stderr: as plain lines, as JSON lines, or not at all. `console` has the live display."""

import json
import sys
from typing import Any

from crewrun.batch.canary import Forecast
from crewrun.batch.progress import Progress
from crewrun.batch.watchers import Display
from crewrun.batch_flags import ProgressStyle
from crewrun.cli.wording import duration, in_words, money
from crewrun.terminal import say

_PLAIN_S = 10.0
_JSON_S = 1.0


def choose_display(style: ProgressStyle, quiet: bool) -> Display:
    """The display for `--progress` and `-q`: live on a terminal, else plain."""
    if quiet:
        return NoDisplay()
    if style == "none":
        return SilentDisplay()
    if style == "rich" or (style == "auto" and sys.stderr.isatty()):
        from crewrun.cli.console import RichDisplay

        return RichDisplay()
    return JsonDisplay() if style == "json" else PlainDisplay()


def snapshot(progress: Progress, share: float | None) -> dict[str, Any]:
    """The current counters, as JSON."""
    eta_s = progress.eta_s(share)
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
        "limiting": progress.limiting,
    }


def one_line(progress: Progress, share: float | None) -> str:
    """The current counters as a line for people."""
    parts = [
        f"{progress.done} done",
        f"{progress.failed} failed",
        f"{progress.in_flight} in flight",
        f"{progress.rows_per_s:.1f} rows/s",
        f"{progress.prompt_tokens + progress.completion_tokens:,} tokens",
        money(None if progress.unpriced else progress.cost_usd),
    ]
    eta_s = progress.eta_s(share)
    if share is not None and eta_s is not None:
        parts.append(f"{share:.0%}, {duration(eta_s)} left")
    if progress.limiting:
        parts.append(f"limited by {progress.limiting}")
    return " · ".join(parts)


class NoDisplay:
    """Shows nothing."""

    interval_s = 3600.0

    def start(self) -> None:
        """Nothing."""

    def update(self, progress: Progress, share: float | None) -> None:
        """Nothing."""

    def foresee(self, forecast: Forecast) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class SilentDisplay(NoDisplay):
    """Shows no progress, only a canary's forecast."""

    def foresee(self, forecast: Forecast) -> None:
        """Print the forecast as a line."""
        say(in_words(forecast))


class PlainDisplay(SilentDisplay):
    """Prints a line every ten seconds, for logs."""

    interval_s = _PLAIN_S

    def __init__(self) -> None:
        self._shown = 0.0

    def update(self, progress: Progress, share: float | None) -> None:
        """Print a line when one is due. A run that ends before the first has only its summary."""
        if progress.elapsed_s - self._shown >= self.interval_s * 0.9:
            self._shown = progress.elapsed_s
            say(one_line(progress, share))


class JsonDisplay(NoDisplay):
    """Prints a JSON object every second and at the end, for programs."""

    interval_s = _JSON_S

    def update(self, progress: Progress, share: float | None) -> None:
        """Print the counters as an object."""
        say(json.dumps(snapshot(progress, share)))

    def foresee(self, forecast: Forecast) -> None:
        """Print the forecast as an object."""
        say(json.dumps({"forecast": forecast.to_json()}))
