"""Looking at runs: `crewrun status`, `show`, `export` and `gc`, while a run is going and long afterwards."""

import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import zstandard
from python_calamine import CalamineWorkbook
from support import command as own_process
from support.command import PROGRAM, clean_env, read_rows, topics, write_crew, write_rows
from support.forks import Forks, shell, start
from support.mock_process import MockProcess
from support.workspace import RESULTS, STATE

from crewrun.tables.reading.input_format import WHAT_INPUTS_ARE

OLDER = "in.results.1.jsonl"
T0, T1, T2 = "08a80e35690e5974", "d7b46798e9dca1fe", "44654d0a3962fcad"
REFUSED, NO_JSON = "c46e715a37795af4", "d59dbaba5bc8957e"
SYSTEM = "You are Writer. You have written for years.\nYour personal goal: Write well"
REPLY = "Reply with the complete answer itself and nothing around it."


class Place(NamedTuple):
    """A folder with a run in it, the variables of its endpoint, and where commands run."""

    folder: Path
    env: dict[str, str]
    forks: Forks

    @property
    def results(self) -> Path:
        return self.folder / RESULTS

    @property
    def journal(self) -> Path:
        return self.folder / STATE / "journal.sqlite"

    @property
    def lines(self) -> list[bytes]:
        return self.results.read_bytes().splitlines(keepends=True)

    def do(self, *args: str | Path, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command, which ends with `code` and without a traceback."""
        done = self.forks.crewrun(*map(str, args), cwd=cwd or self.folder, env=self.env)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        return done

    def said(self, *args: str | Path, code: int = 0) -> list[str]:
        """The lines of its standard output, without times."""
        return timeless(self.do(*args, code=code).stdout).splitlines()

    def json(self, *args: str | Path, code: int = 0) -> Any:
        """What it prints with --json."""
        return json.loads(self.do(*args, "--json", code=code).stdout)

    def refused(self, *args: str | Path, code: int = 2) -> str:
        """The one line of its refusal."""
        done = self.do(*args, code=code)
        (line,) = done.stderr.splitlines()
        assert done.stdout == ""
        return line.removeprefix("crewrun: ")


def timeless(text: str) -> str:
    """`text` without moments, durations, rates and process numbers."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<then>", text)
    text = re.sub(r"\b\d+(\.\d+)? s\b|\b\d+ ms\b", "<s>", text)
    text = re.sub(r"\b[\d.]+/(s|min|h)\b", "<rate>", text)
    return re.sub(r"process \d+", "process <pid>", text)


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess() as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, forks: Forks) -> Place:
    """A folder with a crew of the offline model, and three rows."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", topics(3))
    return Place(tmp_path, {}, forks)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory, mock: MockProcess, forks: Forks) -> Place:
    """Two sessions: two good rows, then one that is no JSON and one that the provider refuses. Not to be changed."""
    place = Place(tmp_path_factory.mktemp("run"), environment(mock), forks)
    write_crew(place.folder, "gpt-4.1-mini", ["Improve it"])
    write_rows(place.folder / "in.jsonl", [*topics(2), "nonsense", {"topic": "FAIL-400"}])
    place.do("batch", "in.jsonl", "-j", "1", "--limit", "2")
    place.do("batch", "in.jsonl", "-j", "1", code=3)
    return place


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Place:
    """A finished run of three rows without a provider. Not to be changed."""
    place = Place(tmp_path_factory.mktemp("offline"), {}, forks)
    write_crew(place.folder)
    write_rows(place.folder / "in.jsonl", topics(3))
    place.do("batch", "in.jsonl", "-j", "1")
    return place


@pytest.fixture
def copy(offline_run: Place, tmp_path: Path) -> Place:
    """The run of three rows, moved to where it may be damaged. Its input is where it was."""
    shutil.copytree(offline_run.folder, tmp_path / "copy")
    return Place(tmp_path / "copy", {}, offline_run.forks)


def environment(mock: MockProcess) -> dict[str, str]:
    return {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "sk-proj-0123456789abcdef"}


def differences(place: Place, *run: str) -> dict[str, list[str]]:
    """What --verify finds, with its first examples; the exit code says whether there is any."""
    done = place.forks.crewrun("status", *(run or (RESULTS,)), "--verify", "--json", cwd=place.folder)
    found = json.loads(done.stdout)["verify"]
    assert (done.returncode, found["ok"]) == ((3, False) if found["differences"] else (0, True)), done.stderr
    return {kind["kind"]: kind["examples"] for kind in found["differences"]}


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_says_how_a_run_ended(looked_at: Place) -> None:
    """Counts, spending of the latest session and of all, failures by category, and how to run those again."""
    assert looked_at.said("status", RESULTS) == [
        "in.results.jsonl: finished (exit code 3) at <then>",
        "rows: 2 ok, 2 failed",
        "the latest session: 0 calls, 0 tokens (0 in, 0 out), $0.00 in <s>, <rate>",
        "in all 2 sessions: 4 calls, 380 tokens (272 in, 108 out), $0.0003",
        f"  1 × bad_request: {REFUSED}: HTTP 400: FAIL-400 asked the mock for this 400",
        f"  1 × input: {NO_JSON}: line 3: column 1: not JSON: Expecting value",
        "to run what failed again: crewrun batch in.jsonl -j 1",
    ]


def test_status_as_json(looked_at: Place) -> None:
    """All of it, for programs."""
    status = looked_at.json("status", STATE)
    assert {name: type(status.pop(name)) for name in ("rows_per_s", "duration_s", "started_at", "updated_at")} == {
        "rows_per_s": float,
        "duration_s": float,
        "started_at": str,
        "updated_at": str,
    }
    nothing = dict.fromkeys(("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens"), 0)
    assert status == {
        "schema": "crewrun.status/1",
        "run": STATE,
        "results": RESULTS,
        "state": "finished",
        "pid": None,
        "stopped": None,
        "exit_code": 3,
        "rows": {"ok": 2, "failed": 2, "in_flight": 0},
        "shard": None,
        "share": None,
        "eta_s": None,
        "sessions": 2,
        "spent": {
            "usage": {**nothing, "total_tokens": 0, "calls": 0},
            "attempts": 1,
            "cost_usd": 0.0,
            "may_be_owed_usd": 0.0,
        },
        "in_all": {
            "usage": {**nothing, "prompt_tokens": 272, "completion_tokens": 108, "total_tokens": 380, "calls": 4},
            "attempts": 5,
            "cost_usd": 0.000282,
            "may_be_owed_usd": 0.0,
        },
        "failures": [
            {
                "category": "bad_request",
                "count": 1,
                "example": {"id": REFUSED, "message": "HTTP 400: FAIL-400 asked the mock for this 400"},
            },
            {
                "category": "input",
                "count": 1,
                "example": {"id": NO_JSON, "message": "line 3: column 1: not JSON: Expecting value"},
            },
        ],
        "tool_failures": [],
        "expectations": [],
        "jobs": [],
        "command": "crewrun batch in.jsonl -j 1",
    }


def test_a_row_that_was_mended_is_not_counted_as_failed(place: Place) -> None:
    """What stood on its line before is in the journal, but not in the run any more."""
    write_rows(place.folder / "in.jsonl", [*topics(1), "nonsense"])
    place.do("batch", "in.jsonl", code=3)
    write_rows(place.folder / "in.jsonl", topics(2))
    place.do("batch", "in.jsonl")
    status = place.json("status", RESULTS)
    assert (status["rows"], status["failures"], status["command"]) == (
        {"ok": 2, "failed": 0, "in_flight": 0},
        [],
        None,
    )


class Going(NamedTuple):
    """What was said of a run while it was going, and after it was killed."""

    status: dict[str, Any]
    words: list[str]
    verify: str
    export: str
    gc: list[str]
    results: str
    after: list[str]
    gc_after: list[str]


@pytest.fixture(scope="module")
def going(tmp_path_factory: pytest.TempPathFactory, mock: MockProcess, forks: Forks) -> Going:
    """Two of four rows are done, the others hang."""
    place = Place(tmp_path_factory.mktemp("going"), environment(mock), forks)
    write_crew(place.folder, "gpt-4.1-mini")
    write_rows(place.folder / "in.jsonl", [*topics(2), {"topic": "FAIL-HANG"}, {"topic": "a FAIL-HANG"}])
    with start("batch", "in.jsonl", "-j", "2", cwd=place.folder, env=place.env) as batch:
        try:
            mock.wait_in_flight(2)
            status = place.json("status", RESULTS) if place.journal.exists() else {}
            for _ in range(200):  # once a second the run says how far it is
                if status.get("share") == 0.5:
                    break
                status = place.json("status", RESULTS)
            words, verify = place.said("status", RESULTS), place.refused("status", RESULTS, "--verify", code=75)
            export, listed = place.do("export", RESULTS).stdout, place.said("gc", "--delete")
            assert status.pop("pid") == batch.pid
        finally:
            batch.kill()
            batch.communicate()
    return Going(
        status,
        words,
        timeless(verify),
        export,
        listed,
        place.results.read_text(),
        place.said("status", RESULTS),
        place.said("gc", "--delete"),
    )


def test_status_while_the_run_is_going(going: Going) -> None:
    """Rows in flight, the share of the input that is done, the rate, and how long the rest will take."""
    status = going.status
    assert (status["state"], status["rows"], status["share"], status["exit_code"], status["command"]) == (
        "running",
        {"ok": 2, "failed": 0, "in_flight": 2},
        0.5,
        None,
        None,
    )
    assert status["eta_s"] == pytest.approx(2 / status["rows_per_s"], rel=0.01)
    assert going.words == [
        "in.results.jsonl: running, by process <pid>",
        "rows: 2 ok, 0 failed, 2 in flight, 50% done, <rate>, <s> left",
        "this session: 2 calls, 158 tokens (104 in, 54 out), $0.0001 in <s>",
    ]


def test_the_other_commands_while_the_run_is_going(going: Going) -> None:
    """What is done can be exported; nothing is verified that changes, and nothing deleted that is needed."""
    assert going.export == going.results != ""
    assert going.verify == f"{RESULTS}: process <pid> is working on this run; use --verify when that has ended"
    assert [re.sub(r"[\d.]+ kB", "<size>", line) for line in going.gc] == [
        f"{STATE}: running, rows unknown, <size>, <then>",
        "freed 0 bytes",
    ]


def test_status_after_the_run_was_killed(going: Going) -> None:
    """It says so, and which command goes on; its state is kept."""
    assert going.after == [
        "in.results.jsonl: died without saying why; its last sign of life was at <then>",
        "rows: 2 ok, 0 failed",
        "the latest session: 2 calls, 158 tokens (104 in, 54 out), $0.0001 (may be owed: $0.0001 more) in <s>, <rate>",
        "to go on: crewrun batch in.jsonl -j 2",
    ]
    assert [re.sub(r"[\d.]+ kB", "<size>", line) for line in going.gc_after] == [
        f"{STATE}: unfinished, 2 rows, <size>, <then>",
        "freed 0 bytes",
    ]


# --- status --verify --------------------------------------------------------------------------------------------------


def test_a_run_that_nobody_touched_is_verified(looked_at: Place) -> None:
    """Failed rows, two sessions and a line that is no JSON are no differences."""
    assert looked_at.said("status", RESULTS, "--verify")[-1] == "verified: no difference"


EDITS: list[Any] = [
    pytest.param(lambda a, b, c: [a, b.replace(b"offline", b"online"), c], {"edited": [f"line 2: {T1}"]}, id="edited"),
    pytest.param(lambda a, b, c: [a, b, c[:-9]], {"torn": ["line 3"], "missing": [T2]}, id="torn"),
    pytest.param(lambda a, b, c: [a, b, c, a], {"doubled": ["line 4"]}, id="doubled"),
    pytest.param(lambda a, _, c: [c, a], {"missing": [T1]}, id="deleted"),
    pytest.param(lambda a, b, c: [a, b"me\n", b, c], {"unknown": ["line 2: is not a result"]}, id="not ours"),
    pytest.param(
        lambda a, b, c: [a, b, c.replace(T2.encode(), b"me")],
        {"unknown": ["line 3: me"], "missing": [T2]},
        id="of another row",
    ),
    pytest.param(lambda *_: [], {"missing": [T0, T1, T2]}, id="emptied"),
]


@pytest.mark.parametrize(("edit", "found"), EDITS)
def test_results_that_were(copy: Place, edit: Callable[..., list[bytes]], found: dict[str, list[str]]) -> None:
    """Each difference is named with its line or its row."""
    copy.results.write_bytes(b"".join(edit(*copy.lines)))
    assert differences(copy) == found


def test_the_command_that_verify_names_puts_the_results_right(place: Place) -> None:
    """An edited line and a torn one come back as they were."""
    place.do("batch", "in.jsonl", "--ordered")
    before = place.results.read_bytes()
    place.results.write_bytes(before[:-200].replace(b"topic 0", b"topic X"))
    assert place.said("status", RESULTS, "--verify", code=3)[-4:] == [
        "  1 × lines that are incomplete: line 3",
        f"  1 × lines that were edited: line 1: {T0}",
        f"  1 × rows that are done but have no line: {T2}",
        "to repair the results: crewrun batch in.jsonl --ordered",
    ]
    place.do("batch", "in.jsonl", "--ordered")
    assert (place.results.read_bytes(), differences(place)) == (before, {})


def test_an_input_that_was_changed_or_is_gone(place: Place) -> None:
    """Rows without a result and results without a row; an input that is gone is a difference, too."""
    inputs = write_rows(place.folder / "in.jsonl", topics(2))
    place.do("batch", "in.jsonl")
    write_rows(inputs, [{"topic": "topic 1"}, {"topic": "topic 2"}])
    assert differences(place) == {"without_result": [f"line 2: {T2}"], "not_in_input": [T0]}
    inputs.unlink()
    assert place.said("status", RESULTS, "--verify", code=3)[-1] == (
        f"  1 × inputs that cannot be read: {inputs}: no such file; INPUTS is {WHAT_INPUTS_ARE}, or - for stdin"
    )


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_has_all_of_a_row(looked_at: Place) -> None:
    """Its prompts, put together again; replies, tokens, cost and times of each call and in all."""
    first = "Mock reply c987603b to: Your task: Write about topic 0 Your final answer must satisfy: One line Reply wi…"
    second = "Mock reply 53bac55d to: Your task: Improve it Your final answer must satisfy: One line Reply with the co…"
    system = [f"    {line}" for line in SYSTEM.splitlines()]
    assert looked_at.said("show", RESULTS, T0) == [
        f"row {T0}: ok, index 0",
        'input: {"topic": "topic 0"}',
        "began at <then> and took <s>",
        "",
        "call openai/gpt-4.1-mini · task draft · <then>, <s>, session 1 · 52 tokens in, 27 out, $0.0001",
        *("  [system]", *system, "  [user]", "    Your task: Write about topic 0", ""),
        *("    Your final answer must satisfy: One line", f"    {REPLY}", "  reply:", f"    {first}"),
        "",
        "call openai/gpt-4.1-mini · task task_2 · <then>, <s>, session 1 · 84 tokens in, 27 out, $0.0001",
        *("  [system]", *system, "  [user]", "    Your task: Improve it", ""),
        *("    Your final answer must satisfy: One line", f"    {REPLY}", ""),
        *("    Use what was found earlier:", f"    {first}", "  reply:", f"    {second}"),
        "",
        "in all: 2 calls, 2 attempts, 136 tokens in, 54 out, $0.0001, <s>",
    ]


def test_show_of_a_failed_row_as_json(looked_at: Place) -> None:
    """Its line of the results, and the call that failed with what it was asked."""
    shown = looked_at.json("show", RESULTS, "c46e")
    (result,) = (row for row in read_rows(looked_at.results) if row["id"] == REFUSED)
    (call,) = shown["calls"]
    times = {name: type(call.pop(name)) for name in ("at", "duration_s")}
    usage = {**dict.fromkeys(result["usage"], 0), "calls": 1}
    assert times == {"at": str, "duration_s": float}
    assert shown == {
        "schema": "crewrun.show/1",
        "run": STATE,
        "id": REFUSED,
        "status": "failed",
        "input": {"topic": "FAIL-400"},
        "result": result,
        "calls": [call],
        "no_prompt": None,
        "tool_failures": [],
        "totals": {"usage": usage, "attempts": 1, "cost_usd": 0.0, "duration_s": shown["totals"]["duration_s"]},
    }
    asked = f"Your task: Write about FAIL-400\n\nYour final answer must satisfy: One line\n{REPLY}"
    assert call == {
        "seq": 5,
        "session": 2,
        "task": "draft",
        "kind": "failure",
        "model": "openai/gpt-4.1-mini",
        "prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}],
        "prompt_source": "rebuilt",
        "usage": usage,
        "cost_usd": 0.0,
        "attempts": 1,
        "error": "BadRequest: HTTP 400: FAIL-400 asked the mock for this 400",
    }


@pytest.mark.parametrize(
    ("row_id", "said"),
    [
        pytest.param("08a80e35690e5975", f"no such row in {STATE} (did you mean '{T0}'?)", id="like another"),
        pytest.param("", f"no such row in {STATE}", id="empty"),
        pytest.param("d", f"several rows have such ids: {T1}, {NO_JSON}; write it out", id="of several"),
    ],
)
def test_an_id_that_is(looked_at: Place, row_id: str, said: str) -> None:
    """It is refused, with the nearest one or those that it may be."""
    assert looked_at.refused("show", RESULTS, row_id) == f"{row_id!r}: {said}"


@pytest.fixture
def edited(tmp_path: Path, mock: MockProcess, forks: Forks) -> Place:
    """A row that ran twice: its second task was edited in between."""
    place = Place(tmp_path, environment(mock), forks)
    write_crew(tmp_path, "gpt-4.1-mini", ["Improve it"])
    write_rows(tmp_path / "in.jsonl", topics(1))
    place.do("batch", "in.jsonl", "--log-prompts")
    write_crew(tmp_path, "gpt-4.1-mini", ["Shorten it"])
    place.do("batch", "in.jsonl")
    return place


def test_show_has_only_prompts_that_were_sent(edited: Place) -> None:
    """After the crew was edited they come from the log where that has them; what cannot be proven is not shown."""

    def prompts(*more: str) -> list[Any]:
        calls = edited.json("show", RESULTS, T0)["calls"]
        first = [(call["prompt"] or [{}])[-1].get("content", "").partition("\n")[0] for call in calls]
        return [(c["session"], c["prompt_source"], text) for c, text in zip(calls, first, strict=True)]

    kept = [(1, "log", "Your task: Write about topic 0"), (1, "log", "Your task: Improve it")]
    assert prompts() == [*kept, (2, "rebuilt", "Your task: Shorten it")]
    write_crew(edited.folder, "gpt-4.1-mini", ["Lengthen it"])
    assert prompts() == [*kept, (2, None, "")]
    assert edited.do("show", RESULTS, T0).stdout.splitlines()[-3] == (
        "prompts that are not shown: --log-prompts would have kept them; "
        "the crew, its model or its endpoint has changed, or a coworker, guardrail or callback contributed"
    )
    (edited.folder / "crew.yaml").unlink()
    assert edited.do("show", RESULTS, T0).stdout.splitlines()[-3] == (
        "prompts that are not shown: --log-prompts would have kept them; crew.yaml: no such file"
    )


KIT = r'''
from crewrun import Agent, Crew, Task
from crewrun.tools import tool

@tool("search")
def search(query: str) -> str:
    """Finds things."""
    return "found \x1b[1mit"

words = {"goal": "g", "backstory": "b", "llm": "gpt-4.1-mini"}
boss = Agent(role="Boss", allow_delegation=True, **words)
hand = Agent(role="Hand", tools=[search], **words)
crew = Crew(
    agents=[boss, hand],
    tasks=[
        Task(name="seek", description="Seek {topic} CALL-search", expected_output="x", agent=hand),
        Task(name="lead", description="Lead CALL-ask_question_to_coworker", expected_output="x", agent=boss),
    ],
)
'''


def test_show_of_tools_and_coworkers(tmp_path: Path, mock: MockProcess, forks: Forks) -> None:
    """What tools were asked and gave, but nothing that steers a terminal; a coworker's calls are its boss's task's."""
    place = Place(tmp_path, environment(mock), forks)
    (tmp_path / "kit.py").write_text(KIT)
    write_rows(tmp_path / "in.jsonl", topics(1))
    place.do("batch", "in.jsonl", "--crew", "kit.py:crew")
    shown = place.json("show", RESULTS, T0)
    assert [
        (
            call["task"],
            call["kind"],
            [message["role"] for message in call.get("prompt") or ()],
            [asked["name"] for asked in call.get("tool_calls", ())] or call.get("result", "said"),
        )
        for call in shown["calls"]
    ] == [
        ("seek", "answer", ["system", "user"], ["search"]),
        ("seek", "tool", [], "found \x1b[1mit"),
        ("seek", "answer", ["system", "user", "assistant", "tool"], "said"),
        ("lead", "answer", ["system", "user"], ["ask_question_to_coworker"]),
        ("lead", "answer", [], ["search"]),
        ("lead", "tool", [], "found \x1b[1mit"),
        ("lead", "answer", [], "said"),
        ("lead", "answer", [], "said"),
    ]
    text = place.do("show", RESULTS, T0).stdout
    assert text.count('  asks for search {"query": ') == 3  # the last one in the prompt after a call
    assert re.search(r"^tool search · task seek · .*, session 1\n    found \\x1b\[1mit$", text, re.MULTILINE)


