"""What a user sees when the input, the output or a flag is wrong: `crewrun batch` as a real process."""

import gzip
import json
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import command as own_process
from support.command import parse_rows, problems, read_rows, topics, write_crew, write_rows
from support.forks import crewrun, shell, start

from crewrun.tables.reading.input_format import WHAT_INPUTS_ARE

ROW = '{"topic": "owls"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a crew of the offline model, and `in.jsonl` with one good row."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", [ROW])
    return tmp_path


def refusal(*args: str | Path, cwd: Path, env: dict[str, str] | None = None, stdin: bytes | None = None) -> str:
    """What stderr says of a command that is refused: exit code 2, nothing on stdout, no file made."""
    before = sorted(cwd.rglob("*"))
    done = crewrun("batch", *args, cwd=cwd, env=env, stdin=stdin)
    assert (done.returncode, done.stdout, sorted(cwd.rglob("*"))) == (2, "", before), done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stderr says to each command of the WRONG_ tables, two run at a time; every file stays as it was."""
    folder = tmp_path_factory.mktemp("refusals")
    write_crew(folder)
    _write_wrong_files(folder)
    commands = [
        *(f"{name} --crew crew.yaml" for name in WRONG_INPUTS),
        *WRONG_HEADERS,
        *(f"in.jsonl {flags}" for flags in (*WRONG_OUTPUTS, *WRONG_FLAGS, *WRONG_MODELS)),
        *(f"in.jsonl --max-failures {text}" for text in WRONG_LIMITS),
    ]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda words: refusal(*words.split(), cwd=folder), commands))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return dict(zip(commands, told, strict=True))


def _write_wrong_files(folder: Path) -> None:
    write_rows(folder / "in.jsonl", [ROW])
    (folder / "loop.jsonl").symlink_to("loop.jsonl")
    (folder / "link.jsonl").symlink_to("in.jsonl")
    (folder / "hard.jsonl").hardlink_to(folder / "in.jsonl")
    (folder / "folder.jsonl").mkdir()
    (folder / "old").write_text("kept")
    os.mkfifo(folder / "pipe")
    (folder / "strange").mkdir()
    (folder / "strange" / "manifest.json").write_text('{"name": "kept"}')
    (folder / "plain.jsonl.gz").write_text(ROW)
    (folder / "packed.jsonl").write_bytes(gzip.compress(ROW.encode()))
    (folder / "twice.csv").write_text("topic,n,topic\na,b,c\n")
    (folder / "latin.csv").write_bytes(b"to\xffpic\na\n")
    (folder / "open.csv").write_text('topic,"n\na,b\n')


# Lines


class Line(NamedTuple):
    """One line of the input, and what becomes of it: `keeps` as the result's input, or a failure that `says`."""

    name: str
    content: bytes
    keeps: dict[str, Any] | None = None
    says: str | None = None


def deep(levels: int) -> bytes:
    """An object whose value is `levels` - 1 arrays in each other."""
    return b'{"topic":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


