"""What is printed for people: nothing from outside steers a terminal, in any command."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import PROGRAM, clean_env, write_rows
from support.forks import Forks
from support.wire_server import Asked, Reply, WireServer, completion

from crewrun.terminal import visible, visible_data

# A window's title, the end of a line's beginning, colours by C1, a reading direction, a line of one's own.
HOSTILE = "\x1b]0;owned\x07\r\x9b31m\u202egnp\u2066\u2028x"
IN_A_NAME = "\x1b[31m\u202egnp"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
# For names that hold in a file's name and in YAML's quotes.
QUOTED = json.dumps(IN_A_NAME)[1:-1]
CREW = f"""\
llm: {{model: "openai/{QUOTED}"}}
agents:
  "writer {QUOTED}": {{role: "Writer {QUOTED}", goal: Write, backstory: Old, tools: ["tools:look_up"]}}
tasks:
  "draft {QUOTED}": {{agent: "writer {QUOTED}", description: "Write about {{topic}}", expected_output: One line}}
"""
TOOLS = f"""\
from crewrun.tools import tool

@tool("look {QUOTED}")
def look_up(word: str) -> str:
    \"\"\"Look a word up.\"\"\"
    raise RuntimeError({HOSTILE!r})
"""


def hostile(asked: Asked) -> Reply:
    """An error for every other row, a call of a tool and an answer for the others, all hostile."""
    if "refuse" in json.dumps(asked.body["messages"]):
        return Reply(400, {"error": {"message": f"bad {HOSTILE}", "code": None}})
    if asked.has_tools and not asked.has_results:
        function = {"name": asked.body["tools"][0]["function"]["name"], "arguments": json.dumps({"word": HOSTILE})}
        call = {"type": "function", "id": "call_1", "function": function}
        return Reply(200, completion(None, "tool_calls", tool_calls=[call]))
    return Reply(200, completion(f"done {HOSTILE}", f"odd {HOSTILE}"))


@pytest.fixture(scope="module")
def env() -> Iterator[Mapping[str, str]]:
    with WireServer({}, hostile) as server:
        yield {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-proj-0123456789abcdef"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A crew, rows and a folder whose names have it all."""
    inner = tmp_path / f"in {IN_A_NAME}"
    inner.mkdir()
    (inner / "crew.yaml").write_text(CREW)
    (inner / "tools.py").write_text(TOOLS)
    names = [f"{word} {HOSTILE} {number}" for number, word in enumerate(["fine", "refuse"] * 2)]
    write_rows(inner / f"rows {IN_A_NAME}.jsonl", [{"name": name, "topic": name} for name in names])
    write_rows(inner / "broken.jsonl", [{"name": HOSTILE, HOSTILE: 1}, "{" + IN_A_NAME])
    return inner


ROWS, RESULTS = f"rows {IN_A_NAME}.jsonl", f"rows {IN_A_NAME}.results.jsonl"
COMMANDS = {
    "check": ["check", ROWS],
    "check of broken rows": ["check", "broken.jsonl"],
    "a warning": ["check", "--crew", "odd.yaml"],
    "plan": ["plan", ROWS, "--id-field", "name"],
    "plan of broken rows": ["plan", "broken.jsonl"],
    "batch": ["batch", ROWS, "--retries", "0", "--id-field", "name"],
    "batch again": ["batch", ROWS, "--retries", "0", "--id-field", "name", "--progress", "json", "--max-failures", "1"],
    "batch of broken rows": ["batch", "broken.jsonl", "--retries", "0"],
    "batch strict": ["batch", "broken.jsonl", "--strict"],
    "retry": ["retry", RESULTS, "--only", "bad_request"],
    "retry only": ["retry", RESULTS, "--only", HOSTILE.replace("\x00", "")],
    "status": ["status", RESULTS],
    "status verified": ["status", RESULTS, "--verify"],
    "show": ["show", RESULTS, "fine"],
    "show one": ["show", RESULTS, f"refuse {HOSTILE} 1"],
    "show none": ["show", RESULTS, HOSTILE],
    "export": ["export", RESULTS, "-o", f"{IN_A_NAME}.jsonl", "--ordered"],
    "export of no run": ["export", f"{IN_A_NAME}.txt"],
    "merge": ["merge", RESULTS, RESULTS, "-o", f"merged {IN_A_NAME}.jsonl"],
    "gc": ["gc", "--delete", "--finished"],
    "plot": ["plot", "-o", f"{IN_A_NAME}.html"],
    "run": ["run", "-i", "topic=refuse"],
    "run well": ["run", "-i", "topic=fine", "-o"],
    "run amiss": ["run", f"-i{HOSTILE}"],
    "run a crew": ["run", "--crew", f"{IN_A_NAME}.yaml"],
    "bench": ["bench", "-n", "1", "--retries", "0", "-m", f"nobody/{IN_A_NAME}"],
    "mock": ["mock", "--host", f"{IN_A_NAME}"],
    "mock amiss": ["mock", "--fail", HOSTILE],
    "init": ["init", f"new {IN_A_NAME}"],
    "init again": ["init", f"new {IN_A_NAME}"],
    "a flag amiss": ["batch", ROWS, "--progress", HOSTILE],
    "an unknown flag": ["batch", ROWS, f"--{IN_A_NAME}"],
    "an unknown command": [IN_A_NAME],
    "a number amiss": ["batch", ROWS, "-j", HOSTILE],
    "a price amiss": ["batch", ROWS, "--price", HOSTILE],
    "an address amiss": ["batch", ROWS, "--base-url", f"ftp://{HOSTILE}"],
    "a model amiss": ["batch", ROWS, "-m", f"nobody/{HOSTILE}"],
    "a budget amiss": ["batch", ROWS, "--budget", HOSTILE],
}


