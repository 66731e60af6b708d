"""Runs with batch jobs that were killed anywhere: the same command goes on, and nothing is sent or billed twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import read_rows, topics, write_crew, write_rows
from support.forks import crewrun, shared
from support.kill_points import Point
from support.mock_process import MockProcess
from support.workspace import RESULTS

ROWS = topics(6)
CALLS = 2 * len(ROWS)
KILLED = (-9, -25)  # SIGKILL; SIGXFSZ, by which SQLite is killed in the midst of a write
COMMAND = ("batch", "in.jsonl", "--tier", "batch", "--poll", "0.05")
# Where the journal hears of a job: the intent before the upload, the provider's id after the create, each look, the
# results, the end, and that they are taken.
STATEMENTS = [
    "insert into jobs",
    "update jobs set id",
    "update jobs set lines_ended",
    "update jobs set end",
    "select end, status",
    "update job_lines set taken",
]
POINTS = [Point(moment, "sql", about, n) for about in STATEMENTS for moment in ("before", "after") for n in (1, 2)]
COMMITS = [Point(moment, "sql", "commit", n) for n in range(1, 25) for moment in ("before", "half", "after")]
CONNECTIONS = [Point("before", "connect", n=n) for n in range(1, 5)]


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess("--batch-latency", "0.1") as process:
        yield process


@pytest.fixture
def folder(tmp_path: Path, mock: MockProcess) -> Path:
    """6 rows for a crew of two tasks, and a mock that nothing was sent to."""
    write_crew(tmp_path, "gpt-4.1-mini", ["Criticise {topic}"])
    write_rows(tmp_path / "in.jsonl", ROWS)
    mock.clear()
    return tmp_path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, mock: MockProcess) -> list[dict[str, Any]]:
    """The results of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_crew(folder, "gpt-4.1-mini", ["Criticise {topic}"])
    write_rows(folder / "in.jsonl", ROWS)
    assert crewrun(*COMMAND, cwd=folder, env=at(mock)).returncode == 0
    return comparable(folder)


def at(mock: MockProcess) -> dict[str, str]:
    return {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "mock"}


def comparable(folder: Path) -> list[dict[str, Any]]:
    """The results without what differs from one session to the next, in the order of the input."""
    own = {"started_at", "duration_s", "attempts", "replayed"}
    rows = sorted(read_rows(folder / RESULTS), key=lambda row: row["index"])
    return [{name: value for name, value in row.items() if name not in own} for row in rows]


def check_killed_at(point: Point, folder: Path, mock: MockProcess, uninterrupted: list[dict[str, Any]]) -> None:
    killed = shared().crewrun(*COMMAND, cwd=folder, env=at(mock), kill_at=point)
    assert killed.returncode in (KILLED if point in POINTS else (*KILLED, 0))  # a run may have fewer commits than that
    repeat = crewrun(*COMMAND, cwd=folder, env=at(mock))
    assert repeat.returncode == 0, repeat.stderr
    totals = mock.ledger(last=0)["totals"]
    assert (totals["lines"], totals["billed"], totals["billed_twice"], totals["tiers"].keys()) == (
        CALLS,
        CALLS,
        0,
        {"batch"},
    )
    assert comparable(folder) == uninterrupted


@pytest.mark.parametrize("point", POINTS[::4], ids=str)
def test_a_kill_where_the_journal_hears_of_a_job_pays_nothing_twice(
    point: Point, folder: Path, mock: MockProcess, uninterrupted: list[dict[str, Any]]
) -> None:
    """Each line is run once, and the results are those of a run that nothing happened to."""
    check_killed_at(point, folder, mock, uninterrupted)


@pytest.mark.soak
@pytest.mark.parametrize("point", [*POINTS, *COMMITS, *CONNECTIONS], ids=str)
def test_a_kill_at_any_step_pays_nothing_twice(
    point: Point, folder: Path, mock: MockProcess, uninterrupted: list[dict[str, Any]]
) -> None:
    """Over upload, create, poll, download and apply: 100 points."""
    check_killed_at(point, folder, mock, uninterrupted)