# --- export -----------------------------------------------------------------------------------------------------------


def test_export_writes_the_lines_of_the_results(looked_at: Place) -> None:
    """As they stand there, and those that ended so."""
    lines = looked_at.results.read_text().splitlines(keepends=True)
    assert looked_at.do("export", RESULTS).stdout == "".join(lines)
    assert looked_at.do("export", STATE, "--status", "ok").stdout == "".join(lines[:2])


def test_export_as_csv(looked_at: Place) -> None:
    """A column for each input; what a row has not is empty."""
    table = csv.DictReader(io.StringIO(looked_at.do("export", RESULTS, "-f", "csv", "--status", "failed").stdout))
    took = ("cost_usd", "prompt_tokens", "completion_tokens", "duration_s", "models")
    assert sorted([value for name, value in row.items() if name not in took] for row in table) == [
        [REFUSED, "3", "failed", "FAIL-400", "", "bad_request", "HTTP 400: FAIL-400 asked the mock for this 400"],
        [NO_JSON, "2", "failed", "", "", "input", "line 3: column 1: not JSON: Expecting value"],
    ]
    assert table.fieldnames == [
        *("id", "index", "status", "input.topic", "output", "error.category", "error.message"),
        *took,
    ]


FORMULAS = ("=1+1", "+49 30 1234", "-5", "@SUM(A1)", "\t=1", "\r=1", "=")
PLAIN = ("", "a=1", " =1", "\n=1", "'=1", "5-3", "\u2212" + "5", "{=1}")


