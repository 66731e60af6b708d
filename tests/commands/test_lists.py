"""`show RUN` lists rows, `show RUN 7` finds one by its line, and `runs` lists runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import topics, write_rows
from support.forks import Forks
from support.mock_process import MockProcess
from support.paths import ROOT
from support.workspace import RESULTS, STATE, Place


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, served: tuple[MockProcess, Forks]) -> Place:
    """Six rows on the lines 1 to 7, of which the third is blank: two are good, three fail. The last never ran."""
    place = Place(tmp_path_factory.mktemp("mixed"), *served)
    place.crew()
    place.rows(*_mixed()[:6])
    place.batch("-j", "1", "--retries", "0", code=3)
    place.rows(*_mixed())
    return place


def _mixed() -> list[Any]:
    return [
        {"topic": "Owls\tand\nfoxes"},
        {"topic": "FAIL-400"},
        "",
        {"topic": "FAIL-500", "note": "été"},
        {"topic": "plain"},
        "nonsense",
        {"topic": "later"},
    ]


def listed(place: Place, *flags: str, run: str = RESULTS) -> list[dict[str, Any]]:
    """The rows that `show --json` lists."""
    place.crewrun("show", run, *flags, "--json")
    return [json.loads(line) for line in place.stdout.splitlines()]


def lines(place: Place, *flags: str) -> list[int]:
    return [row["line"] for row in listed(place, *flags)]


def test_a_list_has_every_row_of_the_input(mixed: Place) -> None:
    """In its order, by the lines that messages name, those included that have not run."""
    rows = {row["id"]: row for row in map(json.loads, mixed.results.read_text().splitlines())}
    every = listed(mixed)
    assert [(row["line"], row["index"], row["status"], row["category"]) for row in every] == [
        (1, 0, "ok", None),
        (2, 1, "failed", "bad_request"),
        (4, 2, "failed", "server"),
        (5, 3, "ok", None),
        (6, 4, "failed", "input"),
        (7, 5, "unfinished", None),
    ]
    for row in every[:5]:
        result = rows[row["id"]]
        same = {name: result[name] for name in ("input", "output", "cost_usd", "duration_s", "started_at")}
        error = result["error"]["message"] if result["error"] else None
        assert row == {**row, **same, "error": error}
    assert every[5] == {
        **dict.fromkeys(("category", "output", "error", "cost_usd", "duration_s", "started_at")),
        "line": 7,
        "index": 5,
        "id": every[5]["id"],
        "status": "unfinished",
        "input": {"topic": "later"},
    }


def test_a_list_in_a_pipe_has_a_line_per_row(mixed: Place) -> None:
    """Columns are divided by tabs, and texts are in full but on one line."""
    mixed.crewrun("show", RESULTS)
    table = [line.split("\t") for line in mixed.stdout.splitlines()]
    every = listed(mixed)
    assert [(cells[0], cells[1], cells[2]) for cells in table] == [
        (str(row["line"]), row["id"], row["status"]) for row in every
    ]
    assert [cells[5] for cells in table] == [
        *("Owls and foxes", "FAIL-400", '{"topic": "FAIL-500", "note": "été"}', "plain", "-", "later")
    ]
    assert table[0][6] == " ".join(every[0]["output"].split())
    assert table[1][6] == "bad_request: HTTP 400: FAIL-400 asked the mock for this 400"
    assert table[4][6].startswith("input: column 1: not JSON: ")
    assert table[5][3:5] == ["-", "-"]
    assert mixed.stderr == ""


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--failed"], [2, 4, 6]),
        (["--status", "failed"], [2, 4, 6]),
        (["--status", "ok"], [1, 5]),
        (["--status", "unfinished"], [7]),
        (["--category", "server"], [4]),
        (["--grep", "owls.and"], [1]),
        (["--grep", "PLAIN"], [5]),
        (["--grep", "ÉTÉ"], [4]),
        (["--grep", "not json"], [6]),
        (["--grep", "later|owls"], [1, 7]),
        (["--grep", "server: HTTP"], [4]),
        (["--failed", "--grep", "fail"], [2, 4]),
        (["--limit", "2"], [1, 2]),
        (["--limit", "1", "--failed"], [2]),
        (["--limit", "0"], [1, 2, 4, 5, 6, 7]),
        (["--sample", "100"], [1, 2, 4, 5, 6, 7]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_a_list_of(mixed: Place, flags: list[str], found: list[int]) -> None:
    """What the flags select, also without the results, from the journal."""
    assert lines(mixed, *flags) == found


def test_a_list_without_the_results_is_the_same(mixed: Place, tmp_path: Path) -> None:
    """It comes from the journal then."""
    shutil.copytree(mixed.folder, tmp_path, dirs_exist_ok=True)
    copy = Place(tmp_path, mixed.mock, mixed.forks)
    copy.results.unlink()
    assert listed(copy) == listed(mixed)
    assert lines(copy, "--grep", "owls") == [1]


def test_a_sample_can_be_drawn_again(mixed: Place) -> None:
    """By its seed, which is said when none was given; rows stay in the input's order."""
    drawn = lines(mixed, "--sample", "3")
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 3
    seed = mixed.stderr.split("--seed ")[1].split()[0]
    assert lines(mixed, "--sample", "3", "--seed", seed) == drawn
    assert len({tuple(lines(mixed, "--sample", "3", "--seed", str(other))) for other in range(6)}) > 1


