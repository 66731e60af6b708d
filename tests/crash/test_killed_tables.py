"""Runs that write a table, killed, signalled or out of room in the midst of it: nothing is lost or paid for again."""

import csv
import io
import signal

import pytest
from support.forks import start
from support.kill_points import Point
from support.workspace import Place

STATE = "out.csv.crewrun"
BATCH = ("batch", "in.jsonl", "-o", "out.csv", "-j", "3")
ROWS = [{"topic": f"topic {i}"} for i in range(12)]
ASKED = sorted(f"Write about topic {i}" for i in range(12))
LEFT = {"crew.yaml", "in.jsonl", "out.csv", STATE}

# While rows run, and while the table is written and put in its place.
POINTS = [
    Point("before", "open", "results.jsonl"),
    Point("half", "write", "results.jsonl", 2),
    Point("before", "open", ".out.csv."),
    Point("half", "write", ".out.csv."),
    Point("before", "fsync", ".out.csv."),
    Point("half", "write", ".table.json."),
    Point("before", "replace", "table.json"),
    Point("before", "replace", "out.csv"),
    Point("after", "replace", "out.csv"),
]


def topics(place: Place) -> list[str]:
    text = (place.folder / "out.csv").read_text()
    csv.field_size_limit(1 << 30)
    return [row["input.topic"] for row in csv.DictReader(io.StringIO(text, newline=""))]


def kill(place: Place, point: Point) -> list[str]:
    """Run the command until it is killed at `point`. What it asked for."""
    seen = place.sent()
    done = place.forks.crewrun(*BATCH, cwd=place.folder, env=place.env, kill_at=point)
    assert done.returncode == -9, (str(point), done.stderr)
    place.mock.wait_in_flight(0)
    return place.asked_since(seen)


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_run_that_is_killed_at(place: Place, point: Point) -> None:
    """The table is that of before, whole, or not there; the same command writes it, and leaves no other files."""
    place.rows(*ROWS[:4])
    place.crewrun(*BATCH)
    before = (place.folder / "out.csv").read_bytes()
    place.rows(*ROWS)
    asked = kill(place, point)
    if point != Point("after", "replace", "out.csv"):
        assert (place.folder / "out.csv").read_bytes() == before
    again = place.crewrun(*BATCH)
    assert sorted(topics(place)) == sorted(row["topic"] for row in ROWS)
    assert {*asked, *again} == {*ASKED[:2], *ASKED[2:]} - {f"Write about topic {i}" for i in range(4)}
    assert len(asked) + len(again) <= 8 + 3
    assert {path.name for path in place.folder.iterdir()} == LEFT
    place.crewrun("status", "out.csv", "--verify")


@pytest.mark.parametrize("point", POINTS[2:-1], ids=str)
def test_export_writes_the_table_of_a_killed_run(place: Place, point: Point) -> None:
    """Without a call; while it is not there, every other command finds its run by its name."""
    place.rows(*ROWS)
    kill(place, point)
    assert not (place.folder / "out.csv").exists()
    place.crewrun("status", "out.csv")
    assert place.stdout.splitlines()[1] == "rows: 12 ok, 0 failed"
    assert place.crewrun("export", "out.csv", "-o", "out.csv", "--ordered") == []
    assert topics(place) == [row["topic"] for row in ROWS]
    assert {path.name for path in place.folder.iterdir()} == LEFT
    assert place.crewrun(*BATCH) == []
    assert sorted(topics(place)) == sorted(row["topic"] for row in ROWS)


