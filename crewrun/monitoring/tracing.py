"""`Tracing`: the traces of the rows that run in this process, from their events to the collector."""

from collections.abc import Callable, Mapping, Sequence

from crewrun._version import __version__
from crewrun.errors import UsageError
from crewrun.monitoring import environment, library
from crewrun.monitoring.collector import Collector, CollectorOptions
from crewrun.monitoring.otlp import export_request
from crewrun.monitoring.row_tracer import RowTracer, TracerOptions
from crewrun.monitoring.span_attributes import SCHEMA_URL
from crewrun.monitoring.span_queue import SpanQueue
from crewrun.monitoring.trace_parent import TraceParent
from crewrun.monitoring.trace_spec import TraceSpec
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import secrets_of_headers


class Tracing:
    """Rows are traced while it is open; give its `listener` to their worker."""

    def __init__(self, spec: TraceSpec, collector: Collector, env: Mapping[str, str]) -> None:
        self._collector = collector
        self._resource = library.attributes_of(library.resource_of_process())
        self._queue = SpanQueue(self, environment.queue_options(env))
        parent = TraceParent.of(env)
        self.listener = RowTracer(
            TracerOptions(
                is_sampled=library.sampler_of_environment(parent),
                parent=parent,
                has_contents=spec.has_contents,
                longest_text=environment.longest_text(env),
                run=spec.run,
            ),
            self._queue.put,
        )
        self._queue.start()

    def prepare(self) -> None:
        """Make the spans of what has happened; see `Destination`."""
        self.listener.flush()

    def send(self, spans: Sequence[bytes]) -> bool:
        """Send spans; see `Destination`."""
        return self._collector.post(export_request(self._resource, "crewrun", __version__, SCHEMA_URL, spans))

    def hurry(self) -> None:
        """Make no further attempts."""
        self._collector.hurry()

    def close(self) -> str | None:
        """Send the last spans, which takes a few seconds at most. Returns what to say of spans that were lost."""
        self._queue.close()
        lost = self._queue.lost
        return f"telemetry: {lost:,} {'spans' if lost > 1 else 'span'} did not reach the collector" if lost else None


def open_tracing(spec: TraceSpec, env: Mapping[str, str], warn: Callable[[str], None]) -> Tracing | None:
    """The traces that `env` asks for, None if it wants none. Raises UsageError for what cannot be done."""
    options = environment.collector_options("traces", env)
    if options is None:
        return None
    return Tracing(spec, open_collector(options, warn), env)


def open_collector(options: CollectorOptions, warn: Callable[[str], None]) -> Collector:
    """A collector; what its headers have is a secret from now on. Raises UsageError for a certificate that cannot be
    read.
    """
    learn(secrets_of_headers(options.headers))
    try:
        return Collector(options, warn)
    except OSError as unreadable:
        raise UsageError(f"OTEL_EXPORTER_OTLP_CERTIFICATE and its like: {unreadable}") from None
