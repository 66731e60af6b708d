"""The main path of `crewrun batch` and `crewrun run`: real processes, and the mock as their provider."""

import json
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import IO, Any
from urllib.parse import urlsplit

import pytest
from support import command as own_process
from support.command import CREW, PROGRAM, clean_env, parse_rows, read_rows, topics, write_crew, write_rows
from support.forks import crewrun, start
from support.mock_process import MockProcess

from crewrun.row import content_id

KEY = "sk-proj-0123456789abcdef"
NO_ROWS = dict.fromkeys(("ok", "failed", "abandoned", "unwritten", "kept", "kept_failed", "pending"), 0)


@pytest.fixture(scope="module")
def quick_mock() -> Iterator[MockProcess]:
    with MockProcess() as process:
        yield process


@pytest.fixture(scope="module")
def slow_mock() -> Iterator[MockProcess]:
    with MockProcess("--latency", "0.4") as process:
        yield process


@pytest.fixture
def mock(quick_mock: MockProcess) -> MockProcess:
    """A mock that answers at once, its ledger empty."""
    quick_mock.clear()
    return quick_mock


@pytest.fixture
def slow(slow_mock: MockProcess) -> MockProcess:
    """A mock that takes 0.4 s for every answer, its ledger empty."""
    slow_mock.clear()
    return slow_mock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a crew on gpt-4.1-mini, and three rows in `in.jsonl`."""
    write_crew(tmp_path, llm="gpt-4.1-mini")
    write_rows(tmp_path / "in.jsonl", topics(3))
    return tmp_path


def at(mock: MockProcess) -> dict[str, str]:
    """The environment that leads to `mock`."""
    return {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": KEY}


def requests_by_topic(ledger: dict[str, Any]) -> Counter[str]:
    """How often each topic was asked for."""
    prompts = (request["messages"][-1]["content"] for request in ledger["requests"])
    return Counter(found[1] for prompt in prompts if (found := re.search(r"Write about (.*)", prompt)))


def wait_requests(mock: MockProcess, count: int) -> None:
    """Ask for the ledger until `count` requests have come."""
    for _ in range(20_000):
        if mock.ledger(last=0)["totals"]["requests"] == count:
            return
    raise AssertionError(f"never {count} requests: {mock.ledger(last=0)}")


def next_line(stream: IO[str] | None) -> str:
    """The next line of a process, which must come within 20 s."""
    assert stream is not None
    assert select.select([stream], [], [], 20)[0], "no line came"
    return stream.readline()


# Result rows


def test_a_result_row_is_as_the_schema_says(folder: Path, mock: MockProcess) -> None:
    """All keys in their order, and values that agree with the request, the answers and the provider's account."""
    write_crew(folder, llm="gpt-4.1-mini", tasks=["Praise {topic}"])
    write_rows(folder / "in.jsonl", [{"topic": "owls", "n": [1, None]}])
    done = crewrun("batch", "in.jsonl", cwd=folder, env=at(mock))
    assert (done.returncode, done.stdout) == (0, "")
    (row,) = read_rows(folder / "in.results.jsonl")
    ledger = mock.ledger()
    usages = [
        {
            "prompt_tokens": request["prompt_tokens"],
            "cached_prompt_tokens": 0,
            "completion_tokens": request["completion_tokens"],
            "reasoning_tokens": 0,
            "total_tokens": request["prompt_tokens"] + request["completion_tokens"],
            "calls": 1,
        }
        for request in ledger["requests"]
    ]
    draft, praise = (request["reply"] for request in ledger["requests"])
    expected = {
        "schema": "crewrun.result/1",
        "id": content_id({"n": [1, None], "topic": "owls"}),
        "index": 0,
        "status": "ok",
        "input": {"topic": "owls", "n": [1, None]},
        "output": praise,
        "tasks": [
            {"name": "draft", "agent": "Writer", "output": draft, "calls": 1, "usage": usages[0]},
            {"name": "task_2", "agent": "Writer", "output": praise, "calls": 1, "usage": usages[1]},
        ],
        "error": None,
        "attempts": 2,
        "usage": {name: usages[0][name] + usages[1][name] for name in usages[0]},
        "cost_usd": pytest.approx(ledger["totals"]["cost_usd"]),
        "models": ["openai/gpt-4.1-mini"],
        "files": [],
        "started_at": row["started_at"],
        "duration_s": row["duration_s"],
    }
    assert row == expected
    assert list(row) == list(expected)
    assert [list(task) for task in row["tasks"]] == [["name", "agent", "output", "calls", "usage"]] * 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["started_at"])
    assert datetime.fromisoformat(row["started_at"]).tzinfo is not None
    assert 0 <= row["duration_s"] < 30
    assert draft in ledger["requests"][1]["messages"][-1]["content"]


def test_a_failed_row_keeps_the_tasks_that_did_finish(folder: Path, mock: MockProcess) -> None:
    """Its output is null, its error says which task failed and why, and what was billed is counted."""
    write_crew(folder, llm="gpt-4.1-mini", tasks=["FAIL-400 for {topic}"])
    write_rows(folder / "in.jsonl", [{"topic": "owls"}])
    done = crewrun("batch", "in.jsonl", cwd=folder, env=at(mock))
    assert done.returncode == 3
    (row,) = read_rows(folder / "in.results.jsonl")
    assert (row["status"], row["output"], row["attempts"], row["usage"]["calls"]) == ("failed", None, 2, 1)
    assert [task["name"] for task in row["tasks"]] == ["draft"]
    error = {
        "category": "bad_request",
        "type": "BadRequest",
        "message": "HTTP 400: FAIL-400 asked the mock for this 400",
        "task": "task_2",
        "http_status": 400,
        "retryable": False,
        "attempts": 1,
    }
    assert row["error"] == error
    assert list(row["error"]) == list(error)
    assert row["usage"]["total_tokens"] == row["tasks"][0]["usage"]["total_tokens"]
    assert row["cost_usd"] == pytest.approx(mock.ledger()["totals"]["cost_usd"])


