"""Batch jobs that are still at the provider: what the other commands make of them, and what time does not count."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import topics
from support.forks import Forks
from support.mock_process import MockProcess
from support.workspace import RESULTS, STATE, Place

JOBS = ("--tier", "batch", "--poll", "0.05")


@pytest.fixture(scope="module")
def slow_mock() -> Iterator[MockProcess]:
    """Its jobs take an hour of its own time."""
    with MockProcess("--batch-latency", "3600") as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, slow_mock: MockProcess, served: tuple[MockProcess, Forks]) -> Place:
    """Four rows for a crew of one task, and a mock whose earlier jobs are over."""
    slow_mock.advance(86_400)
    slow_mock.clear()
    place = Place(tmp_path, slow_mock, served[1])
    place.crew()
    place.rows(*topics(4))
    return place


def leave_a_job(place: Place) -> None:
    """Send a job and end."""
    place.batch(*JOBS, "--detach", code=7)


def found(place: Place) -> list[dict[str, Any]]:
    """What `gc` lists, by the path."""
    place.crewrun("gc", "--json")
    runs: list[dict[str, Any]] = json.loads(place.stdout)["runs"]
    return sorted(runs, key=lambda run: str(run["path"]))


def test_gc_keeps_a_run_whose_jobs_are_at_the_provider(place: Place) -> None:
    """It says why, and which flag deletes it all the same."""
    leave_a_job(place)
    place.batch("--fresh")
    assert [(run["state"], run["open_jobs"]) for run in found(place)] == [("aside", 1), ("finished", 0)]
    place.crewrun("gc")
    assert "aside, 0 rows, 1 batch job open, " in place.stdout
    place.crewrun("gc", "--delete")
    assert "not deleted: 1 batch job may still be at the provider, and what they answer is billed" in place.stderr
    assert len(found(place)) == 2
    place.crewrun("gc", "--delete", "--with-open-jobs")
    assert [run["state"] for run in found(place)] == ["finished"]
    assert (place.folder / STATE).exists()


def test_a_plan_tells_of_jobs_at_the_provider(place: Place) -> None:
    """Once there are any."""
    line = "4 calls of this run may already be at the provider, in 1 batch job\n"
    place.crewrun("plan", "in.jsonl", *JOBS[:2])
    assert "at the provider" not in place.stdout
    leave_a_job(place)
    place.crewrun("plan", "in.jsonl", *JOBS[:2])
    assert line in place.stdout


def test_gc_keeps_no_run_for_jobs_that_ended(place: Place) -> None:
    """Their answers are in its journal."""
    leave_a_job(place)
    place.mock.advance(3600)
    place.batch(*JOBS)
    place.crewrun("gc", "--delete", "--finished")
    assert found(place) == []


def test_a_plan_names_waves_in_place_of_a_time(place: Place) -> None:
    """A live call's time says nothing about a job."""
    place.crew("Criticise {topic}", "Conclude on {topic}")
    place.rows(*topics(25))
    place.crewrun("plan", "in.jsonl", *JOBS, "--wave", "10")
    assert "time: 9 batch jobs one after the other, each of them answered within 24 h, usually sooner" in place.stdout
    place.crewrun("plan", "in.jsonl", *JOBS, "--json")
    plan = json.loads(place.stdout)
    assert (plan["duration_s"], plan["waves"]) == (None, {"mean": 3, "low": 3, "high": 3})
    place.crewrun("plan", "in.jsonl", "--json")
    assert "waves" not in json.loads(place.stdout)


def test_waiting_for_a_job_is_no_part_of_a_rows_time(tmp_path: Path, served: tuple[MockProcess, Forks]) -> None:
    """Three jobs take more than the row, its agent and their settling may."""
    with MockProcess("--batch-latency", "0.5") as mock:
        place = Place(tmp_path, mock, served[1])
        place.crew("Criticise {topic}", "Conclude on {topic}")
        crew = place.folder / "crew.yaml"
        crew.write_text(crew.read_text().replace("    goal: Write well\n", "    goal: Write well\n" + LIMIT))
        place.rows(*topics(4))
        place.batch(*JOBS, "--row-timeout", "0.7")
        assert len(place.done()) == 4


LIMIT = "    max_execution_time: 0.5\n"


