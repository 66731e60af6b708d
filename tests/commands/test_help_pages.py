"""What `--help` shows, how it fits the terminal, and that the examples in it work."""

import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from support import command as own_process
from support.command import PROGRAM, clean_env, write_rows
from support.forks import crewrun
from support.workspace import Place

from crewrun.cli.examples import EXAMPLES

COMMANDS = [name for name in EXAMPLES if name]
WIDTHS = [60, 80, 100, 120]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal(command: str, tmp_path: Path) -> None:
    """Only commands to copy and single words may be longer than a line, and no sentence is cut off."""
    pages = set()
    for width in WIDTHS:
        done = crewrun(*filter(None, [command]), "--help", cwd=tmp_path, env={"COLUMNS": str(width)})
        assert (done.returncode, done.stderr) == (0, "")
        lines = [line for line in done.stdout.splitlines() if len(line) > min(width, 100)]
        copied = {f"  {example.command}" for examples in EXAMPLES.values() for example in examples}
        assert [line for line in lines if line not in copied and " " in line.strip()] == []
        assert "..." not in re.sub(r"\]\.\.\.|RUN\.\.\.", "", done.stdout)
        pages.add("".join(done.stdout.split()))
    assert len(pages) == 1  # the same words at every width


def test_help_groups_commands_and_flags(tmp_path: Path) -> None:
    """Every command is in a group with its whole first sentence; the flags of `batch` are in panels, in their order."""
    program, batch = (crewrun(*args, cwd=tmp_path).stdout for args in (["--help"], ["batch", "-h"]))
    assert re.findall(r"^(\w.*):$", program, re.MULTILINE) == [
        *("Run", "Look at runs", "Set up", "Develop", "Options", "Examples")
    ]
    assert "Run a crew on every row of INPUTS, or go on where an earlier run of the same command stopped." in " ".join(
        program.split()
    )
    assert re.findall(r"^(\w.*):$", batch, re.MULTILINE) == [
        *("Examples", "Arguments", "Input", "Crew and models", "Output", "Limits", "Money", "State", "Where it runs"),
        *("Options", "Exit codes"),
    ]


def test_a_commands_own_panel_comes_before_those_it_shares_with_batch(tmp_path: Path) -> None:
    """What is judged and by what, before sixty lines on limits and money."""
    score = crewrun("score", "-h", cwd=tmp_path).stdout
    assert re.findall(r"^(\w.*):$", score, re.MULTILINE)[:4] == ["Examples", "Arguments", "Judging", "Input"]
    assert score.index("--by JUDGE") < score.index("--limit N")


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_has_a_short_flag(flag: str, tmp_path: Path) -> None:
    """As pytest and uv have."""
    assert re.fullmatch(r"crewrun \d+\.\d+\.\d+\n", crewrun(flag, cwd=tmp_path).stdout)


@pytest.mark.parametrize(("variables", "is_bold"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_headings_are_bold_on_a_terminal(variables: dict[str, str], is_bold: bool, tmp_path: Path) -> None:
    """Unless it cannot show that, or the user does not want it. The page is as wide as the terminal."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    command, env = [*PROGRAM, "gc", "--help"], clean_env(TERM="xterm") | variables
    subprocess.run(command, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=theirs, check=True)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    os.close(theirs)
    assert ("\033[1mUsage:\033[0m" in shown, "\033" in shown) == (is_bold, is_bold)
    assert max(map(len, re.sub(r"\033\[\dm", "", shown).splitlines())) in range(50, 61)


def test_every_command_has_an_example(tmp_path: Path) -> None:
    """Below its description."""
    listed = re.findall(r"^  (\w+)  ", crewrun("--help", cwd=tmp_path).stdout.partition("\nOptions:")[0], re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.fixture
def stocked(place: Place) -> Place:
    """A folder with what the examples name, after a batch."""
    place.crew()
    rows = [{"id": name, "topic": f"topic {name}"} for name in ("3f2a", "81c0", "ab77")]
    write_rows(place.folder / "topics.jsonl", rows)
    write_rows(place.folder / "articles.jsonl", [{"title": "Tides"}])
    (place.folder / "tickets.csv").write_text("Subject;Status\nNo sound;open\nNo light;open\n")
    place.crewrun("batch", "topics.jsonl", "--id-field", "id")
    for part, name in (("1/2", "one"), ("2/2", "two")):
        place.crewrun("batch", "topics.jsonl", "--shard", part, "-o", f"{name}.jsonl", "--id-field", "id")
    (place.folder / "checks.py").write_text("def short(output):\n    return len(output) < 200\n")
    (place.folder / ".config/fish/completions").mkdir(parents=True)
    return place


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_examples_work(command: str, stocked: Place) -> None:
    """As they are written, one after the other, in a folder with what they name."""
    env = {**stocked.env, "HOME": str(stocked.folder), "CREWRUN_ID_FIELD": "id"}
    if command in ("", "batch"):  # its rows have no ids of their own
        del env["CREWRUN_ID_FIELD"]
        shutil.rmtree(stocked.folder / "topics.results.jsonl.crewrun")
        (stocked.folder / "topics.results.jsonl").unlink()
    for example in EXAMPLES[command]:
        line = example.command.replace("http://127.0.0.1:8123/v1", stocked.mock.base_url)
        shell = next((name for name in ("zsh", "fish") if f"completion {name})" in line), "bash")
        if shutil.which(shell) is None or ("jq" in line and shutil.which("jq") is None):
            continue
        if line.startswith("crewrun mock"):  # serves until it is stopped
            line = f"timeout 1.5 {' '.join(PROGRAM)} {line.removeprefix('crewrun')} --port 0; test $? = 124"
        done = (
            stocked.forks.shell(line, stocked.folder, env) if shell == "bash" else _in(shell, line, stocked.folder, env)
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (line, done.stdout, done.stderr)


def _in(shell: str, line: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env = clean_env(**env)
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    return subprocess.run([shell, "-c", line], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_an_example_of_a_plan_is_json(stocked: Place) -> None:
    """What is said to be for programs can be read by one."""
    stocked.crewrun("plan", "topics.jsonl", "--json", "--id-field", "id")
    assert json.loads(stocked.stdout)


@pytest.mark.parametrize("words", ["--help", "-V", "batch --help", "plan -h"])
@pytest.mark.parametrize(
    ("to", "code", "message"),
    [
        ("> /dev/full", 1, "crewrun: standard output: cannot be written: No space left on device\n"),
        (">&-", 1, "crewrun: standard output: cannot be written: Bad file descriptor\n"),
        ("| true; exit ${PIPESTATUS[0]}", None, ""),
    ],
    ids=["full", "closed", "a reader that has gone"],
)
def test_help_that_cannot_be_printed(words: str, to: str, code: int | None, message: str, tmp_path: Path) -> None:
    """Is no bug of ours."""
    done = own_process.shell(f"crewrun {words} {to}", tmp_path)
    assert (done.returncode in ((0, 141) if code is None else (code,)), done.stderr) == (True, message)