def test_a_torn_line_is_in_no_table(place: Place) -> None:
    """`export` leaves it out, and writes what is whole."""
    place.rows(*ROWS)
    kill(place, Point("half", "write", "results.jsonl", 3))
    place.crewrun("export", "out.csv", "-o", "out.csv", code=3)
    assert 0 < len(topics(place)) < 12
    assert "1 incomplete" in place.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_writes_what_it_has(place: Place, number: signal.Signals) -> None:
    """The rows that have ended, at once; the same command adds the others."""
    place.rows(*ROWS, {"topic": "FAIL-HANG"})
    with start(*BATCH, "--grace", "0", cwd=place.folder, env=place.env) as process:
        lines = place.folder / STATE / "results.jsonl"
        while process.poll() is None and (not lines.exists() or lines.read_bytes().count(b"\n") < 12):
            pass
        place.crewrun("status", "out.csv")
        assert place.stdout.splitlines()[-1] == "out.csv: is written at the end"
        place.crewrun("export", "out.csv", "-o", "out.csv", code=75)
        place.crewrun("export", "out.csv", "-o", "other.csv")
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
    (place.folder / "out.csv").rename(place.folder / "first.csv")
    assert place.crewrun("export", "out.csv", "-o", "out.csv") == []
    assert (place.folder / "first.csv").read_bytes() == (place.folder / "out.csv").read_bytes()
    assert sorted(topics(place)) == sorted(row["topic"] for row in ROWS)
    place.rows(*ROWS)
    assert place.crewrun(*BATCH) == []


def test_a_disk_that_is_full_under_the_table(place: Place) -> None:
    """It is said where the results are and what writes the table; the old one stays as it was."""
    ballast = [""] * 15_000  # a CSV doubles the quotes of JSON, and the journal has none of them
    place.rows({"topic": "a", "ballast": ballast})
    place.crewrun(*BATCH)
    before = (place.folder / "out.csv").read_bytes()
    place.rows(*({"topic": name, "ballast": ballast} for name in "abc"))
    done = place.forks.shell(f"ulimit -f 200; crewrun {' '.join(BATCH)}", place.folder, place.env)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "out.csv: cannot be written: File too large; the results are in" in done.stderr
    assert (place.folder / "out.csv").read_bytes() == before
    assert {path.name for path in place.folder.iterdir()} == LEFT
    assert place.crewrun("export", "out.csv", "-o", "out.csv") == []
    assert sorted(topics(place)) == ["a", "b", "c"]


def test_a_disk_that_is_full_before_the_table_is_written(place: Place) -> None:
    """It is said that the table was not written; the same command goes on and writes it."""
    place.rows(*({"topic": name, "ballast": "x" * 100_000} for name in "abcd"))
    done = place.forks.shell(f"ulimit -f 200; crewrun {' '.join(BATCH)}", place.folder, place.env)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "results.jsonl: cannot be written: File too large" in done.stderr
    assert "out.csv: not written; a run that goes on writes it\n" in done.stderr
    assert not (place.folder / "out.csv").exists()
    place.crewrun(*BATCH)
    assert sorted(topics(place)) == ["a", "b", "c", "d"]


@pytest.mark.soak  # as long as a reader is given
def test_a_stream_that_is_not_read_does_not_hold_up_a_signal(place: Place) -> None:
    """The table is written at the end; a reader that does not read it would be waited for."""
    place.rows(*({"topic": str(i), "ballast": "x" * 50_000} for i in range(4)))
    with start("batch", "in.jsonl", "-o", "-", "--output-format", "csv", cwd=place.folder, env=place.env) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == "id"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143


@pytest.mark.soak
def test_a_signal_while_a_large_table_is_written(place: Place) -> None:
    """It ends the command at once; the table is as it was before, and what writes it is said."""
    place.rows(*({"topic": str(i), "ballast": "x," * 1_000_000} for i in range(60)))
    with start(*BATCH, cwd=place.folder, env=place.env) as process:
        assert process.stderr is not None
        while line := process.stderr.readline():
            if "writing out.csv" in line:
                process.send_signal(signal.SIGINT)
                break
        stderr = process.stderr.read()
        assert process.wait(timeout=30) == 130
    assert "out.csv: not written; to write it: crewrun export" in stderr
    assert {path.name for path in place.folder.iterdir()} == LEFT - {"out.csv"}
    assert place.crewrun("export", "out.csv", "-o", "out.csv") == []
    assert sorted(topics(place), key=int) == [str(i) for i in range(60)]
