"""`RunTelemetry`: what one run shows to other programs, opened before its first row and finished after its last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from crewrun.telemetry.readings import Board


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """What the user asks for. `metrics` is the host and port to serve them at, None to serve none."""

    metrics: tuple[str, int] | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is asked for."""
        return self.metrics is not None


@dataclass(frozen=True, slots=True)
class RunTelemetry:
    """`board` is where the run is to write its metrics, None if nobody reads them."""

    board: Board | None = None


@contextmanager
def open_telemetry(options: TelemetryOptions, say: Callable[[str], None]) -> Iterator[RunTelemetry]:
    """What `options` ask for, open during the block. Raises UsageError if it cannot be had."""
    if options.metrics is None:
        yield RunTelemetry()
        return
    from crewrun.telemetry.prometheus import served

    board = Board()
    with served(board, *options.metrics) as url:
        say(f"metrics: {url}")
        yield RunTelemetry(board)
