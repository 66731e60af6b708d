"""Results as CSV, TSV, Parquet, Excel and compressed JSONL: by `crewrun batch`, from the first session to the last."""

import csv
import gzip
import io
import json
import os
import shutil
from typing import Any

import pyarrow.parquet as pq
import pytest
from python_calamine import CalamineWorkbook
from support.command import crewrun
from support.workspace import Place

FOLDER = "out.csv.crewrun"
BATCH = ("-o", "out.csv")
NAMES = ["a", "b", "FAIL-400", "c"]


def table(place: Place, name: str = "out.csv") -> list[dict[str, Any]]:
    """The rows of a table."""
    path = place.folder / name
    if name.endswith(".parquet"):
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    if name.endswith(".xlsx"):
        header, *cells = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
        return [dict(zip(map(str, header), row, strict=True)) for row in cells]
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    if ".jsonl" in name:
        return [json.loads(line) for line in data.splitlines()]
    return list(csv.DictReader(io.StringIO(data.decode(), newline=""), delimiter="\t" if ".tsv" in name else ","))


def topics(place: Place, name: str = "out.csv") -> list[str]:
    return sorted(str(row["input.topic"]) for row in table(place, name))


@pytest.fixture
def four(place: Place) -> Place:
    """Four rows, of which one fails."""
    place.rows(*({"topic": name} for name in NAMES))
    return place


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.parquet", "out.xlsx", "out.csv.gz"])
def test_the_name_says_the_format(four: Place, name: str) -> None:
    """The file appears with all rows, in the input's order with --ordered; the summary names it."""
    four.batch("-o", name, "--ordered", "--summary", "s.json", code=3)
    assert [row["input.topic"] for row in table(four, name)] == NAMES
    assert [row["status"] for row in table(four, name)] == ["ok", "ok", "failed", "ok"]
    assert four.summary()["output"] == name
    assert f"results: {name}" in four.stderr
    assert (four.folder / name).stat().st_mode & 0o777 == 0o600
    lines = (four.folder / f"{name}.crewrun" / "results.jsonl").read_bytes()
    assert four.crewrun("export", name) == []
    assert four.stdout.encode() == lines
    assert sorted(path.name for path in four.folder.iterdir()) == sorted(
        ["crew.yaml", "in.jsonl", name, f"{name}.crewrun", "s.json"]
    )


def test_compressed_jsonl(four: Place) -> None:
    """Whole lines; and the default name of another format is that of the input."""
    four.batch("-o", "out.jsonl.gz", code=3)
    assert sorted(row["input"]["topic"] for row in table(four, "out.jsonl.gz")) == sorted(NAMES)
    four.batch("--output-format", "csv", code=3)
    assert topics(four, "in.results.csv") == sorted(NAMES)


def test_the_columns_that_are_asked_for(four: Place) -> None:
    """In their order, in any format; the next session may ask for others, and pays for nothing."""
    four.batch(*BATCH, "--columns", "status,input.topic,id", "--ordered", code=3)
    assert [list(row.values())[:2] for row in table(four)] == [
        ["failed" if name == "FAIL-400" else "ok", name] for name in NAMES
    ]
    assert four.batch(*BATCH, "--columns", "id,input.topc", "--limit", "2") == []
    assert list(table(four)[0]) == ["id", "input.topc"]
    assert "warning: --columns: no row has 'input.topc' (did you mean 'input.topic'?)" in four.stderr
    four.batch("-o", "env.csv", "--limit", "1", CREWRUN_COLUMNS="id, input.topic")
    assert list(table(four, "env.csv")[0]) == ["id", "input.topic"]
    crew = four.folder / "crew.yaml"
    crew.write_text(crew.read_text() + "batch: {columns: [input.topic, status], output_format: csv}\n")
    four.batch("-o", "file.csv", "--limit", "1")
    assert table(four, "file.csv") == [{"input.topic": "a", "status": "ok"}]
    four.batch("-o", "out.jsonl", "--output-format", "jsonl", "--columns", "input.topic,cost_usd", "--limit", "1")
    assert [sorted(row) for row in table(four, "out.jsonl")] == [["cost_usd", "input.topic"]]


