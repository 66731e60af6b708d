"""Forecasts from a sample of rows: nine times out of ten the truth lies where they say."""

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun.batch.forecast import Interval, Reservoir, choose, duration, extrapolate, proportion


def lognormal(sigma: float) -> Callable[[random.Random], float]:
    return lambda dice: dice.lognormvariate(0, sigma)


def pareto(dice: random.Random) -> float:
    return dice.paretovariate(2.5)


def mixture(dice: random.Random) -> float:
    """2 % of the rows cost 30 times the others."""
    return dice.lognormvariate(0, 0.3) * (30 if dice.random() < 0.02 else 1)


HEAVY = {"0.5": lognormal(0.5), "1.0": lognormal(1.0), "1.5": lognormal(1.5), "pareto": pareto, "mixture": mixture}
TOTALS = (1000, 1000, 1500, 2500)


def batches(name: str) -> list[tuple[list[float], int]]:
    """60 batches of one shape, sorted: what every row costs, and how many of them are sampled."""
    dice = random.Random(f"costs {name}")
    totals = [{"1.0": 100_000, "pareto": 20_000}.get(name, 1000), *(TOTALS[i % 4] for i in range(1, 60))]
    return [(sorted(HEAVY[name](dice) for _ in range(total)), (50, 100)[i % 2]) for i, total in enumerate(totals)]


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def test_the_interval_holds_the_truth_nine_times_out_of_ten() -> None:
    """Over 300 heavy-tailed batches, sorted by length, of which 50 or 100 random rows are known."""
    hits = {
        name: sum(
            holds(extrapolate([rows[at] for at in choose(len(rows), n, seed)], len(rows)), sum(rows))
            for seed, (rows, n) in enumerate(batches(name))
        )
        for name in HEAVY
    }
    assert 0.85 <= sum(hits.values()) / 300 <= 0.95, hits
    # Every shape on its own too, but the one of which a sample may show nothing: see the next test.
    assert all(hits[name] >= 51 for name in HEAVY if name != "mixture"), hits


def test_the_first_rows_of_a_sorted_input_would_say_nothing() -> None:
    """Why positions are random: not one of these intervals holds the truth."""
    inputs = [sorted(lognormal(1.0)(random.Random(f"{seed} {at}")) for at in range(500)) for seed in range(10)]
    assert [holds(extrapolate(rows[:50], 500), sum(rows)) for rows in inputs] == [False] * 10


def test_what_a_sample_does_not_show_it_cannot_tell() -> None:
    """2 % of rows at 30 times the cost: the interval holds when the sample has one of them, else it is too low."""
    shown: list[bool] = []
    unshown: list[bool] = []
    for seed in range(200):
        dice = random.Random(seed)
        rows = [30.0 if dice.random() < 0.02 else 1.0 + dice.random() / 10 for _ in range(1000)]
        sample = [rows[at] for at in choose(1000, 100, seed)]
        (shown if max(sample) > 2 else unshown).append(holds(extrapolate(sample, 1000), sum(rows)))
    assert sum(unshown) == 0
    assert len(unshown) < 40  # 0.98 ** 100 of 200 are 27
    assert sum(shown) >= 0.9 * len(shown)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e6], ids=str)
def test_a_forecast_does_not_depend_on_the_unit(scale: float) -> None:
    """Dollars or millionths of them."""
    sample = [lognormal(1.0)(random.Random(i)) for i in range(30)]
    one, other = extrapolate(sample, 500), extrapolate([x * scale for x in sample], 500)
    assert [other.mean, other.low, other.high] == pytest.approx([one.mean * scale, one.low * scale, one.high * scale])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.integers(0, 10_000), st.integers(1, 100))
