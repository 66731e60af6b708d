"""`crewrun check`, `init`, `schema` and `bench`, as processes: what they print and how they end."""

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import command as own_process
from support.command import CREW as PLAIN
from support.command import read_rows, write_crew, write_rows
from support.forks import crewrun, shell

from crewrun import definitions
from crewrun.errors import DefinitionError

CREW = """\
agents:
  writer: {role: "{tone} Writer", goal: Write, backstory: b, tools: [FileReadTool]}
tasks:
  draft: {agent: writer, description: "Write about {topic}", expected_output: One line}
  polish: {agent: writer, description: Polish it, expected_output: One line, output_file: "{topic}.md"}
inputs: {tone: plain}
llm: offline
"""


def check(*args: str, cwd: Path, **env: str) -> dict[str, Any]:
    """The findings as JSON, with the exit code that they must go with."""
    done = crewrun("check", "--json", *args, cwd=cwd, env=env)
    findings: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0 if findings["ok"] else 2, "")
    return findings


@pytest.mark.parametrize("name", ["ad/crew.yaml", "ad"])
def test_a_crew_in_the_place_of_rows_is_told_how_to_be_checked(name: str, tmp_path: Path) -> None:
    """A file or a folder; with exit code 2."""
    (tmp_path / "ad").mkdir()
    write_crew(tmp_path / "ad")
    done = crewrun("check", name, cwd=tmp_path)
    message = f"crewrun: {name} is a crew, not rows: crewrun check --crew {name}\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_a_good_crew_is_described_with_what_the_first_row_asks(tmp_path: Path) -> None:
    """Defaults of the crew are filled in; earlier outputs are named where they will stand."""
    (tmp_path / "crew.yaml").write_text(CREW)
    write_rows(tmp_path / "in.jsonl", [{"topic": "ants"}, {"topic": "bees"}])
    findings = check("in.jsonl", cwd=tmp_path)
    first, second = findings.pop("first_row")
    (model,) = findings.pop("models")
    assert (model["name"], model["name_from"], model["address"]) == ("offline", "llm in crew.yaml:7", None)
    assert findings == {
        "schema": "crewrun.check/1",
        "ok": True,
        "crew": {
            "path": "crew.yaml",
            "kind": "crew.yaml",
            "process": "sequential",
            "agents": [
                {
                    "name": "writer",
                    "role": "{tone} Writer",
                    "model": "offline",
                    "tools": ["read_a_file_s_content"],
                    "tools_in_words": False,
                    "knowledge": None,
                    "skills": [],
                }
            ],
            "tasks": [
                {"name": "draft", "agent": "writer", "tools": [], "schema_in_words": False},
                {"name": "polish", "agent": "writer", "tools": [], "schema_in_words": False},
            ],
            "placeholders": {"topic": "task 'draft'"},
        },
        "constants": {},
        "mcp_servers": [],
        "defaults": None,
        "input_notes": [],
        "warnings": [],
        "problems": [],
        "rows": 2,
        "failing_count": 0,
        "failing_rows": [],
    }
    assert (first["task"], first["agent"], first["messages"][0]["content"].split(".")[0]) == (
        "draft",
        "plain Writer",
        "You are plain Writer",
    )
    assert "Your task: Write about ants\n" in first["messages"][1]["content"]
    assert second["messages"][1]["content"].endswith("earlier:\n[output of 'draft']")


def test_every_row_that_would_fail_is_named(tmp_path: Path) -> None:
    """A missing placeholder, a line that is no JSON, a value that cannot be part of a file's name."""
    (tmp_path / "crew.yaml").write_text(CREW)
    write_rows(tmp_path / "in.jsonl", ['{"tpic": 1}', "nope", '{"topic": "../../etc"}', '{"topic": "ants"}'])
    findings = check("in.jsonl", cwd=tmp_path)
    assert [problem.split(";")[0].split(":")[0] for problem in findings["failing_rows"]] == [
        "line 1",
        "line 2",
        "line 3",
    ]
    assert "missing 'topic' (needed by task 'draft'); the row has 'tpic'" in findings["failing_rows"][0]
    assert "input 'topic' is '../../etc', which cannot be part of a file's name" in findings["failing_rows"][2]
    assert "Write about ants" in findings["first_row"][0]["messages"][1]["content"]