LINES = [
    Line("a BOM before the first row", b'\xef\xbb\xbf{"topic":"bom"}', keeps={"topic": "bom"}),
    Line("carriage return", b'{"topic":"crlf"}\r', keeps={"topic": "crlf"}),
    Line("nested values", b'{"topic":{"a":[1,{"b":null}]}}', keeps={"topic": {"a": [1, {"b": None}]}}),
    Line("100 levels", deep(100), keeps=json.loads(deep(100))),
    Line("101 levels", deep(101), says="nested deeper than 100 levels"),
    Line("10,000 levels", deep(10_000), says="nested deeper than 100 levels"),
    Line("10,000 objects", b'{"topic":' * 10_000 + b"1" + b"}" * 10_000, says="nested deeper than 100 levels"),
    Line(
        "integers beyond 64 bits",
        b'{"topic":-123456789012345678901234567890}',
        {"topic": -123456789012345678901234567890},
    ),
    Line("an integer of 4,000 digits", b'{"topic":' + b"7" * 4000 + b"}", keeps={"topic": int("7" * 4000)}),
    Line("an integer of 5,000 digits", b'{"topic":' + b"7" * 5000 + b"}", says="a number of 5000 digits is too long"),
    Line("floats", b'{"topic":0.1,"x":1E5,"y":-0.0}', keeps={"topic": 0.1, "x": 100000.0, "y": -0.0}),
    Line("lone surrogate", rb'{"topic":"\ud800"}', keeps={"topic": "\ud800"}),
    Line("lone surrogate in a key", rb'{"topic":1,"\udfff":2}', keeps={"topic": 1, "\udfff": 2}),
    Line("line separator", '{"topic":"a\u2028b\u0085c"}'.encode(), keeps={"topic": "a\u2028b\u0085c"}),
    Line("escaped NUL", rb'{"topic":"\u0000"}', keeps={"topic": "\0"}),
    Line("null, false and an empty key", b'{"topic":null,"":false}', keeps={"topic": None, "": False}),
    Line("placeholders in a value", b'{"topic":"{topic} {x}"}', keeps={"topic": "{topic} {x}"}),
    Line("NUL inside text", b'{"topic":"nul\0"}', says="column 14: not JSON: Invalid control character at"),
    Line("NULs only", b"\0\0", says="column 1: not JSON: Expecting value"),
    Line("invalid UTF-8", b'{"topic":"\xff"}', says="byte 11: not UTF-8"),
    Line("UTF-8 cut in the middle", b'{"topic":"\xe2\x82"}', says="byte 11: not UTF-8"),
    Line("a BOM before a later row", b'\xef\xbb\xbf{"topic":1}', says="column 1: not JSON: Expecting value"),
    Line("array", b"[1]", says="a JSON array, where a JSON object is needed"),
    Line("number", b"3", says="a number, where a JSON object is needed"),
    Line("string", b'"x"', says="a JSON string, where a JSON object is needed"),
    Line("null", b"null", says="null, where a JSON object is needed"),
    Line("boolean", b"true", says="true or false, where a JSON object is needed"),
    Line("duplicate key", b'{"topic":1,"topic":2}', says="the key 'topic' occurs twice in one object"),
    Line("NaN", b'{"topic":NaN}', says="NaN is not JSON"),
    Line("Infinity", b'{"topic":Infinity}', says="Infinity is not JSON"),
    Line("-Infinity", b'{"topic":[-Infinity]}', says="-Infinity is not JSON"),
    Line("1e999", b'{"topic":1e999}', says="the number 1e999 is too large"),
    Line("cut off", b'{"topic":"a"', says="column 13: not JSON: Expecting ',' delimiter"),
    Line("two values", b'{"topic":1} {}', says="column 13: not JSON: Extra data"),
    Line("single quotes", b"{'a':1}", says="column 2: not JSON: Expecting property name enclosed in double quotes"),
    Line("prose", b"topic: owls", says="column 1: not JSON: Expecting value"),
    Line("missing placeholder", b"{}", keeps={}, says="missing 'topic' (needed by task 'draft')"),
    Line(
        "misspelt placeholder",
        b'{"topci":"a"}',
        keeps={"topci": "a"},
        says="missing 'topic' (needed by task 'draft'); the row has 'topci'",
    ),
    Line("the last line without a newline", b'{"topic":"last"}', keeps={"topic": "last"}),
]


