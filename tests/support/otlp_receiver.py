"""A collector on the loopback that takes OTLP over HTTP and keeps what it was sent, decoded by the protocol's messages.

It is no part of OpenTelemetry, but what it decodes with is: the classes that are generated from the protocol's files.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_DECOMPRESS: Mapping[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came. Ids are hex digits; `parent` is empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    error: str | None
    is_remote: bool
    state: str
    resource: Mapping[str, Any]
    schema_url: str


@dataclass
class Received:
    """What has come so far: spans, metrics by name with the latest value of each set of labels, and headers."""

    spans: list[ReceivedSpan] = field(default_factory=list)
    metrics: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def traces(self) -> dict[str, list[ReceivedSpan]]:
        """The spans by trace."""
        traces: dict[str, list[ReceivedSpan]] = {}
        for span in self.spans:
            traces.setdefault(span.trace, []).append(span)
        return traces

    def named(self, name: str) -> list[ReceivedSpan]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]


class Collector:
    """`with Collector() as collector: ... collector.url ... collector.received`. It answers with `status`, as long as
    it does not hang.
    """

    def __init__(self, status: int = 200, *, hangs: bool = False) -> None:
        self.status = status
        self.received = Received()
        self.posts = 0
        self._hangs = hangs
        self._is_over = Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.posts += 1
                if collector._hangs:
                    collector._is_over.wait()
                    return
                if collector.status == 200:
                    collector._take(self.path, dict(self.headers), body)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        body = _DECOMPRESS.get(headers.get("Content-Encoding", ""), bytes)(body)
        self.received.headers.append({name.lower(): value for name, value in headers.items()})
        if path == "/v1/traces":
            self.received.spans += _spans(ExportTraceServiceRequest.FromString(body))
        else:
            assert path == "/v1/metrics"
            for name, values in _metrics(ExportMetricsServiceRequest.FromString(body)):
                self.received.metrics[name] = values


def _spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource_spans in request.resource_spans:
        resource = _mapping(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            assert scope_spans.scope.name == "crewrun"
            for span in scope_spans.spans:
                assert span.flags & 0x101 == 0x101  # sampled, and it says whether its parent is remote
                yield ReceivedSpan(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=span.kind,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_mapping(span.attributes),
                    events=tuple((event.name, _mapping(event.attributes)) for event in span.events),
                    error=span.status.message if span.status.code == 2 else None,
                    is_remote=bool(span.flags & 0x200),
                    state=span.trace_state,
                    resource=resource,
                    schema_url=scope_spans.schema_url,
                )


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[tuple[str, dict[tuple[str, ...], float]]]:
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                points = metric.sum.data_points or metric.gauge.data_points
                yield (
                    metric.name,
                    {
                        tuple(map(str, _mapping(point.attributes).values())): (
                            point.as_double if point.HasField("as_double") else point.as_int
                        )
                        for point in points
                    },
                )


def _mapping(attributes: Any) -> dict[str, Any]:
    """Attributes; a key that is there twice would hide one of its values."""
    pairs: list[tuple[str, Any]] = [(one.key, _value(one.value)) for one in attributes]
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
