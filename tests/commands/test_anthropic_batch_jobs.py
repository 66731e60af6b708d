"""`--tier batch` with Anthropic's Message Batches, which keep no metadata, against the mock."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics
from support.forks import shared
from support.job_wires import ANTHROPIC
from support.kill_points import Point
from support.mock_process import MockProcess
from support.workspace import Place

JOBS = ("--tier", "batch", "--poll", "0.1", "--summary", "s.json")


@pytest.fixture(scope="module")
def jobs_mock() -> Iterator[MockProcess]:
    with MockProcess("--batch-latency", "0.2") as process:
        yield process


@pytest.fixture(scope="module")
def slow_mock() -> Iterator[MockProcess]:
    """Its jobs take so long that some of their lines are done when they are cancelled, and some are not."""
    with MockProcess("--batch-latency", "8") as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, jobs_mock: MockProcess) -> Place:
    """A folder with a crew of two tasks on claude-haiku-4-5."""
    jobs_mock.set_batch_faults(dict.fromkeys(jobs_mock.batch_faults()))
    jobs_mock.clear()
    place = Place(tmp_path, jobs_mock, shared(*ANTHROPIC.modules))
    place.env = ANTHROPIC.env(jobs_mock.base_url)
    place.crew("Criticise {topic}", llm=ANTHROPIC.llm)
    place.rows(*topics(4))
    return place


def test_two_tasks_make_two_jobs_at_half_the_price(place: Place) -> None:
    """Results, tokens and half the price are those of live calls."""
    place.batch(*JOBS)
    totals, cost_usd = bill(place), place.summary()["cost_usd"]
    assert (totals["lines"], totals["billed"], totals["billed_twice"]) == (8, 8, 0)
    assert cost_usd == pytest.approx(totals["cost_usd"], abs=1e-9)
    in_jobs = outputs(place.results)
    place.batch("-o", "live.jsonl", "--summary", "s.json")
    assert outputs(place.folder / "live.jsonl") == in_jobs
    assert place.summary()["cost_usd"] == pytest.approx(2 * cost_usd)


@pytest.mark.soak  # litellm takes seconds to import
@pytest.mark.parametrize("fault", [{"lost-create": 1}, {"refused-create": 1}, {"cut-content": 1}], ids=str)
def test_what_goes_wrong_on_the_way_costs_nothing(place: Place, fault: dict[str, Any]) -> None:
    """A job whose creation was not answered is found by its time, its size and the ids of its results."""
    place.mock.set_batch_faults(fault)
    place.batch(*JOBS)
    totals = bill(place)
    assert (len(place.done()), totals["lines"], totals["billed_twice"]) == (4, 8, 0)


@pytest.mark.soak
@pytest.mark.parametrize(
    "point",
    [Point("before", "sql", "update jobs set id"), Point("after", "sql", "update jobs set end")],
    ids=str,
)
def test_a_killed_run_finds_its_job_again(place: Place, point: Point) -> None:
    """Each line is run and billed once."""
    place.forks.crewrun("batch", "in.jsonl", *JOBS, cwd=place.folder, env=place.env, kill_at=point)
    place.batch(*JOBS)
    totals = bill(place)
    assert (len(place.done()), totals["lines"], totals["billed_twice"]) == (4, 8, 0)


@pytest.mark.soak
@pytest.mark.parametrize("flags", [("--deadline", "6s"), ("--tier-patience", "1s")], ids=["deadline", "patience"])
def test_a_job_that_never_ends_is_cancelled_and_its_rest_goes_live(
    place: Place, slow_mock: MockProcess, flags: tuple[str, str]
) -> None:
    """Every row is done, each call is billed once, and the bill is that of the ledger."""
    place.mock, place.env = slow_mock, ANTHROPIC.env(slow_mock.base_url)
    slow_mock.set_batch_faults({"never-ends": True})
    slow_mock.clear()
    place.batch(*JOBS, *flags)
    totals, tiers = bill(place), place.summary()["tiers"]
    assert len(place.done()) == 4
    assert sum(tier["calls"] for tier in tiers.values()) == totals["billed"] - totals["billed_twice"] == 8
    assert tiers["standard"]["calls"] > 0
    assert place.summary()["cost_usd"] == pytest.approx(totals["cost_usd"], abs=1e-9)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("flags", "code"), [(("--deadline", "10s"), 6), (("--tier-patience", "0.5s", "--poll", "0.05"), 4)], ids=str
)
def test_a_job_that_cannot_be_cancelled_is_not_paid_twice(place: Place, flags: tuple[str, ...], code: int) -> None:
    """Its requests do not go live, and the same command goes on with it once it has ended."""
    place.mock.set_batch_faults({"never-ends": True, "never-cancels": True})
    place.batch(*JOBS, *flags, code=code)
    assert 0 < bill(place)["billed"] == bill(place)["lines"]
    place.mock.set_batch_faults({"never-ends": None, "never-cancels": None})
    place.batch(*JOBS)
    totals = bill(place)
    assert (len(place.done()), totals["billed"], totals["billed_twice"]) == (4, 8, 0)


def bill(place: Place) -> dict[str, Any]:
    """The mock's totals."""
    totals: dict[str, Any] = place.mock.ledger(last=0)["totals"]
    return totals


def outputs(path: Path) -> dict[str, Any]:
    """What came of each row, by its topic."""
    return {row["input"]["topic"]: (row["status"], row["output"], row["usage"]) for row in read_rows(path)}