def test_no_command_passes_on_what_steers_a_terminal(folder: Path, env: Mapping[str, str], forks: Forks) -> None:
    """Names of files, tasks, agents, tools, models and rows, messages of servers, texts of rows and flags."""
    (folder / "odd.yaml").write_text(CREW + f'"strange {QUOTED}": 1\n')
    found = {}
    for name, command in COMMANDS.items():
        done = forks.crewrun(*command, cwd=folder, env=env)
        said = done.stderr + (done.stdout if not name.startswith(("run well", "export")) else "")
        found[name] = (UNSEEN.findall(said), "Traceback" in said)
    assert {name: problem for name, problem in found.items() if problem != ([], False)} == {}


def on_a_terminal(folder: Path, env: Mapping[str, str], *command: str) -> str:
    """What the command shows on a terminal that is its stdout and stderr."""
    ours, theirs = pty.openpty()
    words = [*PROGRAM, *command]
    with subprocess.Popen(words, cwd=folder, env=clean_env(**env), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 1 << 16):
                said += piece
        except OSError:  # Linux says so when the other end is closed
            pass
        process.wait()
    os.close(ours)
    return said.decode()


def test_an_answer_is_data_in_a_pipe_and_seen_on_a_terminal(folder: Path, env: Mapping[str, str], forks: Forks) -> None:
    """The answer of `run` goes through a pipe as it is; on a terminal it has JSON's escapes."""
    piped = forks.crewrun("run", "-q", "-i", "topic=fine", cwd=folder, env=env)
    assert piped.stdout == f"done {HOSTILE}\n"
    shown = on_a_terminal(folder, env, "run", "-q", "-i", "topic=fine")
    assert UNSEEN.findall(shown.replace("\r\n", "\n")) == []
    assert "done \\u001b]0;owned\\u0007\\u000d\\u009b31m\\u202egnp\\u2066\\u2028x" in shown


def test_the_live_display_shows_no_message_as_it_came(folder: Path, env: Mapping[str, str]) -> None:
    """Nor the report after it. The display's own colours are there."""
    shown = on_a_terminal(folder, env, "batch", ROWS, "--retries", "0")
    assert [mark for mark in ("\x1b]0;", "\x07", "\x9b", "\u202e", "\u2066", IN_A_NAME) if mark in shown] == []
    assert "2 × bad_request" in shown


@given(st.text())
def test_what_is_visible_stays_and_what_is_not_can_be_read_back(text: str) -> None:
    """Letters of all languages, emoji and blanks are as they were; a JSON text means the same."""
    shown = visible(text)
    assert UNSEEN.search(shown) is None
    assert visible(shown) == shown
    written = json.dumps(text, ensure_ascii=False)
    encodable = visible_data(written)
    assert json.loads(encodable) == text
    encodable.encode()


@pytest.mark.parametrize("text", ["naïve\u00a0café", "全角\u3000空白", "می\u200cخواهم", "👩\u200d👩\u200d👧", "a\tb"])
def test_texts_of_all_languages_are_shown_as_they_are(text: str) -> None:
    """Blanks of other widths and joiners do no harm."""
    assert visible(text) == text
