"""Runs that were killed anywhere, and runs whose files were damaged: what the same command makes of them.

The mock's ledger says what was paid, the journal as it lay there between two sessions what was committed.
"""

import random
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command import read_rows, topics, write_crew, write_rows
from support.forks import Forks, crewrun, start
from support.kill_points import Point
from support.mock_process import MockProcess
from support.workspace import RESULTS, STATE

from crewrun.journal.keys import row_key
from crewrun.row import content_id

ROWS = topics(200)
CALLS = 3 * len(ROWS)
AT_ONCE = 16
COMMAND = ("batch", "in.jsonl", "-j", str(AT_ONCE))
TASKS = {"draft": "Write about", "task_2": "Criticise", "task_3": "Conclude on"}
KILLED = (-9, -25)  # SIGKILL; SIGXFSZ, by which SQLite is killed in the midst of a write


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess("--latency", "0.005", "--jitter", "0.01") as process:
        yield process


@pytest.fixture
def folder(tmp_path: Path, mock: MockProcess) -> Path:
    """200 rows for a crew of three tasks, and a mock that nothing was sent to."""
    write_crew(tmp_path, "gpt-4.1-mini", [f"{words} {{topic}}" for words in list(TASKS.values())[1:]])
    write_rows(tmp_path / "in.jsonl", ROWS)
    mock.clear()
    return tmp_path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, mock: MockProcess) -> list[dict[str, Any]]:
    """The results of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_crew(folder, "gpt-4.1-mini", [f"{words} {{topic}}" for words in list(TASKS.values())[1:]])
    write_rows(folder / "in.jsonl", ROWS)
    assert crewrun(*COMMAND, cwd=folder, env=at(mock)).returncode == 0
    return comparable(read_rows(folder / "in.results.jsonl"))


def at(mock: MockProcess) -> dict[str, str]:
    return {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "mock"}


def comparable(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` without what differs from one session to the next."""
    own = {"started_at", "duration_s", "attempts", "replayed"}
    return [{name: value for name, value in row.items() if name not in own} for row in rows]


# --- killed at a point ------------------------------------------------------------------------------------------------

# Before there is anything to lose.
BEGINNING = [
    Point("before", "open", "lock"),
    Point("after", "open", "lock"),
    Point("after", "flock", "lock"),
    Point("before", "ftruncate", "lock"),
    Point("half", "pwrite", "lock"),
    Point("after", "open", ".manifest.json"),
    Point("half", "write", ".manifest.json"),
    Point("before", "fsync", ".manifest.json"),
    Point("before", "replace", "manifest.json"),
    Point("after", "replace", "manifest.json"),
    Point("before", "sql", "pragma journal_mode"),
    Point("after", "sql", "pragma journal_mode"),
    Point("before", "schema", "", 2),
    Point("before", "schema", "create", 3),
    Point("before", "schema", "commit"),
    Point("half", "sql", "pragma wal_checkpoint"),
    Point("after", "sql", "pragma wal_checkpoint"),
    Point("before", "sql", "insert into names"),
    Point("after", "sql", "insert into sessions"),
    Point("before", "open", "log.jsonl"),
    Point("before", "open", "in.results.jsonl"),
]
# While calls are made: before they are sent, while the server has them, before and after they are committed.
CALLING = [
    Point("before", "connect"),
    Point("before", "connect", "", 9),
    *(Point("before", "request", "", n) for n in (1, 5, 16, 17, 100, 250, 433, 599)),
    *(Point("before", "sql", "begin immediate", n) for n in (2, 40)),
    *(Point("before", "sql", "insert into calls", n) for n in (1, 30)),
    *(Point("before", "sql", "commit", n) for n in (5, 60)),
    *(Point("half", "sql", "commit", n) for n in (2, 10, 50)),
    *(Point("after", "sql", "commit", n) for n in (1, 3, 30, 70)),
    *(Point("half", "checkpoint", "", n) for n in (6, 45)),
]
# While lines are written, and at the end.
WRITING = [
    *(Point("before", "write", "in.results.jsonl", n) for n in (1, 20)),
    *(Point("half", "write", "in.results.jsonl", n) for n in (1, 7, 30)),
    *(Point("after", "write", "in.results.jsonl", n) for n in (1, 25)),
    *(Point("half", "write", "log.jsonl", n) for n in (1, 20)),
    Point("before", "sql", "update sessions set ended_at"),
    Point("half", "sql", "pragma wal_checkpoint", 2),
    Point("after", "sql", "pragma wal_checkpoint", 2),
]
# What a continued run does first.
CONTINUING = [
    Point("half", "write", ".manifest.json"),
    Point("before", "replace", "manifest.json"),
    Point("before", "truncate", "in.results.jsonl"),
    Point("after", "truncate", "in.results.jsonl"),
    Point("before", "sql", "pragma quick_check"),
    Point("after", "sql", "create temp table called"),
    Point("after", "sql", "create temp table unusable"),
]

