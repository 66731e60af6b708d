"""What `crewrun compare` calculates: intervals, equality, word diffs, conditions."""

import json
import random
from statistics import NormalDist
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.compare.bootstrap import FEWEST_ROWS, Bootstrap
from crewrun.compare.conditions import parse_condition
from crewrun.compare.equality import is_same
from crewrun.compare.fields import FieldComparisons
from crewrun.compare.word_diff import Segment, word_diff
from crewrun.errors import UsageError

LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "1", "true"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner))
WORDS = st.lists(st.sampled_from(["tide", "wave", "sea", ",", "\n", "the"]), max_size=25).map(" ".join)


def as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(VALUES, VALUES)
def test_values_are_the_same_if_their_json_is(a: Any, b: Any) -> None:
    """Apart from how numbers are written; Python alone would say that true is 1."""
    assert is_same(a, b) is (as_text(a) == as_text(b))
    assert is_same(json.loads(as_text(a)), a)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (0.0, -0.0, True),
        (1, True, False),
        ("a", "a ", False),
        ({"a": None}, {}, False),
        ("1", 1, False),
    ],
)
def test_what_counts_as_the_same(a: Any, b: Any, same: bool) -> None:
    """Numbers by their value, everything else exactly; also inside of an object."""
    assert (is_same(a, b), is_same({"x": [a]}, {"x": [b]})) == (same, same)


def test_values_of_any_depth() -> None:
    """No recursion: an answer may be deeper than Python's stack."""
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    assert is_same(deep, deep)


@pytest.mark.parametrize(("rows", "trials"), [(12, 400), (60, 300)])
def test_nine_of_ten_intervals_have_the_true_difference(rows: int, trials: int) -> None:
    """Also of few rows; the number of hits is binomial."""
    chance, bootstrap = random.Random(rows), Bootstrap(0)
    hits = 0
    for _ in range(trials):
        a = [chance.lognormvariate(0, 0.5) for _ in range(rows)]
        b = [x + chance.gauss(0.3, 1) for x in a]
        difference = bootstrap.change(a, b).difference
        assert difference is not None
        hits += difference.low <= 0.3 <= difference.high
    error = (0.9 * 0.1 / trials) ** 0.5
    assert abs(hits / trials - 0.9) < 4 * error, hits / trials


def test_groups_of_rows_have_the_interval_of_rows() -> None:
    """Its width is that of the normal distribution, which a mean of so many rows has."""
    chance = random.Random(1)
    a = [0.0] * 30_000
    b = [chance.gauss(0, 1) for _ in a]
    difference = Bootstrap(0).change(a, b).difference
    assert difference is not None
    expected = 2 * NormalDist().inv_cdf(0.95) / len(b) ** 0.5
    assert abs((difference.high - difference.low) / expected - 1) < 0.1


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=FEWEST_ROWS, max_size=30), st.integers()
)
def test_an_interval_is_around_its_value(pairs: list[tuple[float, float]], seed: int) -> None:
    """And the same for the same seed."""
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    change = Bootstrap(seed).change(a, b)
    assert change == Bootstrap(seed).change(a, b)
    for interval in (change.difference, change.relative):
        assert interval is not None
        assert interval.low - 1e-9 <= interval.mean <= interval.high + 1e-9


def test_few_rows_have_no_interval() -> None:
    """Four rows say next to nothing; a mean of zero has no tenth."""
    assert Bootstrap(0).change([1.0] * 4, [2.0] * 4).difference is None
    change = Bootstrap(0).change([0.0] * 9, [1.0] * 9)
    assert change.relative is None
    assert change.difference is not None
    assert Bootstrap(0).change([0.0] * 9, [0.0] * 9).relative is None


@given(WORDS, WORDS)
def test_a_word_diff_has_both_texts(a: str, b: str) -> None:
    """What only B has left out gives A, and the other way round; short texts are not cut."""
    segments = word_diff(a, b)
    if a == b:
        assert segments == []
    elif "…" not in "".join(text for _, text in segments):
        assert "".join(text for sign, text in segments if sign != "+") == a
        assert "".join(text for sign, text in segments if sign != "-") == b