def test_every_problem_of_a_definition_is_named_at_once(tmp_path: Path) -> None:
    """Each with file, line and key path."""
    (tmp_path / "crew.yaml").write_text(CREW.replace("agent: writer", "agent: wrtier").replace("goal: Write,", ""))
    findings = check(cwd=tmp_path)
    assert (findings["crew"], len(findings["problems"])) == (None, 3)
    assert all(re.match(r"crew\.yaml:\d+: \w+\.", problem) for problem in findings["problems"])


def test_what_only_this_machine_lacks_is_a_warning(tmp_path: Path) -> None:
    """A key for the model or a tool; with --strict it is a problem."""
    text = CREW.replace("FileReadTool", "SerperDevTool").replace("offline", "gpt-4o-mini")
    (tmp_path / "crew.yaml").write_text(text)
    findings = check(cwd=tmp_path)
    tool, key = findings["warnings"]
    assert findings["ok"]
    assert tool.startswith("SERPER_API_KEY is not set: agent ")
    assert key.startswith("OPENAI_API_KEY is not set: agent 'writer' uses openai/gpt-4o-mini.")
    assert check("--strict", cwd=tmp_path)["problems"] == [tool, key]
    assert check(cwd=tmp_path, OPENAI_API_KEY="x", SERPER_API_KEY="y")["warnings"] == []


def test_the_findings_are_printed_for_people(tmp_path: Path) -> None:
    """On stdout, since they are the result."""
    (tmp_path / "crew.yaml").write_text(CREW)
    write_rows(tmp_path / "in.jsonl", [{"topic": "ants"}, {}])
    done = crewrun("check", "in.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        "crew.yaml: crew.yaml, sequential",
        "agent writer: offline, tools: read_a_file_s_content",
        "task draft: by writer",
        "task polish: by writer",
        "needs {topic} for task 'draft'",
    ]
    assert lines[5] == "rows: 2, of which 1 would fail"
    assert lines[-1] == "the crew would run, and these rows would fail"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--crew", "no.yaml"], "no.yaml: no such file"),
        (["nowhere.jsonl", "--crew", "crew.yaml"], "nowhere.jsonl: no such file"),
        (["--crew", "broken:crew"], "no module 'broken'"),
    ],
    ids=["crew", "inputs", "module"],
)
def test_what_cannot_be_found_is_a_problem(args: list[str], message: str, tmp_path: Path) -> None:
    """Exit code 2, no traceback."""
    write_crew(tmp_path)
    assert message in check(*args, cwd=tmp_path)["problems"][0]


def test_rows_that_a_callback_completes_are_right(tmp_path: Path) -> None:
    """As batch runs them; what only the callback knows stands in the prompts as its placeholder."""
    (tmp_path / "crew.yaml").write_text(PLAIN.replace("{topic}", "{topic} in {place}"))
    (tmp_path / "made.py").write_text(
        "from crewrun.definitions import load\n"
        "crew = load('crew.yaml').crew\n"
        "crew.before_kickoff_callbacks = [lambda inputs: {**inputs, 'place': 'Rome'}]\n"
    )
    write_rows(tmp_path / "in.jsonl", [{"topic": "ants"}])
    args = ["in.jsonl", "--crew", "made.py:crew", "-m", "offline"]
    findings = check(*args, cwd=tmp_path)
    assert (findings["ok"], findings["rows"], findings["failing_rows"]) == (True, 1, [])
    assert "Write about ants in {place}\n" in findings["first_row"][0]["messages"][1]["content"]
    assert crewrun("batch", *args, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("flags", "env", "model"),
    [
        ([], {}, "offline"),
        ([], {"CREWRUN_MODEL": "gpt-4o"}, "openai/gpt-4o"),
        (["-m", "gpt-5"], {"CREWRUN_MODEL": "gpt-4o"}, "openai/gpt-5"),
    ],
    ids=["file", "variable", "flag"],
)
def test_the_model_is_the_one_that_batch_would_use(
    flags: list[str], env: dict[str, str], model: str, tmp_path: Path
) -> None:
    """A flag over a variable over the file's `batch:` over the agents' own."""
    write_crew(tmp_path, llm="gpt-4o-mini", more="batch: {model: offline}\n")
    findings = check(*flags, cwd=tmp_path, OPENAI_API_KEY="x", **env)
    assert (findings["crew"]["agents"][0]["model"], findings["warnings"]) == (model, [])