@pytest.mark.parametrize("model", ["somebody-elses-model", "gpt-4.1-mini"])
def test_an_unknown_price_is_null_and_never_0(folder: Path, mock: MockProcess, model: str) -> None:
    """A model without a published price costs null; one with a price costs more than nothing."""
    done = crewrun("batch", "in.jsonl", "-o", "-", "-m", model, cwd=folder, env=at(mock))
    costs = [row["cost_usd"] for row in parse_rows(done.stdout)]
    assert len(costs) == 3
    if model == "gpt-4.1-mini":
        assert all(cost > 0 for cost in costs)
    else:
        assert costs == [None] * 3
        assert "cost unknown" in done.stderr


# Where results go


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "in.csv", "in.results.jsonl"])
def test_results_go_beside_a_file(folder: Path, name: str) -> None:
    """The name loses its endings and gets .results.jsonl; the file is private and stdout stays empty."""
    (folder / "in.jsonl").unlink()
    if name == "in.csv":
        (folder / name).write_text("topic\ntopic 0\ntopic 1\n")
    else:
        write_rows(folder / name, topics(2))
    done = crewrun("batch", name, "-m", "offline", cwd=folder)
    output = folder / ("in.results.results.jsonl" if name == "in.results.jsonl" else "in.results.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == f"2 ok, 0 failed; results: {output.name}"
    assert [row["input"] for row in read_rows(output)] == topics(2)
    assert output.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("args", [["-"], ["in.jsonl", "-o", "-"], ["-", "--strict"]], ids=" ".join)
def test_a_stream_gives_a_stream(folder: Path, args: list[str]) -> None:
    """Results of stdin, and of `-o -`, are on stdout and nowhere else."""
    stdin = (folder / "in.jsonl").read_bytes()
    spool = folder.parent / f"{folder.name}-tmp"
    spool.mkdir()
    done = crewrun("batch", *args, "-m", "offline", cwd=folder, env={"TMPDIR": str(spool)}, stdin=stdin)
    assert done.returncode == 0
    assert list(spool.iterdir()) == []
    assert [row["input"] for row in parse_rows(done.stdout)] == topics(3)
    assert sorted(path.name for path in folder.iterdir()) == ["crew.yaml", "in.jsonl"]
    assert "results:" not in done.stderr


def test_a_slow_pipe_gets_its_answers_as_it_writes(folder: Path) -> None:
    """The result of a row comes out before the next row goes in."""
    with start("batch", "-", "-m", "offline", cwd=folder, pipe_stdin=True) as process:
        assert process.stdin is not None
        for row in topics(3):
            process.stdin.write(json.dumps(row) + "\n")
            process.stdin.flush()
            assert json.loads(next_line(process.stdout))["input"] == row
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, "")
    assert stderr.startswith("3 ok, 0 failed in ")


# Order, parts and names of rows


@pytest.mark.parametrize("output", ["-", "out.jsonl"], ids=["pipe", "file"])
def test_ordered_gives_input_order(folder: Path, output: str) -> None:
    """Rows that take random times come out as they went in."""
    write_rows(folder / "in.jsonl", topics(120))
    flags = ["-o", output, "-j", "20", "-m", "offline?jitter=0.1", "--ordered"]
    done = crewrun("batch", "in.jsonl", *flags, cwd=folder)
    assert done.returncode == 0
    text = done.stdout if output == "-" else (folder / output).read_text()
    assert [json.loads(line)["index"] for line in text.splitlines()] == list(range(120))


def test_without_ordered_rows_come_as_they_end(folder: Path) -> None:
    """A slow row holds up no other one."""
    write_rows(folder / "in.jsonl", topics(20))
    done = crewrun("batch", "in.jsonl", "-o", "-", "-j", "20", "-m", "offline?jitter=0.5", cwd=folder)
    indexes = [json.loads(line)["index"] for line in done.stdout.splitlines()]
    assert sorted(indexes) == list(range(20)) != indexes


@pytest.mark.parametrize("limit", [1, 7])
def test_limit_is_how_many_rows_are_sent_at_most(folder: Path, mock: MockProcess, limit: int) -> None:
    """However many rows run at once, --limit N costs N requests."""
    write_rows(folder / "in.jsonl", topics(50))
    done = crewrun("batch", "in.jsonl", "-o", "-", "-j", "20", "--limit", str(limit), cwd=folder, env=at(mock))
    assert done.returncode == 0
    assert [row["input"] for row in parse_rows(done.stdout)] == topics(limit)
    assert mock.ledger()["totals"]["requests"] == limit


def test_a_part_of_the_input_keeps_the_names_of_the_whole(folder: Path) -> None:
    """--offset and --limit leave index and id of a row as they are in a run of all rows, twins included."""
    write_rows(folder / "in.jsonl", [{"topic": "same"}, *topics(3), "oops", {"topic": "same"}, {"topic": "same"}] * 2)
    whole = crewrun("batch", "in.jsonl", "-o", "-", "-m", "offline", cwd=folder)
    part = crewrun(
        "batch", "in.jsonl", "-o", "-", "-m", "offline", "--offset", "4", "--limit", "5", "--ordered", cwd=folder
    )
    assert (whole.returncode, part.returncode) == (3, 3)
    expected = [(row["index"], row["id"], row["input"]) for row in parse_rows(whole.stdout)]
    assert [(row["index"], row["id"], row["input"]) for row in parse_rows(part.stdout)] == expected[4:9]


@pytest.mark.parametrize(
    ("flags", "indexes"),
    [(["--limit", "0"], []), (["--offset", "9"], []), (["--offset", "2", "--limit", "9"], [2])],
    ids=["nothing", "past the end", "over the end"],
)
def test_a_part_may_be_empty_or_reach_over_the_end(folder: Path, flags: list[str], indexes: list[int]) -> None:
    """No rows to run is success."""
    done = crewrun("batch", "in.jsonl", "-o", "-", "-m", "offline", *flags, cwd=folder)
    assert done.returncode == 0
    assert [row["index"] for row in parse_rows(done.stdout)] == indexes