@pytest.fixture(scope="module")
def line_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The result rows of LINES, one file, one run."""
    folder = tmp_path_factory.mktemp("lines")
    write_crew(folder)
    (folder / "in.jsonl").write_bytes(b"\n".join(line.content for line in LINES))
    done = crewrun("batch", "in.jsonl", cwd=folder)
    assert done.returncode == 3, done.stderr
    return read_rows(folder / "in.results.jsonl")


def test_every_line_has_one_result(line_results: list[dict[str, Any]]) -> None:
    """Bad lines cost no good ones, and none is counted twice."""
    assert [row["index"] for row in line_results] == list(range(len(LINES)))
    assert len({row["id"] for row in line_results}) == len(LINES)


@pytest.mark.parametrize("position", range(len(LINES)), ids=[line.name for line in LINES])
def test_a_line_gives(line_results: list[dict[str, Any]], position: int) -> None:
    """A line is run with its input kept as it was, or fails with a message that starts with its number."""
    row, line = line_results[position], LINES[position]
    assert row["input"] == line.keeps
    assert row["tasks"] == [] if line.says else row["tasks"][0]["name"] == "draft"
    expected = None
    if line.says:
        expected = {
            "category": "input",
            "type": "InputInvalid",
            "message": f"line {position + 1}: {line.says}",
            "task": None,
            "http_status": None,
            "retryable": False,
            "attempts": 0,
        }
    assert row["error"] == expected
    assert row["attempts"] == (0 if line.says else 1)


def test_blank_lines_are_no_rows_but_are_counted(folder: Path) -> None:
    """Empty lines and white space give no result; the line numbers in messages are those of an editor."""
    write_rows(folder / "in.jsonl", ["", " \t ", ROW, "\r", "oops", ""])
    done = crewrun("batch", "in.jsonl", "-o", "-", cwd=folder)
    rows = parse_rows(done.stdout)
    assert [(row["index"], row["status"]) for row in rows] == [(0, "ok"), (1, "failed")]
    assert problems(rows) == {1: "line 5: column 1: not JSON: Expecting value"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.jsonl", b""),
        ("in.jsonl", b"\n\n  \n\r\n"),
        ("in.jsonl", b"\xef\xbb\xbf"),
        ("in.jsonl.gz", b""),
        ("in.jsonl.gz", gzip.compress(b"")),
        ("in.csv", b""),
        ("in.csv", b"topic\n"),
    ],
    ids=["empty", "blank lines only", "BOM only", "empty gz", "gz of nothing", "empty csv", "csv header only"],
)
def test_no_rows_is_success(folder: Path, name: str, content: bytes) -> None:
    """An input without rows succeeds with an empty result file."""
    (folder / "in.jsonl").unlink()
    (folder / name).write_bytes(content)
    done = crewrun("batch", name, cwd=folder)
    assert done.returncode == 0
    assert done.stderr.startswith(f"warning: {name}: has no rows\n0 ok, 0 failed in ")
    assert (folder / "in.results.jsonl").read_bytes() == b""


def test_a_line_of_10_mb_is_a_row(folder: Path) -> None:
    """A long text goes through and comes back whole."""
    text = "x" * 10_000_000
    write_rows(folder / "in.jsonl", [{"topic": text}, ROW])
    done = crewrun("batch", "in.jsonl", cwd=folder)
    assert done.returncode == 0
    assert [row["input"]["topic"] == text for row in read_rows(folder / "in.results.jsonl")] == [True, False]


def test_a_line_over_64_mib_is_dropped_without_filling_the_memory(folder: Path) -> None:
    """It fails with its number; its neighbours run; the process stays far below the line's 200 MiB."""
    with (folder / "in.jsonl").open("ab") as file:
        file.truncate(file.tell() + 200 * 1024 * 1024)  # a hole: NULs that take no disk
    with (folder / "in.jsonl").open("ab") as file:
        file.write(b'\n{"topic": "after"}\n')
    with start("batch", "in.jsonl", "-q", cwd=folder) as process:
        assert process.wait(timeout=60) == 3
    rows = read_rows(folder / "in.results.jsonl")
    assert [row["input"] for row in rows] == [{"topic": "owls"}, None, {"topic": "after"}]
    assert problems(rows) == {1: "line 2: longer than 64 MiB"}
    assert 64 * 1024 < process.memory_kib < 190 * 1024


# Files


