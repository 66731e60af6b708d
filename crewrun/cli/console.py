"""The live display on a terminal, by rich."""

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from crewrun.batch.canary import Forecast
from crewrun.batch.progress import Progress
from crewrun.cli.wording import duration, in_words, money
from crewrun.redaction.redactor import redact_line
from crewrun.terminal import visible


class _Bar(Bar):
    """The bar, with what limits the run on a line below it: a narrow terminal would cut off a column."""

    limiting: str | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines to draw."""
        yield from super().get_renderables()
        if self.limiting:
            yield Text(f"  limited by {visible(redact_line(self.limiting))}", style="yellow")


class RichDisplay:
    """A bar with the counters, redrawn a few times a second on stderr. Rich obeys NO_COLOR."""

    interval_s = 0.25

    def __init__(self) -> None:
        self._bar = _Bar(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[share]}[green]{task.fields[ok]} ok[/] · {task.fields[failed]}"),
            TextColumn("· {task.fields[in_flight]} in flight · {task.fields[rate]:.1f} rows/s"),
            TextColumn("· {task.fields[tokens]:,} tokens · {task.fields[cost]}{task.fields[eta]}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task(
            "",
            total=None,
            share="",
            ok=0,
            failed="0 failed",
            in_flight=0,
            rate=0.0,
            tokens=0,
            cost="$0.00",
            eta="",
        )

    def start(self) -> None:
        """Start drawing."""
        self._bar.start()

    def update(self, progress: Progress, share: float | None) -> None:
        """Draw the current counters."""
        eta_s = progress.eta_s(share)
        self._bar.limiting = progress.limiting
        self._bar.update(
            self._task,
            total=None if share is None else 1.0,
            completed=share or 0.0,
            share="" if share is None else f"{share:4.0%} ",
            ok=progress.ok,
            failed=f"[red]{progress.failed} failed[/]" if progress.failed else "0 failed",
            in_flight=progress.in_flight,
            rate=progress.rows_per_s,
            tokens=progress.prompt_tokens + progress.completion_tokens,
            cost=money(None if progress.unpriced else progress.cost_usd),
            eta="" if eta_s is None else f" · {duration(eta_s)} left",
        )
        self._bar.refresh()

    def foresee(self, forecast: Forecast) -> None:
        """Print the forecast above the bar."""
        self._bar.console.print(in_words(forecast), highlight=False, markup=False)

    def stop(self) -> None:
        """Remove the bar; the summary follows."""
        self._bar.stop()
