"""`RunTelemetry`: what one run shows to other programs, opened before its first row and finished after its last."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crewrun.errors import UsageError
from crewrun.monitoring import environment
from crewrun.monitoring.readings import Board
from crewrun.monitoring.trace_spec import TraceSpec
from crewrun.row_events import RowListener

if TYPE_CHECKING:
    from crewrun.monitoring.collector import CollectorOptions
    from crewrun.monitoring.tracing import Tracing

# How long the end of a run waits for the last metrics to be taken.
_LAST_METRICS_S = 3.0


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """What the user asks for. `otel` is None where the environment decides; `metrics` is the host and port to serve
    them at, None to serve none. With `has_contents` traces have the texts of prompts and answers.
    """

    otel: bool | None = None
    metrics: tuple[str, int] | None = None
    has_contents: bool = False


class RunTelemetry:
    """`board` is where the run is to write its metrics, None if nobody reads them."""

    def __init__(self, options: TelemetryOptions, say: Callable[[str], None]) -> None:
        """Open what `options` and the environment ask for. `say` prints a line for the user.

        Raises UsageError if it cannot be had. What only the environment asks for becomes a warning instead: it may have
        been set for another program.
        """
        self._options = options
        self._say = say
        self._open = ExitStack()
        self._notes: list[str] = []
        self.board: Board | None = None
        self._sends = self._may_send()
        if options.metrics is not None:
            self._serve(*options.metrics)
        if self._sends and self.board is None:
            self.board = Board()

    def listeners(self, run: str) -> Sequence[RowListener]:
        """The listeners to the rows of `run` that run in this process."""
        spec = self.trace_spec(run)
        if spec is None:
            return ()
        from crewrun.monitoring.tracing import open_tracing

        tracing = open_tracing(spec, os.environ, self._say)
        if tracing is None:
            return ()
        self._open.callback(self._close_tracing, tracing)
        return (tracing.listener,)

    def trace_spec(self, run: str) -> TraceSpec | None:
        """What a process needs to trace the rows of `run`, None if they are not to be traced."""
        if not self._sends:
            return None
        return TraceSpec(run, self._options.has_contents)

    def begin(self) -> None:
        """Send the metrics of the board, which has its first readings, from now on."""
        if not self._sends or self.board is None:
            return
        from crewrun.monitoring.library import export_metrics, resource_of_process
        from crewrun.monitoring.tracing import open_collector

        collector_options = environment.collector_options("metrics", os.environ)
        if collector_options is not None:
            collector = open_collector(collector_options, self._say)
            export = export_metrics(self.board, resource_of_process(), collector.post)
            self._open.callback(export.close, _LAST_METRICS_S)
            self._open.callback(collector.hurry)

    def finish(self) -> list[str]:
        """Send what is left, which takes a few seconds at most, and close everything. Returns notes for the user."""
        self._open.close()
        return self._notes

    def _may_send(self) -> bool:
        otel, env = self._options.otel, os.environ
        if otel is False or environment.is_disabled(env) or not (otel or environment.is_wanted(env)):
            return False
        from crewrun.monitoring.library import check_installed

        try:
            check_installed()
            for signal in environment.SIGNALS:
                self._check_collector(environment.collector_options(signal, env))
        except UsageError as refused:
            if otel:
                raise
            self._say(f"warning: no telemetry is sent: {refused}")
            return False
        return True

    def _check_collector(self, options: "CollectorOptions | None") -> None:
        """Raise UsageError for a certificate that cannot be read."""
        from crewrun.monitoring.tracing import open_collector

        if options is not None:
            open_collector(options, self._say)

    def _serve(self, host: str, port: int) -> None:
        from crewrun.monitoring.prometheus import served

        self.board = Board()
        url = self._open.enter_context(served(self.board, host, port))
        self._say(f"metrics: {url}")

    def _close_tracing(self, tracing: "Tracing") -> None:
        note = tracing.close()
        if note is not None:
            self._notes.append(note)
