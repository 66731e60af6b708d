"""`--shard` and `crewrun merge`: one input divided among runs that know nothing of each other, and united again."""

import csv
import fcntl
import gzip
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command import read_rows, topics, write_crew, write_rows
from support.forks import Forks
from support.kill_points import Point

COUNT = 3
SHARDS = [f"in.shard-{number}-of-{COUNT}.results.jsonl" for number in range(1, COUNT + 1)]
# Two rows that say the same, and one that cannot be run.
ROWS = [*topics(9), {"topic": "topic 1"}, {"about": "nothing"}]


class Folder:
    """A folder with a crew and an input, to run commands in."""

    def __init__(self, path: Path, forks: Forks) -> None:
        self.path = path
        self.forks = forks
        write_crew(path)
        self.rows(ROWS)

    def rows(self, rows: Iterable[Any]) -> None:
        """Write `in.jsonl`."""
        write_rows(self.path / "in.jsonl", rows)

    def crewrun(
        self, *args: str, code: int | None = 0, env: Mapping[str, str] | None = None, kill_at: Point | None = None
    ) -> CompletedProcess[str]:
        """Run the command, which ends with `code`; None is 0, or 3 for failed rows."""
        done = self.forks.crewrun(*args, cwd=self.path, env=env, kill_at=kill_at)
        assert done.returncode in ((0, 3) if code is None else (code,)), done.stderr
        assert "Traceback" not in done.stderr
        return done

    def batch(self, *flags: str, code: int | None = 0) -> CompletedProcess[str]:
        """Run `in.jsonl` with the offline model."""
        return self.crewrun("batch", "in.jsonl", *flags, code=code)

    def merge(self, *args: str, code: int | None = 0) -> list[str]:
        """Merge into `all.jsonl`; what was said of it."""
        return self.crewrun("merge", *args, "-o", "all.jsonl", "--force", code=code).stderr.splitlines()

    def lines(self, name: str = "all.jsonl") -> list[str]:
        """The lines of a file."""
        return (self.path / name).read_text(encoding="utf-8").splitlines()

    def results(self, name: str = "all.jsonl") -> list[dict[str, Any]]:
        """The rows of a file in input order, without their times."""
        rows = read_rows(self.path / name)
        return [{key: row[key] for key in row if key not in ("started_at", "duration_s")} for row in rows]

    def write(self, name: str, lines: Sequence[dict[str, Any] | str]) -> str:
        """A results file that has no run folder; its name."""
        write_rows(self.path / name, lines)
        return name


@pytest.fixture
def folder(tmp_path: Path, forks: Forks) -> Folder:
    return Folder(tmp_path, forks)


