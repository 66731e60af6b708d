"""What a run counts: what its rows spent in this session."""

from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest

from crewrun.batch.progress import Progress
from crewrun.errors import Category
from crewrun.messages import Usage
from crewrun.row import ErrorRecord, Outcome, Replayed, Row, TaskRecord

pytestmark = pytest.mark.anyio

WHOLE = Usage(100, 20, 30, 4, 5, 6)
BEFORE = Usage(60, 9, 10, 3, 2, 1)
ROW = Row(index=0, line=1, id="0", inputs={})
TASK = TaskRecord("t", "a", "x", 3, WHOLE, truncated=True, finish_reason="odd")
OUTCOME = Outcome(ROW, "ok", None, (TASK, TASK), None, 4, 3, WHOLE, 0.5, ("m", "n"), datetime.now(UTC), 2.0)


async def test_a_rows_spending_is_this_sessions() -> None:
    """Less what earlier sessions paid for, whether the row ended or not."""
    progress = Progress()
    progress.add(OUTCOME)
    progress.add(replace(OUTCOME, replayed=Replayed(2, 3, BEFORE, 0.25)))
    progress.add_pending(replace(OUTCOME, cost_usd=None, replayed=Replayed(1, 1, BEFORE, None)))
    assert progress.usage == Usage(180, 42, 70, 6, 11, 16)
    assert (progress.attempts, progress.calls, progress.replayed_calls) == (8, 6, 3)
    assert (progress.cost_usd, progress.unpriced) == (0.75, True)
    assert (progress.ok, progress.failed, progress.pending, progress.done) == (2, 0, 1, 2)
    assert (progress.truncated, list(progress.finish_reasons), list(progress.models)) == (6, ["odd"], ["m", "n"])


async def test_failed_rows_count_by_themselves() -> None:
    """And what they spent with the others."""
    progress = Progress()
    progress.add(replace(OUTCOME, status="failed", error=ErrorRecord(Category.SERVER, "ServerError", "down")))
    assert (progress.ok, progress.failed, progress.done, progress.usage) == (0, 1, 1, WHOLE)


@pytest.mark.parametrize(
    ("status", "counted"),
    [("ok", (1, 0, 0, 0)), ("failed", (0, 1, 0, 0)), ("pending", (0, 0, 1, 0)), ("elsewhere", (0, 0, 0, 1))],
)
async def test_rows_that_are_not_run_are_counted_by_what_they_are(status: str, counted: tuple[int, ...]) -> None:
    """Done or failed before, left to be run, or of another shard."""
    progress = Progress()
    progress.count_stored(status)
    assert (progress.done_before, progress.failed_before, progress.pending, progress.elsewhere) == counted
    assert progress.begun == progress.pending


async def test_the_share_that_is_done() -> None:
    """Of what was handed out, those in flight are not; the rest takes as long as what this session did."""
    progress = Progress(started=anyio.current_time() - 100)
    assert (progress.share(None), progress.share(0.5), progress.eta_s(None), progress.eta_s(0.5)) == (
        None,
        0,
        None,
        None,
    )
    progress.ok, progress.done_before, progress.failed_before, progress.pending, progress.elsewhere = 6, 2, 1, 1, 2
    progress.in_flight = 4
    assert progress.share(0.8) == pytest.approx(0.8 * 12 / 16)
    assert progress.eta_s(0.6) == pytest.approx(100 * 0.4 / (0.6 * 6 / 10), rel=0.01)
    assert progress.rows_per_s == pytest.approx(0.06, rel=0.01)


async def test_percentiles_of_row_times_are_right_within_two_per_cent() -> None:
    """Without a list of them."""
    progress = Progress()
    assert progress.row_time_s(0.5) is None
    for seconds in range(1, 101):
        progress.add(replace(OUTCOME, duration_s=float(seconds)))
    assert [progress.row_time_s(q) for q in (0.01, 0.5, 0.95, 1.0)] == pytest.approx([1, 50, 95, 100], rel=0.02)