WRONG_INPUTS = {
    "nope.jsonl": f"no such file; INPUTS is {WHAT_INPUTS_ARE}, or - for stdin",
    "loop.jsonl": "cannot be read: Too many levels of symbolic links",
    "folder.jsonl": f"is a directory; INPUTS is {WHAT_INPUTS_ARE}",
    "in.jsonl/x.jsonl": "cannot be read: Not a directory",
    "plain.jsonl.gz": "is not gzip data, whatever its name says",
    "packed.jsonl": "is compressed with gzip; name it .jsonl.gz, or unpack it",
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
def test_an_input_that_cannot_be_read_is_refused(refusals: dict[str, str], name: str) -> None:
    """Exit code 2 and one line that says what is wrong with which file; no result file."""
    assert refusals[f"{name} --crew crew.yaml"] == f"crewrun: {name}: {WRONG_INPUTS[name]}\n"


def test_an_unreadable_file_is_refused(folder: Path) -> None:
    """Without permission to read: exit code 2, and the system's reason."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything; the symlink loop above takes the same path")
    (folder / "in.jsonl").chmod(0)
    assert refusal("in.jsonl", cwd=folder) == "crewrun: in.jsonl: cannot be read: Permission denied\n"


def test_a_gz_cut_in_the_middle_gives_the_rows_before_the_cut(folder: Path) -> None:
    """Every whole line that can be unpacked is run, then one failed row says that the file is damaged."""
    packed = gzip.compress(
        b"".join(b'{"topic":%d,"x":"%s"}\n' % (i, os.urandom(20).hex().encode()) for i in range(500))
    )
    torn = packed[: len(packed) // 2]
    (folder / "in.jsonl.gz").write_bytes(torn)
    done = crewrun("batch", "in.jsonl.gz", "-o", "-", cwd=folder)
    rows = parse_rows(done.stdout)
    *whole, _ = zlib.decompressobj(31).decompress(torn).split(b"\n")
    assert len(whole) > 200
    assert done.returncode == 3
    assert [row["input"] for row in rows] == [*map(json.loads, whole), None]
    why = "the input cannot be read further: Compressed file ended before the end-of-stream marker was reached"
    assert problems(rows) == {len(whole): f"line {len(whole) + 1}: {why}"}


def test_csv_records_become_rows_of_strings(folder: Path) -> None:
    """A BOM, CRLF and newlines in quotes are understood; a bad record fails alone, with its line and its reason."""
    records = [
        b"\xef\xbb\xbftopic,n",
        b'"two\r\nlines",1',
        b"",
        b"short",
        b"long,2,3",
        b"\xff,4",
        b'"stray"quote,5',
        b'"a ""word""",6',
    ]
    (folder / "in.csv").write_bytes(b"\r\n".join(records))
    done = crewrun("batch", "in.csv", "-o", "-", cwd=folder)
    rows = parse_rows(done.stdout)
    assert done.returncode == 3
    good = [{"topic": "two\r\nlines", "n": "1"}, {"topic": 'a "word"', "n": "6"}]
    assert [row["input"] for row in rows] == [good[0], None, None, None, None, good[1]]
    assert problems(rows) == {
        1: "line 5: 1 fields where the header has 2",
        2: "line 6: 3 fields where the header has 2",
        3: "line 7: column 'topic' is not UTF-8 (--encoding)",
        4: "line 8: not CSV: ',' expected after '\"'",
    }


def test_an_unclosed_quote_is_named_where_it_opens(folder: Path) -> None:
    """What follows a quote that never closes is one failed row; its message leads to the quote, not the end."""
    (folder / "in.csv").write_text('topic,n\nowls,1\n"open,2\nmore,3\nand more,4\n')
    done = crewrun("batch", "in.csv", "-o", "-", cwd=folder)
    rows = parse_rows(done.stdout)
    assert done.returncode == 3
    assert [row["input"] for row in rows] == [{"topic": "owls", "n": "1"}, None]
    assert problems(rows)[1].startswith("line 3: not CSV: ")


