"""`--tier batch`: calls in batch jobs, against the mock, whose ledger says what was run and billed."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics
from support.forks import Forks
from support.local_workers import NEAR
from support.mock_process import MockProcess
from support.workspace import KEY, RESULTS, Place

JOBS = ("--tier", "batch", "--poll", "0.05", "--summary", "s.json")


@pytest.fixture(scope="module")
def jobs_mock() -> Iterator[MockProcess]:
    with MockProcess("--batch-latency", "0.1") as process:
        yield process


@pytest.fixture(scope="module")
def slow_mock() -> Iterator[MockProcess]:
    """Its jobs take an hour of its own time."""
    with MockProcess("--batch-latency", "3600") as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, jobs_mock: MockProcess, served: tuple[MockProcess, Forks]) -> Place:
    """A folder with a crew of one task on gpt-4.1-mini, and a mock whose jobs take 0.2 s and have no faults."""
    jobs_mock.set_batch_faults(dict.fromkeys(jobs_mock.batch_faults()))
    jobs_mock.clear()
    place = Place(tmp_path, jobs_mock, served[1])
    place.crew()
    return place


@pytest.fixture
def slow_place(tmp_path: Path, slow_mock: MockProcess, served: tuple[MockProcess, Forks]) -> Place:
    """As `place`, with jobs that take an hour. Those that other tests have left behind are over."""
    slow_mock.advance(86_400)
    slow_mock.clear()
    return Place(tmp_path, slow_mock, served[1])


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


def test_a_crew_of_three_tasks_makes_three_jobs_at_half_the_price(place: Place) -> None:
    """The results are those of a live run, the cost is half of its cost, and the ledger agrees to the cent."""
    place.crew("Criticise {topic}", "Conclude on {topic}")
    place.rows(*topics(300))
    place.batch(*JOBS)
    summary, totals = place.summary(), bill(place)
    assert (len(jobs_of(place)), totals["lines"], totals["billed_twice"]) == (3, 900, 0)
    assert totals["tiers"].keys() == {"batch"}
    assert summary["cost_usd"] == pytest.approx(totals["cost_usd"], abs=1e-9)
    assert summary["tiers"] == {
        "batch": {
            "calls": 900,
            "cost_usd": pytest.approx(totals["cost_usd"], abs=1e-9),
            "saved_usd": pytest.approx(totals["cost_usd"], abs=1e-9),
        }
    }
    in_jobs = outputs(place.results)
    place.batch("-o", "live.jsonl", "-j", "32", "--summary", "s.json")
    assert outputs(place.folder / "live.jsonl") == in_jobs
    assert place.summary()["cost_usd"] == pytest.approx(2 * summary["cost_usd"], rel=1e-9)


def test_a_repeat_sends_nothing(place: Place) -> None:
    """All rows are done, at whatever tier."""
    place.rows(*topics(5))
    place.batch(*JOBS)
    assert place.batch(*JOBS) == place.batch("--tier", "standard") == []


@pytest.mark.parametrize(
    ("faults", "jobs"),
    [
        ({"shuffle": True}, 1),
        ({"lost-create": 1}, 1),
        ({"lost-create": 2, "no-metadata": True}, 1),
        ({"refused-create": 2}, 1),
        ({"cut-upload": 1}, 1),
        ({"lost-upload": 1}, 1),
        ({"cut-content": 2}, 1),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_goes_wrong_on_the_way_costs_nothing(place: Place, faults: dict[str, Any], jobs: int) -> None:
    """Every row is done by one job, and no line is billed twice."""
    place.rows(*topics(30))
    place.mock.set_batch_faults(faults)
    place.batch(*JOBS)
    assert len(place.done()) == 30
    totals = bill(place)
    assert (len(jobs_of(place)), totals["lines"], totals["billed"], totals["billed_twice"]) == (jobs, 30, 30, 0)


NOT_RUN = "several batch jobs have ended without running this request; nothing was billed for that"


@pytest.mark.parametrize("fault", ["lost-lines", "expired-lines"])
def test_lines_that_were_not_run_go_into_a_later_job(place: Place, fault: str) -> None:
    """What was run counts; the rest is sent again, and billed once. Three jobs that do not run a line fail its row."""
    place.rows(*topics(60))
    place.mock.set_batch_faults({fault: 0.5})
    place.batch(*JOBS, code=3)
    rows = read_rows(place.results)
    done = sum(row["status"] == "ok" for row in rows)
    assert done > 40
    assert {row["error"]["message"] for row in rows if row["error"]} == {NOT_RUN}
    assert (bill(place)["billed"], bill(place)["billed_twice"], len(jobs_of(place))) == (done, 0, 3)
    place.mock.set_batch_faults({fault: None})
    place.batch(*JOBS)
    assert (len(place.done()), bill(place)["billed"], bill(place)["billed_twice"]) == (60, 60, 0)


def test_the_lines_that_a_validation_blames_fail_their_rows_and_the_others_go_again(place: Place) -> None:
    """The mock blames the fourth line of each job, until a job has only three. Nothing was billed for the others."""
    place.rows(*topics(6))
    place.mock.set_batch_faults({"invalid": 4})
    place.batch(*JOBS, code=3)
    errors = [row["error"] for row in read_rows(place.results) if row["error"]]
    assert [error["category"] for error in errors] == ["bad_request"] * 3
    assert bill(place)["billed"] == 3


@pytest.mark.parametrize("budget", [(), ("--budget", "1")], ids=["", "budget"])
def test_results_that_are_gone_fail_their_rows_in_words_and_the_next_run_sends_them_again(
    place: Place, budget: tuple[str, ...]
) -> None:
    """The row says that the answer was billed, and the run owes it."""
    place.rows(*topics(3))
    place.mock.set_batch_faults({"gone": 9})
    place.batch(*JOBS, "--retries", "0", *budget, code=3)
    (message,) = {row["error"]["message"] for row in read_rows(place.results)}
    assert "its results cannot be had from the provider" in message
    assert "was billed" in message
    assert place.summary()["may_be_owed_usd"] >= bill(place)["cost_usd"] > 0
    assert status(place)["in_all"]["may_be_owed_usd"] == place.summary()["may_be_owed_usd"]
    place.mock.set_batch_faults({"gone": None})
    place.batch(*JOBS)
    assert len(place.done()) == 3


def test_a_job_out_of_reach_is_not_paid_again_at_a_fallback(place: Place) -> None:
    """The run stops, and the same command goes on with its answers."""
    place.crew(llm="{model: gpt-4.1-mini, fallbacks: [{model: gpt-4.1}]}")
    place.rows(*topics(3))
    place.mock.set_batch_faults({"cut-content": 1000})
    place.batch(*JOBS, "--outage-patience", "0.3s", code=4)
    place.mock.set_batch_faults({"cut-content": None})
    place.batch(*JOBS)
    assert (len(place.done()), bill(place)["billed"]) == (3, 3)


def test_a_job_that_ends_without_files_fails_its_rows_in_words(place: Place) -> None:
    """It is not asked for again and again."""
    place.rows(*topics(3))
    place.mock.set_batch_faults({"no-output": True})
    place.batch(*JOBS, code=3)
    (message,) = {row["error"]["message"] for row in read_rows(place.results)}
    assert "it names no file of results, and says that it has 3 answers" in message


def test_an_enqueued_limit_makes_smaller_jobs(place: Place) -> None:
    """A tenth of the run fits at once: all rows are done, and nothing is billed twice."""
    place.rows(*topics(40))
    place.batch(*JOBS, "-o", "whole.jsonl")
    tokens = bill(place)["prompt_tokens"]
    place.mock.set_batch_faults({"enqueued": tokens / 10})
    place.mock.clear()
    place.batch(*JOBS)
    assert (len(place.done()), bill(place)["billed"], bill(place)["billed_twice"]) == (40, 40, 0)


def test_refusals_are_those_of_the_live_calls(place: Place) -> None:
    """A 400 fails its row at once, a 500 goes into later jobs up to the retries; the rest of the job is done."""
    place.rows({"topic": "FAIL-400"}, {"topic": "FAIL-500"}, {"topic": "FAIL-ONCE-503"}, {"topic": "good"})
    place.batch(*JOBS, "--retries", "1", "--ordered", code=3)
    rows = read_rows(place.results)
    categories = [row["error"] and row["error"]["category"] for row in rows]
    assert categories == ["bad_request", "server", None, None]
    assert [row["attempts"] for row in rows] == [1, 2, 2, 1]
    assert len(jobs_of(place)) == 2


@pytest.mark.parametrize(
    ("flags", "seconds"), [(("--deadline", "4s"), 4), (("--tier-patience", "1s"), 1)], ids=["deadline", "patience"]
)
def test_a_job_that_never_ends_is_cancelled_and_its_rest_goes_live(
    place: Place, flags: tuple[str, str], seconds: int
) -> None:
    """Every row is done, and the summary tells the tiers apart."""
    place.rows(*topics(20))
    place.mock.set_batch_faults({"never-ends": True})
    place.batch(*JOBS, *flags)
    totals, tiers = bill(place), place.summary()["tiers"]
    assert len(place.done()) == 20
    assert totals["billed"] - totals["lines"] + tiers.get("batch", {"calls": 0})["calls"] == 20
    assert place.summary()["cost_usd"] <= totals["cost_usd"] + 1e-9


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--deadline", "3s"), 6, "1 batch job with 20 requests: the provider goes on with it"),
        pytest.param(
            ("--tier-patience", "0.5s"),
            4,
            "ago and has not ended; its requests are not sent live, since it may still answer and bill them",
            marks=pytest.mark.soak,  # 120 looks
        ),
    ],
    ids=["deadline", "patience"],
)
def test_a_job_that_cannot_be_cancelled_is_not_paid_twice(
    place: Place, flags: tuple[str, str], code: int, words: str
) -> None:
    """Its requests do not go live, and the same command goes on with it once it has ended."""
    place.rows(*topics(20))
    place.mock.set_batch_faults({"never-ends": True, "never-cancels": True})
    place.batch(*JOBS, *flags, code=code)
    assert words in place.stderr
    assert 0 < bill(place)["billed"] == bill(place)["lines"]
    place.mock.set_batch_faults({"never-ends": None, "never-cancels": None})
    place.batch(*JOBS)
    totals = bill(place)
    assert (len(place.done()), totals["billed"], totals["billed_twice"]) == (20, 20, 0)


def test_a_request_above_the_enqueued_limit_fails_its_row_and_the_others_are_done(place: Place) -> None:
    """It says so, and is not tried for ever."""
    place.rows({"topic": "long " * 1000}, *topics(10))
    place.mock.set_batch_faults({"enqueued": 500})
    place.batch(*JOBS, code=3)
    (error,) = [row["error"] for row in read_rows(place.results) if row["error"]]
    assert "had no room for a batch job of a single request (token_limit_exceeded)" in error["message"]
    assert (bill(place)["billed"], bill(place)["billed_twice"]) == (10, 0)


def test_a_signal_leaves_the_jobs_to_the_provider_and_the_same_command_collects_them(slow_place: Place) -> None:
    """Nothing is sent twice, and the message says what happens to the jobs."""
    place = slow_place
    place.crew()
    place.rows(*topics(25))
    stop_when_it_waits(place, signal.SIGINT)
    assert "1 batch job with 25 requests: the provider goes on with it; the same command" in place.stderr
    assert "stopped: interrupted\n" in place.stderr
    place.mock.advance(3600)
    place.batch(*JOBS)
    assert (len(place.done()), bill(place)["lines"], len(jobs_of(place))) == (25, 25, 1)


def test_a_signal_cancels_the_jobs_with_the_flag(slow_place: Place) -> None:
    """What they had answered by then is used by the same command, and nothing is billed twice."""
    place = slow_place
    place.crew()
    place.rows(*topics(20))
    stop_when_it_waits(place, signal.SIGTERM, "--cancel-jobs", advance_s=1800)
    assert "1 batch job with 20 requests: being cancelled" in place.stderr
    place.mock.advance(3600)
    with place.forks.start("batch", "in.jsonl", *JOBS, cwd=place.folder, env=place.env) as run:
        wait_for_jobs(place, place.mock.job_count() + 1)
        place.mock.advance(3600)
        run.communicate()
    totals = bill(place)
    assert (len(place.done()), totals["billed"], totals["billed_twice"], len(jobs_of(place))) == (20, 20, 0, 2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-o", "-"), "add --run-dir DIR"),
        (("--executor", NEAR), "batch jobs are made by this process"),
        (("--poll", "0"), "needs to be a time above 0"),
        (("--wave", "0"), "at least one row"),
        (("-m", "deepseek/deepseek-chat"), "no batch jobs of deepseek"),
        (("-m", "fireworks_ai/any"), "no batch jobs of fireworks_ai; it knows those of OpenAI, Anthropic, Azure"),
    ],
    ids=["stream", "workers", "poll", "wave", "provider", "another wire"],
)
def test_what_cannot_hold_with_batch_jobs_is_refused_before_the_first_call(
    place: Place, flags: tuple[str, str], words: str
) -> None:
    """With the way out."""
    place.rows(*topics(2))
    assert place.batch(*JOBS, *flags, code=2, DEEPSEEK_API_KEY=KEY) == []
    assert words in place.stderr


def test_a_budget_holds_in_jobs_and_over_sessions_that_left_jobs_behind(slow_place: Place) -> None:
    """What is at the provider counts as spent, and is settled when it is collected."""
    place = slow_place
    place.crew(llm="{model: gpt-4.1-mini, max_tokens: 100}")
    place.rows(*topics(60))
    most_usd = 100 * 0.8e-6 + 200 * 0.2e-6
    flags = ("--budget", f"{10 * most_usd:.6f}")
    stop_when_it_waits(place, signal.SIGINT, *flags, "--limit", "8")
    for _ in range(2):
        with place.forks.start("batch", "in.jsonl", *JOBS, *flags, cwd=place.folder, env=place.env) as run:
            while run.poll() is None:
                place.mock.advance(600)
            run.communicate()
        assert run.returncode == 5
    totals, summary = bill(place), place.summary()
    assert (totals["billed_twice"], totals["lines"] > 8) == (0, True)
    assert totals["cost_usd"] <= 10 * most_usd
    assert summary["in_all"]["cost_usd"] == pytest.approx(totals["cost_usd"], abs=1e-9)


def test_status_shows_the_jobs_and_another_tier_warns_of_them(slow_place: Place) -> None:
    """Their calls would be paid again."""
    place = slow_place
    place.crew()
    place.rows(*topics(4))
    stop_when_it_waits(place, signal.SIGINT)
    (job,) = status(place)["jobs"]
    assert (job["number"], job["requests"], job["id"][:6]) == (1, 4, "batch_")
    assert status(place)["in_all"]["may_be_owed_usd"] == 0
    place.crewrun("status", RESULTS)
    assert "batch job batch_" in place.stdout
    assert ": 4 requests, " in place.stdout
    place.batch()
    assert "warning: 1 batch job of this run with 4 requests may still be at the provider" in place.stderr


def test_a_run_that_starts_over_says_which_jobs_it_leaves_behind(slow_place: Place) -> None:
    """They are paid for, and nobody collects them."""
    place = slow_place
    place.crew()
    place.rows(*topics(4))
    stop_when_it_waits(place, signal.SIGINT)
    place.batch("--fresh")
    assert (
        "1 batch job of the run that --fresh moves aside with 4 requests may still be at the provider" in place.stderr
    )
    place.batch("--fresh")
    assert "at the provider" not in place.stderr


def test_a_single_row_makes_no_job(place: Place) -> None:
    """`crewrun run` answers now."""
    place.crewrun("run", "topic=AI", "--tier", "batch", code=2)
    assert "crewrun batch makes them" in place.stderr


def test_an_agent_alone_can_go_in_jobs(place: Place) -> None:
    """The others are called live, at most -j at once, while the wave waits."""
    place.crew("Criticise {topic}", llm="{model: gpt-4.1-mini, tier: batch}")
    crew = (place.folder / "crew.yaml").read_text()
    assert "tier: batch" in crew
    place.rows(*topics(20))
    place.batch(*JOBS[2:])
    assert len(jobs_of(place)) == 2
    assert len(place.done()) == 20


def test_detached_commands_take_a_run_from_job_to_job(slow_place: Place) -> None:
    """Exit code 7 says to come back; a command that comes too early sends nothing."""
    place = slow_place
    place.crew("Criticise {topic}")
    place.rows(*topics(12))
    detached = (*JOBS, "--detach")
    before = place.mock.job_count()
    for jobs, pause_s in ((1, 0), (1, 3600), (2, 3600)):
        place.batch(*detached, code=7)
        assert place.stderr.count("detached: 12 rows wait for 1 batch job; the same command goes on\n") == 1
        assert not re.search("stop|given up|the provider goes on", place.stderr)
        assert place.mock.job_count() == before + jobs
        place.mock.advance(pause_s)
    place.batch(*detached)
    assert (len(place.done()), bill(place)["lines"], len(jobs_of(place))) == (12, 24, 2)


def status(place: Place) -> dict[str, Any]:
    """What `crewrun status` says."""
    place.crewrun("status", RESULTS, "--json")
    record: dict[str, Any] = json.loads(place.stdout)
    return record


def stop_when_it_waits(place: Place, number: signal.Signals, *flags: str, advance_s: float = 0.0) -> None:
    """Start the run, and stop it by a signal once its first job is at the provider; its time goes on before that."""
    before = place.mock.job_count()
    with place.forks.start("batch", "in.jsonl", *JOBS, *flags, cwd=place.folder, env=place.env) as run:
        wait_for_jobs(place, before + 1)
        place.mock.advance(advance_s)
        run.send_signal(number)
        _, place.stderr = run.communicate()
    assert run.returncode == 128 + number


def wait_for_jobs(place: Place, count: int) -> None:
    """Until the mock has made so many jobs with lines."""
    for _ in range(2_000):
        if place.mock.job_count() >= count:
            return
    raise AssertionError("no job came")