SAMPLE = [
    Point("half", "write", ".manifest.json"),
    Point("half", "sql", "pragma wal_checkpoint"),
    Point("before", "connect", "", 5),
    Point("before", "request", "", 60),
    Point("half", "write", "in.results.jsonl", 4),
    Point("before", "truncate", "in.results.jsonl"),
    Point("half", "sql", "commit", 12),
    Point("after", "sql", "commit", 9),
    Point("before", "sql", "commit", 7),
    Point("half", "checkpoint", "", 3),
    Point("half", "sql", "pragma wal_checkpoint"),
]


def test_a_run_that_is_killed_eleven_times_loses_nothing(
    folder: Path, mock: MockProcess, forks: Forks, uninterrupted: list[dict[str, Any]]
) -> None:
    """Each session goes on where the last one was; nothing that was committed is asked for again."""
    survive(folder, mock, forks, SAMPLE, uninterrupted)


@pytest.mark.soak
@pytest.mark.parametrize("point", [*BEGINNING, *CALLING, *WRITING], ids=str)
def test_a_run_that_is_killed_at(
    folder: Path, mock: MockProcess, forks: Forks, uninterrupted: list[dict[str, Any]], point: Point
) -> None:
    """The same command brings it to its end, as if nothing had happened."""
    survive(folder, mock, forks, [point], uninterrupted)


@pytest.mark.soak
@pytest.mark.parametrize("point", CONTINUING, ids=str)
def test_a_run_that_is_killed_while_it_goes_on_at(
    folder: Path, mock: MockProcess, forks: Forks, uninterrupted: list[dict[str, Any]], point: Point
) -> None:
    """Going on is as safe as beginning."""
    survive(folder, mock, forks, [Point("half", "write", "in.results.jsonl", 12), point], uninterrupted)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_is_killed_twelve_times_at_random(
    folder: Path, mock: MockProcess, forks: Forks, uninterrupted: list[dict[str, Any]], seed: int
) -> None:
    """At times that nobody chose, by the clock and by the server's count."""
    dice = random.Random(seed)
    points = [
        Point("before", "time", "", dice.randint(250, 600))
        if dice.random() < 0.5
        else Point("before", "request", "", dice.randint(1, 40))
        for _ in range(12)
    ]
    survive(folder, mock, forks, points, uninterrupted)


def survive(
    folder: Path, mock: MockProcess, forks: Forks, points: Sequence[Point], uninterrupted: list[dict[str, Any]]
) -> None:
    """Kill a run at each of `points`, bring it to its end, and hold it against the ledger and a run without kills."""
    in_flight = 0
    for point in points:
        known, seen = committed(folder), mock.ledger(last=0)["totals"]["requests"]
        code, stderr = kill(folder, mock, forks, point, seen)
        assert code in KILLED, f"{point} was never reached: exit {code}\n{stderr}"
        asked = asked_since(mock, seen)
        assert set(asked) & known == set(), f"{point}: committed calls were sent again"
        lost = set(asked) - committed(folder)
        assert len(lost) <= AT_ONCE, f"{point}: more were lost than were in flight: {sorted(lost, key=str.split)}"
        in_flight += len(lost)
    known, seen = committed(folder), mock.ledger(last=0)["totals"]["requests"]
    done = forks.crewrun(*COMMAND, cwd=folder, env=at(mock))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert comparable(read_rows(folder / "in.results.jsonl")) == uninterrupted
    assert set(asked_since(mock, seen)) & known == set()
    totals = mock.ledger(last=0)["totals"]
    assert totals["distinct_bodies"] == CALLS
    assert totals["repeated_bodies"] <= in_flight
    assert totals["billed"] - CALLS <= in_flight
    again = forks.crewrun(*COMMAND, cwd=folder, env=at(mock))
    assert (again.returncode, mock.ledger(last=0)["totals"]) == (0, totals)
    assert comparable(read_rows(folder / "in.results.jsonl")) == uninterrupted


