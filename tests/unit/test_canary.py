"""The canary by itself: what it forecasts, which rows go first, and when the rest must not run."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import anyio
import pytest
import trio
import trio.testing

from crewrun.batch.canary import Canary, CanarySource, Forecast, Sample, exceeds, known_to_exceed
from crewrun.batch.forecast import Interval
from crewrun.errors import Category, RunStopped
from crewrun.messages import Usage
from crewrun.row import ErrorRecord, Outcome, Replayed, Row

ROWS = [Row(index=n, line=n + 1, id=str(n), inputs={}) for n in range(10)]
SAMPLE = Sample([ROWS[7], ROWS[2]], 10)


def outcome(
    row: Row, cost_usd: float | None, *, failed: bool = False, before_usd: float | None = None, stopped: bool = False
) -> Outcome:
    error = ErrorRecord(Category.SERVER, "ServerError", "down") if failed else None
    replayed = None if before_usd is None else Replayed(1, 1, Usage(), before_usd)
    return Outcome(
        row,
        "failed" if failed else "ok",
        None,
        (),
        error,
        1,
        1,
        Usage(),
        cost_usd,
        (),
        datetime.now(UTC),
        2.0,
        replayed=replayed,
        stopped=RunStopped("stopped") if stopped else None,
    )


def on_a_virtual_clock(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


class Rows:
    """A source of all rows."""

    def __init__(self) -> None:
        self.left = list(ROWS)
        self.is_closed = False

    @property
    def is_drained(self) -> bool:
        return not self.left

    is_whole = is_drained

    async def read(self) -> Row | None:
        return self.left.pop(0) if self.left else None

    def close(self) -> None:
        self.is_closed = True


def test_the_sample_goes_first_and_the_rest_when_the_canary_says_so() -> None:
    """Each row once; the source is drained only when the sample is handed out as well."""

    async def main() -> None:
        canary = Canary(SAMPLE, 4)
        source = CanarySource(Rows(), canary)  # type: ignore[arg-type]  # as much of Source as is used
        assert [await source.read(), await source.read()] == SAMPLE.rows
        with anyio.move_on_after(100) as waited:
            await source.read()
        assert waited.cancelled_caught
        canary.go_on.set()
        rest = []
        while (row := await source.read()) is not None:
            rest.append(row.index)
        assert rest == [0, 1, 3, 4, 5, 6, 8, 9]
        assert (source.is_drained, source.is_whole) == (True, True)

    on_a_virtual_clock(main)


def test_a_sample_that_is_not_handed_out_is_left() -> None:
    """Whatever has been read of the input: in a first pass that is all of it."""

    async def main() -> None:
        rows = Rows()
        rows.left = []
        source = CanarySource(rows, Canary(SAMPLE, 4))  # type: ignore[arg-type]  # as much of Source as is used
        assert (source.is_drained, source.is_whole) == (False, False)
        source.close()
        assert rows.is_closed
        await source.read()
        await source.read()
        assert await source.read() is None  # closed: nobody waits for the canary

    on_a_virtual_clock(main)


class Answers:
    """An executor whose outcomes are those given, by index."""

    def __init__(self, outcomes: dict[int, Outcome]) -> None:
        self.outcomes = outcomes

    async def run(self, row: Row) -> Outcome:
        await anyio.sleep(3)
        return self.outcomes[row.index]


def test_only_rows_of_the_sample_that_have_ended_are_counted() -> None:
    """One that stopped the run has no result, and one that is not of the sample says nothing."""

    async def main() -> None:
        canary = Canary(SAMPLE, 4)
        executor = canary.watched(
            Answers({7: outcome(ROWS[7], 9.0, stopped=True), 0: outcome(ROWS[0], 5.0), 2: outcome(ROWS[2], 1.0)})
        )
        for index in (7, 0, 2):
            await executor.run(ROWS[index])
        assert not canary.ended.is_set()
        canary.add(outcome(ROWS[7], 1.0, failed=True))
        assert canary.ended.is_set()
        forecast = canary.forecast()
        assert (forecast.rows, forecast.sample, forecast.cost_usd) == (10, 2, Interval(10.0, 10.0, 10.0))
        assert forecast.failures.mean == 0.5

    on_a_virtual_clock(main)


def test_an_empty_sample_has_ended() -> None:
    """There is nothing to wait for."""

    async def main() -> None:
        assert Canary(Sample([], 0), 4).ended.is_set()
        assert not Canary(SAMPLE, 4).ended.is_set()

    on_a_virtual_clock(main)


@pytest.mark.parametrize(
    ("outcomes", "cost_usd"),
    [
        pytest.param([outcome(ROWS[7], 3.0, before_usd=2.0), outcome(ROWS[2], 1.0)], 10.0, id="paid in part before"),
        pytest.param([outcome(ROWS[7], 1.0, before_usd=None), outcome(ROWS[2], 1.0)], 10.0, id="paid now"),
        pytest.param([outcome(ROWS[7], 1.0, before_usd=2.0), outcome(ROWS[2], 0.0)], 0.0, id="never below nothing"),
        pytest.param([outcome(ROWS[7], None), outcome(ROWS[2], 1.0)], None, id="a price is not known"),
    ],
)
def test_a_forecast_is_of_what_this_session_pays(outcomes: list[Outcome], cost_usd: float | None) -> None:
    """What earlier sessions paid is not paid again; an unknown price makes all of it unknown."""

    async def main() -> None:
        canary = Canary(SAMPLE, 4)
        for one in outcomes:
            canary.add(one)
        forecast = canary.forecast().cost_usd
        assert (None if forecast is None else forecast.mean) == cost_usd

    on_a_virtual_clock(main)


def test_a_forecast_as_the_summary_has_it() -> None:
    """Rounded; what nobody can say is null."""
    forecast = Forecast(10, 2, None, Interval(1.25, 1.0, float("inf")), Interval(1 / 3, 0.0, 1.0))
    assert forecast.to_json() == {
        "rows": 10,
        "sample": 2,
        "cost_usd": None,
        "duration_s": {"mean": 1.2, "low": 1.0, "high": None},
        "failed_share": {"mean": 0.3333, "low": 0.0, "high": 1.0},
    }


def forecast_of(mean_usd: float | None, rows: int = 10, sample: int = 2) -> Forecast:
    cost = None if mean_usd is None else Interval(mean_usd, 0.0, 9.0)
    return Forecast(rows, sample, cost, Interval(1, 1, 1), Interval(0, 0, 0))


@pytest.mark.parametrize(
    ("forecast", "spent_usd", "limit_usd", "said"),
    [
        (forecast_of(5.0), 0.0, None, None),
        (forecast_of(5.0), 0.0, 5.0, None),
        (forecast_of(5.0), 1.0, 6.0, None),
        (forecast_of(5.0), 0.0, 4.0, "all 10 rows would cost about $5, more than --max-forecast allows"),
        (forecast_of(5.0), 1e-10, 5.0, "all 10 rows would cost about $5, more than --max-forecast allows"),
        (
            forecast_of(5.0),
            1.0,
            5.5,
            "all 10 rows would cost about $6 with the $1 spent before, more than --max-forecast allows",
        ),
        (forecast_of(5.0, rows=2), 0.0, 4.0, None),
        (
            forecast_of(None),
            0.0,
            4.0,
            "the price of a model is not known, so --max-forecast cannot be checked (--price)",
        ),
        (forecast_of(None, rows=2), 0.0, 4.0, None),
    ],
)
def test_when_the_rest_must_not_run(
    forecast: Forecast, spent_usd: float, limit_usd: float | None, said: str | None
) -> None:
    """With what earlier sessions spent; a sample of all rows leaves none to forbid."""
    assert exceeds(forecast, spent_usd, limit_usd) == said


@pytest.mark.parametrize(
    ("left", "done", "spent_usd", "limit_usd", "said"),
    [
        (10, 5, 1.0, None, None),
        (0, 5, 9.0, 1.0, None),
        (10, 5, 1.0, 3.0, None),
        (
            10,
            5,
            1.0,
            2.9,
            "$1 are spent on 5 rows, and 10 more rows would cost about $2: more than --max-forecast allows",
        ),
        (10, 4, 1.0, 2.9, None),
        (10, 4, 1.0, 1.0, None),
        (10, 4, 1.0, 0.9, "$1 are spent on 4 rows: more than --max-forecast allows"),
        (10, 0, 0.0, 1.0, None),
    ],
)
def test_when_not_even_a_sample_is_run(
    left: int, done: int, spent_usd: float, limit_usd: float | None, said: str | None
) -> None:
    """By what at least as many rows as the sample has, five, cost before."""
    assert known_to_exceed(left, done, 5, spent_usd, limit_usd) == said