def test_a_run_goes_on(four: Place) -> None:
    """Rows that are done are not paid for again; nothing new is not written again; what was lost is."""
    assert four.batch(*BATCH, "--limit", "2") == ["Write about a", "Write about b"]
    first = (four.folder / "out.csv").stat()
    assert four.batch(*BATCH, "--limit", "2") == []
    assert (four.folder / "out.csv").stat() == first
    assert four.batch(*BATCH, code=3) == ["Write about FAIL-400", "Write about c"]
    assert topics(four) == sorted(NAMES)
    (four.folder / "out.csv").unlink()
    assert four.batch(*BATCH, "--limit", "2") == []
    assert topics(four) == ["a", "b", "c"]
    (four.folder / FOLDER / "results.jsonl").unlink()
    (four.folder / "out.csv").unlink()
    assert four.batch(*BATCH, "--limit", "2") == []
    assert topics(four) == ["a", "b"]


def test_rows_that_are_gone_from_the_input_are_gone_from_the_table(four: Place) -> None:
    """As from JSONL; and a row of `retry` is replaced."""
    four.batch(*BATCH, code=3)
    four.rows({"topic": "b"}, {"topic": "a"})
    assert four.batch(*BATCH, "--ordered") == []
    assert [row["input.topic"] for row in table(four)] == ["b", "a"]


def test_every_command_takes_the_table_for_its_run(four: Place) -> None:
    """By its name, by that of the folder, and of the lines in it."""
    four.batch(*BATCH, code=3)
    for run in ("out.csv", FOLDER, f"{FOLDER}/results.jsonl"):
        four.crewrun("status", run, "--verify")
        assert (four.stdout.splitlines()[0].split(":")[0], four.stdout.splitlines()[-1]) == (
            "out.csv",
            "verified: no difference",
        )
        four.crewrun("export", run, "--status", "failed", "--columns", "input.topic", "-f", "csv")
        assert four.stdout.split() == ["input.topic", "FAIL-400"]
    four.crewrun("show", "out.csv", table(four)[0]["id"])
    four.crewrun("merge", "out.csv", "-o", "all.parquet", code=3)
    assert topics(four, "all.parquet") == sorted(NAMES)
    four.crewrun("gc", "--delete", "--finished")
    assert "out.csv.crewrun: unfinished, 4 rows" in four.stdout
    four.rows({"topic": "a"}, {"topic": "b"}, {"topic": "FAIL-400"}, {"topic": "c"})
    assert four.crewrun("retry", "out.csv", code=3) == ["Write about FAIL-400"]
    assert topics(four) == sorted(NAMES)


def test_gc_deletes_all_of_a_finished_run_but_the_table(four: Place) -> None:
    """Nothing is left behind in its folder."""
    four.batch(*BATCH, "--limit", "2")
    four.crewrun("gc", "--delete", "--finished")
    assert topics(four) == ["a", "b"]
    assert not (four.folder / FOLDER).exists()
    assert four.batch(*BATCH, code=2) == []
    assert "out.csv: is there already, and out.csv.crewrun has no state of a run that wrote it" in four.stderr


def test_fresh_backs_the_table_up(four: Place) -> None:
    """With its run, which goes on as any other."""
    four.batch(*BATCH, "--limit", "2")
    four.batch(*BATCH, "--limit", "3", "--fresh", code=3)
    assert (topics(four, "out.1.csv"), topics(four)) == (["a", "b"], ["FAIL-400", "a", "b"])
    assert four.crewrun("retry", "out.1.csv") == []
    four.crewrun("status", "out.1.csv")
    assert four.stdout.splitlines()[1] == "rows: 2 ok, 0 failed"


def test_a_run_that_was_moved_with_its_table(four: Place) -> None:
    """`retry` finds both."""
    four.batch(*BATCH, code=3)
    (four.folder / "there").mkdir()
    for name in ("out.csv", FOLDER):
        shutil.move(four.folder / name, four.folder / "there" / name)
    assert four.crewrun("retry", "there/out.csv", code=3) == ["Write about FAIL-400"]
    assert topics(four, "there/out.csv") == sorted(NAMES)
    assert not (four.folder / "out.csv").exists()


