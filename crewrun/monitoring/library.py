"""What crewrun uses of OpenTelemetry's SDK: the resource, the samplers, and the periodic export of metrics.

Its spans are not used: see `otlp`. Everything here is imported once a run is to send something.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from crewrun._version import __version__
from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.monitoring.otlp import Value
from crewrun.monitoring.readings import Board, Metric
from crewrun.monitoring.trace_parent import TraceParent


def check_installed() -> None:
    """Raise UsageError if the extra `otel` is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.common.metrics_encoder
        import opentelemetry.sdk.metrics.export
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError:
        raise UsageError(f"--otel needs OpenTelemetry's SDK: {install_command('otel')}") from None


def resource_of_process() -> Any:
    """The SDK's resource: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, and `crewrun` as the service without them."""
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource

    named = OTELResourceDetector().detect().attributes
    default = {} if SERVICE_NAME in named else {SERVICE_NAME: "crewrun", SERVICE_VERSION: __version__}
    return Resource.create({**default, **named})


def attributes_of(resource: Any) -> dict[str, Value]:
    """The attributes of a resource, for `otlp.export_request`."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in resource.attributes.items()}


def sampler_of_environment(parent: TraceParent | None) -> Callable[[bytes], bool]:
    """Whether a row is traced, by the id of its trace: what OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say, of a
    row that is a child of `parent`.
    """
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    sampler = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False).sampler
    context = None
    if parent is not None:
        above = trace.SpanContext(
            int.from_bytes(parent.trace_id, "big"),
            int.from_bytes(parent.span_id, "big"),
            is_remote=True,
            trace_flags=trace.TraceFlags(parent.is_sampled),
        )
        context = trace.set_span_in_context(trace.NonRecordingSpan(above))

    def is_sampled(trace_id: bytes) -> bool:
        number = int.from_bytes(trace_id, "big")
        decision: Any = sampler.should_sample(context, number, "invoke_workflow").decision
        return bool(decision.is_sampled())

    return is_sampled


@dataclass(frozen=True, slots=True)
class MetricsExport:
    """Metrics of a board that are sent every minute (OTEL_METRIC_EXPORT_INTERVAL), and at the end."""

    provider: Any

    def close(self, timeout_s: float) -> None:
        """Send the last readings, within this time."""
        self.provider.shutdown(timeout_millis=timeout_s * 1e3)


def export_metrics(board: Board, resource: Any, post: Callable[[bytes], bool]) -> MetricsExport:
    """Export the metrics of `board` until the export is closed; `post` sends one."""
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader

    class Exporter(MetricExporter):
        def export(self, metrics_data: Any, timeout_millis: float = 10_000, **_: Any) -> Any:
            is_sent = post(encode_metrics(metrics_data).SerializeToString())
            return MetricExportResult.SUCCESS if is_sent else MetricExportResult.FAILURE

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return True

        def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
            pass

    reader = PeriodicExportingMetricReader(Exporter())
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    instruments = provider.get_meter("crewrun", __version__)
    for metric in board.metrics:
        create: Callable[..., Any] = (
            instruments.create_observable_counter if metric.kind == "counter" else instruments.create_observable_gauge
        )
        create(metric.name, [partial(_observe, board, metric.name)], metric.unit, metric.help)
    return MetricsExport(provider)


def _observe(board: Board, name: str, _options: Any) -> Iterable[Any]:
    from opentelemetry.metrics import Observation

    metric: Metric | None = next((one for one in board.metrics if one.name == name), None)
    return [] if metric is None else [Observation(value, dict(labels)) for labels, value in metric.readings]