def test_blank_lines_before_a_csv_header_are_passed_over(folder: Path) -> None:
    """They are no header, as they are no records further down."""
    (folder / "in.csv").write_text("\n\ntopic\nowls\n")
    done = crewrun("batch", "in.csv", "-o", "-", cwd=folder)
    assert [row["input"] for row in parse_rows(done.stdout)] == [{"topic": "owls"}]


WRONG_HEADERS = {
    "twice.csv": "the CSV header names the column 'topic' twice (columns 1 and 3); rename them, or take the columns "
    "that you need, without these: --fields NAME,NAME",
    "latin.csv": "the CSV header is not UTF-8 (--encoding)",
    "open.csv": "not a CSV header: unexpected end of data",
}


@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_a_csv_header_that_names_no_inputs_is_refused(refusals: dict[str, str], name: str) -> None:
    """Exit code 2 before any row."""
    assert refusals[name] == f"crewrun: {name}:1: {WRONG_HEADERS[name]}\n"


# Output


WRONG_OUTPUTS = {
    "-o in.jsonl/x": "in.jsonl/x: cannot be written: Not a directory",
    "-o /proc/x": "/proc/x.crewrun: the run's state cannot be kept there: No such file or directory; "
    "--run-dir names another folder",
    "-o none/x": "none/x: cannot be written: No such file or directory",
    "-o folder.jsonl": "folder.jsonl: cannot be written: Is a directory",
    "-o /dev/null --fresh": "--fresh: results that go to a stream have no journal; name a file with -o, or --run-dir",
    "-o in.jsonl": "in.jsonl: is the input file itself; name another with -o",
    "-o in.jsonl --fresh": "in.jsonl: is the input file itself; name another with -o",
    "-o ./in.jsonl": "./in.jsonl: is the input file itself; name another with -o",
    "-o link.jsonl": "link.jsonl: is the input file itself; name another with -o",
    "-o hard.jsonl": "hard.jsonl: is the input file itself; name another with -o",
    "-o x.ods": "x.ods: .ods cannot be written; name a file that ends in .jsonl, .csv, .tsv, .parquet or .xlsx",
    "-o old": "old: is there already, and old.crewrun has no state of a run that wrote it; if that was moved, "
    "--run-dir names it; -o names another file; --fresh moves the file aside and runs every row",
    "-o pipe": "pipe: cannot be written: this pipe has no reader",
    "-o a\udcff.jsonl": "'a\\udcff.jsonl': is not UTF-8, so a run cannot store the name; rename it",
    f"-o {'x' * 250}": f"{'x' * 250}: too long a name: a run's folder is named after it, which takes 12 bytes more",
    "--run-dir strange": "--run-dir strange: has a manifest.json that is not a run's; name another folder",
}


@pytest.mark.parametrize("flags", WRONG_OUTPUTS)
def test_an_output_that_cannot_be_is_refused(refusals: dict[str, str], flags: str) -> None:
    """Exit code 2 before the first call, and every file as it was."""
    assert refusals[f"in.jsonl {flags}"] == f"crewrun: {WRONG_OUTPUTS[flags]}\n"


def test_a_pipe_with_a_name_that_is_read_gets_the_results(folder: Path) -> None:
    """As standard output does: there is no state beside it."""
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert crewrun("batch", "in.jsonl", "-o", "pipe", cwd=folder).returncode == 0
        (row,) = parse_rows(os.read(reader, 1 << 16).decode())
    finally:
        os.close(reader)
    assert (row["status"], row["input"]) == ("ok", {"topic": "owls"})
    assert {path.name for path in folder.iterdir()} == {"crew.yaml", "in.jsonl", "pipe"}


