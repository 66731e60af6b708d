"""What other programs get to see of a run while it goes on: traces by OpenTelemetry, metrics by it and for Prometheus.

Nothing here is imported unless the user asked for it. Traces are made from `row_events`; metrics are the counters that
the display shows, as `batch/metrics` reads them. `library` imports OpenTelemetry, `prometheus` its client library.
"""