@pytest.mark.parametrize("flags", [(), ("--no-formula-guard",)], ids=["guarded", "as they are"])
def test_no_text_of_a_csv_is_a_formula(flags: tuple[str, ...], tmp_path: Path, forks: Forks) -> None:
    """Wherever it came from: input, output, error, model. A number of the row stays one, whatever its sign."""
    texts = [*FORMULAS, *PLAIN]
    numbers = [-5, -0.5, 1e-9, True, None, ["=1"], {"=": "=1"}]
    lines = [
        {
            "schema": "crewrun.result/1",
            "id": f"-{index}",
            "index": index,
            "status": "failed",
            "input": {"=text": text, "number": numbers[index % len(numbers)]},
            "output": {"-text": text} if index % 2 else text,
            "error": {"category": "tool", "message": text},
            "cost_usd": -0.25,
            "usage": {"prompt_tokens": -3, "completion_tokens": 4},
            "duration_s": -1.5,
            "started_at": "2026-11-21T02:15:03.120Z",
            "models": ["@cf/model", "b"],
        }
        for index, text in enumerate(texts)
    ]
    write_rows(tmp_path / "in.results.jsonl", lines)
    done = forks.crewrun("export", "in.results.jsonl", "-f", "csv", *flags, cwd=tmp_path)
    guard = "" if flags else "'"
    shown = [f"{guard}{text}" if text in FORMULAS else text for text in texts]
    assert list(csv.DictReader(io.StringIO(done.stdout, newline=""))) == [
        {
            "id": f"{guard}-{index}",
            "index": str(index),
            "status": "failed",
            "input.=text": text,
            "input.number": json.dumps(numbers[index % len(numbers)]),
            "output": "" if index % 2 else text,
            "output.-text": text if index % 2 else "",
            "error.category": "tool",
            "error.message": text,
            "cost_usd": "-0.25",
            "prompt_tokens": "-3",
            "completion_tokens": "4",
            "duration_s": "-1.5",
            "models": f"{guard}@cf/model, b",
        }
        for index, text in enumerate(shown)
    ]


