"""`--tier batch` at the providers whose wires are not OpenAI's, against the mock, which has those wires too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics
from support.forks import Forks, shared
from support.job_wires import AZURE, AZURE_BY_VERSION, GEMINI, MISTRAL, TOGETHER, JobWire
from support.kill_points import Point
from support.mock_process import MockProcess
from support.workspace import Place

JOBS = ("--tier", "batch", "--poll", "0.1", "--summary", "s.json")
DIRECT = [TOGETHER, MISTRAL]
# litellm takes seconds to import.
WIRES = [*DIRECT, *(pytest.param(wire, marks=pytest.mark.soak) for wire in (AZURE, GEMINI))]


@pytest.fixture(scope="module")
def jobs_mock() -> Iterator[MockProcess]:
    with MockProcess("--batch-latency", "0.2") as process:
        yield process


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, jobs_mock: MockProcess) -> Place:
    """A folder with a crew of one task on a model of the wire, and a mock without faults that has no requests."""
    wire: JobWire = request.param
    jobs_mock.set_batch_faults(dict.fromkeys(jobs_mock.batch_faults()))
    jobs_mock.clear()
    place = Place(tmp_path, jobs_mock, shared(*wire.modules))
    place.env = wire.env(jobs_mock.base_url)
    place.crew(llm=wire.llm)
    return place


def over(*wires: Any) -> pytest.MarkDecorator:
    """The wires that a test's `place` is on."""
    return pytest.mark.parametrize("place", wires, indirect=True, ids=str)


@over(AZURE, AZURE_BY_VERSION, GEMINI, MISTRAL, TOGETHER)
def test_a_hundred_rows_cost_half_and_what_the_ledger_says(place: Place) -> None:
    """One job has the results of live calls, at half of their price."""
    place.rows(*topics(100))
    place.batch(*JOBS)
    totals, cost_usd = bill(place), place.summary()["cost_usd"]
    assert (totals["lines"], totals["billed"], totals["billed_twice"]) == (100, 100, 0)
    assert len(jobs_of(place)) == 1
    assert cost_usd == pytest.approx(totals["cost_usd"], abs=1e-9)
    in_jobs = outputs(place.results)
    place.batch("-o", "live.jsonl", "--summary", "s.json")
    assert outputs(place.folder / "live.jsonl") == in_jobs
    assert place.summary()["cost_usd"] == pytest.approx(2 * cost_usd)


@over(*WIRES)
@pytest.mark.parametrize(
    "fault",
    ["shuffle", "lost-create", "refused-create", "cut-upload", "lost-upload", "cut-content"],
)
def test_what_goes_wrong_on_the_way_costs_nothing(place: Place, fault: str) -> None:
    """A job whose creation was not answered is found by its metadata, by its file's name or by its own."""
    place.rows(*topics(20))
    place.mock.set_batch_faults({fault: 1})
    place.batch(*JOBS)
    totals = bill(place)
    assert (len(place.done()), totals["lines"], totals["billed_twice"], len(jobs_of(place))) == (20, 20, 0, 1)


@over(*WIRES)
@pytest.mark.parametrize(
    "point",
    [Point("before", "sql", "update jobs set id"), Point("after", "sql", "update jobs set end")],
    ids=str,
)
def test_a_killed_run_finds_its_job_again(place: Place, point: Point) -> None:
    """Each line is run and billed once."""
    place.rows(*topics(100))
    place.forks.crewrun("batch", "in.jsonl", *JOBS, cwd=place.folder, env=place.env, kill_at=point)
    place.batch(*JOBS)
    totals = bill(place)
    assert (len(place.done()), totals["lines"], totals["billed_twice"], len(jobs_of(place))) == (100, 100, 0, 1)


@over(*WIRES)
def test_a_refused_line_fails_its_row_as_a_live_call_would(place: Place) -> None:
    """The others are done, and nothing is billed for it."""
    place.rows(*topics(5), {"topic": "FAIL-400 this"})
    place.batch(*JOBS, code=3)
    rows = {row["input"]["topic"]: row for row in read_rows(place.results)}
    assert [row["status"] for row in rows.values()].count("ok") == 5
    error = rows["FAIL-400 this"]["error"]
    assert (error["category"], "FAIL-400 asked the mock for this 400" in error["message"]) == ("bad_request", True)
    assert bill(place)["billed"] == 5


@over(*WIRES)
@pytest.mark.parametrize("fate", ["lost", "expired"])
def test_a_line_that_was_not_run_goes_into_later_jobs(place: Place, fate: str) -> None:
    """What the others have answered is kept. Three jobs that do not run a line fail its row; nothing is billed."""
    if fate == "expired" and "GEMINI_API_KEY" in place.env:
        pytest.skip("a job at Gemini expires as a whole")
    place.rows(*topics(5), {"topic": f"FAIL-{fate.upper()}"})
    place.batch(*JOBS, code=3)
    (failed,) = [row for row in read_rows(place.results) if row["status"] == "failed"]
    assert "several batch jobs have ended without running" in failed["error"]["message"]
    assert (bill(place)["billed"], bill(place)["billed_twice"]) == (5, 0)