def test_the_input_is_safe_from_redirection(folder: Path) -> None:
    """`>> in.jsonl` and `- < in.jsonl >> in.jsonl` are refused, the input as it was."""
    own = "is the input file itself; name another with -o"
    for command in ("crewrun batch in.jsonl -o - >> in.jsonl", "crewrun batch - < in.jsonl >> in.jsonl"):
        done = shell(command, folder)
        assert (done.returncode, done.stderr) == (2, f"crewrun: standard output: {own}\n")
    assert (folder / "in.jsonl").read_text() == ROW + "\n"


def test_fresh_moves_what_is_there_away_and_keeps_it(folder: Path) -> None:
    """Results of which nothing is known, and then a run with its state: each is a file with a number."""
    (folder / "out.jsonl").write_text("old\n")
    for _ in range(2):
        done = crewrun("batch", "in.jsonl", "-o", "out.jsonl", "--fresh", cwd=folder)
        assert done.returncode == 0
        assert [row["input"] for row in read_rows(folder / "out.jsonl")] == [{"topic": "owls"}]
    assert (folder / "out.1.jsonl").read_text() == "old\n"
    assert [row["input"] for row in read_rows(folder / "out.2.jsonl")] == [{"topic": "owls"}]
    made = {"out.jsonl", "out.jsonl.crewrun", "out.1.jsonl", "out.2.jsonl", "out.2.jsonl.crewrun"}
    assert {path.name for path in folder.iterdir()} == {"crew.yaml", "in.jsonl"} | made


def test_a_stopped_run_says_what_goes_on_with_it_which_is_not_fresh(folder: Path) -> None:
    """To begin anew once more would pay for everything again."""
    write_rows(folder / "in.jsonl", [ROW, "oops", *topics(50)])
    done = crewrun("batch", "in.jsonl", "-o", "out.jsonl", "--fresh", "--fail-fast", "-j", "1", cwd=folder)
    assert done.returncode == 4
    assert [row["status"] for row in read_rows(folder / "out.jsonl")] == ["ok", "failed"]
    assert done.stderr.splitlines()[-3:] == [
        "stopped: 1 of 2 finished rows failed (--fail-fast)",
        "results: out.jsonl",
        "1 ok, 1 failed, 50 left; to go on: crewrun batch in.jsonl -o out.jsonl --fail-fast -j 1",
    ]