def test_a_structured_output_has_a_column_for_each_field(place: Place) -> None:
    """Also in a CSV without a row that has them, and when the results are made again: the header is the run's."""
    fields = "{label: {type: string, enum: [good]}, marks: {type: array, items: {enum: [1]}, minItems: 1}}"
    crew = place.folder / "crew.yaml"
    schema = f"output_schema: {{type: object, properties: {fields}, required: [label, marks]}}"
    crew.write_text(crew.read_text().replace("expected_output: One line", f"expected_output: One line\n    {schema}"))
    write_rows(place.folder / "in.jsonl", [{"topic": "a", "more": {"n": 1}}, {"about": "b"}])
    place.do("batch", "in.jsonl", "-j", "1", "--ordered", code=3)

    def table(*flags: str) -> list[list[str]]:
        return [line[1:-5] for line in csv.reader(io.StringIO(place.do("export", STATE, "-f", "csv", *flags).stdout))]

    header = [
        *("index", "status", "input.topic", "input.more", "input.about"),
        *("output", "output.label", "output.marks", "error.category", "error.message"),
    ]
    ok = ["0", "ok", "a", '{"n": 1}', "", "", "good", "[1]", "", ""]
    why = "line 2: missing 'topic' (needed by task 'draft')"
    failed = ["1", "failed", "", "", "b", "", "", "", "input", why]
    for _ in ("as they stand", "made again"):
        assert table() == [header, ok, failed]
        assert table("--status", "failed") == [header, failed]
        place.results.unlink(missing_ok=True)
    write_rows(place.folder / "in.jsonl", [{"topic": "a", "more": {"n": 1}}])
    place.do("batch", "in.jsonl")
    assert table("--status", "failed") == [[name for name in header if name != "input.about"]]


def test_costs_are_written_without_the_noise_of_binary_sums(place: Place, mock: MockProcess) -> None:
    """To 1e-10 dollars, the same wherever they are written again: no comparison finds a difference."""
    write_crew(place.folder, "gpt-4.1-mini", ["Improve it"])
    write_rows(place.folder / "in.jsonl", [{"topic": "word " * count} for count in range(1, 8)])
    place = place._replace(env=environment(mock))
    words = ("batch", "in.jsonl", "--ordered", "--price", "gpt-4.1-mini=0.1,0.7")
    place.do(*words)
    before = place.results.read_bytes()
    rows = read_rows(place.results)
    costs = [(row["usage"]["prompt_tokens"] + 7 * row["usage"]["completion_tokens"]) / 10**7 for row in rows]
    assert [row["cost_usd"] for row in rows] == costs
    exported = place.do("export", RESULTS, "-f", "csv").stdout
    assert [float(row["cost_usd"]) for row in csv.DictReader(io.StringIO(exported))] == costs
    place.results.unlink()
    assert place.do("export", RESULTS).stdout.encode() == before
    place.do(*words, "--replay")
    assert (place.results.read_bytes(), differences(place)) == (before, {})
    place.do("merge", RESULTS, "-o", "all.jsonl")
    assert (place.folder / "all.jsonl").read_bytes() == before


