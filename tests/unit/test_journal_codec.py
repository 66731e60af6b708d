"""How the journal keeps a row's outcome: whatever it was, its result line comes out of it byte for byte."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from crewrun.errors import Category
from crewrun.journal.codec import decode, encode
from crewrun.messages import Usage
from crewrun.row import ErrorRecord, FailedTool, Outcome, Replayed, Row, TaskRecord

ROW = Row(3, 4, "row-3", {"topic": "tides"})
REPLIES = {"a recorded reply": 7, '{"a": [1, 2]}': 8}
NAMES = ["draft", "sum", "Writer", "openai/m", "anthropic/n"]

texts = st.text(max_size=8) | st.sampled_from(list(REPLIES))
names = st.sampled_from(NAMES)
counts = st.integers(0, 10**12)
money = st.none() | st.floats(0, 1e6)
usages = st.builds(Usage, counts, counts, counts, counts, counts, counts)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
failed_tools = st.builds(FailedTool, names, texts, texts, texts, st.integers(1, 99))
tasks = st.builds(
    TaskRecord,
    names,
    names,
    texts,
    counts,
    usages,
    truncated=st.booleans(),
    skipped=st.booleans(),
    finish_reason=st.none() | texts,
)
errors = st.builds(
    ErrorRecord,
    st.sampled_from(Category),
    texts,
    texts,
    st.none() | names,
    st.none() | st.integers(100, 599),
    st.booleans(),
    counts,
    st.none() | texts,
)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """Any outcome; tasks have failed tools only where the row has some."""
    failures = draw(st.lists(failed_tools, max_size=2))
    records = draw(st.lists(tasks, max_size=3))
    if failures:
        records = [
            TaskRecord(
                one.name, one.agent, one.output, one.calls, one.usage, one.truncated, one.skipped,
                draw(st.lists(failed_tools, max_size=2)), one.finish_reason,
            )
            for one in records
        ]  # fmt: skip
    error = draw(st.none() | errors)
    return Outcome(
        row=ROW,
        status="failed" if error else "ok",
        output=None if error else draw(values | st.just({"a": [1, 2]})),
        tasks=records,
        error=error,
        attempts=draw(counts),
        calls=draw(counts),
        usage=draw(usages),
        cost_usd=draw(money),
        models=draw(st.lists(names, max_size=2)),
        started_at=datetime.fromtimestamp(draw(st.integers(0, 2**41)) / 1000, UTC),
        duration_s=draw(st.integers(0, 10**9)) / 1000,
        files=draw(st.lists(texts, max_size=2)),
        replayed=draw(st.none() | st.builds(Replayed, counts, counts, usages, money)),
        tool_failures=failures,
    )


def kept(outcome: Outcome) -> Outcome:
    """The outcome as it comes out of the journal."""
    record = encode(outcome, REPLIES, NAMES.index)
    texts_by_number = {number: text for text, number in REPLIES.items()}
    return decode(record, ROW, texts_by_number.__getitem__, lambda code: NAMES[int(code)])


@given(outcome=outcomes())
@example(
    outcome=Outcome(
        ROW, "ok", None, [], None, 0, 0, Usage(), None, [], datetime(1970, 1, 1, 9, 19, 14, 429000, UTC), 0.0
    )
)
@settings(max_examples=150, deadline=None)
def test_a_result_line_comes_out_as_it_was(outcome: Outcome) -> None:
    """Costs, counts, tasks, failures and outputs of every kind."""
    assert kept(outcome).to_line() == outcome.to_line()


def test_the_form_of_a_record_is_fixed() -> None:
    """Journals of earlier versions have records like this one."""
    outcome: Any = Outcome(
        row=ROW,
        status="ok",
        output="a recorded reply",
        tasks=[TaskRecord("draft", "Writer", "a recorded reply", 1, Usage(100, 0, 10), truncated=True)],
        error=None,
        attempts=2,
        calls=1,
        usage=Usage(100, 0, 10),
        cost_usd=0.5,
        models=["openai/m"],
        started_at=datetime.fromtimestamp(1_700_000_000.123, UTC),
        duration_s=1.5,
        replayed=Replayed(1, 1, Usage(50), 0.25),
        tool_failures=[FailedTool("draft", "look_up", "exception", "no", 2)],
    )
    assert json.loads(encode(outcome, REPLIES, NAMES.index)) == [
        1_700_000_000_123,
        1500,
        2,
        1,
        [100, 0, 10],
        0.5,
        [3],
        7,
        [[0, 2, 7, 1, [100, 0, 10], 1]],
        0,
        [],
        [1, 1, [50], 0.25],
        [[["draft", "look_up", "exception", "no", 2]], []],
    ]