@pytest.fixture(scope="module")
def divided_once(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Run as one, and in three shards. Not to be changed."""
    folder = Folder(tmp_path_factory.mktemp("divided"), forks)
    folder.batch("-o", "whole.jsonl", "--ordered", code=3)
    codes = {
        folder.forks.crewrun("batch", "in.jsonl", "--shard", f"{number}/{COUNT}", cwd=folder.path).returncode
        for number in range(1, COUNT + 1)
    }
    assert codes == {0, 3}  # one of them has the row that cannot be run
    return folder


@pytest.fixture
def divided(divided_once: Folder, tmp_path: Path) -> Folder:
    """The same, in a folder of its own."""
    path = tmp_path / "divided"
    shutil.copytree(divided_once.path, path)
    folder = Folder(path, divided_once.forks)
    for manifest in path.glob("*.crewrun/manifest.json"):
        manifest.write_text(manifest.read_text().replace(str(divided_once.path), str(path)))
    return folder


def ids(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those of some rows."""
    return [row["id"] for row in rows]


def result(row_id: str, *, status: str = "ok", minute: int = 0, index: int = 0) -> dict[str, Any]:
    """A row of results, as any crewrun may have written it."""
    about = {"schema": "crewrun.result/1", "id": row_id, "index": index, "status": status, "input": {"topic": row_id}}
    return about | {"output": f"{minute}", "error": None, "started_at": f"2026-01-01T00:{minute:02}:00.000Z"}


def test_shards_unite_to_the_whole(divided_once: Folder) -> None:
    """Each row is run by one of them, twins and a row that fails among them."""
    said = divided_once.crewrun("merge", *SHARDS, "-o", "united.jsonl", "--ordered", code=3).stderr.splitlines()
    assert divided_once.results("united.jsonl") == divided_once.results("whole.jsonl")
    assert [row["index"] for row in map(json.loads, divided_once.lines("united.jsonl"))] == list(range(len(ROWS)))
    failed = divided_once.results("whole.jsonl")[-1]["id"]
    assert said == [
        "united.jsonl: 11 rows of 3 runs: 10 ok, 1 failed",
        "complete: these are the rows of in.jsonl",
        f"  1 × rows that failed: {failed}",
    ]
    assert (divided_once.path / "united.jsonl").stat().st_mode & 0o777 == 0o600


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_parts_merged_in_any_order_are_the_whole(
    divided_once: Folder, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Results divided anyhow, some of them in several files: all at once, and a merged file with the others."""
    lines = [line for shard in SHARDS for line in divided_once.lines(shard)]
    places = st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=len(lines), max_size=len(lines))
    files = [
        data.draw(st.permutations([line for line, where in zip(lines, drawn, strict=True) if number in where]))
        for drawn in [data.draw(places)]
        for number in range(4)
    ]
    folder = Folder(tmp_path_factory.mktemp("parts"), divided_once.forks)
    runs = data.draw(st.permutations([folder.write(f"{n}.jsonl", part) for n, part in enumerate(files)]))
    first = data.draw(st.integers(1, 4))
    folder.crewrun("merge", *runs[:first], "-o", "some.jsonl", "--ordered", code=None)
    folder.merge(*runs[first - 1 :], "some.jsonl", "--input", "in.jsonl", code=3)
    assert sorted(folder.lines()) == sorted(lines)


@pytest.mark.parametrize("count", [1, 4])
def test_every_row_is_in_one_shard(divided_once: Folder, count: int) -> None:
    """As many as there are rows in all, whatever their number; `plan` says which."""
    plans = [
        json.loads(divided_once.crewrun("plan", "in.jsonl", "--shard", f"{number}/{count}", "--json").stdout)
        for number in range(1, count + 1)
    ]
    assert [plan["shard"]["part"] for plan in plans] == [f"{number}/{count}" for number in range(1, count + 1)]
    here = [plan["rows"] + plan["done"] + plan["failing_count"] for plan in plans]
    assert sum(here) == len(ROWS)
    assert [plan["shard"]["elsewhere"] for plan in plans] == [len(ROWS) - rows for rows in here]


def test_a_row_stays_in_its_shard(divided: Folder) -> None:
    """When others come before it, or it moves: nothing runs twice, and nothing is left out."""
    before = [ids(divided.results(shard)) for shard in SHARDS]
    divided.rows([{"topic": "new"}, *reversed(ROWS)])
    for number in range(1, COUNT + 1):
        divided.crewrun("batch", "in.jsonl", "--shard", f"{number}/{COUNT}", code=None)
    after = [set(ids(divided.results(shard))) for shard in SHARDS]
    assert all(set(old) <= new for old, new in zip(before, after, strict=True))
    assert sum(map(len, after)) == len(ROWS) + 1


def test_a_row_with_an_id_of_its_own_stays_in_its_shard_when_it_changes(folder: Folder) -> None:
    """It is run again there, and nowhere else."""
    for version in (1, 2):
        folder.rows([{"topic": f"{name} {version}", "sku": name} for name in "abcdefgh"])
        for shard in ("1/2", "2/2"):
            folder.batch("--shard", shard, "--id-field", "sku")
    shards = [folder.results(f"in.shard-{number}-of-2.results.jsonl") for number in (1, 2)]
    assert all(shards)
    assert sorted(row["input"]["topic"] for shard in shards for row in shard) == [f"{name} 2" for name in "abcdefgh"]
    said = folder.merge("in.shard-1-of-2.results.jsonl", "in.shard-2-of-2.results.jsonl")
    assert said[1] == "complete: these are the rows of in.jsonl"


def test_a_shard_says_what_it_leaves_to_others(divided: Folder) -> None:
    """Its report, its summary and its status count them apart from what is pending."""
    done = divided.batch("--shard", f"1/{COUNT}", "--summary", "summary.json", code=None)
    kept = len(divided.lines(SHARDS[0]))
    elsewhere = len(ROWS) - kept
    said = f"shard 1/3: {elsewhere} rows belong to other shards"
    assert said in done.stderr.splitlines()
    summary = json.loads((divided.path / "summary.json").read_text())
    assert summary["shard"] == {"part": "1/3", "elsewhere": elsewhere}
    assert (sum(summary["rows"].values()), summary["rows"]["pending"]) == (kept, 0)
    verified = divided.crewrun("status", SHARDS[0], "--verify").stdout.splitlines()
    assert (said in verified, verified[-1]) == (True, "verified: no difference")
    status = json.loads(divided.crewrun("status", SHARDS[0], "--json").stdout)
    assert status["shard"] == {"part": "1/3", "elsewhere": elsewhere}


def test_limit_and_offset_come_before_the_shard(folder: Folder) -> None:
    """What they leave is divided."""
    folder.rows(topics(9))
    for shard in ("1/2", "2/2"):
        folder.batch("--shard", shard, "--offset", "2", "--limit", "5")
    rows = [row for shard in ("1", "2") for row in folder.results(f"in.shard-{shard}-of-2.results.jsonl")]
    assert sorted(row["index"] for row in rows) == [2, 3, 4, 5, 6]


def test_strict_and_canary_look_at_the_rows_of_the_shard(folder: Folder) -> None:
    """A row that cannot be run keeps its own shard from starting, and no other; the sample is of one's own rows."""
    codes = {
        folder.forks.crewrun(
            "batch", "in.jsonl", "--shard", shard, "--strict", "-o", "o.jsonl", cwd=folder.path
        ).returncode
        for shard in ("1/2", "2/2")
    }
    assert codes == {0, 2}
    done = folder.batch("--shard", "1/2", "--canary", "2", "--ordered", code=None)
    rows = [json.loads(line) for line in folder.lines("in.shard-1-of-2.results.jsonl")]
    assert f"forecast for {len(rows)} rows, from 2 of them" in done.stderr
    assert [row["index"] for row in rows] == sorted(row["index"] for row in rows)


def test_retry_and_export_keep_to_the_shard(divided: Folder) -> None:
    """They take its options from the run."""
    failing = next(shard for shard in SHARDS if divided.results(shard)[-1]["status"] == "failed")
    before = divided.results(failing)
    assert "1 failed" in divided.crewrun("retry", failing, code=3).stderr
    assert divided.results(failing) == before
    (divided.path / failing).unlink()
    lines = divided.crewrun("export", f"{failing}.crewrun", "--ordered").stdout.splitlines()
    assert ids(map(json.loads, lines)) == ids(before)


@pytest.mark.parametrize(
    ("env", "more"),
    [({"CREWRUN_SHARD": "2/3"}, ""), ({}, "batch: {shard: 2/3}\n")],
    ids=["the environment", "the crew file"],
)
def test_a_shard_is_named_by(divided_once: Folder, folder: Folder, env: dict[str, str], more: str) -> None:
    """What flags can say, variables and the crew's file can."""
    write_crew(folder.path, more=more)
    folder.crewrun("batch", "in.jsonl", env=env, code=None)
    assert ids(folder.results(SHARDS[1])) == ids(divided_once.results(SHARDS[1]))


WRONG_SHARDS = {"0/4": "from 1/4 to 4/4", "4/3": "from 1/3 to 3/3", "2/1": "1/1", "1/0": "1/1"}


@pytest.mark.parametrize("shard", [*WRONG_SHARDS, "x", "1", "-1/4", "1/2/3", "1.5/2"])
def test_a_wrong_shard_is_refused(folder: Folder, shard: str) -> None:
    """Before anything is written, with what it may be."""
    said = folder.batch(f"--shard={shard}", code=2).stderr
    may_be = WRONG_SHARDS.get(shard, "from 1/4 to 4/4")
    assert said == f"crewrun: --shard {shard!r}: write it as I/N, the part and how many there are, {may_be}\n"
    assert sorted(path.name for path in folder.path.iterdir()) == ["crew.yaml", "in.jsonl"]


def test_a_success_is_taken_before_a_failure_and_a_later_result_before_an_earlier(folder: Folder) -> None:
    """Whichever run is named first."""
    folder.rows([])
    one = [result("a", minute=1), result("b", minute=9, status="failed"), result("c", minute=5)]
    two = [result("a", minute=2), result("b", minute=3), result("c", minute=4)]
    expected = [result("a", minute=2), result("b", minute=3), result("c", minute=5)]
    for order in (("one", "two"), ("two", "one")):
        folder.write("one", one), folder.write("two", two)
        assert folder.merge(*order) == [
            "all.jsonl: 3 rows of 2 runs (3 of them in several): 3 ok, 0 failed",
            "warning: not compared with the input: results without run folders do not say what it was; --input names "
            "it",
        ]
        assert sorted(map(json.loads, folder.lines()), key=lambda row: str(row["id"])) == expected


def test_lines_stand_run_after_run_or_in_input_order(folder: Folder) -> None:
    """The input's order is that which it has now, with what is not in it at the end."""
    rows = [{"sku": name} for name in "abcd"]
    folder.rows(rows)
    old = {name: result(name, index=9 - place) for place, name in enumerate("abcdx")}
    folder.write("one", [old["x"], old["d"], old["a"]])
    folder.write("two", [old["c"], old["b"]])
    for flags, order in (((), "xdacb"), (("--ordered",), "xdcba"), (("--ordered", "--input", "in.jsonl"), "abcdx")):
        folder.merge("one", "two", *flags, "--id-field", "sku", code=3 if "--input" in flags else 0)
        assert "".join(ids(map(json.loads, folder.lines()))) == order


def test_what_is_not_as_the_input_has_it_is_said_and_written_all_the_same(folder: Folder) -> None:
    """Missing rows, rows that are too many, and inputs that differ: counts, the first ids, exit code 3."""
    now, before = ({name: {"input": {"sku": name, "n": n}} for name in "abc"} for n in (1, 0))
    folder.rows([{"sku": name, "n": 1} for name in (*"abc", *(f"m{number}" for number in range(7)))])
    folder.write("one", [result("a") | before["a"], result("b") | before["b"]])
    folder.write("two", [result("b", minute=1) | now["b"], result("c", status="failed") | now["c"], result("x")])
    assert folder.merge("one", "two", "--input", "in.jsonl", "--id-field", "sku", code=3) == [
        "all.jsonl: 4 rows of 2 runs (1 of them in several): 3 ok, 1 failed",
        "not complete: compared with in.jsonl",
        "  1 × rows that failed: c",
        "  7 × rows of the input without a result: line 4: m0, line 5: m1, line 6: m2, line 7: m3, line 8: m4, …",
        "  1 × results of rows whose input has changed: line 1: a",
        "  1 × rows that two runs have with different inputs: b",
        "  1 × results whose rows are not in the input: x",
    ]
    assert ids(map(json.loads, folder.lines())) == ["a", "b", "c", "x"]


def test_torn_edited_and_foreign_lines_are_left_out(divided: Folder) -> None:
    """What the journal of a run, or without it the form of a line, does not vouch for: its row is missing then."""
    first, second, third = (divided.path / shard for shard in SHARDS)
    lines = [path.read_text().splitlines() for path in (first, second, third)]
    first.write_text("\n".join([lines[0][0].replace('"ok"', '"OK"'), *lines[0][1:]])[:-9])
    shutil.rmtree(f"{third}.crewrun")
    third.write_text("\n".join(["{}", "[]", "nothing", lines[2][0].replace(":{", ":["), *lines[2][1:]])[:-9])
    lost = {json.loads(line)["id"] for kept in (lines[0], lines[2]) for line in (kept[0], kept[-1])}
    said = divided.merge(*SHARDS, code=3)
    assert said[:2] == [
        f"warning: {first.name}: lines that are left out: 1 incomplete, 1 different from the journal; to restore them: "
        f"crewrun batch in.jsonl --shard 1/3",
        f"warning: {third.name}: lines that are left out: 1 incomplete, 4 that are not results",
    ]
    assert said[3] == "not complete: compared with in.jsonl"
    assert {row["id"] for row in divided.results()} == set(ids(divided.results("whole.jsonl"))) - lost
    assert divided.merge(third.name, code=3)[2].startswith("warning: not compared with the input: ")


def test_a_run_that_is_named_twice_is_read_once(divided: Folder) -> None:
    """By its results, its folder and a link."""
    (divided.path / "link").symlink_to(SHARDS[0])
    rest = SHARDS[1:]
    said = divided.merge(SHARDS[0], f"{SHARDS[0]}.crewrun", "link", *rest, code=3)
    assert said[:3] == [
        f"warning: {SHARDS[0]}.crewrun: is the same run as {SHARDS[0]}; it is read once",
        f"warning: link: is the same run as {SHARDS[0]}; it is read once",
        "all.jsonl: 11 rows of 3 runs: 10 ok, 1 failed",
    ]


def test_runs_of_different_crews_are_merged_with_a_warning(divided: Folder) -> None:
    """It names the first line that differs, or the models, or the input for all rows."""
    write_crew(divided.path)
    crew = divided.path / "crew.yaml"
    crew.write_text(crew.read_text().replace("Write well", "Write better"))
    divided.batch("--shard", "1/3", "-o", "better.jsonl", code=None)
    write_crew(divided.path)
    divided.batch("--shard", "2/3", "-o", "slow.jsonl", "-m", "offline?latency=0.001", code=None)
    divided.batch("--shard", "3/3", "-o", "calm.jsonl", "-i", "tone=calm", code=None)
    differs = f"its crew or models differ from those of {SHARDS[0]}"
    line = "crew.yaml:4: 'goal: Write better' and not 'goal: Write well'"
    assert divided.merge(*SHARDS, "better.jsonl", "slow.jsonl", "calm.jsonl", code=3)[:3] == [
        f"warning: better.jsonl: {differs}: {line}",
        f'warning: slow.jsonl: {differs}: offline with {{"options": "latency=0.001"}} and not offline',
        f"warning: calm.jsonl: {differs}: '-i tone=calm' here, no -i tone there",
    ]


def test_a_shard_that_is_missing_is_named(divided: Folder) -> None:
    """When rows are missing, or nobody can say; not when another run has its rows."""
    one, two, _ = SHARDS
    assert divided.merge(one, two, code=3)[0] == "warning: shard 3/3 is missing"
    assert divided.merge(two, code=3)[0] == "warning: shards 1/3, 3/3 are missing"
    assert divided.merge(one, two, "whole.jsonl", code=3)[1] == "complete: these are the rows of in.jsonl"
    shutil.copy(divided.path / two, divided.path / "copy")
    assert divided.merge(one, "copy", code=3)[0].startswith("all.jsonl: ")  # who knows what the copy is
    (divided.path / "in.jsonl").unlink()
    assert divided.merge(one, two, code=3)[0] == "warning: shard 3/3 is missing"
    assert divided.merge(one, two, "whole.jsonl", code=None)[0].startswith("all.jsonl: ")


def test_shards_of_different_numbers_are_merged_with_a_warning(divided: Folder) -> None:
    """One line names the first run of each number; of five and more shards only the first that are missing."""
    divided.batch("--shard", "2/4", "-o", "of-4.jsonl", code=None)
    divided.batch("--shard", "1/9", "-o", "of-9.jsonl", code=None)
    assert divided.merge(*SHARDS[:2], "of-4.jsonl", code=3)[0] == (
        f"warning: the input was divided in several ways: {SHARDS[0]} is shard 1/3, of-4.jsonl is shard 2/4; "
        "rows may be in two of them, or in none"
    )
    assert divided.merge("of-9.jsonl", code=3)[0] == "warning: shards 2/9, 3/9, 4/9, 5/9, 6/9, … are missing"


def test_runs_of_several_machines_are_held_against_the_input_that_is_here(divided: Folder, tmp_path: Path) -> None:
    """Where it was the same file; else nothing is, which is said, and what is unfinished is then no success."""
    here, there = SHARDS[0], f"there/{SHARDS[1]}"
    (divided.path / "there").mkdir()
    for name in (SHARDS[1], f"{SHARDS[1]}.crewrun"):
        (divided.path / name).rename(divided.path / "there" / name)
    manifest = divided.path / f"{there}.crewrun" / "manifest.json"
    known = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(known | {"cwd": "/nowhere"}))
    assert divided.merge(here, there, code=3)[2] == "not complete: compared with in.jsonl"
    manifest.write_text(json.dumps(known | {"cwd": "/nowhere", "input_digest": "another"}))
    unknown = "warning: not compared with the input:"
    assert divided.merge(here, there, code=3)[2] == (
        f"{unknown} /nowhere/in.jsonl, in.jsonl: are not the same; --input names it"
    )
    assert divided.merge(there, code=3)[2] == f"{unknown} /nowhere/in.jsonl: is not there; --input names it"
    assert divided.merge(here, there, SHARDS[2], "--input", "in.jsonl", code=3)[1].startswith("complete: ")


def test_an_unfinished_run_is_said_to_be(folder: Folder) -> None:
    """Nobody can say that its rows are all there, unless the input does."""
    folder.rows([*topics(2), {"about": "nothing"}])
    folder.crewrun("batch", "in.jsonl", "--fail-fast", "-j", "1", "-o", "run.jsonl", code=4)
    (folder.path / "in.jsonl").unlink()
    said = folder.merge("run.jsonl", code=3)
    assert said[0].startswith("warning: run.jsonl: is not finished; to go on: crewrun batch in.jsonl --fail-fast")
    with (folder.path / "run.jsonl.crewrun" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "is working on it; its results so far are taken" in folder.merge("run.jsonl", code=3)[0]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(
            ["nix"], "nix: no such run; RUN is a results file of crewrun batch, or the run folder", id="nothing"
        ),
        pytest.param(["in.jsonl"], "in.jsonl: none of its lines is a result of crewrun batch", id="the input"),
        pytest.param(["empty"], "empty: is not a run folder; there is no manifest.json in it", id="a folder"),
        pytest.param(["gone"], "gone.crewrun: gone no longer exists; to restore it: crewrun batch", id="gone"),
        pytest.param([], "RUN is missing: Results files, or run folders.", id="no run"),
    ],
)
def test_what_is_no_run_is_refused(divided: Folder, args: list[str], said: str) -> None:
    """Before anything is written."""
    (divided.path / "empty").mkdir()
    if args == ["gone"]:
        divided.crewrun("batch", "in.jsonl", "-o", "gone", "--limit", "1")
        (divided.path / "gone").unlink()
        args = ["gone.crewrun"]
    assert said in divided.crewrun("merge", *args, "-o", "all.jsonl", code=2).stderr
    assert not (divided.path / "all.jsonl").exists()


