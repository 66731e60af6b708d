"""`--canary N`: a random sample of the rows runs first, for a forecast of what all rows will take.

The sample is drawn in a separate pass over the input. `CanarySource` hands it out first; the rest waits until the
sample's rows have ended and the watcher lets the run go on.
"""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio

from crewrun.batch.forecast import Interval, Reservoir, duration, extrapolate, proportion
from crewrun.batch.row_count import RowCount
from crewrun.batch.source import Source
from crewrun.executors import Executor
from crewrun.row import Outcome, Row

# A constant, so that the same command on the same input draws the same rows.
_SEED = 20_250_101


class Sample(NamedTuple):
    """Rows drawn from the `total` rows that are due."""

    rows: list[Row]
    total: int


async def draw(source: Source, n: int, is_due: Callable[[Row], bool]) -> Sample:
    """Read `source` to its end and draw `n` of the rows that are due, every set of them equally likely."""
    reservoir: Reservoir[Row] = Reservoir(n, _SEED)

    def see(row: Row) -> None:
        if is_due(row):
            reservoir.offer(row)

    await source.visit(see)
    return Sample(reservoir.items, reservoir.count)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What all rows of a session will take, as means with 90 % intervals: US dollars (None: a price is unknown),
    seconds, and the share of rows that fail.
    """

    rows: int
    sample: int
    cost_usd: Interval | None
    duration_s: Interval
    failures: Interval

    def to_json(self) -> dict[str, Any]:
        """As the summary has it."""
        return {
            "rows": self.rows,
            "sample": self.sample,
            "cost_usd": _json(self.cost_usd, 6),
            "duration_s": _json(self.duration_s, 1),
            "failed_share": _json(self.failures, 4),
        }


def _json(interval: Interval | None, digits: int) -> dict[str, float | None] | None:
    if interval is None:
        return None
    ends = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return {name: None if value == float("inf") else round(value, digits) for name, value in ends.items()}


@dataclass(slots=True)
class Canary:
    """The sample while it runs. `ended` is set when each of its rows has an outcome."""

    sample: Sample
    max_concurrent: int
    began: float = field(default_factory=anyio.current_time)
    ended: anyio.Event = field(default_factory=anyio.Event)
    go_on: anyio.Event = field(default_factory=anyio.Event)
    _outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.sample.rows:
            self.ended.set()

    def watched(self, executor: Executor) -> Executor:
        """An executor that runs rows with `executor` and notes the outcomes of the sample."""
        return _Watched(executor, self)

    def add(self, outcome: Outcome) -> None:
        """Note the outcome of a row of the sample."""
        self._outcomes.append(outcome)
        if len(self._outcomes) == len(self.sample.rows):
            self.ended.set()

    def forecast(self) -> Forecast:
        """What all rows will take, including the sample's."""
        outcomes, total = self._outcomes, self.sample.total
        costs = [_cost_of(outcome) for outcome in outcomes]
        known_costs = [cost for cost in costs if cost is not None]
        return Forecast(
            rows=total,
            sample=len(outcomes),
            cost_usd=extrapolate(known_costs, total) if len(known_costs) == len(costs) else None,
            duration_s=duration(
                [outcome.duration_s for outcome in outcomes],
                total,
                min(self.max_concurrent, total),
                anyio.current_time() - self.began,
            ),
            failures=proportion(sum(outcome.error is not None for outcome in outcomes), len(outcomes), total),
        )


def _cost_of(outcome: Outcome) -> float | None:
    """What this session pays for a row."""
    if outcome.cost_usd is None:
        return None
    before = outcome.replayed.cost_usd or 0.0 if outcome.replayed else 0.0
    return max(0.0, outcome.cost_usd - before)


class _Watched:
    def __init__(self, executor: Executor, canary: Canary) -> None:
        self._executor = executor
        self._canary = canary
        self._drawn = {row.index for row in canary.sample.rows}

    def run(self, row: Row) -> Coroutine[Any, Any, Outcome]:
        """Run one row."""
        return self._run(row) if row.index in self._drawn else self._executor.run(row)

    async def _run(self, row: Row) -> Outcome:
        outcome = await self._executor.run(row)
        if outcome.stopped is None:
            self._canary.add(outcome)
        return outcome


class CanarySource:
    """A source that hands out the sample first, and the rest once `Canary.go_on` is set."""

    def __init__(self, source: Source, canary: Canary) -> None:
        self._source = source
        self._canary = canary
        self._first = list(reversed(canary.sample.rows))
        self._drawn: Collection[int] = {row.index for row in canary.sample.rows}

    @property
    def fraction(self) -> float | None:
        """See `Source`."""
        return self._source.fraction

    @property
    def total(self) -> RowCount | None:
        """See `Source`."""
        return self._source.total

    async def count(self) -> None:
        """See `Source`."""
        await self._source.count()

    @property
    def is_drained(self) -> bool:
        """See `Source`."""
        return not self._first and self._source.is_drained

    @property
    def is_holding(self) -> bool:
        """See `Source`."""
        return not self._first and not self._canary.go_on.is_set()

    @property
    def is_whole(self) -> bool:
        """See `Source`."""
        return not self._first and self._source.is_whole

    async def fill(self) -> None:
        """See `Source`."""
        await self._source.fill()

    async def read(self) -> Row | None:
        """The next row of the sample, then of the rows that are not in it."""
        if self._first:
            return self._first.pop()
        await self._canary.go_on.wait()
        while (row := await self._source.read()) is not None and row.index in self._drawn:
            pass
        return row

    def close(self) -> None:
        """See `Source`."""
        self._canary.go_on.set()
        self._source.close()


def known_to_exceed(left: int, done: int, sample: int, spent_usd: float, limit_usd: float | None) -> str | None:
    """Why not even the sample of the `left` rows should run, judged by what the `done` rows cost; None to run it.

    At least `sample` rows must be done for that. A command that stopped and is repeated must not pay for a new sample
    each time.
    """
    if limit_usd is None or not left:
        return None
    more_usd = left * spent_usd / done if done >= sample else 0.0
    if spent_usd + more_usd <= limit_usd:
        return None
    more = f", and {left:,} more rows would cost about ${more_usd:,.4g}" if more_usd else ""
    return f"${spent_usd:,.4g} are spent on {done:,} rows{more}: more than --max-forecast allows"


def exceeds(forecast: Forecast, spent_usd: float, limit_usd: float | None) -> str | None:
    """Why the rest must not run, None when it may. The limit includes what earlier sessions spent, `spent_usd`."""
    if limit_usd is None or forecast.rows <= forecast.sample:
        return None
    if forecast.cost_usd is None:
        return "the price of a model is not known, so --max-forecast cannot be checked (--price)"
    whole_usd = spent_usd + forecast.cost_usd.mean
    if whole_usd <= limit_usd:
        return None
    # Less than a billionth is a rounding error of floating-point sums.
    before = f" with the ${spent_usd:,.4g} spent before" if spent_usd >= 1e-9 else ""
    return f"all {forecast.rows:,} rows would cost about ${whole_usd:,.4g}{before}, more than --max-forecast allows"