def test_a_full_device_ends_the_run_with_1(folder: Path) -> None:
    """`-o /dev/full`: the system's reason, exit code 1, no traceback."""
    done = crewrun("batch", "in.jsonl", "-o", "/dev/full", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[3:5] == [
        "stopped: /dev/full: cannot be written: No space left on device; 1 finished rows could not be written",
        "results: /dev/full",
    ]
    assert "Traceback" not in done.stderr


def test_a_full_standard_output_ends_the_run_with_1(folder: Path) -> None:
    """`> /dev/full` is told as `-o /dev/full` is."""
    done = shell("crewrun batch in.jsonl -o - > /dev/full", folder)
    assert done.returncode == 1
    assert "\nstopped: standard output: cannot be written: No space left on device; 1 finished" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if not (mount and umount) or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield disk
    subprocess.run([umount, str(disk)], check=True)


def test_a_full_disk_saves_whole_lines(folder: Path, small_disk: Path) -> None:
    """The run ends with 1; what was written before are whole rows, and the torn one is cut off."""
    write_rows(folder / "in.jsonl", topics(2000))
    done = crewrun("batch", "in.jsonl", "-o", small_disk / "out.jsonl", cwd=folder)
    assert done.returncode == 1
    assert re.search(rf"\nstopped: {small_disk}/out.jsonl\S*: cannot be written: ", done.stderr)
    assert f"to go on: crewrun batch in.jsonl -o {small_disk}/out.jsonl\n" in done.stderr
    assert "Traceback" not in done.stderr
    rows = read_rows(small_disk / "out.jsonl")
    assert [row["status"] for row in rows] == ["ok"] * len(rows)
    assert 20 < len(rows) < 1000


def test_head_ends_the_run_quietly(folder: Path) -> None:
    """`| head -1`: one line for the reader, exit code 141 as from a SIGPIPE, nothing on stderr."""
    write_rows(folder / "in.jsonl", topics(3000))
    done = shell("crewrun batch in.jsonl -o - | head -1; exit ${PIPESTATUS[0]}", folder)
    assert (done.returncode, done.stderr) == (141, "")
    assert len(parse_rows(done.stdout)) == 1


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(folder: Path, closed: str) -> None:
    """A run with streams closed from the start writes its file, and nothing but results into it."""
    done = own_process.shell(f"crewrun batch in.jsonl {closed}", folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [row["status"] for row in read_rows(folder / "in.results.jsonl")] == ["ok"]


@pytest.mark.parametrize("command", ["crewrun batch in.jsonl -o - >&-", "crewrun batch - <&-"])
def test_a_closed_stream_that_is_needed_is_no_success(folder: Path, command: str) -> None:
    """Results that have nowhere to go, and rows that cannot come, are refused before the first call."""
    done = own_process.shell(command, folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_closed_stderr_hides_a_refusal_but_not_its_code(folder: Path) -> None:
    """`2>&-` and a missing input: exit code 2."""
    assert own_process.shell("crewrun batch nope.jsonl 2>&-", folder).returncode == 2


def test_a_full_stderr_does_not_stop_a_run(folder: Path) -> None:
    """`2> /dev/full`: the summary is lost, the results and the exit code are not."""
    done = shell("crewrun batch in.jsonl 2> /dev/full", folder)
    assert done.returncode == 0
    assert [row["status"] for row in read_rows(folder / "in.results.jsonl")] == ["ok"]


# Flags and settings


# What is wrong with `crewrun batch in.jsonl` and these flags.
WRONG_FLAGS = {
    "-j 0": "-j: needs to be a whole number from 1, or 'auto', not '0'",
    "-j -1": "-j: needs to be a whole number from 1, or 'auto', not '-1'",
    "--retries -1": "--retries: needs to be a whole number from 0, not '-1'",
    "--call-timeout -1": "--call-timeout: needs to be a number above 0, not '-1'",
    "--row-timeout -1": "--row-timeout: needs to be a number above 0, not '-1'",
    "--row-timeout nan": "--row-timeout: needs to be a number above 0, not 'nan'",
    "--grace -1": "--grace: needs to be a number from 0, not '-1'",
    "--limit -1": "--limit: needs to be a whole number from 0, not '-1'",
    "--offset -1": "--offset: needs to be a whole number from 0, not '-1'",
    "--offset x": "--offset: needs to be a whole number from 0, not 'x'",
    "--progress loud": "--progress: needs to be 'auto', 'rich', 'plain', 'json' or 'none', not 'loud'",
    "--wat": "batch has no flag --wat; crewrun batch --help lists the flags",
    "second.jsonl": "batch takes one table, and 'second.jsonl' is another; run them one after the other, or join them",
}
WRONG_LIMITS = ["0", "0%", "x", "-1", "101%", "nan%"]
WRONG_MODELS = {
    "-m offline?latncy=1": "model offline: no option 'latncy' (did you mean 'latency'?); "
    "options are latency, jitter, fail, tools",
    "-m offline?latency=x": "model offline: latency='x' is not a number",
    "-m offline?fail=2": "model offline: fail=2 must be between 0 and 1",
    "-m offline?latency=-1": "model offline: latency=-1 must be a number of seconds from 0",
    "-m anthropc/claude": "model 'anthropc/claude': no provider 'anthropc' (did you mean 'anthropic'?); "
    "for a server of your own set base_url or OPENAI_BASE_URL",
    "-m gpt-4.1 --base-url ftp://x": "base_url 'ftp://x' is not an http:// or https:// URL with a host",
    "-m gpt-4.1 --base-url http://": "base_url 'http://' is not an http:// or https:// URL with a host",
    "-m gpt-4.1 --base-url http://x:99999": "base_url 'http://x:99999' is not a URL: Port out of range 0-65535",
}


@pytest.mark.parametrize("flags", WRONG_FLAGS)
def test_a_wrong_flag_is_refused(refusals: dict[str, str], flags: str) -> None:
    """Exit code 2, and the first line names the flag."""
    assert refusals[f"in.jsonl {flags}"].splitlines()[0] == f"crewrun: {WRONG_FLAGS[flags]}"


@pytest.mark.parametrize("text", WRONG_LIMITS)
def test_a_wrong_failure_limit_is_refused(refusals: dict[str, str], text: str) -> None:
    """Exit code 2, and what would be right."""
    told = refusals[f"in.jsonl --max-failures {text}"]
    assert told == f"crewrun: --max-failures {text!r}: a number from 1, or a percentage such as 5%\n"


@pytest.mark.parametrize("flags", WRONG_MODELS)
def test_a_wrong_model_is_refused(refusals: dict[str, str], flags: str) -> None:
    """Exit code 2 before the first row, naming the option, the provider or the address."""
    assert refusals[f"in.jsonl {flags}"] == f"crewrun: {WRONG_MODELS[flags]}\n"


def test_a_missing_key_is_refused_before_the_first_call(folder: Path) -> None:
    """Exit code 2 naming the variable, who needs it and how to do without; no output file is left behind."""
    assert refusal("in.jsonl", "-m", "gpt-4.1-mini", cwd=folder) == (
        "crewrun: OPENAI_API_KEY is not set: agent 'writer' uses openai/gpt-4.1-mini. "
        "Export it or put it into .env; to try it without a model: -m offline\n"
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CREWRUN_MAX_CONCURRENT", "abc"),
        ("CREWRUN_GRACE", "-1"),
        ("CREWRUN_ORDERED", "perhaps"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(folder: Path, variable: str, text: str) -> None:
    """Exit code 2, and the only line names the variable."""
    told = refusal("in.jsonl", cwd=folder, env={variable: text})
    assert re.fullmatch(rf"crewrun: {variable}: needs to be .*, not '{text}'\n", told)


def test_a_bad_env_file_is_refused(folder: Path) -> None:
    """Invalid UTF-8 in .env: exit code 2 naming the file."""
    (folder / ".env").write_bytes(b"OPENAI_API_KEY=\xff\n")
    assert refusal("in.jsonl", cwd=folder).startswith("crewrun: .env: cannot be read: ")


def test_a_bad_batch_section_is_refused_with_its_line(folder: Path) -> None:
    """Exit code 2 naming line and key of the crew file."""
    write_crew(folder, more="batch:\n  max-concurrent: 0\n")
    told = refusal("in.jsonl", cwd=folder)
    assert told.startswith("crewrun: crew.yaml:13: batch.max_concurrent: "), told


def test_no_crew_file_is_refused_saying_where_it_was_looked_for(folder: Path) -> None:
    """Beside INPUTS and in the working directory; for stdin only there."""
    (folder / "crew.yaml").unlink()
    (folder / "data").mkdir()
    write_rows(folder / "data/in.jsonl", [ROW])
    advice = "crewrun init DIR makes one, --crew names another crew"
    looked = {"in.jsonl": "the working directory", "data/in.jsonl": "'data' or the working directory"}
    for inputs, where in (looked | {"-": "the working directory"}).items():
        assert refusal(inputs, cwd=folder) == f"crewrun: no crew.yaml in {where}; {advice}\n"


def test_a_summary_that_cannot_be_written_is_said_before_the_run(folder: Path) -> None:
    """--summary into a folder that is not there: exit code 2, nothing sent, no result file."""
    assert refusal("in.jsonl", "--summary", "none/s.json", cwd=folder) == (
        "crewrun: --summary none/s.json: cannot be written there\n"
    )
