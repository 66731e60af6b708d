"""Scores summed up, and what tells that a row has to be scored again."""

from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.expect.field_path import field_of_output
from crewrun.score.figures import ScoreCollector, ScoreFigures
from crewrun.score.scored_rows import digest_of
from crewrun.score.values import BadScore, scores_of

NUMBERS = st.floats(min_value=-1e99, max_value=1e99) | st.floats(min_value=0, max_value=1)


def figures(values: list[Any]) -> ScoreFigures:
    collector = ScoreCollector()
    for row, value in enumerate(values):
        collector.add(str(row), {"score": value, "reason": f"row {row}"})
    (one,) = collector.figures()
    return one


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_figures_hold_together(values: list[float]) -> None:
    """Every row is in one range, the interval has the mean in it, and the worst rows have the lowest scores."""
    one = figures(values)
    assert sum(one.counts) == one.rows == len(values)
    assert len(one.edges) == len(one.counts) + 1
    assert one.edges == sorted(one.edges)
    assert min(values) <= one.p10 <= one.median <= one.p90 <= max(values)
    slack = 1e-9 * max(map(abs, values))
    assert one.low is None or one.high is None or one.low - slack <= one.mean <= one.high + slack
    assert [row.score for row in one.worst] == [value for value in sorted(values)[:5] if value < max(values)]
    assert all(values[int(row.id)] == row.score and row.reason == f"row {row.id}" for row in one.worst)


@given(st.lists(st.integers(min_value=-(10**15), max_value=10**15) | st.integers(2, 30), min_size=2, max_size=30))
def test_ranges_of_whole_numbers_have_the_same_number_of_them(values: list[int]) -> None:
    """So no range is empty because of where its edges are; there are at most ten."""
    one = figures(values)
    if not one.is_whole:
        assert max(values) == min(values) or {*values} == {0, 1}
        return
    width = one.edges[1] - one.edges[0]
    assert width >= 1
    assert width.is_integer()
    assert one.edges == [min(values) + i * width for i in range(len(one.counts) + 1)]
    assert one.counts == [sum(low <= value < low + width for value in values) for low in one.edges[:-1]]
    assert len(one.counts) <= 10
    assert min(one.counts[0], one.counts[-1]) > 0


@given(st.lists(st.booleans(), min_size=2, max_size=30))
def test_a_share_stays_a_share(values: list[bool]) -> None:
    """Its interval is within 0 and 1 and has some width, also where all rows are alike."""
    one = figures(values)
    assert (one.is_share, one.counts) == (True, [values.count(False), values.count(True)])
    assert one.low is not None
    assert one.high is not None
    assert 0 <= one.low <= one.mean <= one.high <= 1
    assert one.high - one.low > 0.01


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([3.0, 4.0], 0.343, 6.657),  # 3.5 and 6.3138 · 0.5, from a table of Student's t
        ([1.0, 2.0, 3.0, 4.0], 0.981, 4.019),  # 2.5 and 2.3534 · 1.2910 / 2
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1.961, 5.039),  # 3.5 and 2.0150 · 1.8708 / 2.4495
        ([True] * 8 + [False] * 2, 0.541, 0.931),  # by Wilson's formula, with 1.645
    ],
)
def test_intervals_are_those_of_the_textbook(values: list[Any], low: float, high: float) -> None:
    """Student's, by an approximation of its quantile, and Wilson's."""
    one = figures(values)
    assert one.low == pytest.approx(low, abs=0.01)
    assert one.high == pytest.approx(high, abs=0.01)


@given(st.dictionaries(st.text(max_size=4), NUMBERS | st.booleans(), max_size=4) | NUMBERS | st.booleans())
def test_what_is_accepted_is_what_was_returned(value: Any) -> None:
    """Numbers and flags stay as they are; a mapping without scores and a name of blanks are refused."""
    names = set(value) - {"reason"} if isinstance(value, dict) else {"score"}
    if not names or any(not name.strip() for name in names):
        with pytest.raises(BadScore):
            scores_of(value, "f")
        return
    scores = scores_of(value, "f")
    assert {name: scores[name] for name in names} == (
        {name: value[name] for name in names} if isinstance(value, dict) else {"score": value}
    )


@pytest.mark.parametrize("value", [nan, 1e100, -(10**400), "1", None, [], {}, {"a": nan}, {1: 1}, object], ids=repr)
def test_what_is_no_score_is_refused(value: Any) -> None:
    """With the function's name."""
    with pytest.raises(BadScore, match=r"^f returned "):
        scores_of(value, "f")


def test_an_array_is_no_score_and_a_scalar_of_numpy_is_one() -> None:
    """An array of one number too: the next row's may have two."""
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    assert scores_of({"a": numpy.float64(0.5), "b": numpy.bool_(True), "c": numpy.array(2)}, "f") == {
        "a": 0.5,
        "b": True,
        "c": 2,
    }
    for array in (numpy.array([1, 2]), numpy.array([1])):
        with pytest.raises(BadScore, match=r"^f returned array"):
            scores_of(array, "f")


def test_a_digest_is_of_what_is_judged() -> None:
    """The output or the field of it, and the input; nothing else, and not the order of keys."""
    record = {"output": {"a": {"b": 1}, "c": 2}, "input": {"x": 1}, "cost_usd": 1}
    field = field_of_output("a.b")
    same = {"output": {"c": 2, "a": {"b": 1}}, "input": {"x": 1}, "cost_usd": 2}
    other_c = {**record, "output": {"a": {"b": 1}, "c": 3}}
    assert digest_of(record, None) == digest_of(same, None) != digest_of(other_c, None)
    assert digest_of(record, field) == digest_of(other_c, field) != digest_of({**record, "input": {}}, field)
    assert digest_of({"output": {}}, field) != digest_of({"output": None}, field)