def test_a_run_dir_of_its_own(four: Place) -> None:
    """The lines are in it, and not next to the table."""
    four.batch(*BATCH, "--run-dir", "state", "--limit", "2")
    assert four.batch(*BATCH, "--run-dir", "state", "--limit", "2") == []
    assert sorted(path.name for path in four.folder.iterdir()) == ["crew.yaml", "in.jsonl", "out.csv", "state"]
    assert four.batch(*BATCH, code=2) == []
    assert "out.csv: is there already, and out.csv.crewrun has no state" in four.stderr


def test_a_large_parquet_file(place: Place) -> None:
    """Another process makes it, and what that has to say is said."""
    place.rows(*({"topic": str(i), "ballast": "x" * 1_000_000} for i in range(9)))
    place.batch("-o", "out.parquet", "--columns", "input.topic,index,cost_usd,output.x", "--ordered")
    assert [(row["input.topic"], row["index"], row["output.x"]) for row in table(place, "out.parquet")] == [
        (str(i), i, None) for i in range(9)
    ]
    assert "warning: --columns: no row has 'output.x'" in place.stderr


# --- what is not the run's --------------------------------------------------------------------------------------------


def test_a_table_of_the_users_own_is_not_overwritten(four: Place) -> None:
    """It is refused before the first call; --fresh moves it aside; an empty file is nothing to lose."""
    own = four.folder / "out.csv"
    own.write_text("mine\n")
    assert four.batch(*BATCH, code=2) == []
    assert "out.csv: is there already, and out.csv.crewrun has no state of a run that wrote it" in four.stderr
    assert own.read_text() == "mine\n"
    four.batch(*BATCH, "--fresh", "--limit", "1")
    assert ((four.folder / "out.1.csv").read_text(), topics(four)) == ("mine\n", ["a"])
    (four.folder / "empty.csv").touch()
    four.batch("-o", "empty.csv", "--limit", "1")
    assert topics(four, "empty.csv") == ["a"]


def test_a_table_that_was_changed_is_backed_up(four: Place) -> None:
    """Somebody has written into it what no other file has; its mode and copies of it are no changes."""
    four.batch(*BATCH, "--limit", "2")
    own = four.folder / "out.csv"
    own.chmod(0o644)
    os.utime(own, (1, 1))
    four.batch(*BATCH, "--limit", "3", code=3)
    assert (own.stat().st_mode & 0o777, (four.folder / "out.1.csv").exists()) == (0o644, False)
    own.write_text(own.read_text() + "my remark\n")
    four.batch(*BATCH, code=3)
    assert "out.csv: was not as this run left it; that file is now out.1.csv" in four.stderr
    assert (four.folder / "out.1.csv").read_text().endswith("my remark\n")
    assert topics(four) == sorted(NAMES)


def test_one_output_in_two_formats_is_refused(four: Place) -> None:
    """Whichever came first; without the flag a run goes on in its own format."""
    four.batch("-o", "x", "--output-format", "csv", "--limit", "1")
    before = (four.folder / "x").read_bytes()
    for form in ("jsonl", "parquet"):
        assert four.batch("-o", "x", "--output-format", form, code=2) == []
        refusal = f"x: is the csv of a run that has begun, and would be replaced by {form}: --output-format csv goes on"
        assert refusal in four.stderr
    assert (four.folder / "x").read_bytes() == before
    assert four.batch("-o", "x", "--limit", "2") == ["Write about b"]
    four.batch("--limit", "1")
    for flags in (("--output-format", "csv"), ("--columns", "id")):
        assert four.batch("-o", "in.results.jsonl", *flags, code=2) == []
        assert "in.results.jsonl: is the jsonl of a run that has begun" in four.stderr
    assert len(four.results.read_text().splitlines()) == 1