def test_a_row_is_named_by_its_content(folder: Path) -> None:
    """Reordering keys or rows changes no id; twins get -2 and -3; a bad line is named by its bytes."""
    rows = ['{"topic":"a","n":1}', '{"n": 1, "topic": "a"}', '{"topic":"a","n":2}', "oops", '{"topic":"a","n":1}']
    ids = {}
    for name, lines in {"one": rows, "two": rows[::-1]}.items():
        write_rows(folder / f"{name}.jsonl", lines)
        done = crewrun("batch", f"{name}.jsonl", "-o", "-", "-m", "offline", cwd=folder)
        ids[name] = [row["id"] for row in parse_rows(done.stdout)]
    first, other, bad = content_id({"n": 1, "topic": "a"}), content_id({"n": 2, "topic": "a"}), content_id(b"oops")
    assert ids["one"] == [first, f"{first}-2", other, bad, f"{first}-3"]
    assert ids["two"] == [first, bad, other, f"{first}-2", f"{first}-3"]


# What is said beside the results


def test_a_crew_that_is_not_next_to_the_inputs_is_named(folder: Path) -> None:
    """Once, at the start. One next to them, one that is named, and -q need no such line."""
    (folder / "data").mkdir()
    write_rows(folder / "data" / "in.jsonl", topics(1))
    line = "crew: crew.yaml from the working directory, as there is none next to data/in.jsonl"
    offline = ("-m", "offline", "--fresh")
    done = crewrun("batch", "data/in.jsonl", *offline, cwd=folder)
    assert (done.returncode, done.stderr.splitlines()[0], done.stderr.count("crew: ")) == (0, line, 1)
    for words in (("in.jsonl",), ("data/in.jsonl", "--crew", "crew.yaml"), ("data/in.jsonl", "-q")):
        assert "crew: " not in crewrun("batch", *words, *offline, cwd=folder).stderr
    write_crew(folder / "data")
    assert "crew: " not in crewrun("batch", "data/in.jsonl", *offline, cwd=folder).stderr


def test_the_summary_file_tells_the_whole_run(folder: Path, mock: MockProcess) -> None:
    """Its counts are the provider's; every kind of failure is there with its first row and a hint."""
    write_rows(folder / "in.jsonl", [*topics(2), "oops", {"topic": "FAIL-400"}, "oops", {"topic": "FAIL-ONCE"}])
    done = crewrun("batch", "in.jsonl", "--summary", "s.json", cwd=folder, env=at(mock))
    rows = read_rows(folder / "in.results.jsonl")
    totals = mock.ledger()["totals"]
    summary = json.loads((folder / "s.json").read_text())
    times = {name: summary.pop(name) for name in ("duration_s", "rows_per_s", "row_time_s")}
    assert done.returncode == 3
    assert summary == {
        "schema": "crewrun.summary/1",
        "exit_code": 3,
        "stopped": None,
        "rows": {**NO_ROWS, "ok": 3, "failed": 3},
        "failures": [
            {
                "category": "input",
                "type": "InputInvalid",
                "task": None,
                "count": 2,
                "example": {"id": rows[2]["id"], "line": 3, **rows[2]["error"]},
                "hint": "never sent; mend these lines, or give what they lack: -i NAME=VALUE",
            },
            {
                "category": "bad_request",
                "type": "BadRequest",
                "task": "draft",
                "count": 1,
                "example": {"id": rows[3]["id"], "line": 4, **rows[3]["error"]},
                "hint": "the provider does not take the request; check the parameters of the llm",
            },
        ],
        "tool_failures": [],
        "expectations": [],
        "not_taken": [],
        "usage": {
            "prompt_tokens": totals["prompt_tokens"],
            "cached_prompt_tokens": 0,
            "completion_tokens": totals["completion_tokens"],
            "reasoning_tokens": 0,
            "total_tokens": totals["prompt_tokens"] + totals["completion_tokens"],
            "calls": totals["billed"],
        },
        "replayed_calls": 0,
        "in_all": {
            "usage": summary["usage"],
            "attempts": totals["requests"],
            "cost_usd": pytest.approx(totals["cost_usd"], abs=1e-6),
            "may_be_owed_usd": 0.0,
        },
        "attempts": totals["requests"],
        "truncated": 0,
        "finish_reasons": [],
        "cost_usd": pytest.approx(totals["cost_usd"], abs=1e-6),
        "may_be_owed_usd": 0.0,
        "unknown_bills": 0,
        "forecast": None,
        "unread": 0,
        "shard": None,
        "models": ["openai/gpt-4.1-mini"],
        "output": "in.results.jsonl",
        "not_counted": None,
    }
    assert times["duration_s"] > 0
    assert times["rows_per_s"] > 0
    assert 0 < times["row_time_s"]["p50"] <= times["row_time_s"]["p95"]


def test_progress_json_is_json_lines(folder: Path) -> None:
    """Every line before the summary is one object with the counters; the last one is the end."""
    write_rows(folder / "in.jsonl", [*topics(3), "oops"])
    done = crewrun("batch", "in.jsonl", "-m", "offline?latency=1.5", "--progress", "json", cwd=folder)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    names = ["ok", "failed", "in_flight", "elapsed_s", "rows_per_s", "total_tokens", "cost_usd", "share", "eta_s"]
    names += [
        "limiting",
        "at",
        "ended",
        "total",
        "total_is_estimate",
        "done_before",
        "budget",
        "waiting",
        "last_failure",
    ]
    assert [list(line) for line in lines] == [names] * len(lines)
    assert all(datetime.fromisoformat(line["at"]).tzinfo for line in lines)
    failure = {"line": 4, "category": "input", "message": "line 4: column 1: not JSON: Expecting value"}
    assert {json.dumps([line["total"], line["waiting"], line["last_failure"]]) for line in lines} == {
        json.dumps([4, [], failure])
    }
    counts = [(line["ok"], line["failed"], line["in_flight"], line["share"]) for line in lines]
    assert (counts[0], counts[-1]) == ((0, 1, 3, 0.25), (3, 1, 0, 1.0))