def test_the_file_and_the_environment_can_be_strict(tmp_path: Path) -> None:
    """As --strict is, in check and in batch; --no-strict overrules both."""
    (tmp_path / "crew.yaml").write_text(CREW.replace("FileReadTool", "SerperDevTool"))
    write_rows(tmp_path / "in.jsonl", [{"topic": "ants"}])
    (problem,) = check(cwd=tmp_path, CREWRUN_STRICT="1")["problems"]
    assert problem.startswith("SERPER_API_KEY is not set: agent ")
    with open(tmp_path / "crew.yaml", "a") as file:
        file.write("batch: {strict: true}\n")
    assert check(cwd=tmp_path)["problems"] == [problem]
    assert check("--no-strict", cwd=tmp_path)["warnings"] == [problem]
    refused = crewrun("batch", "in.jsonl", cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (2, f"crewrun: {problem}\n")
    assert crewrun("batch", "in.jsonl", "--no-strict", cwd=tmp_path).returncode == 0


def test_a_default_that_no_kickoff_could_take_is_a_problem(tmp_path: Path) -> None:
    """Without rows too: `inputs` that cannot be part of an output_file's name."""
    (tmp_path / "crew.yaml").write_text(CREW.replace("{tone: plain}", "{tone: plain, topic: ../../etc}"))
    (problem,) = check(cwd=tmp_path)["problems"]
    assert "input 'topic' is '../../etc', which cannot be part of a file's name" in problem


def test_of_very_many_failing_rows_the_first_thousand_are_named(tmp_path: Path) -> None:
    """All of them are counted."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", [{}] * 1200)
    findings = check("in.jsonl", cwd=tmp_path)
    assert (findings["rows"], findings["failing_count"], len(findings["failing_rows"])) == (1200, 1200, 1000)
    lines = crewrun("check", "in.jsonl", cwd=tmp_path).stdout.splitlines()
    assert lines[lines.index("rows: 1,200, of which 1,200 would fail") + 4] == "  … and 1,197 more"


@pytest.mark.parametrize("ref", ["a" * 5000, "a" * 5000 + "/b.py:crew"], ids=["name", "folder"])
@pytest.mark.parametrize("command", ["check", "run", "batch in.jsonl"])
def test_a_name_that_is_too_long_is_no_traceback(command: str, ref: str, tmp_path: Path) -> None:
    """`--crew` with 5,000 characters: exit code 2."""
    done = crewrun(*command.split(), "--crew", ref, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (2, False)
    assert "a" * 5000 in done.stdout + done.stderr


@pytest.mark.parametrize("ref", ["a\0b", "a\0b.yaml", "a\0b.py", "a\0b.py:crew", "a\0b:crew", "a\0/b.py:crew"])
def test_a_null_character_in_a_crews_name_is_refused(ref: str) -> None:
    """It cannot come from a shell, but from Python."""
    with pytest.raises(DefinitionError):
        definitions.load(ref)


@pytest.mark.parametrize("command", ["check", "run", "batch in.jsonl"])
def test_a_fifo_is_no_crew_file(command: str, tmp_path: Path) -> None:
    """Refused at once, not waited for."""
    os.mkfifo(tmp_path / "pipe.yaml")
    done = crewrun(*command.split(), "--crew", "pipe.yaml", cwd=tmp_path, timeout=20)
    assert done.returncode == 2
    assert "pipe.yaml: is not a regular file" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["check", "schema", "bench -m offline", "init new"])
@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        ("> /dev/full", 1, "standard output: cannot be written: No space left on device"),
        (">&-", 2, "standard output is closed; there is nowhere to print to"),
    ],
    ids=["full", "closed"],
)
def test_findings_that_have_nowhere_to_go_are_one_clear_line(
    command: str, redirection: str, code: int, message: str, tmp_path: Path
) -> None:
    """As for the results of `run` and `batch`."""
    write_crew(tmp_path)
    done = (own_process.shell if "&-" in redirection else shell)(f"crewrun {command} {redirection}", tmp_path)
    assert (done.returncode, done.stderr) == (code, f"crewrun: {message}\n")


def test_head_ends_a_check_quietly(tmp_path: Path) -> None:
    """`| head -1` of more than a pipe holds: exit code 141, nothing on stderr."""
    write_crew(tmp_path, tasks=["Name {" + "x" * 400 + "}"])
    write_rows(tmp_path / "in.jsonl", [{"topic": 1}] * 1200)
    done = shell("crewrun check --json in.jsonl | head -1; exit ${PIPESTATUS[0]}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (141, "{\n", "")


def test_init_makes_a_folder_that_works_at_once(tmp_path: Path) -> None:
    """Checked and run, as its own README says."""
    made = own_process.crewrun("init", "new/crew", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    folder = tmp_path / "new/crew"
    assert crewrun("check", "inputs.jsonl", "-m", "offline", cwd=folder).returncode == 0
    assert crewrun("batch", "inputs.jsonl", "-m", "offline", cwd=folder).returncode == 0
    assert [row["status"] for row in read_rows(folder / "inputs.results.jsonl")] == ["ok"] * 3


def test_init_writes_over_nothing(tmp_path: Path) -> None:
    """One file that is there is enough to write none."""
    (tmp_path / "crew.yaml").write_text("mine")
    done = crewrun("init", ".", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "crewrun: .: has crew.yaml already; nothing was written, name another folder\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["crew.yaml"]


def test_schema_prints_what_editors_check_a_crew_by(tmp_path: Path) -> None:
    """A JSON Schema, on stdout."""
    done = own_process.crewrun("schema", cwd=tmp_path)
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert (done.returncode, done.stderr, schema["properties"]["agents"]["type"]) == (0, "", "object")


def test_bench_compares_parallel_with_sequential(tmp_path: Path) -> None:
    """Four crews of a tenth of a second each: at once, and one after another."""
    done = own_process.crewrun("bench", "-m", "offline?latency=0.1", cwd=tmp_path)
    found = re.fullmatch(
        r"Parallel: +([\d.]+) s for 4 crews\nSequential: +([\d.]+) s\nSpeedup: +([\d.]+)x\n", done.stdout
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert found is not None
    parallel_s, sequential_s, speedup = map(float, found.groups())
    assert parallel_s >= 0.1
    assert sequential_s >= 0.4
    assert speedup > 2


def test_bench_compares_no_calls_that_take_no_time(tmp_path: Path) -> None:
    """A ratio of two times that are next to nothing says nothing."""
    done = crewrun("bench", "-m", "offline", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[2:], done.stderr) == (
        0,
        ["Speedup:    none: these calls take no time; those of -m 'offline?latency=0.5' take half a second"],
        "",
    )


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["-m", "offline?fail=1"], 3, "crewrun: offline model: this call fails, as fail=1 asks for (bad_request)\n"),
        (["-m", "gpt-4o-mini"], 2, "crewrun: OPENAI_API_KEY is not set: agent 'Timer' uses openai/gpt-4o-mini."),
    ],
    ids=["call", "key"],
)
def test_bench_says_why_it_could_not(flags: list[str], code: int, message: str, tmp_path: Path) -> None:
    """With the exit codes of the other commands."""
    done = crewrun("bench", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr[: len(message)]) == (code, "", message)


@pytest.mark.parametrize("command", ["check", "batch"])
def test_keys_may_lie_beside_the_crew(command: str, tmp_path: Path) -> None:
    """As CrewAI's projects have them; the working directory's come first."""
    (tmp_path / "crew").mkdir()
    write_crew(tmp_path / "crew", llm="gpt-4o-mini")
    write_rows(tmp_path / "in.jsonl", [])
    (tmp_path / "crew/.env").write_text("OPENAI_API_KEY=x\n")
    done = crewrun(command, "in.jsonl", "--crew", "crew/crew.yaml", cwd=tmp_path)
    assert (done.returncode, "OPENAI_API_KEY" in done.stdout + done.stderr) == (0, False)