def kill(folder: Path, mock: MockProcess, forks: Forks, point: Point, seen: int) -> tuple[int, str]:
    """Run the command until it is killed at `point`: its exit code and stderr. `seen` is what was sent before."""
    if point.call not in ("request", "time"):
        done = forks.crewrun(*COMMAND, cwd=folder, env=at(mock), kill_at=point)
        return done.returncode, done.stderr
    with start(*COMMAND, cwd=folder, env=at(mock)) as process:
        if point.call == "time":
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=point.n / 1000)
        else:
            while mock.ledger(last=0)["totals"]["requests"] < seen + point.n and process.poll() is None:
                pass
        process.kill()
        return -9, process.communicate()[1]


def asked_since(mock: MockProcess, seen: int) -> list[str]:
    """What the requests behind the first `seen` ask for: `Criticise topic 7`."""
    mock.wait_in_flight(0)
    new = mock.ledger(last=0)["totals"]["requests"] - seen
    prompts = [request["messages"][-1]["content"] for request in mock.ledger(last=new)["requests"]]
    return [prompt.removeprefix("Your task: ").partition("\n")[0] for prompt in prompts]


def committed(folder: Path) -> set[str]:
    """What the calls in the journal asked for. A copy is read: opening the journal itself would mend it."""
    state = folder / "in.results.jsonl.crewrun"
    if not (state / "journal.sqlite").exists():
        return set()
    copy = folder / "copy"
    copy.mkdir(exist_ok=True)
    for name in ("journal.sqlite", "journal.sqlite-wal"):
        (copy / name).unlink(missing_ok=True)
        if (state / name).exists():
            shutil.copyfile(state / name, copy / name)
    (copy / "journal.sqlite-shm").unlink(missing_ok=True)
    topic_of = {row_key(content_id(row)): row["topic"] for row in ROWS}
    db = sqlite3.connect(copy / "journal.sqlite")
    try:
        found = db.execute("select calls.row, names.name from calls join names on names.id = calls.task").fetchall()
    except sqlite3.OperationalError:  # killed before there was a table
        return set()
    finally:
        db.close()
    return {f"{TASKS[task]} {topic_of[row]}" for row, task in found}


# --- damaged files ----------------------------------------------------------------------------------------------------

FEW_ROWS = topics(12)
OFFLINE_RUN = ("batch", "in.jsonl", "-m", "offline", "-j", "3")
FILES: dict[Literal["journal", "wal", "results"], str] = {
    "journal": f"{STATE}/journal.sqlite",
    "wal": f"{STATE}/journal.sqlite-wal",
    "results": RESULTS,
}


class Damage(NamedTuple):
    """What happens to one file. `at` is how many bytes are left, or put in its place; fewer if it is short."""

    file: Literal["journal", "wal", "results"]
    kind: Literal["cut", "delete", "garbage"]
    at: int = 0

    def do(self, folder: Path) -> None:
        """Damage the file, if it is there."""
        path = folder / FILES[self.file]
        if not path.exists():
            return
        content = path.read_bytes()
        place = self.at % (len(content) + 1)
        if self.kind == "delete":
            path.unlink()
        elif self.kind == "cut":
            path.write_bytes(content[:place])
        else:
            path.write_bytes(random.Random(self.at).randbytes(place))