def test_quiet_leaves_stderr_empty(folder: Path) -> None:
    """-q: no progress and no summary, also when rows fail."""
    write_rows(folder / "in.jsonl", [*topics(2), "oops"])
    done = crewrun("batch", "in.jsonl", "-q", "-m", "offline", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert len(read_rows(folder / "in.results.jsonl")) == 3


# Settings


@pytest.mark.parametrize(
    ("env", "flags", "offset"),
    [({}, [], 3), ({"CREWRUN_OFFSET": "2"}, [], 2), ({"CREWRUN_OFFSET": "2"}, ["--offset", "1"], 1)],
    ids=["file", "environment", "flag"],
)
def test_a_flag_beats_the_environment_and_that_the_file(
    folder: Path, env: dict[str, str], flags: list[str], offset: int
) -> None:
    """What `batch:` says of offset, model, output and quiet is what happens, unless someone nearer says otherwise."""
    settings = "batch:\n  offset: 3\n  model: offline\n  output: out.jsonl\n  quiet: true\n"
    write_crew(folder, llm="gpt-4.1-mini", more=settings)
    write_rows(folder / "in.jsonl", topics(5))
    done = crewrun("batch", "in.jsonl", *flags, cwd=folder, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [row["input"] for row in read_rows(folder / "out.jsonl")] == topics(5)[offset:]


def test_no_flags_switch_off_what_the_file_switches_on(folder: Path) -> None:
    """--no-quiet and --no-fail-fast beat `quiet: true` and `fail_fast: true`."""
    write_crew(folder, more="batch:\n  quiet: true\n  fail-fast: true\n")
    write_rows(folder / "in.jsonl", ["oops", *topics(2)])
    done = crewrun("batch", "in.jsonl", "--no-quiet", "--no-fail-fast", "-j", "1", cwd=folder)
    assert done.returncode == 3
    assert done.stderr.startswith("2 ok, 1 failed in ")


def test_inputs_of_the_crew_file_are_defaults_under_the_rows(folder: Path) -> None:
    """A row that lacks the placeholder gets the file's; one that has it keeps its own; `input` stays the row's."""
    write_crew(folder, more="inputs:\n  topic: default\n")
    write_rows(folder / "in.jsonl", [{}, {"topic": "own"}])
    done = crewrun("batch", "in.jsonl", "-o", "-", cwd=folder)
    rows = parse_rows(done.stdout)
    assert [row["input"] for row in rows] == [{}, {"topic": "own"}]
    assert [re.findall(r"Write about (\w+)", row["output"]) for row in rows] == [["default"], ["own"]]


def test_keys_come_from_the_env_file_unless_they_are_set(folder: Path, mock: MockProcess) -> None:
    """`.env` in the working directory gives what the environment does not."""
    (folder / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={mock.base_url}\nMODEL=from-file\n")
    (folder / "crew.yaml").write_text(CREW)
    for env, model in (({}, "from-file"), ({"MODEL": "from-environment"}, "from-environment")):
        done = crewrun("batch", "in.jsonl", "-o", "-", cwd=folder, env=env)
        assert [row["models"] for row in parse_rows(done.stdout)] == [[f"openai/{model}"]] * 3, done.stderr


# Before the first call, and stops


@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_strict_refuses_before_the_first_call(folder: Path, mock: MockProcess, stdin: bool) -> None:
    """Every bad row is named, nothing is sent, nothing written: exit code 2."""
    path = write_rows(folder / "in.jsonl", [*topics(2), "oops", {"topci": 1}])
    name = "-" if stdin else "in.jsonl"
    done = crewrun("batch", name, "--strict", cwd=folder, env=at(mock), stdin=path.read_bytes())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"crewrun: {name}: 2 rows cannot be run (--strict); nothing was sent\n"
        "line 3: column 1: not JSON: Expecting value\n"
        "line 4: missing 'topic' (needed by task 'draft'); the row has 'topci'\n"
    )
    assert mock.ledger()["totals"]["requests"] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["crew.yaml", "in.jsonl"]


@pytest.mark.parametrize(
    ("flags", "rows", "why"),
    [
        (["--fail-fast"], ["ok", "failed"], "1 of 2 finished rows failed (--fail-fast)"),
        (["--max-failures", "2"], ["ok", "failed", "failed"], "2 of 3 finished rows failed (--max-failures 2)"),
        (["--max-failures", "90%"], ["ok"] + ["failed"] * 19, "19 of 20 finished rows failed (--max-failures 90%)"),
    ],
    ids=["fail-fast", "number", "percent"],
)
def test_too_many_failures_stop_the_run_with_4(folder: Path, flags: list[str], rows: list[str], why: str) -> None:
    """No further row starts, what finished is written, and stderr says why and how to run again."""
    write_rows(folder / "in.jsonl", [*topics(1), *["oops"] * 30])
    done = crewrun("batch", "in.jsonl", *flags, "-j", "1", "-m", "offline", cwd=folder)
    assert done.returncode == 4
    assert [row["status"] for row in read_rows(folder / "in.results.jsonl")] == rows
    assert done.stderr.splitlines()[-3:] == [
        f"stopped: {why}",
        "results: in.results.jsonl",
        f"1 ok, {len(rows) - 1} failed, {31 - len(rows)} left; to go on: crewrun batch in.jsonl {' '.join(flags)} -j 1 "
        "-m offline",
    ]


def test_a_failure_limit_that_is_not_reached_stops_nothing(folder: Path) -> None:
    """`--max-failures 3` and two failures: all rows run, exit code 3."""
    write_rows(folder / "in.jsonl", ["oops", "oops", *topics(5)])
    done = crewrun("batch", "in.jsonl", "--max-failures", "3", "-o", "-", "-m", "offline", cwd=folder)
    assert done.returncode == 3
    assert len(parse_rows(done.stdout)) == 7


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_one_signal_lets_rows_in_flight_end(folder: Path, slow: MockProcess, number: signal.Signals, code: int) -> None:
    """They are written whole, no other row starts, and stderr says how to run again."""
    write_rows(folder / "in.jsonl", topics(40))
    with start("batch", "in.jsonl", "-j", "4", cwd=folder, env=at(slow)) as process:
        slow.wait_in_flight(4)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (code, "")
    assert [(row["index"], row["status"]) for row in read_rows(folder / "in.results.jsonl")] == [
        (i, "ok") for i in range(4)
    ]
    assert slow.ledger()["totals"]["statuses"] == {"200": 4}
    assert stderr.splitlines()[-3:] == [
        f"stopped: {'interrupted' if code == 130 else 'terminated'}",
        "results: in.results.jsonl",
        "4 ok, 0 failed, 36 left; to go on: crewrun batch in.jsonl -j 4",
    ]


HANGING = [*topics(2), *({"topic": f"FAIL-HANG {i}"} for i in range(8))]


@pytest.mark.parametrize(
    ("flags", "signals", "codes"),
    [
        # Two different ones, since equal ones may merge; which of them the system hands over first is its affair.
        (["--grace", "600"], [signal.SIGINT, signal.SIGTERM], {130, 143}),
        (["--grace", "0"], [signal.SIGTERM], {143}),
        (["--grace", "0.2"], [signal.SIGINT], {130}),
    ],
    ids=["a second signal", "--grace 0", "--grace 0.2"],
)
def test_a_stop_that_does_not_wait_gives_up_rows_in_flight(
    folder: Path, mock: MockProcess, flags: list[str], signals: Sequence[signal.Signals], codes: set[int]
) -> None:
    """Rows that finished before are kept whole; the others are counted as given up and leave no line."""
    write_rows(folder / "in.jsonl", HANGING)
    flags = ["-j", "4", "--summary", "s.json", *flags]
    with start("batch", "in.jsonl", *flags, cwd=folder, env=at(mock)) as process:
        wait_requests(mock, 6)
        for number in signals:
            process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode in codes
    assert [row["input"] for row in read_rows(folder / "in.results.jsonl")] == topics(2)
    assert json.loads((folder / "s.json").read_text())["rows"] == {
        **NO_ROWS,
        "ok": 2,
        "abandoned": 4,
        "pending": 4,
    }
    assert "; 4 rows in flight were given up\n" in stderr
    assert stderr.splitlines()[-1].startswith("2 ok, 0 failed, 8 left; ")
    assert "Traceback" not in stderr


def test_a_signal_ends_a_run_that_waits_for_stdin(folder: Path) -> None:
    """With nothing in flight there is nothing to wait for, although stdin stays open."""
    with start("batch", "-", "-m", "offline", cwd=folder, pipe_stdin=True) as process:
        assert process.stdin is not None
        process.stdin.write('{"topic": "owls"}\n')
        process.stdin.flush()
        assert json.loads(next_line(process.stdout))["status"] == "ok"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        process.communicate()


def test_ordered_rows_behind_one_given_up_are_written(folder: Path, mock: MockProcess) -> None:
    """A stop loses no row that finished, also when an earlier one did not."""
    write_rows(folder / "in.jsonl", [{"topic": "FAIL-HANG"}, *topics(2), *({"topic": f"FAIL-HANG {i}"} for i in "123")])
    with start("batch", "in.jsonl", "-j", "2", "--ordered", "--grace", "0", cwd=folder, env=at(mock)) as process:
        wait_requests(mock, 4)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert [row["index"] for row in read_rows(folder / "in.results.jsonl")] == [1, 2]


def test_a_killed_run_leaves_whole_lines(folder: Path, mock: MockProcess) -> None:
    """SIGKILL: rows that had finished are in the file, but for those whose lines were on their way."""
    write_rows(folder / "in.jsonl", [*topics(300), *({"topic": f"FAIL-HANG {i}"} for i in range(9))])
    with start("batch", "in.jsonl", "-j", "4", cwd=folder, env=at(mock)) as process:
        wait_requests(mock, 304)
        process.kill()
        process.communicate()
    written = [row["input"] for row in read_rows(folder / "in.results.jsonl")]
    assert len(written) >= 290
    assert [row for row in topics(300) if row in written] == written


# Failures of the provider

# word: category, type, HTTP status, retryable, requests with two retries
FAULTS = {
    "FAIL-400": ("bad_request", "BadRequest", 400, False, 1),
    "FAIL-401": ("auth", "AuthRefused", 401, False, 2),
    "FAIL-402": ("quota", "QuotaExhausted", 402, False, 1),
    "FAIL-403": ("auth", "AuthRefused", 403, False, 2),
    "FAIL-404": ("model_not_found", "ModelNotFound", 404, False, 2),
    "FAIL-408": ("timeout", "CallTimedOut", 408, True, 3),
    "FAIL-409": ("server", "ServerError", 409, True, 3),
    "FAIL-413": ("context_length", "ContextTooLong", 413, False, 1),
    "FAIL-429": ("rate_limit", "RateLimited", 429, True, 3),
    "FAIL-500": ("server", "ServerError", 500, True, 3),
    "FAIL-503": ("server", "ServerError", 503, True, 3),
    "FAIL-QUOTA": ("quota", "QuotaExhausted", 429, False, 1),
    "FAIL-CUT": ("network", "NetworkError", None, True, 3),
    "FAIL-GARBAGE": ("server", "ServerError", 200, True, 3),
    "FAIL-EMPTY": ("output_invalid", "EmptyReply", 200, True, 3),
}


# Each of these may mean that every call would be refused, until another one is answered.
REFUSALS = ("FAIL-401", "FAIL-402", "FAIL-403", "FAIL-404", "FAIL-QUOTA")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every fault word among good rows with two retries: rows and requests by topic, the ledger, stderr."""
    folder = tmp_path_factory.mktemp("faults")
    write_crew(folder, llm="gpt-4.1-mini")
    others = [word for word in (*FAULTS, "FAIL-ONCE", "FAIL-LENGTH") if word not in REFUSALS]
    good = ({"topic": f"owl {i}"} for i in range(100))
    write_rows(folder / "refusals.jsonl", [row for word in REFUSALS for row in ({"topic": word}, *islice(good, 5))])
    write_rows(folder / "others.jsonl", [*({"topic": word} for word in others), *good])
    with MockProcess() as mock:
        done = [
            crewrun("batch", name, "-o", "-", "-j", at_once, "--retries", "2", cwd=folder, env=at(mock))
            for name, at_once in (("refusals.jsonl", "2"), ("others.jsonl", "20"))
        ]
        ledger = mock.ledger()
    return {
        "codes": [one.returncode for one in done],
        "rows": {row["input"]["topic"]: row for one in done for row in parse_rows(one.stdout)},
        "requests": requests_by_topic(ledger),
        "totals": ledger["totals"],
        "stderr": done[1].stderr,
    }


@pytest.mark.parametrize("word", FAULTS)
def test_a_fault_has_its_category_and_its_number_of_attempts(faults: dict[str, Any], word: str) -> None:
    """Transient failures are sent retries + 1 times, final ones once, refusals that may pass once more; the row and the
    provider count the same, and a probe besides where only that could tell whose failure it is.
    """
    category, kind, status, retryable, attempts = FAULTS[word]
    row = faults["rows"][word]
    message = row["error"].pop("message")
    assert row["error"] == {
        "category": category,
        "type": kind,
        "task": "draft",
        "http_status": status,
        "retryable": retryable,
        "attempts": attempts,
    }
    assert message
    assert (row["status"], faults["requests"][word]) == ("failed", attempts)
    assert row["attempts"] - attempts in (0, 1)


def test_a_transient_fault_heals(faults: dict[str, Any]) -> None:
    """A call that fails once succeeds at its second attempt."""
    row = faults["rows"]["FAIL-ONCE"]
    assert (row["status"], row["error"], row["attempts"], row["usage"]["calls"]) == ("ok", None, 2, 1)
    assert faults["requests"]["FAIL-ONCE"] == 2


def test_a_truncated_answer_is_marked(faults: dict[str, Any]) -> None:
    """It counts as an answer; its task says truncated, no other does, and the summary warns."""
    assert faults["rows"]["FAIL-LENGTH"]["status"] == "ok"
    marked = [topic for topic, row in faults["rows"].items() for task in row["tasks"] if task.get("truncated")]
    assert marked == ["FAIL-LENGTH"]
    (warning,) = [line for line in faults["stderr"].splitlines() if line.startswith("warning: ")]
    assert warning.startswith("warning: 1 answer")


def test_what_failed_calls_cost_is_counted(faults: dict[str, Any]) -> None:
    """An empty answer is billed by the provider, so its row has tokens and a price."""
    assert faults["codes"] == [3, 3]
    empty = faults["rows"]["FAIL-EMPTY"]
    assert empty["usage"]["prompt_tokens"] > 0
    assert empty["cost_usd"] > 0
    assert sum(row["attempts"] for row in faults["rows"].values()) == faults["totals"]["requests"]


@pytest.mark.parametrize(
    ("flags", "kind", "message", "statuses"),
    [
        (
            ["--call-timeout", "0.5"],
            "CallTimedOut",
            "no reply from openai/gpt-4.1-mini within 0.5 s (--call-timeout)",
            {"hung up": 2, "200": 1},
        ),
        (["--row-timeout", "0.5"], "RowTimedOut", "the row took longer than 0.5 s (--row-timeout)", {"hung up": 1}),
    ],
    ids=["call", "row"],
)
def test_a_hanging_provider_is_left_in_time(
    folder: Path, mock: MockProcess, flags: list[str], kind: str, message: str, statuses: dict[str, int]
) -> None:
    """--call-timeout bounds an attempt, which is sent again; --row-timeout bounds the row with all its attempts.

    A probe that is answered says that it is the row's own.
    """
    write_rows(folder / "in.jsonl", [{"topic": "FAIL-HANG"}])
    done = crewrun("batch", "in.jsonl", "-o", "-", "--retries", "1", *flags, cwd=folder, env=at(mock))
    (row,) = parse_rows(done.stdout)
    assert done.returncode == 3
    assert (row["error"]["category"], row["error"]["type"], row["error"]["message"]) == ("timeout", kind, message)
    assert row["error"]["task"] == "draft"
    assert row["attempts"] == sum(statuses.values())
    assert mock.wait_in_flight(0)["totals"]["statuses"] == statuses


def test_a_refused_connection_fails_no_row(folder: Path) -> None:
    """Nobody listens: however few attempts there are, the run stops with host and reason in the message."""
    with MockProcess() as gone:
        address = gone.base_url
    words = ["batch", "in.jsonl", "-o", "-", "--retries", "0", "--base-url", address, "--outage-patience", "0"]
    done = crewrun(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"last error: {urlsplit(address).netloc}: cannot connect: Connection refused; " in done.stderr


# On the wire


def test_200_rows_at_once_are_200_requests_at_once(folder: Path) -> None:
    """-j is how many calls the provider sees at the same time, no fewer and no more."""
    write_rows(folder / "in.jsonl", topics(400))
    with MockProcess("--latency", "1") as mock:
        done = crewrun("batch", "in.jsonl", "-j", "200", "-q", cwd=folder, env=at(mock))
        totals = mock.ledger(last=0)["totals"]
    assert done.returncode == 0, done.stderr
    assert (totals["requests"], totals["peak_in_flight"], totals["repeated_bodies"]) == (400, 200, 0)


@pytest.mark.parametrize("path", ["/v1/", "", "/", "/v1/chat/completions"])
def test_a_base_url_may_be_written_in_any_way(folder: Path, mock: MockProcess, path: str) -> None:
    """With and without /v1 and a slash, also for a server of one's own that needs no key."""
    url = mock.base_url.removesuffix("/v1") + path
    done = crewrun("batch", "in.jsonl", "-o", "-", "--base-url", url, "-m", "my-model", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {request["model"] for request in mock.ledger()["requests"]} == {"my-model"}


class Recorder(ThreadingHTTPServer):
    """A server on a free port that remembers requests: a proxy, or with `refusal` one that answers with that."""

    def __init__(self, refusal: str = "") -> None:
        super().__init__(("127.0.0.1", 0), RecorderHandler)
        self.refusal = refusal
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.netloc = f"127.0.0.1:{self.server_port}"


class RecorderHandler(BaseHTTPRequestHandler):
    """One connection to a Recorder."""

    server: Recorder

    def do_POST(self) -> None:  # the name that http.server calls
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        status, reply = (401, self.server.refusal.encode()) if self.server.refusal else self._forward(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        target = urlsplit(self.path)
        connection = HTTPConnection(target.netloc, timeout=10)
        connection.request("POST", target.path, body, {"Authorization": self.headers["Authorization"]})
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name that http.server gives it)
        """Nothing on stderr."""


@contextmanager
def recording(refusal: str = "") -> Iterator[Recorder]:
    """A running Recorder."""
    with Recorder(refusal) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_used(folder: Path, mock: MockProcess, variable: str) -> None:
    """Every call goes through it, with the name and password of its URL."""
    with recording() as proxy:
        env = {**at(mock), variable: f"http://me:pass@{proxy.netloc}"}
        done = crewrun("batch", "in.jsonl", "-o", "-", cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    assert proxy.asked == [f"{mock.base_url}/chat/completions"] * 3
    assert {headers.get("proxy-authorization") for headers in proxy.headers} == {"Basic bWU6cGFzcw=="}
    assert mock.ledger()["totals"]["requests"] == 3


@pytest.mark.parametrize("hosts", ["127.0.0.1", "localhost,127.0.0.1:{port}"])
def test_no_proxy_keeps_calls_from_it(folder: Path, mock: MockProcess, hosts: str) -> None:
    """A host in NO_PROXY is called directly."""
    with recording() as proxy:
        env = {
            **at(mock),
            "HTTP_PROXY": f"http://{proxy.netloc}",
            "NO_PROXY": hosts.format(port=mock.address[1]),
        }
        done = crewrun("batch", "in.jsonl", "-o", "-", cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    assert proxy.asked == []
    assert mock.ledger()["totals"]["requests"] == 3


@pytest.mark.parametrize("key", [KEY, "any-shape.at/all+42"], ids=["OpenAI's shape", "another shape"])
def test_a_key_appears_in_no_output(folder: Path, key: str) -> None:
    """Not even when the provider quotes it in its refusal: not in results, stderr, progress or summary."""
    refusal = json.dumps({"error": {"message": f"Incorrect API key provided: {key}. Bearer {key}"}})
    with recording(refusal) as api:
        env = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"http://{api.netloc}/v1"}
        flags = ["--summary", "s.json", "--progress", "json"]
        done = crewrun("batch", "in.jsonl", *flags, cwd=folder, env=env)
    assert done.returncode == 4
    assert "openai/gpt-4.1-mini refuses every call: HTTP 401: Incorrect API key provided: " in done.stderr
    assert {headers["authorization"] for headers in api.headers} == {f"Bearer {key}"}
    state = (folder / "in.results.jsonl.crewrun").iterdir()
    files = [path.read_bytes() for path in (*folder.iterdir(), *state) if path.is_file()]
    assert [text for text in [done.stdout.encode(), done.stderr.encode(), *files] if key.encode() in text] == []
    assert read_rows(folder / "in.results.jsonl") == []


@pytest.mark.parametrize("key", ["", KEY], ids=["no key", "a key as well"])
def test_a_password_in_base_url_is_sent_or_refused_but_never_shown(folder: Path, key: str) -> None:
    """It is the authorization of a server without a key; with a key too, whatever is done is done at once."""
    with recording(json.dumps({"error": {"message": "no"}})) as api:
        env = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"http://me:hidden@{api.netloc}/v1"}
        flags = ["--summary", "s.json", "--retries", "1"]
        done = crewrun("batch", "in.jsonl", "-o", "-", *flags, cwd=folder, env=env)
    seen = [done.stdout, done.stderr, *(path.read_text() for path in folder.iterdir())]
    assert [text for text in seen if "hidden" in text] == []
    assert (done.returncode, done.stdout) in ((4, ""), (2, ""))
    if not key:
        assert {headers["authorization"] for headers in api.headers} == {"Basic bWU6aGlkZGVu"}


# `crewrun run`


def test_run_prints_the_answer_alone(folder: Path, mock: MockProcess) -> None:
    """The answer is on stdout; what it took is on stderr, and with -q nothing is."""
    for flags in ([], ["-q"]):
        done = crewrun("run", "-i", "topic=big owls = birds", *flags, cwd=folder, env=at(mock))
        reply = mock.ledger()["requests"][-1]["reply"]
        assert (done.returncode, done.stdout) == (0, reply + "\n")
        assert (done.stderr == "") == bool(flags)
    assert requests_by_topic(mock.ledger()) == {"big owls = birds": 2}


@pytest.mark.parametrize(
    ("flags", "inputs"),
    [
        (["--inputs", '{"topic": "owls", "n": 1}'], {"topic": "owls", "n": 1}),
        (["--inputs", "@topic.json"], {"topic": "from a file"}),
        (["--inputs", "@topic.json", "-i", "topic=owls", "-i", "n="], {"topic": "owls", "n": ""}),
    ],
    ids=["JSON", "file", "file and -i"],
)
def test_run_takes_inputs_and_prints_the_row(folder: Path, flags: list[str], inputs: dict[str, Any]) -> None:
    """--json gives the row that a batch would; -i goes over --inputs."""
    (folder / "topic.json").write_text('{"topic": "from a file"}\n')
    done = crewrun("run", "-m", "offline", "--json", *flags, cwd=folder)
    (row,) = parse_rows(done.stdout)
    assert done.returncode == 0
    assert (row["schema"], row["id"], row["input"]) == ("crewrun.result/1", content_id(inputs), inputs)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "missing 'topic' (needed by task 'draft'); give it with -i NAME=VALUE or --inputs"),
        (
            ["-i", "topci=a"],
            "missing 'topic' (needed by task 'draft'); the row has 'topci'; give it with -i NAME=VALUE or --inputs",
        ),
        (["-i", "topic"], "-i 'topic': write NAME=VALUE, as in -i topic=AI, or @FILE that holds a JSON object"),
        (["-i", "=x"], "-i '=x': write NAME=VALUE, as in -i topic=AI, or @FILE that holds a JSON object"),
        (["--inputs", "[1]"], "--inputs [1]: a JSON array, where a JSON object is needed"),
        (
            ["--inputs", "{topic"],
            "--inputs {topic: column 2: not JSON: Expecting property name enclosed in double quotes",
        ),
        (["--inputs", "@none.json"], "--inputs @none.json: cannot be read: No such file or directory"),
    ],
    ids=["none", "misspelt", "no =", "no name", "array", "not JSON", "no file"],
)
def test_run_refuses_wrong_inputs(folder: Path, flags: list[str], message: str) -> None:
    """Exit code 2 and what to write instead; stdout stays empty."""
    done = crewrun("run", "-m", "offline", *flags, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"crewrun: {message}\n")


