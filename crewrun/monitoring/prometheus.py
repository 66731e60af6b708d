"""Serves a board's metrics to Prometheus over HTTP, at `/metrics`, from threads of its client library."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.monitoring.readings import Board, Metric


@contextmanager
def served(board: Board, host: str, port: int) -> Iterator[str]:
    """Serve `board` during the block; the value is the address, of a free port for port 0.

    Raises UsageError if the client library is missing, or nothing can be served there.
    """
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
    except ImportError:
        raise UsageError(f"--metrics needs prometheus-client: {install_command('prometheus')}") from None
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(board))
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, UnicodeError) as refused:
        reason = refused.strerror if isinstance(refused, OSError) else None
        shown = f"[{host}]" if ":" in host else host
        raise UsageError(
            f"--metrics {shown}:{port}: {reason or refused}; take another port, or 0 for any that is free"
        ) from None
    try:
        yield _url(server.server_address, host)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _url(bound: Any, host: str) -> str:
    is_all = host in ("0.0.0.0", "::", "")  # noqa: S104  (the user may ask for it)
    shown = socket.gethostname() if is_all else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound[1]}/metrics"


class _Collector:
    """Makes Prometheus' metric families of a board, for each scrape."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> list[Any]:
        """Nothing: names are checked when they are collected."""
        return []

    def collect(self) -> Iterator[Any]:
        """The families, as the client library takes them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        for metric in self._board.metrics:
            if metric.readings:
                labels = list(metric.readings[0][0])
                family = families[metric.kind](_name(metric), metric.help, labels=labels)
                for values, number in metric.readings:
                    family.add_metric([values[label] for label in labels], number)
                yield family


def _name(metric: Metric) -> str:
    """`crewrun.row.time` with unit `s` → `crewrun_row_time_seconds`; a unit in braces is no suffix."""
    name = metric.name.replace(".", "_")
    suffix = {"s": "_seconds", "USD": "_usd"}.get(metric.unit, "")
    return name if name.endswith(suffix) else f"{name}{suffix}"
