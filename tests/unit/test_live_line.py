"""The line of counters: it fits, whatever it says, and keeps what matters most."""

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from crewrun.batch.progress import LastFailure
from crewrun.batch.row_count import RowCount
from crewrun.cli.console import lines
from crewrun.cli.live_line import Counts, counts_from, full_line, narrower_lines
from crewrun.limits.waits import Wait, WaitKind

NOW = datetime(2026, 1, 31, 2, 39)
ROWS = st.integers(0, 10**7)
WAITS = st.builds(
    Wait,
    st.sampled_from(WaitKind),
    st.just("openai/gpt-4.1-mini"),
    since_s=st.none() | st.floats(0, 1e6),
    left_s=st.none() | st.floats(0, 1e6),
    limit=st.integers(1, 10**6),
    cause=st.text(max_size=80),
)
COUNTS = st.builds(
    Counts,
    ROWS,
    ROWS,
    ROWS,
    total=st.none() | st.builds(RowCount, ROWS, st.booleans()),
    share=st.none() | st.floats(0, 1),
    done_before=ROWS,
    cost_usd=st.none() | st.floats(0, 1e5),
    budget_usd=st.none() | st.floats(0.01, 1e5),
    tokens=ROWS,
    rows_per_s=st.floats(0, 1e4),
    eta_s=st.none() | st.floats(0, 1e7),
    waits=st.lists(WAITS, max_size=2),
    last_failure=st.none() | st.builds(LastFailure, ROWS, st.just("bad_request"), st.text(max_size=200)),
)


@given(COUNTS, st.integers(1, 250), st.none() | st.text(max_size=200))
def test_no_line_is_wider_than_the_terminal(counts: Counts, width: int, stopping: str | None) -> None:
    """Whatever characters are in it, wide ones and those that steer a terminal."""
    drawn = lines(counts, NOW, width, stopping)
    assert all(line.cell_len <= width for line in drawn)
    assert all("\x1b" not in line.plain and "\n" not in line.plain for line in drawn[:-1])


@given(COUNTS, st.integers(40, 250))
def test_the_failed_count_and_the_time_left_stay(counts: Counts, width: int) -> None:
    """From 40 columns on in full, whatever else is dropped."""
    first = lines(counts, NOW, width)[0].plain
    assert f"{counts.failed:,} failed" in first
    assert (" left" in first) is (counts.eta_s is not None)


@given(COUNTS)
def test_each_form_of_the_line_says_less_than_the_one_before(counts: Counts) -> None:
    """So that a wider terminal never shows less."""
    lengths = [len(" · ".join(parts)) for parts in narrower_lines(counts, NOW)]
    assert lengths == sorted(lengths, reverse=True)


def test_the_line_of_the_manual() -> None:
    """All parts, in their order."""
    counts = Counts(
        549,
        2,
        100,
        total=RowCount(5000),
        cost_usd=0.08,
        budget_usd=1.0,
        rows_per_s=44,
        eta_s=128,
        waits=[Wait(WaitKind.RESET, "openai/gpt-4.1-mini", 3, left_s=12)],
    )
    assert full_line(counts, NOW) == (
        "549/5,000 · 2 failed · 100 in flight · $0.08 of $1.00 · 44/s · 2 m 8 s left (02:41) · "
        "waiting: rate limit of gpt-4.1-mini (resets in 12 s)"
    )


def test_where_numbers_are_unknown_others_take_their_place() -> None:
    """Tokens for a price, a share for the total, an estimate with ~, another day with its name."""
    counts = Counts(549, 0, 1, share=0.11, cost_usd=None, tokens=12_300, eta_s=50_000.0)
    assert full_line(counts, NOW) == ("549 · 11% · 0 failed · 1 in flight · 12,300 tokens · 13 h 53 m left (16:32)")
    counts = Counts(549, 0, 1, total=RowCount(5012, is_about=True), eta_s=200_000.0)
    assert full_line(counts, NOW) == "549/~5,012 · 0 failed · 1 in flight · $0.00 · 2 d 7 h left (Mon 10:12)"


def test_the_progress_of_another_version_is_read_as_far_as_it_is_known() -> None:
    """Values that this version does not know are left out."""
    wait = {"kind": "reset", "endpoint": "m", "left_s": 3.0, "of_a_later_version": 1}
    assert counts_from({"ended": 1, "failed": 2, "waiting": [wait], "later": {}}) == Counts(
        1, 2, 0, cost_usd=None, waits=[Wait(WaitKind.RESET, "m", left_s=3.0)]
    )