def test_run_fails_with_3(folder: Path, mock: MockProcess) -> None:
    """The task and the reason are on stderr; stdout has the row with --json, else nothing."""
    said = "crewrun: task 'draft': HTTP 400: FAIL-400 asked the mock for this 400 (bad_request)\n"
    done = crewrun("run", "-q", "-i", "topic=FAIL-400", cwd=folder, env=at(mock))
    assert (done.returncode, done.stdout, done.stderr) == (3, "", said)
    done = crewrun("run", "-q", "--json", "-i", "topic=FAIL-400", cwd=folder, env=at(mock))
    assert (done.returncode, done.stderr) == (3, said)
    assert [row["error"]["category"] for row in parse_rows(done.stdout)] == ["bad_request"]


def test_run_is_interrupted_quietly(folder: Path, mock: MockProcess) -> None:
    """SIGINT while the model thinks: exit code 130, no traceback."""
    with start("run", "-i", "topic=FAIL-HANG", cwd=folder, env=at(mock)) as process:
        mock.wait_in_flight(1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (130, "", "")


# The program itself


def test_version_and_help(tmp_path: Path) -> None:
    """Both are on stdout and succeed; help names every command."""
    version = own_process.crewrun("--version", cwd=tmp_path)
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"crewrun \d+\.\d+\.\d+\n", version.stdout)
    shown = own_process.crewrun("--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in ("batch", "run", "mock"):
        assert re.search(rf"^  {command} ", shown.stdout, re.MULTILINE)


def test_plan_takes_what_batch_takes(tmp_path: Path) -> None:
    """Its help has the same arguments and options, and its usage is its own."""
    batch, plan = (crewrun(name, "--help", cwd=tmp_path) for name in ("batch", "plan"))
    takes, plan_takes = (
        shown.stdout[shown.stdout.index("\nArguments:\n") : shown.stdout.index("\nExit codes:\n")]
        for shown in (batch, plan)
    )
    assert (plan.returncode, plan_takes, plan.stderr) == (0, takes, "")
    usage = plan.stdout.splitlines()[0]
    assert usage == batch.stdout.splitlines()[0].replace(" batch ", " plan ")
    bare = crewrun("plan", cwd=tmp_path)
    assert (bare.returncode, bare.stdout, bare.stderr.splitlines()[1]) == (2, "", usage.replace("Usage", "usage"))


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["batch", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(tmp_path: Path, args: list[str]) -> None:
    """A question about flags waits for no HTTP client, no model library and no display."""
    done = subprocess.run(
        [PROGRAM[0], "-X", "importtime", *PROGRAM[1:], *args],
        cwd=tmp_path,
        env=clean_env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "crewrun.cli.batch" in imported
    assert sorted(imported & {"aiohttp", "litellm", "rich.progress", "uvloop", "anyio"}) == []


def test_the_commands_program_is_the_module(tmp_path: Path) -> None:
    """`crewrun` as it is installed and `python -m crewrun` are the same program."""
    installed = Path(sys.executable).with_name("crewrun")
    done = subprocess.run([installed, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == own_process.crewrun("--version", cwd=tmp_path).stdout


def test_a_row_that_cancels_itself_is_a_failed_row(folder: Path) -> None:
    """It ends neither the run nor the rows beside it, and no row is missing from the results."""
    (folder / "odd.py").write_text(
        "import asyncio\n"
        "async def cancel_me(topic: str) -> str:\n"
        '    """Cancel."""\n'
        "    if '2' in topic:\n"
        "        asyncio.current_task().cancel()\n"
        "        await asyncio.sleep(0)\n"
        "    return topic\n"
    )
    write_crew(folder)
    text = (
        (folder / "crew.yaml")
        .read_text()
        .replace("    role: Writer\n", "    role: Writer\n    tools: ['odd:cancel_me']\n")
    )
    (folder / "crew.yaml").write_text(text)
    write_rows(folder / "in.jsonl", topics(5))
    done = crewrun("batch", "in.jsonl", "-j", "2", cwd=folder)
    rows = read_rows(folder / "in.results.jsonl")
    assert (done.returncode, [row["status"] for row in rows]) == (3, ["ok", "ok", "failed", "ok", "ok"])
    assert rows[2]["error"]["category"] == "internal"