class Damaged(NamedTuple):
    """A finished run and a killed one, as bytes by file name, and what they come to."""

    forks: Forks
    folder: Path
    runs: dict[str, dict[str, bytes]]
    right: list[dict[str, Any]]

    def lay_out(self, run: str) -> None:
        """Make the folder what it was when `run` ended."""
        for path in self.folder.glob("in.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.folder / STATE).mkdir()
        write_rows(self.folder / "in.jsonl", FEW_ROWS)
        for name, content in self.runs[run].items():
            (self.folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Damaged:
    folder = tmp_path_factory.mktemp("damaged")
    write_crew(folder, "offline", ["Criticise {topic}"])
    write_rows(folder / "in.jsonl", FEW_ROWS)
    assert (
        forks.crewrun(*OFFLINE_RUN, "-j", "1", cwd=folder, kill_at=Point("half", "write", RESULTS, 6)).returncode == -9
    )
    killed = files_in(folder)
    assert FILES["wal"] in killed
    assert forks.crewrun(*OFFLINE_RUN, cwd=folder).returncode == 0
    return Damaged(
        forks, folder, {"killed": killed, "finished": files_in(folder)}, comparable(read_rows(folder / RESULTS))
    )


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [folder / RESULTS, *(folder / STATE).iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


DAMAGES = st.builds(
    Damage,
    st.sampled_from(list(FILES)),
    st.sampled_from(["cut", "cut", "cut", "delete", "garbage"]),
    st.integers(0, 1 << 20),
)


def check_damage(damaged: Damaged, run: str, damage: Damage, *, with_shm: bool) -> None:
    """The run ends with the right results, or says that its journal is damaged and how to begin anew."""
    damaged.lay_out(run)
    damage.do(damaged.folder)
    if not with_shm:
        (damaged.folder / STATE / "journal.sqlite-shm").unlink(missing_ok=True)
    results = damaged.folder / RESULTS
    before = results.read_bytes() if results.exists() else b""
    done = damaged.forks.crewrun(*OFFLINE_RUN, cwd=damaged.folder)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        assert re.match(
            r"crewrun: \S+journal\.sqlite: "
            r"(is damaged: .+|is missing|is empty|has lost \d+ rows that the results have)\n"
            r"--fresh moves it aside, with the results, and runs every row again"
            r"(: for the \d+ rows that \S+ has, \d+ calls \(\$\d+\.\d\d\) would be paid for a second time)?\n",
            done.stderr,
        ), done.stderr
        assert (results.read_bytes() if results.exists() else b"") == before
        fresh = damaged.forks.crewrun(*OFFLINE_RUN, "--fresh", cwd=damaged.folder)
        assert fresh.returncode == 0, fresh.stderr
    assert comparable(read_rows(results)) == damaged.right
    again = damaged.forks.crewrun(*OFFLINE_RUN, cwd=damaged.folder)
    assert (again.returncode, again.stderr.partition(" in ")[0]) == (0, "0 ok, 0 failed, 12 done before"), again.stderr


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=st.sampled_from(["killed", "finished"]), damage=DAMAGES, with_shm=st.booleans())
def test_a_damaged_run_goes_on_or_says_so(damaged: Damaged, run: str, damage: Damage, with_shm: bool) -> None:
    """Never a traceback, a wrong line, or two of one row."""
    check_damage(damaged, run, damage, with_shm=with_shm)


@pytest.mark.soak
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=st.sampled_from(["killed", "finished"]), damage=DAMAGES, with_shm=st.booleans())
def test_a_run_that_is_damaged_anywhere_goes_on_or_says_so(
    damaged: Damaged, run: str, damage: Damage, with_shm: bool
) -> None:
    """The same, many times."""
    check_damage(damaged, run, damage, with_shm=with_shm)


KINDS: list[tuple[Literal["cut", "delete", "garbage"], int]] = [
    ("cut", 0),
    ("cut", 1),
    ("cut", 4096),
    ("delete", 0),
    ("garbage", 9000),
]
EVERYTHING = [
    (run, Damage(file, kind, place))
    for run in ("killed", "finished")
    for file in FILES
    for kind, place in KINDS
    if (run, file) != ("finished", "wal")
]


@pytest.mark.parametrize(("run", "damage"), EVERYTHING, ids=lambda it: it if isinstance(it, str) else " ".join(it[:2]))
def test_a_run_without_one_of_its_files_goes_on_or_says_so(damaged: Damaged, run: str, damage: Damage) -> None:
    """Emptied, cut, deleted or replaced by something else."""
    check_damage(damaged, run, damage, with_shm=True)