def test_a_long_list_is_cut_and_says_so(place: Place) -> None:
    """Twenty rows for a person, all of them for a program."""
    place.rows(*topics(30))
    place.batch("-m", "offline")
    place.crewrun("show", RESULTS)
    assert (len(place.stdout.splitlines()), place.stderr) == (
        20,
        "crewrun: the first 20 of 30 rows; --limit 0 lists all\n",
    )
    assert len(listed(place)) == 30
    place.crewrun("show", RESULTS, "--failed")
    assert (place.stdout, place.stderr) == ("", "crewrun: no row failed\n")
    place.crewrun("show", RESULTS, "--failed", "--grep", "owls")
    assert (place.stdout, place.stderr) == ("", "crewrun: no such rows\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--failed", "--status", "ok"], "--failed --status ok: no row is both; leave one of them out"),
        (
            ["--category", "input", "--status", "ok"],
            "--category input: only failed rows have one; leave --status ok out",
        ),
        (["--category", "servr"], "--category 'servr': no such category (did you mean 'server'?); one of input, auth"),
        (["--seed", "1"], "--seed 1: is that of a sample; add --sample N"),
        (["--sample", "2", "--limit", "1"], "--limit 1: a sample has as many rows as --sample says; leave one"),
        (["--grep", "(owls"], "--grep '(owls': is not a regular expression: missing ), unterminated subpattern"),
        (["7", "--failed"], "--failed lists rows, and '7' is one row; leave one of them out"),
        (["line:3"], "line:3: no row begins on this line of in.jsonl; the row before it is on line 2"),
        (["line:9"], "line:9: no row begins on this line of in.jsonl; the row before it is on line 7"),
        (["line:0"], "line:0: no row begins on this line of in.jsonl"),
        (["0"], "'0': no such row in in.results.jsonl.crewrun"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_list_refuses(mixed: Place, args: list[str], message: str) -> None:
    """What makes no sense, with what to do."""
    mixed.crewrun("show", RESULTS, *args, code=2)
    assert mixed.stderr.startswith(f"crewrun: {message}")
    assert mixed.stdout == ""


def shown(place: Place, name: str, run: str = RESULTS) -> tuple[str, Any]:
    """Status and input of the one row that `show` finds."""
    place.crewrun("show", run, name, "--json")
    row = json.loads(place.stdout)
    return row["status"], row["input"]


@pytest.mark.parametrize("name", ["{}", "line:{}"])
def test_a_row_is_found_by_its_line(mixed: Place, name: str) -> None:
    """As messages name it, also if it failed or has not run."""
    assert shown(mixed, name.format(1)) == ("ok", {"topic": "Owls\tand\nfoxes"})
    assert shown(mixed, name.format(4)) == ("failed", {"topic": "FAIL-500", "note": "été"})
    assert shown(mixed, name.format(7)) == ("unfinished", {"topic": "later"})


def test_an_id_that_is_equal_wins(place: Place) -> None:
    """`show RUN 2` is the row 2 of a table with such ids, and `line:2` that on its second line."""
    place.rows({"id": 3, "topic": "a"}, {"id": 2, "topic": "b"}, {"id": 1, "topic": "c"}, {"id": 40, "topic": "d"})
    place.batch("-m", "offline", "--id-field", "id")
    assert shown(place, "1")[1] == {"id": 1, "topic": "c"}
    assert shown(place, "line:1")[1] == {"id": 3, "topic": "a"}
    assert shown(place, "4")[1] == {"id": 40, "topic": "d"}
    assert shown(place, "40")[1] == {"id": 40, "topic": "d"}


def test_lines_of_a_csv_count_its_header(place: Place) -> None:
    """And a record with a line break counts two, as in messages."""
    (place.folder / "in.csv").write_text('topic\n"two\nlines"\nplain\n')
    place.batch("-m", "offline", inputs="in.csv")
    every = listed(place)
    assert [(row["index"], row["input"]) for row in every] == [(0, {"topic": "two\nlines"}), (1, {"topic": "plain"})]
    assert shown(place, f"line:{every[1]['line']}")[1] == {"topic": "plain"}
    assert every[1]["line"] == 4


def test_rows_of_a_pipe_have_no_lines(place: Place) -> None:
    """The input cannot be read again: the results are listed, with a word."""
    stdin = "".join(json.dumps(row) + "\n" for row in topics(3))
    place.batch("-m", "offline", "-j", "1", "-o", RESULTS, inputs="-", stdin=stdin)
    assert [(row["line"], row["status"], row["input"]) for row in listed(place)] == [
        (None, "ok", row) for row in topics(3)
    ]
    gone = "-: the rows came through a pipe, which cannot be read again"
    assert place.stderr == f"crewrun: lines and unfinished rows are not known: {gone}\n"
    place.crewrun("show", RESULTS, "--limit", "1")
    assert place.stdout.split("\t")[0] == "-"
    place.crewrun("show", RESULTS, "line:2", code=2)
    assert place.stderr == f"crewrun: line:2: {gone}; name the row by its id\n"


def test_rows_that_left_the_input_come_last(place: Place) -> None:
    """Their results are there until the next run removes them."""
    place.rows(*topics(3))
    place.batch("-m", "offline", "-j", "1")
    place.rows(topics(3)[2], {"topic": "new"})
    assert [(row["line"], row["status"], row["input"]["topic"]) for row in listed(place)] == [
        (1, "ok", "topic 2"),
        (2, "unfinished", "new"),
        (None, "ok", "topic 0"),
        (None, "ok", "topic 1"),
    ]


def test_a_list_while_the_run_is_going(place: Place) -> None:
    """Rows in flight are unfinished; what is done is there. After a kill it is the same list."""
    place.rows(*topics(2), {"topic": "FAIL-HANG"})
    with place.forks.start("batch", "in.jsonl", "-j", "1", cwd=place.folder, env=place.env) as batch:
        place.mock.wait_in_flight(1)
        while len(place.results.read_bytes().splitlines() if place.results.exists() else []) < 2:
            assert batch.poll() is None
        going = [(row["line"], row["status"]) for row in listed(place)]
        place.crewrun("runs", "--json")
        (run,) = json.loads(place.stdout)["runs"]
        batch.kill()
    assert going == [(1, "ok"), (2, "ok"), (3, "unfinished")]
    assert [(row["line"], row["status"]) for row in listed(place)] == going
    assert (run["state"], run["rows"]["ok"], run["results"]) == ("running", 2, RESULTS)
    place.crewrun("runs", "--json")
    assert [one["state"] for one in json.loads(place.stdout)["runs"]] == ["died"]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.jsonl.gz"])
def test_a_list_of_results_in_another_format(place: Place, name: str) -> None:
    """The run folder has their lines."""
    place.rows(*topics(2), "nonsense")
    place.batch("-m", "offline", "-o", name, code=3)
    every = listed(place, run=name)
    assert [(row["line"], row["status"]) for row in every] == [(1, "ok"), (2, "ok"), (3, "failed")]
    assert shown(place, "2", name) == ("ok", {"topic": "topic 1"})
    place.crewrun("runs", "--json")
    assert [run["results"] for run in json.loads(place.stdout)["runs"]] == [name]


def test_a_foreign_file_is_not_listed(place: Place) -> None:
    """Results without a run folder have no rows to look up."""
    write_rows(place.folder / "other.jsonl", topics(2))
    place.crewrun("show", "other.jsonl", code=2)
    assert place.stderr.startswith("crewrun: other.jsonl: has no run folder other.jsonl.crewrun; ")


def test_runs_of_a_folder(place: Place) -> None:
    """Newest first, with what is broken as such; packages and repositories are not searched."""
    place.rows(*topics(2), "nonsense")
    place.batch("-m", "offline", code=3)
    for part in ("1/2", "2/2"):
        name = f"shards/{part[0]}.jsonl"
        (place.folder / "shards").mkdir(exist_ok=True)
        place.batch("-m", "offline", "--shard", part, "-o", name, "--limit", "2")
    place.batch("-m", "offline", "--run-dir", "state", "-o", "named.jsonl", "--fail-fast", "-j", "1", code=4)
    for name, text in {"torn.jsonl": "{", "empty.jsonl": "", "deep.jsonl": "[" * 100_000}.items():
        (place.folder / f"{name}.crewrun").mkdir()
        (place.folder / f"{name}.crewrun" / "manifest.json").write_text(text)
    shutil.copytree(place.folder / STATE, place.folder / "damaged.jsonl.crewrun")
    (place.folder / "damaged.jsonl.crewrun" / "journal.sqlite").write_bytes(b"no journal" * 1000)
    for skipped in ("node_modules", ".git", "env"):
        shutil.copytree(place.folder / STATE, place.folder / skipped / STATE)
    (place.folder / "env" / "pyvenv.cfg").touch()
    place.crewrun("runs", "--json")
    every = json.loads(place.stdout)
    assert every["schema"] == "crewrun.runs/1"
    by_name = {run["results"] or run["run"]: run for run in every["runs"]}
    assert {name: (run["state"], run["exit_code"], run["rows"], run["shard"]) for name, run in by_name.items()} == {
        RESULTS: ("finished", 3, {"ok": 2, "failed": 1, "in_flight": 0}, None),
        "shards/1.jsonl": ("finished", 0, by_name["shards/1.jsonl"]["rows"], "1/2"),
        "shards/2.jsonl": ("finished", 0, by_name["shards/2.jsonl"]["rows"], "2/2"),
        "named.jsonl": ("stopped", 4, {"ok": 2, "failed": 1, "in_flight": 0}, None),
        "torn.jsonl.crewrun": ("unreadable", None, None, None),
        "empty.jsonl.crewrun": ("unreadable", None, None, None),
        "deep.jsonl.crewrun": ("unreadable", None, None, None),
        "damaged.jsonl": ("unreadable", None, None, None),
    }
    assert sum(by_name[f"shards/{part}.jsonl"]["rows"]["ok"] for part in (1, 2)) == 2
    assert all(run["problem"] for run in every["runs"] if run["state"] == "unreadable")
    active = [run["active_at"] for run in every["runs"]]
    assert active == sorted(active, reverse=True)


def test_runs_in_a_pipe(place: Place) -> None:
    """A line per run with tabs: what it is called, its state, rows, cost, dates and what else there is to know."""
    place.rows(*topics(2), "nonsense")
    place.batch("-m", "offline", "--fail-fast", "-j", "1", code=4)
    place.crewrun("runs")
    ((name, state, ok, failed, cost, started, active, note),) = [line.split("\t") for line in place.stdout.splitlines()]
    assert (name, state, ok, failed, cost) == (RESULTS, "stopped", "2", "1", "$0.00")
    assert note == "1 of 3 finished rows failed (--fail-fast)"
    assert len(started) == len(active) == len("2026-11-30 22:45")
    (place.folder / "nothing").mkdir()
    place.crewrun("runs", "nothing")
    assert (place.stdout, place.stderr) == ("", "crewrun: no runs in nothing or below\n")
    place.crewrun("runs", "missing", code=2)
    assert place.stderr == "crewrun: missing: no such folder\n"
    place.crewrun("runs", "in.jsonl", code=2)
    assert place.stderr.endswith("is a file; runs lists what is in a folder, and of one run: crewrun status in.jsonl\n")


def test_lists_of_older_runs(place: Place) -> None:
    """What earlier versions left behind is listed as well."""
    older = ROOT / "tests" / "data" / "runs_of_2a01590"
    shutil.copytree(older, place.folder, dirs_exist_ok=True)
    place.crewrun("runs", "--json")
    assert {run["results"]: run["state"] for run in json.loads(place.stdout)["runs"]} == {
        "in.results.jsonl": "died",
        "letters.results.jsonl": "died",
    }
    rows = listed(place)
    results = [json.loads(line) for line in (older / "in.results.jsonl").read_text().splitlines()]
    assert {row["id"]: row["status"] for row in rows} == {row["id"]: row["status"] for row in results}