def test_a_forecast_is_never_below_what_is_known(samples: list[float], more: int, in_flight: int) -> None:
    """Whatever the rows cost, and however few they are: low, mean and high in this order, and none of them NaN."""
    total = len(samples) + more
    cost = extrapolate(samples, total)
    assert sum(samples) * (1 - 1e-9) <= cost.low <= cost.mean * (1 + 1e-9) <= cost.high * (1 + 2e-9)
    time = duration(samples, total, in_flight, elapsed_s=7.0)
    assert 7.0 <= time.low <= time.mean * (1 + 1e-9) <= time.high * (1 + 2e-9)


@pytest.mark.parametrize(
    ("samples", "total", "expected"),
    [
        pytest.param([1.0, 2.0, 3.0], 3, Interval(6, 6, 6), id="all rows are known"),
        pytest.param([2.0], 1, Interval(2, 2, 2), id="the only row is known"),
        pytest.param([2.0], 10, Interval(20, 2, math.inf), id="one row says nothing of the spread"),
        pytest.param([2.0, 2.0, 2.0], 10, Interval(20, 20, 20), id="all rows alike"),
        pytest.param([0.0, 0.0], 10, Interval(0, 0, 0), id="free"),
    ],
)
def test_the_edges_of_a_sample(samples: list[float], total: int, expected: Interval) -> None:
    """Nothing left to estimate, or nothing to estimate it from."""
    assert extrapolate(samples, total) == expected


@pytest.mark.parametrize(
    ("samples", "total"),
    [([], 10), ([1.0, 2.0], 1), ([-1.0], 10), ([math.nan], 10), ([math.inf], 10)],
    ids=["none", "more than there are", "negative", "not a number", "endless"],
)
def test_what_is_no_sample_is_refused(samples: list[float], total: int) -> None:
    """A forecast from nonsense would be nonsense."""
    with pytest.raises(ValueError, match="a forecast needs at least one row"):
        extrapolate(samples, total)
    with pytest.raises(ValueError, match="a forecast needs at least one row"):
        duration(samples, total, 8)


def test_a_share_of_failures_is_held_nine_times_out_of_ten() -> None:
    """Over 300 batches in which from none to half of the rows fail; exact intervals hold more than they promise."""
    hits = 0
    for seed in range(300):
        dice = random.Random(seed)
        total, n = dice.choice([60, 200, 1000, 5000]), dice.choice([50, 100])
        bad = round(total * dice.choice([0, 0.002, 0.01, 0.05, 0.2, 0.5]))
        n = min(n, total)
        interval = proportion(sum(at < bad for at in choose(total, n, seed)), n, total)
        hits += holds(interval, bad / total)
    assert hits >= 270


@pytest.mark.parametrize(
    ("failures", "n", "total", "expected"),
    [
        pytest.param(3, 10, 10, Interval(0.3, 0.3, 0.3), id="all rows are known"),
        pytest.param(0, 1, 2, Interval(0, 0, 0.5), id="one of two"),
        # By hand: 4 bad rows of 10 are missed by 5 drawn ones with probability 6/252, 3 with 21/252.
        pytest.param(0, 5, 10, Interval(0, 0, 0.3), id="none of five in ten"),
        pytest.param(5, 5, 10, Interval(1, 0.7, 1), id="five of five in ten"),
    ],
)
def test_shares_that_can_be_counted_by_hand(failures: int, n: int, total: int, expected: Interval) -> None:
    """Small enough to enumerate."""
    assert proportion(failures, n, total) == expected


def test_no_failure_in_a_sample_of_a_long_input() -> None:
    """The rule of three: 1 - 0.05 ** (1 / 50) of the rows may still fail."""
    interval = proportion(0, 50, 1_000_000)
    assert (interval.mean, interval.low, round(interval.high, 4)) == (0, 0, 0.0582)


@pytest.mark.parametrize(("failures", "n", "total"), [(2, 1, 10), (-1, 5, 10), (0, 0, 10), (0, 11, 10)])
def test_counts_that_cannot_be_are_refused(failures: int, n: int, total: int) -> None:
    """More failures than rows, no rows, or more than there are."""
    with pytest.raises(ValueError, match="no sample"):
        proportion(failures, n, total)