@pytest.mark.parametrize(
    ("a", "b", "segments"),
    [
        ("the tide turns", "the sea turns", [("=", "the "), ("-", "tide"), ("+", "sea"), ("=", " turns")]),
        ("Paris", "Paris, France", [("=", "Paris"), ("+", ", France")]),
        ("an abcd end", "an abce end", [("=", "an "), ("-", "abcd"), ("+", "abce"), ("=", " end")]),
        ("at 1.25 m", "at 1.75 m", [("=", "at 1."), ("-", "25"), ("+", "75"), ("=", " m")]),
        ("positive", "negative", [("-", "positive"), ("+", "negative")]),
        ("", "x", [("+", "x")]),
    ],
)
def test_a_word_diff_is_one_of_words(a: str, b: str, segments: list[tuple[str, str]]) -> None:
    """Words are never cut in two."""
    assert word_diff(a, b) == [Segment(*segment) for segment in segments]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("x " * 5_000_000, "x " * 4_999_999 + "y "),
        (" ".join(f"w{i}" for i in range(900_000)), " ".join(f"{'wv'[i % 2]}{i}" for i in range(900_000))),
        (" ".join(f"w{i % 90}" for i in range(20_000)), " ".join(f"w{i % 90 if i % 2 else -i}" for i in range(20_000))),
        ("a" * 10_000_000, "b" * 10_000_000),
    ],
    ids=["the end", "every other word", "frequent words", "one word"],
)
def test_texts_of_10_mb_take_no_time(a: str, b: str) -> None:
    """Whatever is in them, nor much room: what is shown is cut."""
    before = process_time()
    segments = word_diff(a, b)
    assert process_time() - before < 3
    assert sum(len(text) for _, text in segments) < 50_000


def test_fields_are_compared_one_by_one() -> None:
    """An enum by its changes, a number by its difference, a free text by its equal share alone."""
    fields = FieldComparisons(0)
    fields.take_equal({"city": "Paris", "score": 1, "text": "x" * 100})
    fields.take({"city": "Paris", "score": 1, "text": "x" * 100}, {"city": "Rome", "score": 4, "text": "y" * 100})
    fields.take({"city": "Paris", "score": 2, "old": True}, {"city": None, "score": "2"})
    city, score, text, old = (field.to_json() for field in fields)
    assert city["changes"] == [{"a": "Paris", "b": "Rome", "rows": 1}, {"a": "Paris", "b": None, "rows": 1}]
    assert (city["rows"], city["equal"], city["share"]) == (3, 1, 0.333333)
    assert score["numeric"] == {
        "rows": 2,
        "mean": 1.5,
        "min": 0.0,
        "max": 3.0,
        "p05": pytest.approx(0.15),
        "p25": 0.75,
        "p50": 1.5,
        "p75": 2.25,
        "p95": pytest.approx(2.85),
    }
    assert (text["changes"], text["share"]) == ([], 0.5)
    assert (old["only_a"], old["only_b"], old["equal"]) == (1, 0, 0)


def test_a_name_that_two_fields_have() -> None:
    """`{"a.b": 1, "a": {"b": 2}}` is legal; whether rows are the same does not depend on it."""
    fields = FieldComparisons(0)
    fields.take({"a.b": 1, "a": {"b": 2}}, {"a.b": 3, "a": {"b": 2}})
    assert fields.names() == ["output.a.b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("changed", "character 8: a comparison is missing"),
        ("changed>", "character 9: a number is missing, such as 5 or 5%"),
        ("changed>>5%", "character 8: '>>' is not one of >, >=, < and <="),
        ("changed=5", "character 8: '=' is not one of"),
        ("changed>5 rows", "character 9: '5 rows' is not a number"),
        ("changed>1e999", "character 9: '1e999' is not a number"),
        ("changed>1_", "character 9: '1_' is not a number"),
        ("changed>nan", "character 9: 'nan' is not a number"),
        ("chnaged>5%", "character 1: 'chnaged' is not known (did you mean 'changed'?)"),
        ("wombat>5", "character 1: 'wombat' is not known; there are same, changed,"),
        (">5", "character 1: there is nothing to compare"),
        ("output.city<95", "character 15: the share of equal values needs a %"),
        ("", "character 1: a comparison is missing"),
    ],
)
def test_a_condition_that_is_refused(text: str, message: str) -> None:
    """With the place, and how to write it."""
    with pytest.raises(UsageError) as refused:
        parse_condition(text)
    assert message in str(refused.value)
    assert "write it like 'changed>5%'" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("changed>5%", ("changed", ">", 5, True, "mean")),
        (" broken >= 1 ", ("broken", ">=", 1, False, "mean")),
        ("cost.low>1e1%", ("cost", ">", 10, True, "low")),
        ("output.cost.low<95%", ("output.cost.low", "<", 95, True, "mean")),
        ("output.a>b<95%", ("output.a>b", "<", 95, True, "mean")),
        ("tokens<-.5", ("tokens", "<", -0.5, False, "mean")),
        ("expect.label.high<0", ("expect.label", "<", 0, False, "high")),
    ],
)
def test_a_condition_that_is_understood(text: str, parts: tuple[Any, ...]) -> None:
    """Spaces do not matter; a field may be called anything."""
    condition = parse_condition(text)
    relation = condition.inequality
    assert (condition.name, relation.operator, relation.number, relation.is_percent, condition.part) == parts
