"""`crewrun retry`: the rows of a run that failed, once more, with the options that the run had."""

import json
import shutil
from pathlib import Path

import pytest
from support.command import read_rows, topics
from support.workspace import RESULTS, STATE, Place


@pytest.fixture
def place(place: Place) -> Place:
    """A run of four rows, three of which failed in three ways; one of them will again."""
    place.rows(*({"topic": topic} for topic in ("fine", "FAIL-ONCE-500 b", "FAIL-ONCE-429 c", "FAIL-400 d")))
    assert len(place.batch("--retries", "0", "-j", "2", code=3)) == 4
    return place


def statuses(place: Place) -> list[str]:
    """Those of the results, in input order."""
    return [row["status"] for row in read_rows(place.results)]


def test_retry_runs_what_failed_as_the_run_did(place: Place) -> None:
    """With its options, and nothing else."""
    assert place.crewrun("retry", RESULTS, code=3) == [
        "Write about FAIL-400 d",
        "Write about FAIL-ONCE-429 c",
        "Write about FAIL-ONCE-500 b",
    ]
    assert statuses(place) == ["ok", "ok", "ok", "failed"]
    assert json.loads((place.folder / STATE / "manifest.json").read_text())["options"] == {
        "max_concurrent": 2,
        "output": str(place.results),
        "retries": 0,
    }


@pytest.mark.parametrize(
    ("category", "asked", "code"),
    [("server", ["Write about FAIL-ONCE-500 b"], 3), ("timeout", [], 3)],
    ids=["some", "none"],
)
def test_only_leaves_other_rows_alone(place: Place, category: str, asked: list[str], code: int) -> None:
    """Their failures stay in the results, and the exit code goes on to say so."""
    before = [row for row in read_rows(place.results) if f"Write about {row['input']['topic']}" not in asked]
    assert place.crewrun("retry", RESULTS, "--only", category, code=code) == asked
    after = read_rows(place.results)
    assert [row for row in after if row["index"] != 1 or not asked] == before
    assert [row["status"] for row in after].count("ok") == 1 + len(asked)
    left = f"{len(asked)} ok, 0 failed, 1 done before, {3 - len(asked)} failed before in "
    assert place.stderr.startswith(left)


def test_only_runs_no_row_that_is_new(place: Place) -> None:
    """The next batch does."""
    rows = [json.loads(line) for line in (place.folder / "in.jsonl").read_text().splitlines()]
    place.rows(*rows, *topics(1))
    assert place.crewrun("retry", RESULTS, "--only", "rate_limit", code=3) == ["Write about FAIL-ONCE-429 c"]
    assert len(read_rows(place.results)) == 4
    assert "Write about topic 0" in place.batch("--retries", "0", code=3)