def test_an_older_run_goes_on_as_jsonl(four: Place) -> None:
    """Names did not decide on formats before; nothing is paid for again, and what to do is said."""
    four.batch(*BATCH, "--output-format", "jsonl", "--limit", "2")
    assert four.batch(*BATCH, code=3) == ["Write about FAIL-400", "Write about c"]
    assert "warning: out.csv: goes on as JSONL, as its run began" in four.stderr
    assert len([json.loads(line) for line in (four.folder / "out.csv").read_text().splitlines()]) == 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(
            ("-o", "x.ods"), "x.ods: .ods cannot be written; name a file that ends in .jsonl, .csv", id="a suffix"
        ),
        pytest.param(("-o", "x.xlsx.gz"), "x.xlsx.gz: xlsx is compressed inside already", id="compressed twice"),
        pytest.param(("--columns", "topic"), "--columns: no column 'topic' (an input is 'input.topic'", id="a column"),
        pytest.param(("--output-format", "xml"), "needs to be", id="a format"),
        pytest.param(("-o", "in.csv"), "in.csv: is the input file itself", id="the input"),
        pytest.param(("-o", "nix/x.csv"), "nix/x.csv: cannot be written: No such file or directory", id="no folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_first_call(
    four: Place, flags: tuple[str, ...], said: str
) -> None:
    """Nothing is left behind."""
    (four.folder / "in.csv").write_text("topic\na\n")
    before = sorted(path.name for path in four.folder.iterdir())
    assert four.batch(*flags, inputs="in.csv", code=2) == []
    assert said in four.stderr
    assert sorted(path.name for path in four.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("x.parquet", "pyarrow", "parquet"), ("x.xlsx", "xlsxwriter", "excel"), ("x.csv.zst", "zstandard", "zstd")],
)
def test_a_library_that_is_not_installed(four: Place, name: str, module: str, extra: str) -> None:
    """The command that installs it is said, before the first call."""
    (four.folder / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name == {module!r} else find(name, *a)\n"
    )
    for args in (("batch", "in.jsonl", "-o", name), ("export", "in.results.jsonl", "-o", name)):
        done = crewrun(*args, cwd=four.folder, env=four.env | {"PYTHONPATH": str(four.folder)})
        said = (done.returncode, f"{name}: " in done.stderr, f"[{extra}]" in done.stderr)
        assert said == (2, True, True), done.stderr
    assert not (four.folder / name).exists()


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_table_on_standard_output(four: Place) -> None:
    """At once with --columns, at the end without; a header even without rows; whole workbooks too."""
    four.batch("-o", "-", "--output-format", "csv", "--ordered", code=3)
    assert [row["input.topic"] for row in csv.DictReader(io.StringIO(four.stdout))] == NAMES
    four.batch("-o", "-", "--output-format", "tsv", "--columns", "input.topic,status", "--ordered", code=3)
    assert four.stdout == "input.topic\tstatus\na\tok\nb\tok\nFAIL-400\tfailed\nc\tok\n"
    for more in ((), ("--columns", "id")):
        four.batch("-o", "-", "--output-format", "csv", "--limit", "0", *more)
        assert four.stdout.startswith("id")
    four.batch("-o", "-", "--columns", "input.topic", "--limit", "1")
    assert four.stdout == '{"input.topic":"a"}\n'
    four.forks.shell("crewrun batch in.jsonl -o - --output-format xlsx > piped.xlsx", four.folder, four.env)
    assert topics(four, "piped.xlsx") == sorted(NAMES)


def test_a_table_in_a_named_pipe(four: Place) -> None:
    """By the name of the pipe."""
    os.mkfifo(four.folder / "pipe.csv")
    done = four.forks.shell("cat pipe.csv > read & crewrun batch in.jsonl -o pipe.csv; wait", four.folder, four.env)
    assert done.returncode == 0
    rows = list(csv.DictReader(io.StringIO((four.folder / "read").read_text())))
    assert sorted(row["input.topic"] for row in rows) == sorted(NAMES)


def test_no_formula_is_in_a_table(four: Place) -> None:
    """Unless it is wanted."""
    four.rows({"topic": "=1+1"})
    for name, flags, topic in (
        ("g.csv", (), "'=1+1"),
        ("n.csv", ("--no-formula-guard",), "=1+1"),
        ("x.xlsx", (), "=1+1"),
    ):
        four.batch("-o", name, *flags)
        assert topics(four, name) == [topic]
