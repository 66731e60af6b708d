"""Runs with batch jobs that were killed anywhere: the same command goes on, and nothing is sent or billed twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from support.command import read_rows, topics, write_crew, write_rows
from support.forks import Forks, shared
from support.job_wires import JOB_WIRES, JobWire
from support.kill_points import Point
from support.killing_relay import KillingRelay, Moment, WirePoint
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
# A job whose creation was not answered is looked for, looked at and read before the journal has its id.
LOST = [Point("before", "sql", about, n) for about in STATEMENTS for n in (1, 2)]
MOMENTS: tuple[Moment, ...] = get_args(Moment)


class Run(NamedTuple):
    """A folder with 6 rows for a crew of two tasks, and the mock, which nothing was sent to. `relay` is before it."""

    wire: JobWire
    folder: Path
    mock: MockProcess
    relay: KillingRelay
    forks: Forks
    uninterrupted: list[dict[str, Any]]
    jobs_before: int

    def kill_at(self, point: Point | WirePoint) -> int:
        """The exit code of the command that is killed at a point, if it comes to it."""
        self.relay.expect(point if isinstance(point, WirePoint) else None)
        env = self.wire.env(self.relay.base_url)
        kill_at = point if isinstance(point, Point) else None
        with self.forks.start(*COMMAND, cwd=self.folder, env=env, kill_at=kill_at) as command:
            self.relay.kill_at_point(command)
            command.communicate()
        self.relay.expect(None)
        return command.wait()

    def check_repeat(self) -> None:
        """The same command ends the run: each line was run once, by one of two jobs, as if nothing had happened."""
        repeat = self.forks.crewrun(*COMMAND, cwd=self.folder, env=self.wire.env(self.relay.base_url))
        assert repeat.returncode == 0, repeat.stderr
        totals = self.mock.ledger(last=0)["totals"]
        assert (
            totals["lines"],
            totals["billed"],
            totals["billed_twice"],
            totals["lines_billed_twice"],
            totals["tiers"].keys(),
            self.wire.job_count(self.mock) - self.jobs_before,
        ) == (CALLS, CALLS, 0, 0, {"batch"}, 2)
        assert comparable(self.folder) == self.uninterrupted


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess("--batch-latency", "0.1") as process:
        yield process


@pytest.fixture(scope="module")
def relay(mock: MockProcess) -> Iterator[KillingRelay]:
    with KillingRelay(mock.address) as relay:
        yield relay


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, list[dict[str, Any]]]:
    """The results of a run that nothing happened to, by its wire, as far as there was one."""
    return {}


@pytest.fixture
def run(
    tmp_path: Path,
    mock: MockProcess,
    relay: KillingRelay,
    uninterrupted: dict[str, list[dict[str, Any]]],
    request: pytest.FixtureRequest,
) -> Run:
    wire: JobWire = request.param
    forks = shared(*wire.modules)
    mock.set_batch_faults(dict.fromkeys(mock.batch_faults()))
    relay.expect(None)
    if wire.name not in uninterrupted:
        folder = tmp_path / "uninterrupted"
        folder.mkdir()
        write_run(folder, wire)
        done = forks.crewrun(*COMMAND, cwd=folder, env=wire.env(mock.base_url))
        assert done.returncode == 0, done.stderr
        uninterrupted[wire.name] = comparable(folder)
    write_run(tmp_path, wire)
    mock.clear()
    return Run(wire, tmp_path, mock, relay, forks, uninterrupted[wire.name], wire.job_count(mock))


def write_run(folder: Path, wire: JobWire) -> None:
    write_crew(folder, wire.llm, ["Criticise {topic}"])
    write_rows(folder / "in.jsonl", ROWS)


def comparable(folder: Path) -> list[dict[str, Any]]:
    """The results without what differs from one session to the next, in the order of the input."""
    own = {"started_at", "duration_s", "attempts", "replayed"}
    rows = sorted(read_rows(folder / RESULTS), key=lambda row: row["index"])
    return [{name: value for name, value in row.items() if name not in own} for row in rows]


def over(wires: list[JobWire], points: list[Point]) -> list[Any]:
    """Each point on each wire."""
    return [pytest.param(wire, point, id=f"{wire} {point}") for wire in wires for point in points]


def on_wire(*names: str) -> list[Any]:
    """The requests of these names of each wire, of its first and its second job, and each moment of them."""
    return [
        pytest.param(wire, WirePoint(moment, name, wire.steps[name], n), id=f"{wire} {moment} {name} {n}")
        for wire in JOB_WIRES
        for name in names
        if name in wire.steps
        for n in (1, 2)
        for moment in MOMENTS
    ]


@pytest.mark.parametrize(("run", "point"), over(JOB_WIRES[:1], POINTS[::4]), indirect=["run"])
def test_a_kill_where_the_journal_hears_of_a_job_pays_nothing_twice(run: Run, point: Point) -> None:
    """Each line is run once, and the results are those of a run that nothing happened to."""
    assert run.kill_at(point) in KILLED
    run.check_repeat()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("run", "point"),
    [*over(JOB_WIRES, [*POINTS, *CONNECTIONS]), *over(JOB_WIRES[:1], COMMITS), *over(JOB_WIRES[1:], COMMITS[::5])],
    indirect=["run"],
)
def test_a_kill_at_any_step_pays_nothing_twice(run: Run, point: Point) -> None:
    """Over upload, create, poll, download and apply. Commits are the journal's, whatever the wire."""
    # A run may have fewer commits than that.
    assert run.kill_at(point) in (KILLED if point in POINTS else (*KILLED, 0))
    run.check_repeat()