def test_export_of_results_without_a_run_folder(place: Place) -> None:
    """Merged or copied ones: the last line of each id, whichever kinds of output they have; the rest is counted."""
    place.do("batch", "in.jsonl", "--ordered")
    old, text, failed = map(json.loads, place.lines)
    new = old | {"output": {"label": "good", "why": None, "n": {"x": 1}}, "models": ["a", "b"]}
    text["output"] = "said"
    failed |= {"status": "failed", "output": None, "error": {"category": "x", "message": "y"}}
    del failed["usage"], failed["cost_usd"], failed["duration_s"], failed["models"]
    write_rows(place.folder / "copy.jsonl", [old, failed, "nothing", {}, text, new])
    place.results.unlink()
    left_out = "crewrun: lines of copy.jsonl that are left out: 1 duplicated, 2 that are not results\n"

    done = place.do("export", "copy.jsonl")
    assert ([json.loads(line) for line in done.stdout.splitlines()], done.stderr) == ([failed, text, new], left_out)
    done = place.do("export", "copy.jsonl", "-f", "csv", "--ordered")
    took = ("prompt_tokens", "completion_tokens", "duration_s")
    rows = [{k: v for k, v in row.items() if k not in took} for row in csv.DictReader(io.StringIO(done.stdout))]
    names = [
        *("id", "index", "status", "input.topic", "output", "output.label", "output.why", "output.n.x"),
        *("error.category", "error.message", "cost_usd", "models"),
    ]
    assert [list(rows[0]), *(list(row.values()) for row in rows)] == [
        names,
        [T0, "0", "ok", "topic 0", "", "good", "null", "1", "", "", "0.0", "a, b"],
        [T1, "1", "ok", "topic 1", "said", "", "", "", "", "", "0.0", "offline"],
        [T2, "2", "failed", "topic 2", "", "", "", "", "x", "y", "", ""],
    ]
    assert done.stderr == (
        f"{left_out}crewrun: --ordered by the places that rows had when they ran, because copy.jsonl has no run "
        "folder\n"
    )
    table = list(csv.reader(io.StringIO(place.do("export", "copy.jsonl", "--status", "failed", "-f", "csv").stdout)))
    assert (table[0][:8], [row[0] for row in table[1:]]) == (names[:8], [T2])


def test_results_without_a_run_folder_that_are_not_whole(copy: Place) -> None:
    """A line that was cut off is a result that is missing; a file without any is refused, an empty one is no rows."""
    shutil.rmtree(copy.folder / STATE)
    whole = copy.results.read_bytes()
    one, two, _ = copy.lines
    copy.results.write_bytes(whole[:-9])
    done = copy.do("export", RESULTS, code=3)
    assert (done.stdout.encode(), done.stderr) == (
        one + two,
        f"crewrun: lines of {RESULTS} that are left out: 1 incomplete\n",
    )
    assert copy.refused("export", RESULTS, "-o", RESULTS) == f"-o {RESULTS}: is a file of the run itself; name another"
    assert copy.refused("export", "in.jsonl", "-o", "out.csv") == (
        "in.jsonl: has no run folder, and none of its lines is a result; "
        "RUN is a results file of crewrun batch or merge, or a run folder"
    )
    assert not (copy.folder / "out.csv").exists()
    copy.results.write_bytes(b"")
    assert copy.do("export", RESULTS).stdout == ""


def test_export_leaves_out_what_is_no_result_of_the_run(copy: Place) -> None:
    """It says how many lines, what is wrong with them, and how many results are missing for it."""
    one, two, three = copy.lines
    copy.results.write_bytes(b"".join([two, b"me\n", three, three, one[:-5]]))
    done = copy.do("export", RESULTS, "--ordered", code=3)
    assert done.stdout.encode() == two + three
    assert done.stderr == (
        f"crewrun: lines of {RESULTS} that are left out: 1 incomplete, 1 different from the journal, 1 duplicated; "
        f"missing in {RESULTS}: 1 result; to restore them: crewrun retry {RESULTS}\n"
    )


def test_export_says_which_results_are_missing(place: Place) -> None:
    """Exit code 3, with the command that makes them again; rows that the input has no more are not missed."""
    place.do("batch", "in.jsonl", "--ordered")
    write_rows(place.folder / "in.jsonl", topics(2))
    place.do("batch", "in.jsonl", "--ordered")
    one, _ = place.lines
    assert place.do("export", RESULTS).stderr == ""
    place.results.write_bytes(one)
    done = place.do("export", RESULTS, code=3)
    assert (done.stdout.encode(), done.stderr) == (
        one,
        f"crewrun: missing in {RESULTS}: 1 result; to restore them: crewrun batch in.jsonl --ordered\n",
    )
    assert place.do("export", RESULTS, "--status", "failed").stdout == ""
    place.do("batch", "in.jsonl", "--ordered")
    assert len(place.do("export", RESULTS).stdout.splitlines()) == 2


def test_export_in_the_order_that_the_input_has_now(place: Place) -> None:
    """`index` is where rows stood when they ran: where the input is gone that is all that is known."""
    place.do("batch", "in.jsonl", "-j", "1")
    write_rows(place.folder / "in.jsonl", [{"topic": "new"}, *reversed(topics(3))])
    place.do("batch", "in.jsonl")

    def ordered() -> list[str]:
        lines = place.do("export", RESULTS, "--ordered").stdout.splitlines()
        return [json.loads(line)["input"]["topic"] for line in lines]

    assert ordered() == ["new", "topic 2", "topic 1", "topic 0"]
    (place.folder / "in.jsonl").unlink()
    assert ordered() == ["topic 0", "new", "topic 1", "topic 2"]


def test_export_of_results_that_were_deleted(copy: Place) -> None:
    """They are made again from the journal and the input, byte for byte; status says that they are gone."""
    before = copy.results.read_bytes()
    copy.results.unlink()
    assert copy.do("export", RESULTS).stdout.encode() == before
    assert copy.do("status", STATE).stdout.splitlines()[-1].startswith(f"{RESULTS}: no longer exists; to restore it")