@over(*WIRES)
def test_a_job_that_the_provider_refuses_says_why(place: Place) -> None:
    """No line of it was run, and the reason is the provider's."""
    place.rows(*topics(3))
    place.mock.set_batch_faults({"invalid": 2})
    place.batch(*JOBS, code=3)
    errors = {row["error"]["message"] for row in read_rows(place.results) if row["error"]}
    assert any("refuse this line" in message or "line 2 is invalid" in message for message in errors), errors
    assert bill(place)["billed_twice"] == 0


@over(pytest.param(GEMINI, marks=pytest.mark.soak))
def test_a_job_at_gemini_that_expires_is_sent_again(place: Place) -> None:
    """It has no results."""
    place.rows(*topics(10))
    place.mock.set_batch_faults({"expired-lines": 1})
    before = GEMINI.job_count(place.mock)
    with place.forks.start("batch", "in.jsonl", *JOBS, cwd=place.folder, env=place.env) as run:
        while GEMINI.job_count(place.mock) == before:
            assert run.poll() is None
        place.mock.set_batch_faults({"expired-lines": None})
        place.mock.advance(90_000)
        run.communicate()
    assert (len(place.done()), bill(place)["billed"], bill(place)["billed_twice"]) == (10, 10, 0)


@over(*WIRES)
def test_a_cancelled_job_keeps_what_it_has_answered(place: Place) -> None:
    """With --tier-patience the rest goes live."""
    place.rows(*topics(20))
    place.mock.set_batch_faults({"never-ends": 1})
    place.batch(*JOBS, "--tier-patience", "1s")
    totals = bill(place)
    assert (len(place.done()), totals["billed"], totals["billed_twice"]) == (20, 20, 0)


@over(TOGETHER._replace(name="no discount", llm="together_ai/openai/gpt-oss-20b"))
def test_a_model_without_a_discount_is_billed_in_full(place: Place) -> None:
    """Together gives it for one model; the plan says so, and the ledger agrees."""
    place.rows(*topics(5))
    place.crewrun("plan", "in.jsonl", "--tier", "batch")
    assert "they cost as much as live calls" in place.stdout
    place.batch(*JOBS)
    summary = place.summary()
    assert summary["cost_usd"] == pytest.approx(bill(place)["cost_usd"], abs=1e-9)
    assert summary["tiers"]["batch"].get("saved_usd", 0.0) == pytest.approx(0.0)


@over(MISTRAL)
@pytest.mark.parametrize(
    "provider",
    ["bedrock/anthropic.claude-v2", "vertex_ai/gemini-2.5-flash", "cohere/command-r", "xai/grok-4", "openrouter/x/y"],
)
def test_another_provider_is_refused_by_name_before_the_first_call(place: Place, provider: str) -> None:
    """With the way out."""
    place.rows(*topics(2))
    keys = dict.fromkeys(("COHERE_API_KEY", "XAI_API_KEY", "OPENROUTER_API_KEY"), "k")
    assert place.batch(*JOBS, "-m", provider, code=2, **keys) == []
    name = provider.partition("/")[0]
    assert f"crewrun knows no batch jobs of {name}; it knows those of OpenAI, Anthropic, Azure, Gemini" in place.stderr
    assert "--tier standard" in place.stderr


def test_azure_without_a_key_or_a_token_is_refused(tmp_path: Path, jobs_mock: MockProcess, forks: Forks) -> None:
    """Another login works for live calls only."""
    place = Place(tmp_path, jobs_mock, forks)
    place.env = {"AZURE_API_BASE": jobs_mock.base_url, "AZURE_CLIENT_ID": "c"}
    place.crew(llm="azure/d")
    place.rows(*topics(1))
    assert place.batch(*JOBS, code=2) == []
    assert "its batch jobs need a key (AZURE_API_KEY" in place.stderr


def bill(place: Place) -> dict[str, Any]:
    """The mock's totals."""
    totals: dict[str, Any] = place.mock.ledger(last=0)["totals"]
    return totals


def jobs_of(place: Place) -> set[str]:
    """The jobs whose lines were run since the mock was cleared."""
    return {request["job"] for request in place.mock.ledger()["requests"] if request["job"]}


def outputs(path: Path) -> dict[str, Any]:
    """What came of each row, by its topic."""
    return {row["input"]["topic"]: (row["status"], row["output"], row["usage"]) for row in read_rows(path)}