SHARED = """\
agents:
  writer: {role: Writer, goal: Write well, backstory: You have written for years., tools: ["tools:rates"]}
tasks:
  draft: {agent: writer, description: "Write about {topic} CALL-rates", expected_output: One line}
llm: gpt-4.1-mini
"""
RATES = """\
from crewrun import LLM
from crewrun.tools import tool


@tool("rates", share=True)
async def rates() -> str:
    '''The rates of today.'''
    return await LLM("gpt-4.1-mini", tier="batch").acall("What are the rates?")
"""


def test_rows_that_wait_for_a_shared_call_wait_for_its_job(tmp_path: Path, served: tuple[MockProcess, Forks]) -> None:
    """It goes at once, and not only after --batch-delay. `status` counts the calls that were shared."""
    with MockProcess("--batch-latency", "0.1") as mock:
        place = Place(tmp_path, mock, served[1])
        (place.folder / "crew.yaml").write_text(SHARED)
        (place.folder / "tools.py").write_text(RATES)
        place.rows(*topics(8))
        place.batch(*JOBS, "--batch-delay", "10m")
        assert len(place.done()) == 8
        assert mock.ledger(last=0)["totals"]["lines"] == 2 * 8 + 1
        place.crewrun("status", RESULTS)
        assert "7 calls of tools saved: rows shared the results of equal ones" in place.stdout
        place.crewrun("status", RESULTS, "--json")
        assert json.loads(place.stdout)["shared_tool_calls"] == 7


def test_jobs_of_a_model_that_the_crew_does_not_call_any_more_are_named_and_can_be_cancelled(place: Place) -> None:
    """Nobody would collect them. The command that cancels them ends as usual."""
    leave_a_job(place)
    place.crew(llm="gpt-4.1")
    place.batch(*JOBS, "--detach", code=7)
    warning = "warning: 1 batch job of gpt-4.1-mini with 4 requests: this session has called no such model"
    assert warning in place.stderr
    place.crewrun("status", RESULTS)
    assert " of gpt-4.1-mini: 4 requests" in place.stdout
    assert " of gpt-4.1: 4 requests" in place.stdout
    place.mock.advance(1800)
    place.batch(*JOBS, "--detach", "--cancel-jobs", code=7)
    assert "1 batch job of gpt-4.1-mini with 4 requests: cancelled, or ended before" in place.stderr
    place.mock.advance(3600)
    place.batch(*JOBS)
    lines = [request["model"] for request in place.mock.ledger()["requests"]]
    assert lines.count("gpt-4.1") == 4
    assert lines.count("gpt-4.1-mini") < 4


@pytest.mark.parametrize("collected", [0, 1])
def test_answers_that_a_changed_crew_does_not_ask_for_are_counted(place: Place, collected: int) -> None:
    """They are billed and in no row's cost, whether their job is open when the crew is changed, or has been collected.
    Those of rows that a session did not get to are not among them.
    """
    leave_a_job(place)
    place.mock.advance(3600)
    if collected:
        place.batch(*JOBS, "--limit", str(collected))
        assert "not used" not in place.stderr
    crew = place.folder / "crew.yaml"
    crew.write_text(crew.read_text().replace("{topic}", "{topic} at last"))
    place.batch(*JOBS, "--detach", code=7)
    assert "not used" not in place.stderr
    place.mock.advance(3600)
    place.batch(*JOBS)
    assert f"warning: {4 - collected} answers of earlier batch jobs not used: no row has asked" in place.stderr


def test_a_run_that_stops_early_says_nothing_of_models_that_it_has_not_called_yet(place: Place) -> None:
    """Its rows may call them in the next session, so their jobs go on."""
    leave_a_job(place)
    place.crew(llm="gpt-4.1")
    place.batch(*JOBS, "--cancel-jobs", "--budget", "0.0000001", code=5)
    assert "gpt-4.1-mini" not in place.stderr
    place.crew()
    place.mock.advance(3600)
    place.batch(*JOBS)
    assert place.mock.ledger(last=0)["totals"]["lines"] == 4


def test_a_report_says_that_jobs_are_open(place: Place) -> None:
    """Their rows have no result yet."""
    leave_a_job(place)
    place.crewrun("report", RESULTS, "-o", "page.html")
    assert "1 batch job with 4 requests may still be at the provider" in (place.folder / "page.html").read_text()