def test_export_to_a_file(copy: Place) -> None:
    """It is there when it is whole; a file of the run itself is refused."""
    copy.do("export", RESULTS, "-f", "csv", "-o", "out.csv")
    assert len((copy.folder / "out.csv").read_text().splitlines()) == 4
    for taken in (RESULTS, f"{STATE}/lock", f"{STATE}/journal.sqlite-wal"):
        assert copy.refused("export", RESULTS, "-o", taken) == f"-o {taken}: is a file of the run itself; name another"
    assert sorted(path.name for path in copy.folder.iterdir()) == [
        "crew.yaml",
        "in.jsonl",
        RESULTS,
        STATE,
        "out.csv",
    ]


def test_export_to_a_file_of_another_format(copy: Place) -> None:
    """As its name says, with the columns that are asked for; `-f` says it for any name and for stdout."""
    ids = [json.loads(line)["id"] for line in copy.lines]
    for name in ("out.tsv", "out.csv.gz", "out.parquet", "out.xlsx", "out.jsonl.zst"):
        copy.do("export", RESULTS, "-o", name)
    read = gzip.decompress((copy.folder / "out.csv.gz").read_bytes()).decode()
    assert [row["id"] for row in csv.DictReader(io.StringIO(read))] == ids
    assert pq.read_table(copy.folder / "out.parquet")["id"].to_pylist() == ids
    sheet = CalamineWorkbook.from_path(copy.folder / "out.xlsx").get_sheet_by_index(0)
    assert [row[0] for row in sheet.to_python()[1:]] == ids
    lines = zstandard.ZstdDecompressor().stream_reader((copy.folder / "out.jsonl.zst").read_bytes()).read()
    assert lines.splitlines(keepends=True) == copy.lines
    chosen = copy.do("export", RESULTS, "--columns", "status,id", "-f", "tsv").stdout
    assert chosen == "".join(["status\tid\n", *(f"ok\t{one}\n" for one in ids)])
    shell(
        f"crewrun export {RESULTS} -f parquet > piped; crewrun export {RESULTS} -f xlsx | cat > piped.xlsx", copy.folder
    )
    assert pq.read_table(copy.folder / "piped")["id"].to_pylist() == ids
    piped = CalamineWorkbook.from_path(copy.folder / "piped.xlsx").get_sheet_by_index(0)
    assert piped.to_python() == sheet.to_python()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(
            ("-o", "x.xls"),
            "x.xls: .xls cannot be written; name a file that ends in .jsonl, .csv, .tsv, .parquet or .xlsx",
            id="a table of others",
        ),
        pytest.param(
            ("-o", "x.parquet.gz"),
            "x.parquet.gz: parquet is compressed inside already; name a file without .gz",
            id="compressed twice",
        ),
        pytest.param(
            ("--columns", "id,tpoic"),
            "--columns: no column 'tpoic' (an input is 'input.tpoic', a field of the output 'output.tpoic'); the",
            id="no such column",
        ),
    ],
)
def test_an_export_that_cannot_be(copy: Place, flags: tuple[str, ...], said: str) -> None:
    """Nothing is written, and what is possible is said."""
    before = sorted(path.name for path in copy.folder.iterdir())
    assert copy.refused("export", RESULTS, *flags).startswith(said)
    assert sorted(path.name for path in copy.folder.iterdir()) == before


def test_a_column_that_no_row_has_is_warned_about(copy: Place) -> None:
    """It is there, and empty."""
    done = copy.do("export", RESULTS, "--columns", "id,input.topc", "-f", "csv")
    assert (
        done.stderr
        == "warning: --columns: no row has 'input.topc' (did you mean 'input.topic'?); they have input.topic, output\n"
    )
    assert {row["input.topc"] for row in csv.DictReader(io.StringIO(done.stdout))} == {""}


def test_a_reader_that_has_gone_ends_a_command_quietly(copy: Place) -> None:
    """As it ends `cat`."""
    done = shell(f"crewrun export {RESULTS} | true; echo ${{PIPESTATUS[0]}}", cwd=copy.folder)
    assert (done.stdout, done.stderr) == ("141\n", "")


# --- results in a stream, rows from a pipe ----------------------------------------------------------------------------


def test_a_run_whose_results_went_to_a_stream(place: Place) -> None:
    """Its run folder is enough: what was printed can be printed again, and a row be shown."""
    write_rows(place.folder / "in.jsonl", topics(2))
    printed = place.do("batch", "in.jsonl", "-o", "-", "--run-dir", "rd", "--ordered").stdout
    assert place.do("export", "rd", "--ordered").stdout == printed
    assert place.said("status", "rd", "--verify")[1::2] == [
        "rows: 2 ok, 0 failed",
        "not compared: results: they went to a stream",
    ]
    assert place.json("show", "rd", T0)["result"] == json.loads(printed.splitlines()[0])


def test_a_run_whose_rows_came_through_a_pipe(place: Place) -> None:
    """What cannot be known any more is said, and results that are nowhere cannot be exported."""
    place.forks.crewrun("batch", "-", "--run-dir", "rd", cwd=place.folder, stdin='{"topic": "topic 0"}\n')
    assert place.said("status", "rd", "--verify")[-3:] == [
        "not compared: results: they went to a stream",
        "not compared: input: the rows came through a pipe, which cannot be read again",
        "verified: no difference",
    ]
    shown = place.json("show", "rd", T0)
    assert (shown["status"], shown["input"], shown["no_prompt"]) == (
        "ok",
        None,
        "the row's input no longer exists",
    )
    assert place.refused("export", "rd") == (
        "rd: its results went to a stream and its rows came through a pipe, so the results cannot be restored"
    )


# --- what is no run, or a damaged one ---------------------------------------------------------------------------------

IS = "RUN is a results file of crewrun batch, or the run folder next to it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("status", "nix"), f"nix: no such run; {IS}", id="nothing"),
        pytest.param(("show", "in.jsonl", "x"), f"in.jsonl: has no run folder in.jsonl.crewrun; {IS}", id="the input"),
        pytest.param(("export", "."), ".: is not a run folder; there is no manifest.json in it", id="a folder"),
        pytest.param(("status", "x" * 300), f"{'x' * 200}: cannot be read: File name too long", id="a long name"),
        pytest.param(("gc", "nix"), "nix: no such folder", id="gc of nothing"),
        pytest.param(("gc", "in.jsonl"), "in.jsonl: is not a folder", id="gc of a file"),
        pytest.param(
            ("export", RESULTS, "-o", "nix/x"), "nix/x: cannot be written: No such file or directory", id="-o"
        ),
    ],
)
def test_what_is_no_run_is_refused(offline_run: Place, words: tuple[str, ...], said: str) -> None:
    """In one line, which says what a run is."""
    assert offline_run.refused(*words) == said