@pytest.mark.soak
@pytest.mark.parametrize(("run", "point"), on_wire("upload", "create", "look", "download"), indirect=["run"])
def test_a_kill_at_any_request_pays_nothing_twice(run: Run, point: WirePoint) -> None:
    """Whether it has arrived, was obeyed or was answered by half."""
    assert run.kill_at(point) == -9
    run.check_repeat()


@pytest.mark.soak
@pytest.mark.parametrize(("run", "point"), over(JOB_WIRES, LOST), indirect=["run"])
def test_a_kill_while_a_lost_job_is_looked_for_pays_nothing_twice(run: Run, point: Point) -> None:
    """The provider has made the job, and its answer was lost."""
    run.mock.set_batch_faults({"lost-create": 1})
    assert run.kill_at(point) in KILLED
    run.check_repeat()


@pytest.mark.soak
@pytest.mark.parametrize(("run", "point"), over(JOB_WIRES[:1], LOST), indirect=["run"])
def test_a_kill_while_a_lost_job_without_metadata_is_looked_for_pays_nothing_twice(run: Run, point: Point) -> None:
    """The name of its file tells which it is."""
    run.mock.set_batch_faults({"lost-create": 1, "no-metadata": True})
    assert run.kill_at(point) in KILLED
    run.check_repeat()


@pytest.mark.soak
@pytest.mark.parametrize(("run", "point"), on_wire("list", "look", "download"), indirect=["run"])
def test_a_kill_at_any_request_for_a_lost_job_pays_nothing_twice(run: Run, point: WirePoint) -> None:
    """Its list, its state and its results tell which it is."""
    run.mock.set_batch_faults({"lost-create": 2 if point.name == "list" else 1})
    assert run.kill_at(point) == -9
    run.check_repeat()


@pytest.mark.soak
@pytest.mark.parametrize(("run", "point"), on_wire("list", "look", "download"), indirect=["run"])
def test_a_second_kill_while_the_next_session_looks_for_a_lost_job_pays_nothing_twice(
    run: Run, point: WirePoint
) -> None:
    """The first came before the create was answered."""
    assert run.kill_at(WirePoint("after", "create", run.wire.steps["create"])) == -9
    assert run.kill_at(point) in (-9, 0)  # where nothing more is lost, no second list is asked for
    run.check_repeat()