@pytest.mark.parametrize(
    ("output", "flags", "said"),
    [
        ("there.jsonl", [], "-o there.jsonl: exists; --force overwrites it"),
        (SHARDS[0], ["--force"], f"-o {SHARDS[0]}: {SHARDS[0]}.crewrun has the state of a run; name another file"),
        ("one.jsonl", ["--force"], "-o one.jsonl: is one of the runs, one.jsonl; name another file"),
        ("in.jsonl", ["--force"], "-o in.jsonl: is the input, or a file of a run; name another file"),
        ("-", [], "-o -: the results are written whole or not at all; name a file"),
        ("/dev/null", ["--force"], "-o /dev/null: is no regular file; the results are written whole or not at all"),
        (
            "all.xls",
            [],
            "all.xls: .xls cannot be written; name a file that ends in .jsonl, .csv, .tsv, .parquet or .xlsx",
        ),
        ("nix/all.jsonl", [], "nix/all.jsonl: cannot be written: No such file or directory"),
    ],
    ids=[
        "exists",
        "a run's results",
        "one of the runs",
        "the input",
        "stdout",
        "a device",
        "another table",
        "no folder",
    ],
)
def test_where_nothing_may_be_written_nothing_is(divided: Folder, output: str, flags: list[str], said: str) -> None:
    """FILE is a new one, or one that the user gives up."""
    for name in ("there.jsonl", "one.jsonl"):
        divided.write(name, [result("a")])
    before = {path.name: path.read_bytes() for path in divided.path.iterdir() if path.is_file()}
    assert divided.crewrun("merge", *SHARDS, "one.jsonl", "-o", output, *flags, code=2).stderr == f"crewrun: {said}\n"
    assert {path.name: path.read_bytes() for path in divided.path.iterdir() if path.is_file()} == before