@pytest.mark.parametrize(
    ("words", "name", "content", "said"),
    [
        pytest.param(
            *("status", "journal.sqlite"),
            *(lambda whole: whole[:9000], "is damaged: database disk image is malformed; to start over: "),
            id="a cut journal",
        ),
        pytest.param("show", "journal.sqlite", lambda _: b"", "is empty; to start over: ", id="an empty journal"),
        pytest.param("export", "journal.sqlite", None, "is missing; to start over: ", id="no journal"),
        pytest.param(
            *("verify", "journal.sqlite"),
            *(lambda _: b"nothing of SQLite's", "is damaged: file is not a database; to start over: "),
            id="no journal's",
        ),
        pytest.param(
            *("status", "journal.sqlite"),
            *(lambda whole: whole[:60] + b"\0\0\0\x63" + whole[64:], "was made by a newer crewrun (schema 99, "),
            id="a newer journal",
        ),
        pytest.param(
            *("export", "manifest.json", None),
            "is missing; repeat the command of the run, which writes a new one",
            id="no manifest",
        ),
        pytest.param("show", "manifest.json", lambda _: b"{", "is damaged (JSONDecodeError: ", id="a cut manifest"),
        pytest.param(
            *("status", "manifest.json"),
            lambda whole: whole.replace(b"crewrun.run/1", b"crewrun.run/2"),
            "is of schema 'crewrun.run/2', this crewrun knows crewrun.run/1; use the crewrun that made it",
            id="a newer manifest",
        ),
        *(
            pytest.param(
                *(command, "manifest.json"),
                lambda whole, wrong=wrong: json.dumps(json.loads(whole) | wrong).encode(),
                f"is damaged ({why}); repeat the command of the run, which writes a new one",
                id=f"{command} with {wrong}",
            )
            for command, wrong, why in (
                ("status", {"options": None}, "options: Input should be a valid dictionary"),
                ("retry", {"command": None}, "command: Input should be a valid list"),
                ("verify", {"cwd": 5}, "cwd: Input should be a valid string"),
                ("export", {"inputs": None}, "inputs: Input should be a valid string"),
            )
        ),
    ],
)
def test_a_run_that_is_damaged(
    copy: Place, words: str, name: str, content: Callable[[bytes], bytes] | None, said: str
) -> None:
    """One line names the file, what is wrong with it and the way out."""
    path = copy.folder / STATE / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content(path.read_bytes()))
    commands = {"verify": ("status", RESULTS, "--verify"), "show": ("show", RESULTS, T0)}
    assert f"{STATE}/{name}: {said}" in copy.refused(*commands.get(words, (words, RESULTS)))


def test_a_manifest_of_the_wrong_kind_hides_no_other_run(copy: Place, offline_run: Place) -> None:
    """gc lists the run as damaged and goes on; a batch writes the manifest anew, save one of a newer crewrun's."""
    path = copy.folder / STATE / "manifest.json"
    whole = json.loads(path.read_text()) | {"cwd": str(copy.folder), "output": str(copy.results)}
    path.write_text(json.dumps(whole | {"options": {"limit": "x"}, "cwd": str(copy.folder)}))
    assert copy.refused("retry", RESULTS) == (
        "the manifest.json of the run is damaged (options.limit: Input should be a valid integer, unable to parse "
        "string as an integer); repeat the command of the run, which writes a new one"
    )
    path.write_text(json.dumps(whole | {"command": 7}))
    shutil.copytree(offline_run.folder, copy.folder / "other")
    assert [run["state"] for run in copy.json("gc")["runs"]] == ["damaged", "finished"]
    path.unlink()
    os.mkfifo(path)  # that nobody writes to
    assert copy.refused("status", RESULTS) == f"{STATE}/manifest.json: cannot be read: is not a file"
    copy.do("batch", "in.jsonl")
    assert json.loads(path.read_text())["command"] == ["crewrun", "batch", "in.jsonl"]
    path.write_text(json.dumps(whole | {"schema": "crewrun.run/2"}))
    before = path.read_bytes()
    assert "is of schema 'crewrun.run/2'" in copy.refused("batch", "in.jsonl")
    assert path.read_bytes() == before


def test_verify_finds_what_is_wrong_inside_the_journal(copy: Place) -> None:
    """Where it can be opened and its pages are no good."""
    whole = copy.journal.read_bytes()
    copy.journal.write_bytes(whole[:-4096] + bytes(4096))
    said = copy.said("status", RESULTS, "--verify", code=3)
    assert said[0] == "not compared: results and input: the journal is damaged"
    assert said[1].startswith("  1 × faults in the journal: ")
    assert said[2].startswith("the run cannot go on; start over with: ")
    assert said[2].endswith("crewrun batch in.jsonl -j 1 --fresh")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere")