def run_time(rows_s: list[float], in_flight: int) -> float:
    """How long the rows take when each starts as soon as another ends."""
    ends = [0.0] * in_flight
    for row_s in rows_s:
        heapq.heapreplace(ends, ends[0] + row_s)
    return max(ends)


def test_a_duration_is_held_nine_times_out_of_ten() -> None:
    """200 batches of latencies as models have them, at 8 and 64 in flight, and the estimate is off by little."""
    hits, ratios = 0, []
    for seed in range(200):
        dice = random.Random(seed)
        draw = lognormal(dice.uniform(0.2, 1.2))
        rows, n = [draw(dice) for _ in range(dice.choice([500, 1500]))], dice.choice([50, 100])
        in_flight = dice.choice([8, 64])
        known = set(choose(len(rows), n, seed))
        sample = [row for at, row in enumerate(rows) if at in known]
        elapsed_s = run_time(sample, in_flight)
        truth = elapsed_s + run_time([row for at, row in enumerate(rows) if at not in known], in_flight)
        interval = duration(sample, len(rows), in_flight, elapsed_s)
        hits += holds(interval, truth)
        ratios.append(interval.mean / truth)
    assert 0.85 <= hits / 200 <= 0.95
    assert sum(ratios) / 200 == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("samples_s", "total", "in_flight", "elapsed_s", "expected"),
    [
        pytest.param([2.0, 3.0], 2, 8, 3.0, Interval(3, 3, 3), id="nothing is left"),
        pytest.param([2.0] * 4, 1004, 4, 2.0, Interval(502, 502, 502), id="rows alike"),
        pytest.param([2.0] * 4, 8, 64, 2.0, Interval(4, 4, 4), id="all the rest at once"),
        pytest.param([0.0] * 4, 1000, 4, 1.0, Interval(1, 1, 1), id="no time at all"),
    ],
)
def test_durations_that_can_be_counted_by_hand(
    samples_s: list[float], total: int, in_flight: int, elapsed_s: float, expected: Interval
) -> None:
    """The sample's own time, then the rest through the transports."""
    interval = duration(samples_s, total, in_flight, elapsed_s)
    # Rows in flight are taken to end one after another: where they end together that is up to half a row off.
    assert [interval.mean, interval.low, interval.high] == pytest.approx(
        [expected.mean, expected.low, expected.high], rel=0.003
    )


def test_a_batch_with_nothing_in_flight_never_ends() -> None:
    """Zero transports are a mistake of the caller."""
    with pytest.raises(ValueError, match="0 rows in flight"):
        duration([1.0], 10, 0)


def test_chosen_positions_are_random_distinct_and_ascending() -> None:
    """The same for the same seed, and every position as likely as the others."""
    assert choose(5, 10, seed=1) == [0, 1, 2, 3, 4]
    assert choose(1000, 20, seed=1) == choose(1000, 20, seed=1) != choose(1000, 20, seed=2)
    counts = Counter(at for seed in range(2000) for at in choose(10, 3, seed))
    assert all(abs(counts[at] - 600) < 100 for at in range(10))
    assert all(len(set(at)) == 3 and at == sorted(at) for at in (choose(10, 3, seed) for seed in range(100)))


def test_a_reservoir_samples_a_stream_of_unknown_length() -> None:
    """Every item as likely as the others, in the order of the stream; all of them while they fit."""
    counts: Counter[int] = Counter()
    for seed in range(2000):
        reservoir: Reservoir[int] = Reservoir(3, seed)
        for item in range(10):
            reservoir.offer(item)
        assert (reservoir.count, len(reservoir.items), reservoir.items) == (10, 3, sorted(reservoir.items))
        counts.update(reservoir.items)
    assert all(abs(counts[item] - 600) < 100 for item in range(10))
    few: Reservoir[str] = Reservoir(3, seed=1)
    few.offer("b")
    few.offer("a")
    assert few.items == ["b", "a"]
