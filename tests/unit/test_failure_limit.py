"""`--max-failures`: from which failed row on a run ends, by count and by percentage."""

import pytest

from crewrun.batch.stop import FailureLimit


@pytest.mark.parametrize(
    ("limit", "failed", "done", "is_reached"),
    [
        pytest.param("3", 2, 2, False, id="one below a count"),
        pytest.param("3", 3, 1000, True, id="a count, however many have succeeded"),
        pytest.param("30", 20, 40, False, id="a count that no percentage shortens"),
        pytest.param("1", 1, 1, True, id="the first failure"),
        pytest.param("10%", 3, 30, True, id="exactly the percentage"),
        pytest.param("10%", 3, 31, False, id="one row less than the percentage"),
        pytest.param("10%", 4, 31, True, id="more than the percentage"),
        pytest.param("12.5%", 5, 40, True, id="exactly a percentage with a fraction"),
        pytest.param("12.5%", 5, 41, False, id="just below a percentage with a fraction"),
        pytest.param("1%", 2, 20, False, id="two failures are too few for any percentage"),
        pytest.param("1%", 3, 20, True, id="three of twenty are the fewest"),
        pytest.param("1%", 3, 19, False, id="nineteen rows are too few for any percentage"),
        pytest.param("100%", 20, 20, True, id="all"),
        pytest.param("100%", 20, 21, False, id="all but one"),
    ],
)
def test_a_run_ends_at_its_failure_limit(limit: str, failed: int, done: int, is_reached: bool) -> None:
    """At the number itself, not above it."""
    assert FailureLimit.parse(limit).reached(failed, done) == is_reached


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (FailureLimit.parse("3"), "--max-failures 3"),
        (FailureLimit.parse("12.5%"), "--max-failures 12.5%"),
        (FailureLimit(count=1, flag="--fail-fast"), "--fail-fast"),
    ],
    ids=["count", "percentage", "fail fast"],
)
def test_a_failure_limit_is_named_by_its_flag(limit: FailureLimit, words: str) -> None:
    """As the user gave it."""
    assert str(limit) == words
