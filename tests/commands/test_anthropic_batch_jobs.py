"""`--tier batch` with Anthropic's Message Batches, which keep no metadata, against the mock."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics
from support.forks import Forks
from support.kill_points import Point
from support.mock_process import MockProcess
from support.workspace import Place

JOBS = ("--tier", "batch", "--poll", "0.1", "--summary", "s.json")


@pytest.fixture(scope="module")
def jobs_mock() -> Iterator[MockProcess]:
    with MockProcess("--batch-latency", "0.2") as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, jobs_mock: MockProcess, served: tuple[MockProcess, Forks]) -> Place:
    """A folder with a crew of two tasks on claude-haiku-4-5."""
    jobs_mock.set_batch_faults(dict.fromkeys(jobs_mock.batch_faults()))
    jobs_mock.clear()
    place = Place(tmp_path, jobs_mock, served[1])
    place.env = {
        "ANTHROPIC_API_BASE": jobs_mock.base_url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": "sk-ant-mock",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    place.crew("Criticise {topic}", llm="anthropic/claude-haiku-4-5")
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


def bill(place: Place) -> dict[str, Any]:
    """The mock's totals."""
    totals: dict[str, Any] = place.mock.ledger(last=0)["totals"]
    return totals


def outputs(path: Path) -> dict[str, Any]:
    """What came of each row, by its topic."""
    return {row["input"]["topic"]: (row["status"], row["output"], row["usage"]) for row in read_rows(path)}