def test_a_run_where_nothing_may_be_written_is_looked_at_all_the_same(copy: Place) -> None:
    """As on an archive that is mounted for reading; gc says what it could not look into or delete."""
    state = copy.folder / STATE
    for left in state.glob("journal.sqlite-*"):
        left.unlink()
    (copy.folder / "secret.crewrun").mkdir(mode=0o600)
    state.chmod(0o500)
    dropped = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")

    def do(*args: str) -> tuple[int, str, str]:
        command = [*(dropped if os.geteuid() == 0 else ()), *PROGRAM, *args]
        done = subprocess.run(command, cwd=copy.folder, env=clean_env(), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, said, _ = do("status", RESULTS, "--verify")
    assert (code, said.splitlines()[1::2]) == (0, ["rows: 3 ok, 0 failed", "verified: no difference"])
    code, said, why = do("gc", "--delete", "--finished")
    assert (code, said.partition(",")[0], why) == (
        2,
        f"{STATE}: finished",
        f"crewrun: {STATE}: cannot be deleted: Permission denied\n",
    )
    copy.results.chmod(0)
    assert do("export", RESULTS) == (2, "", f"crewrun: {RESULTS}: cannot be read: Permission denied\n")


def test_a_run_that_was_moved_is_found_where_it_is(copy: Place) -> None:
    """Results and run folder together, seen from elsewhere; what goes on with it there is a retry."""
    status = json.loads(copy.do("status", copy.results, "--json", cwd=copy.folder.parent).stdout)
    assert (status["results"], status["rows"]) == (str(copy.results), {"ok": 3, "failed": 0, "in_flight": 0})
    before = copy.results.read_bytes()
    copy.results.write_bytes(b"")
    assert copy.said("status", STATE, "--verify", code=3)[-1] == f"to repair the results: crewrun retry {RESULTS}"
    copy.do("retry", RESULTS)
    assert (copy.results.read_bytes(), differences(copy)) == (before, {})


def test_results_that_became_a_link(place: Place) -> None:
    """To a name that is not there yet: the state of the run is not forgotten, and goes where the results go."""
    place.do("batch", "in.jsonl")
    before = sorted(place.lines)
    place.results.unlink()
    place.results.symlink_to("far.jsonl")
    assert place.refused("batch", "in.jsonl") == (
        f"{RESULTS}: is a link to far.jsonl now, and the state of its run is still {STATE}; "
        "move that to far.jsonl.crewrun, or --fresh starts over"
    )
    assert place.json("status", RESULTS)["rows"] == {"ok": 3, "failed": 0, "in_flight": 0}
    (place.folder / STATE).rename(place.folder / "far.jsonl.crewrun")
    place.do("batch", "in.jsonl")
    assert (sorted(place.lines), differences(place)) == (before, {})


def test_a_run_folder_that_was_named_says_where_the_results_are(place: Place) -> None:
    """Whatever stands beside it under its name: a folder, or the input."""
    (place.folder / "out").mkdir()
    for output, run_dir in (("out/r.jsonl", "out.crewrun"), ("r.jsonl", "in.jsonl.crewrun")):
        place.do("batch", "in.jsonl", "-o", output, "--run-dir", run_dir)
        status = place.json("status", run_dir)
        assert (status["results"], status["rows"]["ok"]) == (str(place.folder / output), 3)
        assert differences(place, run_dir) == {}


def test_a_run_that_was_moved_away_is_a_run_of_its_own(place: Place) -> None:
    """Its command is a retry, which leaves the newer run alone, also with a run folder that was named."""
    for flags in ((), ("-o", "r.jsonl", "--run-dir", "state")):
        write_rows(place.folder / "in.jsonl", ["nonsense", *topics(2)])
        place.do("batch", "in.jsonl", *flags, code=3)
        place.do("batch", "in.jsonl", *flags, "--fresh", code=3)
        newer, backup = (place.folder / name for name in (("r.jsonl", "r.1.jsonl") if flags else (RESULTS, OLDER)))
        before = newer.read_bytes(), len(backup.read_bytes().splitlines())
        backup.write_bytes(b"")
        assert place.said("status", backup.name, "--verify", code=3)[-1] == (
            f"to repair the results: crewrun retry {backup.name}"
        )
        place.do("retry", backup.name, code=3)
        assert (newer.read_bytes(), len(backup.read_bytes().splitlines())) == before
        assert differences(place, backup.name) == {}
        assert place.said("status", backup.name)[-1] == f"to run what failed again: crewrun retry {backup}"


@pytest.mark.parametrize(
    ("flags", "env", "more"),
    [
        pytest.param(["--fresh"], {}, [], id="a flag"),
        pytest.param([], {"CREWRUN_FRESH": "1"}, ["--no-fresh"], id="the environment"),
        pytest.param(["--fresh"], {"CREWRUN_FRESH": "1"}, ["--no-fresh"], id="both"),
    ],
)
def test_what_goes_on_with_a_run_does_not_begin_it_anew(
    place: Place, flags: list[str], env: dict[str, str], more: list[str]
) -> None:
    """Where --fresh is set by the environment or the crew's file, the command denies it."""
    write_rows(place.folder / "in.jsonl", ["nonsense", *topics(2)])
    place = place._replace(env=env)
    done = place.do("batch", "in.jsonl", "-j", "1", "--fail-fast", *flags, code=4)
    command = " ".join(["crewrun", "batch", "in.jsonl", "-j", "1", "--fail-fast", *more])
    assert done.stderr.splitlines()[-1] == f"0 ok, 1 failed, 2 left; to go on: {command}"
    assert place.said("status", RESULTS)[-1] == f"to go on: {command}"
    place.do(*command.split()[1:], code=4)
    assert not (place.folder / OLDER).exists()


def test_a_disk_that_is_full_before_the_first_row(place: Place) -> None:
    """The run and status say what goes on: the same command, since there is nothing yet to begin anew."""
    said = own_process.shell(
        "trap '' XFSZ; (ulimit -f 4; python -B -m crewrun batch in.jsonl; echo $?) 2>&1 | cat", place.folder
    ).stdout
    assert said.splitlines()[1:] == ["to go on: crewrun batch in.jsonl", "1"]
    assert place.refused("status", RESULTS) == f"{STATE}: the run has not begun; to begin it: crewrun batch in.jsonl"
    place.do("batch", "in.jsonl")
    assert len(place.lines) == 3


# --- gc ---------------------------------------------------------------------------------------------------------------


def test_gc_deletes_what_nothing_needs(offline_run: Place, tmp_path: Path) -> None:
    """Finished runs when that is asked for; what is damaged stays, and so do results and other files."""
    place = Place(tmp_path, {}, offline_run.forks)
    for name in ("finished", "orphan", "damaged"):
        shutil.copytree(offline_run.folder, tmp_path / name)
    (tmp_path / "orphan" / RESULTS).unlink()
    (tmp_path / "orphan" / STATE / "mine.txt").touch()
    (tmp_path / "damaged" / STATE / "journal.sqlite").write_bytes(b"")
    assert not [run for run in place.json("gc", "--older-than", "1")["runs"] if run["state"] != "damaged"]
    listed = {run["path"]: run["size_bytes"] for run in place.json("gc")["runs"]}

    def deleted(*flags: str) -> tuple[list[tuple[Any, ...]], list[str]]:
        found = place.json("gc", "--delete", *flags)
        gone = [run["path"] for run in found["runs"] if run["deleted"]]
        assert found["freed_bytes"] == sum(listed[path] for path in gone)
        return [(run["path"], run["state"], run["rows"]) for run in found["runs"]], gone

    runs = [(f"damaged/{STATE}", "damaged", None), (f"finished/{STATE}", "finished", 3)]
    assert deleted() == ([*runs, (f"orphan/{STATE}", "orphan", 3)], [f"orphan/{STATE}"])
    assert deleted() == (runs, [])
    assert deleted("--finished") == (runs, [f"finished/{STATE}"])
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.parent != tmp_path)
    assert [path for path in left if not path.startswith("damaged/")] == [
        *(f"finished/{name}" for name in ("crew.yaml", "in.jsonl", RESULTS)),
        *(f"orphan/{name}" for name in ("crew.yaml", "in.jsonl", STATE, f"{STATE}/mine.txt")),
    ]


def test_gc_keeps_a_run_of_which_rows_have_failed(place: Place) -> None:
    """They can be run again, and the others need not: such a run is not finished."""
    write_rows(place.folder / "in.jsonl", ["nonsense", *topics(2)])
    place.do("batch", "in.jsonl", code=3)
    assert place.said("gc", "--delete", "--finished")[0].startswith(f"{STATE}: unfinished, 3 rows, ")
    write_rows(place.folder / "in.jsonl", topics(3))
    done = place.do("retry", RESULTS)
    assert done.stderr.startswith("rows: 2 done, 1 new\n1 ok, 0 failed, 2 done before in ")


def test_gc_knows_what_fresh_moved_away(place: Place) -> None:
    """The newer run has its place; without --delete it says what could go, and looking changes nothing."""
    write_rows(place.folder / "in.jsonl", topics(1))
    place.do("batch", "in.jsonl")
    place.do("batch", "in.jsonl", "--fresh")
    files = sorted(place.folder.rglob("*"))
    assert [re.sub(r"[\d.]+ kB", "<size>", line) for line in place.said("gc")] == [
        "in.results.1.jsonl.crewrun: aside, 1 row, <size>, <then>",
        f"{STATE}: finished, 1 row, <size>, <then>",
        "--delete would free <size>",
        "--delete --finished would free <size>",
    ]
    assert sorted(place.folder.rglob("*")) == files
