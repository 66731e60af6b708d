"""The metrics of a run: the counters that the display shows, and those of the limiters, as other programs read them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from crewrun.batch.progress import Progress
from crewrun.limits.call_counts import CallCounts
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.monitoring.readings import Board, Metric, Reading

_READ_EVERY_S = 1.0  # as old as `status` may be


@dataclass(frozen=True, slots=True)
class MetricsWatcher:
    """Reads the metrics every second, and once more when all rows have ended."""

    board: Board
    progress: Progress
    limiters: LocalLimiters

    def begin(self) -> None:
        """Have the limiters count, and read once; before the first call."""
        self.limiters.counts = {}
        self.read()

    async def watch(self) -> None:
        """Read again and again."""
        try:
            while True:
                self.read()
                await anyio.sleep(_READ_EVERY_S)
        finally:
            self.read()

    def read(self) -> None:
        """Read once."""
        self.board.metrics = (*_of_rows(self.progress), *_of_calls(self.limiters), *_of_money(self.progress))


def _of_rows(progress: Progress) -> list[Metric]:
    return [
        Metric(
            "crewrun.rows",
            "counter",
            "Rows that this session has run.",
            "{row}",
            [({"status": "ok"}, progress.ok), ({"status": "failed"}, progress.failed)],
        ),
        _gauge("crewrun.rows.in_flight", "Rows that are running.", "{row}", progress.in_flight),
        _gauge("crewrun.rows.done_before", "Rows that earlier sessions have done.", "{row}", progress.done_before),
        _gauge(
            "crewrun.rows.expected",
            "Rows of the input, once they are counted.",
            "{row}",
            None if progress.total is None else progress.total.rows,
        ),
        Metric(
            "crewrun.failed_rows",
            "counter",
            "Failed rows by the category of their error.",
            "{row}",
            [({"category": category.value}, count) for category, count in progress.failures.by_category.items()],
        ),
    ]


def _of_calls(limiters: LocalLimiters) -> list[Metric]:
    counts = limiters.counts or {}
    waiting: Counter[tuple[str, str]] = Counter()  # a model may have two addresses or keys
    for wait in limiters.waits:
        waiting[wait.endpoint, wait.kind.value.replace(" ", "_")] += wait.calls
    return [
        _by_model(
            "crewrun.calls", "Calls of models that were answered, probes included.", "{call}", counts, "answered"
        ),
        _by_model("crewrun.failed_attempts", "Attempts of calls that failed.", "{attempt}", counts, "failed"),
        _by_model(
            "crewrun.rate_limited", "Attempts that were refused for the rate.", "{attempt}", counts, "rate_limited"
        ),
        Metric(
            "crewrun.tokens",
            "counter",
            "Tokens that were billed.",
            "{token}",
            [
                ({"model": model, "type": type_}, tokens)
                for model, count in counts.items()
                for type_, tokens in (("input", count.prompt_tokens), ("output", count.completion_tokens))
            ],
        ),
        _by_model("crewrun.cost", "What calls cost, as far as prices are known.", "USD", counts, "cost_usd"),
        Metric(
            "crewrun.calls.in_flight",
            "gauge",
            "Calls that are out.",
            "{call}",
            [({"model": model}, calls) for model, calls in limiters.in_flight.items()],
        ),
        Metric(
            "crewrun.calls.waiting",
            "gauge",
            "Calls that wait before they go out.",
            "{call}",
            [({"model": model, "why": why}, calls) for (model, why), calls in waiting.items()],
        ),
    ]


def _of_money(progress: Progress) -> list[Metric]:
    budget = progress.budget
    return [
        Metric(
            "crewrun.replayed_calls",
            "counter",
            "Calls that were answered from the journal.",
            "{call}",
            [({}, progress.replayed_calls)],
        ),
        Metric(
            "crewrun.tier.calls",
            "counter",
            "Answered calls of finished rows by service tier; none where all are standard.",
            "{call}",
            [({"tier": tier}, use.calls) for tier, use in progress.tiers.items()],
        ),
        _gauge(
            "crewrun.budget.spent",
            "What the budget counts as spent.",
            "USD",
            None if budget is None else budget.spent_usd,
        ),
        _gauge("crewrun.budget.limit", "What the run may cost.", "USD", None if budget is None else budget.limit_usd),
    ]


def _gauge(name: str, text: str, unit: str, value: float | None) -> Metric:
    readings: list[Reading] = [] if value is None else [({}, value)]
    return Metric(name, "gauge", text, unit, readings)


def _by_model(name: str, text: str, unit: str, counts: Mapping[str, CallCounts], field: str) -> Metric:
    return Metric(name, "counter", text, unit, [({"model": m}, getattr(count, field)) for m, count in counts.items()])
