"""Run folders that an older commit left behind go on, and nothing of them is paid twice: see `data/*/README.md`."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.forks import Forks
from support.mock_process import MockProcess
from support.workspace import Place

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
RUNS = ROOT / "tests" / "data" / "runs_of_2a01590"
RIVERS, LAKES, SEAS, OCEANS, PONDS = "rivers", "lakes", "seas FAIL-400", "oceans", "ponds"


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess() as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, mock: MockProcess, forks: Forks) -> Place:
    """A copy of the runs, where they now say that they were made. The mock is reached as their proxy."""
    shutil.copytree(RUNS, tmp_path, dirs_exist_ok=True)
    for manifest in tmp_path.glob("*/manifest.json"):
        manifest.write_text(manifest.read_text().replace("/tmp/older-run", str(tmp_path)))
    made = Place(tmp_path, mock, forks)
    made.env = {"HTTP_PROXY": mock.base_url.removesuffix("/v1"), "OPENAI_API_KEY": "sk-test"}
    return made


def lines_by_topic(place: Place) -> dict[str, bytes]:
    """The result lines of `in.jsonl` by topic."""
    lines = place.results.read_bytes().splitlines()
    return {json.loads(line)["input"]["topic"]: line for line in lines}


def printed(place: Place, *args: str, code: int = 0) -> Any:
    """The JSON that a command prints; it sends nothing."""
    assert place.crewrun(*args, "--json", code=code) == []
    return json.loads(place.stdout)


def dump(place: Place) -> list[str]:
    """All that is in the journal of `in.jsonl`, as SQL."""
    with closing(sqlite3.connect(place.folder / "in.results.jsonl.crewrun" / "journal.sqlite")) as db:
        return list(db.iterdump())


def test_the_same_command_goes_on_where_the_kill_stopped_it(place: Place) -> None:
    """Of the row that was killed between two calls only the last one is made; done rows stay byte for byte."""
    before = lines_by_topic(place)
    lookups = (place.folder / "lookups.txt").read_text().splitlines()

    asked = place.batch("--summary", "s.json", "-j", "1", code=3)

    assert asked == [
        "Read about ponds",
        "Read about seas FAIL-400",
        "Write about oceans, CALL-lookup",
        *["Write about ponds, CALL-lookup"] * 2,
    ]
    after = lines_by_topic(place)
    assert set(after) == {RIVERS, LAKES, SEAS, OCEANS, PONDS}
    assert {topic: after[topic] for topic in (RIVERS, LAKES)} == {topic: before[topic] for topic in (RIVERS, LAKES)}
    resumed = json.loads(after[OCEANS])
    assert (resumed["status"], [task["name"] for task in resumed["tasks"]]) == ("ok", ["read", "write"])
    assert (resumed["usage"]["calls"], resumed["replayed"]["usage"]["calls"]) == (3, 2)
    # Tools of done rows are not called again, that of the half-done row is.
    called = (place.folder / "lookups.txt").read_text().splitlines()[len(lookups) :]
    assert [topic.partition("about ")[2].partition(",")[0] for topic in called] == ["oceans", "ponds"]
    summary = place.summary()
    assert summary["rows"] | {"ok": 2, "failed": 1, "kept": 2} == summary["rows"]


def test_a_second_time_only_the_failed_row_is_sent(place: Place) -> None:
    """What this code added to the older journal is known again, as what was there before."""
    place.batch(code=3)
    assert place.batch(code=3) == ["Read about seas FAIL-400"]


def test_retry_runs_the_failed_and_unfinished_rows(place: Place) -> None:
    """As the run's own command would."""
    assert place.crewrun("retry", "in.results.jsonl", "--only", "bad_request", code=3) == ["Read about seas FAIL-400"]
    assert "Write about oceans, CALL-lookup" in place.crewrun("retry", "in.results.jsonl", code=3)
    assert set(lines_by_topic(place)) == {RIVERS, LAKES, SEAS, OCEANS, PONDS}


def test_replay_sends_nothing(place: Place) -> None:
    """The answers of done rows are all in the older journal: deleted results are made again from it."""
    before = lines_by_topic(place)
    place.results.unlink()
    assert place.batch("--replay", code=3) == []
    after = lines_by_topic(place)
    assert {topic: after[topic] for topic in (RIVERS, LAKES)} == {topic: before[topic] for topic in (RIVERS, LAKES)}


def test_a_run_folder_can_be_looked_at_before_it_goes_on(place: Place) -> None:
    """By status, show, verify and export; none of them brings the journal into another form."""
    before = dump(place)
    status = printed(place, "status", "in.results.jsonl")
    assert (status["state"], status["rows"]) == ("died", {"ok": 2, "failed": 1, "in_flight": 0})
    assert status["in_all"]["usage"]["calls"] == 8
    assert status["failures"][0]["category"] == "bad_request"

    row = json.loads(lines_by_topic(place)[RIVERS])
    shown = printed(place, "show", "in.results.jsonl", row["id"])
    assert shown["result"] == row
    assert [call["kind"] for call in shown["calls"]] == ["answer", "answer", "tool", "answer"]
    assert {call["prompt_source"] for call in shown["calls"] if call["kind"] == "answer"} == {"rebuilt"}

    verified = printed(place, "status", "in.results.jsonl", "--verify", code=3)
    assert [(found["kind"], found["count"]) for found in verified["verify"]["differences"]] == [("without_result", 2)]

    place.crewrun("export", "in.results.jsonl", "-o", "out.jsonl")
    assert sorted((place.folder / "out.jsonl").read_bytes().splitlines()) == sorted(lines_by_topic(place).values())
    assert dump(place) == before


def test_a_persisted_flow_goes_on_behind_its_last_finished_step(place: Place) -> None:
    """The first step's call is not made again, and the done row is skipped."""
    asked = place.batch("--crew", "flow.py:Letter", inputs="letters.jsonl")
    assert asked == ["Polish the letter to Bob"]
    rows = [json.loads(line) for line in (place.folder / "letters.results.jsonl").read_text().splitlines()]
    assert [(row["input"]["to"], row["status"]) for row in rows] == [("Ada", "ok"), ("Bob", "ok")]
    assert place.batch("--crew", "flow.py:Letter", inputs="letters.jsonl") == []
