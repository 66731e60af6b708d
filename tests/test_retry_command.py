"""`crewrun retry`: the rows of a run that failed, once more, with the options that the run had."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import read_rows, topics
from forks import Forks
from mock_process import MockProcess
from place import RESULTS, STATE, Place


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[MockProcess, Forks]]:
    with MockProcess() as mock, Forks() as forks:
        yield mock, forks


@pytest.fixture
def place(tmp_path: Path, served: tuple[MockProcess, Forks]) -> Place:
    """A run of four rows, three of which failed in three ways; one of them will again."""
    mock, forks = served
    mock.clear()
    place = Place(tmp_path, mock, forks)
    place.crew()
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
        "crewrun: gone.jsonl: no such run; RUN is a results file of crewrun batch, or the run folder beside it\n"
    )
    (place.folder / "in.jsonl").rename(place.folder / "moved.jsonl")
    assert place.crewrun("retry", RESULTS, code=2) == []
    assert place.stderr == f"crewrun: {RESULTS}: its input in.jsonl is not there any more\n"


def test_rows_from_a_pipe_cannot_be_retried(place: Place) -> None:
    """They are not there any more."""
    shutil.rmtree(place.folder / STATE)
    place.results.unlink()
    place.batch("-o", RESULTS, inputs="-", stdin='{"topic": "x"}\n')
    assert place.crewrun("retry", RESULTS, code=2) == []
    assert place.stderr == (
        f"crewrun: {RESULTS}: its rows came through a pipe; give the run's own command and the same rows again\n"
    )