def test_a_merge_that_is_killed_leaves_the_file_as_it_was(divided: Folder) -> None:
    """It is put in its place when it is whole."""
    (divided.path / "all.jsonl").write_text("old\n")
    killed = divided.crewrun(
        "merge", *SHARDS, "-o", "all.jsonl", "--force", code=-9, kill_at=Point("before", "replace", "all.jsonl")
    )
    assert (killed.stderr, divided.lines()) == ("", ["old"])
    divided.merge(*SHARDS, code=3)
    assert len(divided.lines()) == len(ROWS)


def test_merged_rows_as_a_table(divided: Folder) -> None:
    """Of all runs, with the columns of all of them."""
    divided.merge(*SHARDS, code=3)
    divided.crewrun("merge", *SHARDS, "-o", "all.csv", "--ordered", code=3)
    divided.crewrun("export", "all.jsonl", "-o", "exported.csv", "--ordered")
    merged, exported = ((divided.path / name).read_text().splitlines() for name in ("all.csv", "exported.csv"))
    assert merged[0] == exported[0]
    assert sorted(merged) == sorted(exported)
    divided.crewrun("merge", *SHARDS, "-o", "all.jsonl.gz", code=3)
    lines = gzip.decompress((divided.path / "all.jsonl.gz").read_bytes()).decode().splitlines()
    assert lines == divided.lines()


def test_a_merged_file_is_no_run(divided: Folder) -> None:
    """It can be merged again and exported, and neither looked at nor continued."""
    divided.merge(*SHARDS, code=3)
    table = divided.crewrun("export", "all.jsonl", "-f", "csv", "--ordered").stdout
    assert [row["id"] for row in csv.DictReader(io.StringIO(table))] == ids(divided.results("whole.jsonl"))
    said = divided.crewrun("status", "all.jsonl", code=2).stderr
    assert said.startswith("crewrun: all.jsonl: has no run folder all.jsonl.crewrun; ")
    assert "all.jsonl.crewrun has no state of a run that wrote it" in divided.batch("-o", "all.jsonl", code=2).stderr
