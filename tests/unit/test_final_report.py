"""The report at the end of a run: amounts as a person would say them, and a screen that holds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.cli.final_report_layout import Failed, Line, Sheet, fitted, in_full
from crewrun.cli.wording import duration, money, rate, tokens


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.003, "3 ms"),
        (0.0994, "99 ms"),
        (0.0999, "0.1 s"),
        (0.9, "0.9 s"),
        (9.96, "10 s"),
        (59.6, "1 m 0 s"),
        (128, "2 m 8 s"),
        (3599.6, "1 h 0 m"),
        (4330, "1 h 12 m"),
        (190_800, "2 d 5 h"),
    ],
)
def test_times_are_rounded(seconds: float, words: str) -> None:
    """To what a person would say; rounding up never makes 60 seconds or minutes."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("rows_per_s", "words"),
    [
        (1377.8, "1,380/s"),
        (999.7, "1,000/s"),
        (44.2, "44/s"),
        (9.96, "10/s"),
        (4.44, "4.4/s"),
        (0.4, "24/min"),
        (0.02, "1.2/min"),
        (0.001, "3.6/h"),
        (0, "0/s"),
    ],
)
def test_rates_are_rounded(rows_per_s: float, words: str) -> None:
    """To two or three digits, by the unit in which they are more than one."""
    assert rate(rows_per_s) == words


@pytest.mark.parametrize(
    ("usd", "words"),
    [
        (0, "$0.00"),
        (0.00034, "$0.0003"),
        (0.0000123, "$0.00001"),
        (0.00996, "$0.01"),
        (0.0837, "$0.08"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_is_in_cents(usd: float, words: str) -> None:
    """Below a cent it has four decimals or more, so that a small run is not free."""
    assert money(usd) == words


@pytest.mark.parametrize(
    ("cached", "words"),
    [
        (0, "1,300 tokens (1,000 in, 300 out)"),
        (1, "1,300 tokens (1,000 in, under 1% of them cached, 300 out)"),
        (850, "1,300 tokens (1,000 in, 85% of them cached, 300 out)"),
        (999, "1,300 tokens (1,000 in, 99% of them cached, 300 out)"),
        (1000, "1,300 tokens (1,000 in, all of them cached, 300 out)"),
    ],
)
def test_tokens_say_how_many_were_cached(cached: int, words: str) -> None:
    """Where any were, as providers bill them differently."""
    usage = {"prompt_tokens": 1000, "cached_prompt_tokens": cached, "completion_tokens": 300, "total_tokens": 1300}
    assert tokens(usage) == words


_texts = st.text(alphabet="abc déß一 ", min_size=1, max_size=300)
_counts = st.integers(1, 10_000)
_failed = st.builds(
    Failed,
    category=st.sampled_from(["server", "bad_request", "output_invalid"]),
    count=_counts,
    causes=st.lists(st.tuples(_counts, _texts), min_size=1, max_size=6),
    hint=_texts,
)
_notes = st.lists(st.builds(Line, _texts, st.just("note"), hang=st.just(2)), max_size=12)


@st.composite
def _sheets(draw: st.DrawFn) -> Sheet:
    return Sheet(
        headline=["540 ok, 12 failed in 1 h 12 m", "44/s"],
        stopped=draw(st.lists(st.just(Line("stopped: interrupted", "stop")), max_size=1)),
        failed=draw(st.lists(_failed, max_size=16)),
        look=draw(st.sampled_from([None, "crewrun show x --failed"])),
        retry=draw(st.sampled_from([None, "crewrun retry x --only server"])),
        tools=draw(_notes),
        notes=draw(_notes),
        results=draw(st.sampled_from([None, "results: x.jsonl"])),
        next_step=Line("540 ok, 12 failed", "next", action="to go on:", command="crewrun batch in.jsonl"),
    )


def _lines_of(line: Line) -> int:
    return 1 if line.is_cut else -(-len(line.in_full) // 80)


@given(sheet=_sheets(), height=st.integers(4, 60))
def test_a_report_fits_the_screen(sheet: Sheet, height: int) -> None:
    """Whatever failed, and the counts are on its first line and on its last."""
    lines = fitted(sheet, _lines_of, height)
    assert sum(map(_lines_of, lines)) <= height
    assert lines[0].text.startswith("540 ok, 12 failed in ")
    assert lines[-1].in_full.startswith("540 ok, 12 failed; ")
    assert lines[-1].in_full.endswith("to go on: crewrun batch in.jsonl")


@given(sheet=_sheets())
def test_every_category_has_one_hint(sheet: Sheet) -> None:
    """In a pipe nothing is left out but a category's fourth cause."""
    texts = [line.in_full for line in in_full(sheet)]
    assert [text for text in texts if text.startswith("      → ")] == [f"      → {one.hint}" for one in sheet.failed]
    examples = [example for one in sheet.failed for _, example in one.causes[:3]]
    assert all(any(text.endswith(example) for text in texts) for example in examples)


@given(failed=st.lists(_failed, min_size=10, max_size=10))
def test_ten_categories_have_their_hints_on_24_lines(failed: list[Failed]) -> None:
    """The screen of a terminal that nobody has enlarged, with the shell's prompt on its last line."""
    sheet = Sheet(
        ["540 ok, 12 failed in 9 s"], [], failed, None, None, [], [], "results: x.jsonl", Line("540 ok", "next")
    )
    shown = fitted(sheet, _lines_of, 23)
    assert [line.in_full for line in shown if line.role == "hint"] == [f"      → {one.hint}" for one in failed]
