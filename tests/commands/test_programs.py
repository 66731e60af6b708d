"""Programs that call `run_batch`: as processes that are killed, interrupted, in a terminal or a pipe; notebooks."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.command import clean_env, read_rows, topics
from support.kernel import kernel
from support.mock_process import MockProcess
from support.workspace import Place

from crewrun import Run

CREW = """
import sys
from crewrun import LLM, Agent, Crew, Task, run_batch
def crew_of(llm):
    writer = Agent(role="Writer", goal="g", backstory="b", llm=llm)
    return Crew(name="news", agents=[writer], tasks=[Task(description="On {topic}", expected_output="e", agent=writer)])
rows = [{"topic": f"topic {i}"} for i in range(40)]
"""
SLOW = f"""{CREW}
print("begun", flush=True)
run = run_batch(rows, crew_of("offline?latency=0.2"), max_concurrent=4, **settings)
print(run)
"""
SEVERAL = """
import asyncio
from crewrun import arun_batch
async def both():
    crew = crew_of("offline?latency=0.5")
    return await asyncio.gather(*(arun_batch(rows[:8], crew, name) for name in ("a.jsonl", "b.jsonl")))
print([len(run) for run in asyncio.run(both())])
"""


@contextmanager
def program(folder: Path, text: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program in `folder`, ended with the block."""
    (folder / "program.py").write_text(text, encoding="utf-8")
    pipe = subprocess.PIPE
    command = [sys.executable, "program.py"]
    with subprocess.Popen(command, cwd=folder, env=clean_env(**env), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def begun(process: subprocess.Popen[str], folder: Path, least: int) -> None:
    """Wait until some of its rows have ended."""
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    results = folder / "news-run" / "results.jsonl"
    while not results.exists() or results.read_bytes().count(b"\n") < least:
        assert process.poll() is None, process.communicate()


def test_a_program_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """With kill -9, in the middle of rows: none that is done is called for again."""
    text = SLOW.replace("offline?latency=0.2", "gpt-4.1-mini").replace("**settings", "")
    with MockProcess("--latency", "0.05") as mock:
        env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": "sk-proj-0123456789abcdef"}
        with program(tmp_path, text, **env) as process:
            begun(process, tmp_path, 8)
            process.send_signal(signal.SIGKILL)
            process.wait()
        with program(tmp_path, text, **env) as process:
            stdout, stderr = process.communicate(timeout=60)
        sent = mock.ledger(last=0)["totals"]["requests"]
    assert stdout == "begun\nRun('news-run/results.jsonl', 40 ok, 0 failed)\n", stderr
    assert sent <= 40 + 4  # those in flight
    assert [row["input"] for row in read_rows(tmp_path / "news-run" / "results.jsonl")] == topics(40)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_lets_rows_in_flight_end(tmp_path: Path, number: signal.Signals) -> None:
    """As the command does; then it has the effect that it has in any program."""
    with program(tmp_path, SLOW.replace("**settings", "")) as process:
        begun(process, tmp_path, 4)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    run = Run.open(tmp_path / "news-run" / "results.jsonl")
    assert (process.returncode, stdout) == (-number, "")
    assert (run.exit_code, run.stopped) == (128 + number, "interrupted" if number == signal.SIGINT else "terminated")
    rows = run.summary["rows"]
    assert (rows["abandoned"], 0 < rows["ok"] < 40, rows["ok"] + rows["pending"]) == (0, True, 40)
    if number == signal.SIGINT:
        assert stderr.splitlines()[-1] == "KeyboardInterrupt"
        assert [line for line in stderr.splitlines() if "File" in line] == [
            f'  File "{tmp_path}/program.py", line 10, in <module>'
        ]


def test_a_second_interrupt_gives_rows_up(tmp_path: Path) -> None:
    """They run with the same call."""
    text = SLOW.replace("latency=0.2", "latency=30").replace("**settings", 'progress="plain"')
    with program(tmp_path, text) as process:
        folder = tmp_path / "news-run" / "results.jsonl.crewrun"
        while not (folder / "progress.json").exists():
            assert process.poll() is None, process.communicate()
            select.select([], [], [], 0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert any("stopping:" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert Run.open(folder).stopped == "interrupted"


def test_a_budget_that_is_spent_is_a_value_and_a_larger_one_goes_on(place: Place) -> None:
    """By the provider's account no more is paid than that."""
    text = f"""{CREW}
for budget in (0.002, 1):
    run = run_batch(rows, crew_of(LLM("gpt-4.1-mini", max_tokens=300)), budget=budget)
    print(run.exit_code, run.stopped, run.summary["rows"]["ok"] + run.summary["rows"]["kept"], sep="|")
"""
    with program(place.folder, text, **place.env) as process:
        stdout, stderr = process.communicate(timeout=60)
    first, second = (line.split("|") for line in stdout.splitlines())
    assert (first[0], 0 < int(first[2]) < 40) == ("5", True), stderr
    assert "of the budget of $0.002 is spent" in first[1]
    assert second == ["0", "None", "40"]
    assert place.sent() == 40


def test_a_pipe_gets_what_the_program_prints_and_nothing_else(tmp_path: Path) -> None:
    """Unless it asks for more."""
    text = f"""{CREW}
run_batch(rows, crew_of("offline"))
run_batch(rows, crew_of("offline"), quiet=True, fresh=True)
run_batch(rows, crew_of("offline"), progress="plain", fresh=True)
"""
    with program(tmp_path, text) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, "")
    assert stderr.startswith("40 ok, 0 failed in ")


def test_a_terminal_gets_what_the_command_shows(tmp_path: Path) -> None:
    """The live line while it runs, then the report with what to do next."""
    (tmp_path / "program.py").write_text(SLOW.replace("**settings", "limit=8") + SEVERAL, encoding="utf-8")
    own, theirs = pty.openpty()
    env = clean_env(TERM="xterm-256color", COLUMNS="100", LINES="30")
    command = [sys.executable, "program.py"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdin=theirs, stdout=pipe, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while select.select([own], [], [], 30)[0]:
            try:
                shown += os.read(own, 65536)
            except OSError:  # its other end is closed
                break
        assert process.stdout is not None
        printed = process.stdout.read()
    os.close(own)
    assert b"in flight" in shown
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", shown)
    assert [text.count(b"8 ok, 0 failed; results: " + name) for name in (b"news-run", b"a.j", b"b.j")] == [1, 1, 1]
    assert text.count(b"\x1b[?25l") == 2  # each time one of them draws, and hides the cursor
    assert printed == b"begun\nRun('news-run/results.jsonl', 8 ok, 0 failed)\n[8, 8]\n"


def test_flags_that_write_files_write_them(tmp_path: Path) -> None:
    """A summary, a page and a notification, as for the command."""
    settings = "summary='s.json', report='r.html', notify='cat > n.json'"
    with program(tmp_path, f"{CREW}\nrun_batch(rows, crew_of('offline'), {settings})") as process:
        assert process.communicate(timeout=60)[0] == ""
    summary, notice = (json.loads((tmp_path / name).read_text()) for name in ("s.json", "n.json"))
    assert summary == Run.open(tmp_path / "news-run" / "results.jsonl").summary
    assert (notice["rows"], notice["command"]) == (summary["rows"], None)
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_commands_say_how_a_run_of_a_program_goes_on(tmp_path: Path, place: Place) -> None:
    """Not by themselves: its rows and its crew are the program's."""
    with program(place.folder, f"{CREW}\nprint(run_batch([*rows, {{}}], crew_of('offline')))") as process:
        assert process.communicate(timeout=60)[0] == "Run('news-run/results.jsonl', 40 ok, 1 failed)\n"
    place.crewrun("status", "news-run/results.jsonl")
    assert place.stdout.splitlines()[-1] == f"to run what failed again: {sys.executable} program.py"
    place.crewrun("retry", "news-run/results.jsonl", code=2)
    assert place.stderr == (
        f"crewrun: news-run/results.jsonl: its rows came from a Python program; to go on: {sys.executable} program.py\n"
    )


def test_a_notebook_shows_progress_in_place_and_the_run(tmp_path: Path) -> None:
    """Although its loop is running; the stop button ends the run in an orderly way, and the cell goes on later."""
    with kernel(tmp_path) as notebook:
        notebook.run(CREW)
        shown = notebook.run("run = run_batch(rows, crew_of('offline'))\nrun")
        assert (shown.traceback, shown.stdout) == ("", "")
        assert shown.text == "Run('news-run/results.jsonl', 40 ok, 0 failed)"
        assert "<table" in shown.data["text/html"]
        assert re.fullmatch(r"40 ok · 0 failed · \$0\.00 · .* m?s", shown.updated)
        slow = "print('begun'); run_batch(rows, crew_of('offline?latency=0.2'), fresh=True)"
        stopped = notebook.run(slow, lambda _: notebook.interrupt())
        assert "KeyboardInterrupt" in stopped.traceback
        awaited = notebook.run("from crewrun import arun_batch\nprint(await arun_batch(rows, crew_of('offline')))")
        assert awaited.stdout == "Run('news-run/results.jsonl', 40 ok, 0 failed)\n"


def test_a_tool_that_was_changed_in_a_notebook_runs_its_rows_again(tmp_path: Path) -> None:
    """A class of a cell has no source that Python would know, and counts by its functions."""
    cell = """
from crewrun.tools import BaseTool
class Shout(BaseTool):
    name: str = "shout"
    description: str = "Shouts."
    def _run(self, text: str) -> str:
        return text.upper() + "WORD"
def runs():
    writer = Agent(role="Writer", goal="g", backstory="b", llm="offline", tools=[Shout()])
    crew = Crew(name="news", agents=[writer], tasks=[Task(description="On {topic}", expected_output="e", agent=writer)])
    return run_batch(rows[:3], crew).summary["rows"]["ok"]
print(runs())
"""
    with kernel(tmp_path) as notebook:
        notebook.run(CREW)
        printed = [notebook.run(cell.replace("WORD", word)).stdout for word in ("!", "!", "?")]
    assert printed == ["3\n", "0\n", "3\n"]