def test_retry_works_from_anywhere_and_by_the_run_folder(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Paths in the run's options are from where it was started."""
    seen = place.sent()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = place.forks.crewrun("retry", str(place.folder / STATE), cwd=elsewhere, env=place.env)
    assert (done.returncode, len(place.asked_since(seen))) == (3, 3)
    assert statuses(place) == ["ok", "ok", "ok", "failed"]
    assert list(elsewhere.iterdir()) == []
    assert [line for line in done.stderr.splitlines() if str(place.folder) in line] == [
        f"  to see them all: crewrun show {place.results} --failed",
        f"  to run one kind of them again: crewrun retry {place.results} --only bad_request",
        f"results: {place.results}",
        f"2 ok, 1 failed, 1 done before; to run what failed again: crewrun retry {place.results}",
    ]


def test_retry_when_all_is_done_sends_nothing(place: Place) -> None:
    """And exits 0."""
    place.rows({"topic": "fine"})
    assert place.batch("--retries", "0") == []
    before = place.results.read_bytes()
    assert place.crewrun("retry", RESULTS) == []
    assert place.results.read_bytes() == before


def test_what_cannot_be_retried_is_refused(place: Place) -> None:
    """With the reason; nothing is sent."""
    assert place.crewrun("retry", RESULTS, "--only", "serv", code=2) == []
    assert place.stderr.startswith("crewrun: --only 'serv': no such category (did you mean 'server'?); one of input, ")
    assert place.crewrun("retry", "gone.jsonl", code=2) == []
    assert place.stderr == (
        "crewrun: gone.jsonl: no such run; RUN is a results file of crewrun batch, or the run folder next to it\n"
    )
    (place.folder / "in.jsonl").rename(place.folder / "moved.jsonl")
    assert place.crewrun("retry", RESULTS, code=2) == []
    assert place.stderr == f"crewrun: {RESULTS}: its input in.jsonl no longer exists\n"


def test_rows_from_a_pipe_cannot_be_retried(place: Place) -> None:
    """They are not there any more."""
    shutil.rmtree(place.folder / STATE)
    place.results.unlink()
    place.batch("-o", RESULTS, inputs="-", stdin='{"topic": "x"}\n')
    assert place.crewrun("retry", RESULTS, code=2) == []
    assert place.stderr == (
        f"crewrun: {RESULTS}: its rows came through a pipe; give the run's own command and the same rows again\n"
    )


def test_only_wants_the_crew_that_the_rows_failed_by(place: Place) -> None:
    """Under another one every row is to run again: nothing is sent or taken out. Without --only it may."""
    place.crew("Improve it")
    before = place.results.read_bytes()
    assert place.crewrun("retry", RESULTS, "--only", "server", code=2) == []
    assert place.stderr == (
        "crewrun: --only server: crew.yaml has changed since, so that every row is to run again, and not these alone; "
        "leave --only out, or make the crew what it was\n"
    )
    assert place.results.read_bytes() == before
    assert place.crewrun("retry", RESULTS, code=3).count("Improve it") == 3
    assert statuses(place) == ["ok", "ok", "ok", "failed"]


@pytest.mark.parametrize("flags", [[], ["--only", "server"]], ids=["all", "some"])
def test_retry_asks_the_models_that_the_run_asked(place: Place, flags: list[str]) -> None:
    """An environment that leads elsewhere is refused, and what it has to be is said."""
    before = place.results.read_bytes()
    elsewhere = "http://127.0.0.1:9/v1"
    assert place.crewrun("retry", RESULTS, *flags, code=2, OPENAI_BASE_URL=elsewhere) == []
    assert place.stderr == (
        f"crewrun: {place.folder / STATE}: the run asks openai/gpt-4.1-mini at {place.mock.base_url}, and here and now "
        f"that is openai/gpt-4.1-mini at {elsewhere}; set OPENAI_BASE_URL, MODEL and the like as they were, or give "
        "its own command: crewrun batch in.jsonl --retries 0 -j 2\n"
    )
    assert place.results.read_bytes() == before


def test_a_password_comes_from_the_environment_again(place: Place) -> None:
    """A run keeps none; who retries it is told which variable to set."""
    secret = place.mock.base_url.replace("://", "://me:secret@")
    place.batch("--retries", "0", "--base-url", secret, code=3)
    assert b"secret" not in (place.folder / STATE / "manifest.json").read_bytes()
    assert place.crewrun("retry", RESULTS, code=2) == []
    shown = secret.replace("me:secret", "[redacted]")
    assert place.stderr == (
        f"crewrun: --base-url {shown}: a run keeps no passwords; export CREWRUN_BASE_URL with all of it\n"
    )
    assert place.crewrun("retry", RESULTS, code=3, CREWRUN_BASE_URL=secret) == ["Write about FAIL-400 d"]
    assert place.crewrun("status", RESULTS) == []


def test_what_replay_could_not_answer_is_sent_by_a_retry(place: Place) -> None:
    """The commands that run failed rows again leave --replay out: it would fail them again."""
    place.rows(*topics(2))
    place.batch("--replay", "--retries", "0", "-m", "gpt-4.1-nano", code=3)
    lines = place.stderr.splitlines()
    again = "to run what failed again: crewrun batch in.jsonl --retries 0 -m gpt-4.1-nano"
    assert lines[-1].endswith(f"2 failed; {again}")
    assert lines[-5:-2] == [
        "      → the journal lacks a call of these rows; run them without --replay",
        f"  to see them all: crewrun show {RESULTS} --failed",
        f"  to run one kind of them again: crewrun retry {RESULTS} --only network",
    ]
    place.crewrun("status", RESULTS)
    assert place.stdout.splitlines()[-1] == again
    assert place.crewrun("retry", RESULTS, "--only", "network") == ["Write about topic 0", "Write about topic 1"]
    assert statuses(place) == ["ok", "ok"]


def test_a_run_whose_folder_is_gone_is_not_retried_elsewhere(place: Place, tmp_path: Path) -> None:
    """Its inputs and its crew are named from there; the refusal has the command to give where they are now."""
    moved = tmp_path.with_name(f"{tmp_path.name} moved")
    shutil.move(tmp_path, moved)
    done = place.forks.crewrun("retry", RESULTS, cwd=moved, env=place.env)
    assert (done.returncode, done.stderr) == (
        2,
        f"crewrun: {RESULTS}: its working directory {tmp_path}: No such file or directory; where its inputs are now, "
        "give its own command: crewrun batch in.jsonl --retries 0 -j 2\n",
    )


def test_a_row_that_never_ran_keeps_only_from_ending_well(place: Place) -> None:
    """All that has failed is put right, but a row of the input has no result: exit code 3 until it has run."""
    place.rows({"topic": "fine"}, {"topic": "FAIL-ONCE-429 c"}, {"topic": "new"})
    assert place.crewrun("retry", RESULTS, "--only", "rate_limit", code=3) == ["Write about FAIL-ONCE-429 c"]
    assert place.stderr.startswith("1 ok, 0 failed, 1 done before, 1 left in ")
    assert place.crewrun("retry", RESULTS) == ["Write about new"]
