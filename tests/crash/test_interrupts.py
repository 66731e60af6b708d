"""A signal before a run has taken the signals over: 129, 130 or 143, no traceback, and no file that is not complete."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import clean_env, shell, write_crew, write_rows
from support.forks import crewrun

# Signals itself at the N-th audit event of a kind that has to do with a text, from when the signals are taken over.
# https://docs.python.org/3/library/audit_events.html
PROGRAM = """\
import os, sys
number, kind, text, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
left, has_begun = count, False
def hook(event, arguments):
    global left, has_begun
    about = str(arguments[0]) if event in ("import", "open") else ""
    has_begun = has_begun or about == "crewrun.library_warnings"
    if has_begun and event == kind and text in about:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
sys.argv = ["crewrun", *sys.argv[5:]]
from crewrun.__main__ import main
sys.addaudithook(hook)
main()
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
COMMANDS = {
    "batch": ("batch", "in.jsonl", "-o", "new.jsonl"),
    "plan": ("plan", "in.jsonl"),
    "check": ("check", "in.jsonl"),
    "status": ("status", "in.results.jsonl", "--verify"),
    "export": ("export", "in.results.jsonl", "-o", "new.csv"),
    "merge": ("merge", "in.results.jsonl", "-o", "new.jsonl"),
    "run": ("run", "topic=x"),
    "gc": ("gc",),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the results of a batch."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", [{"topic": "a"}, {"topic": "b"}])
    assert crewrun("batch", "in.jsonl", cwd=tmp_path).returncode == 0
    return tmp_path


def signalled(
    folder: Path, command: str, kind: str, *, at: int = 1, about: str = "", number: signal.Signals = signal.SIGINT
) -> int:
    """How a command ends that gets a signal at this event; 0 if it comes to its end before."""
    words = [sys.executable, "-c", PROGRAM, str(number.value), kind, about, str(at), *COMMANDS[command]]
    done = subprocess.run(
        words, cwd=folder, env=clean_env(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert [path.name for path in folder.iterdir() if path.name.endswith(".part")] == []
    return done.returncode


@pytest.mark.parametrize(
    ("command", "number", "kind", "at"),
    [
        ("batch", signal.SIGINT, "import", 1),
        ("batch", signal.SIGTERM, "import", 300),
        ("batch", signal.SIGHUP, "open", 60),
        ("check", signal.SIGINT, "import", 400),
        ("merge", signal.SIGINT, "import", 200),
    ],
)
def test_a_signal_while_a_command_starts(
    command: str, number: signal.Signals, kind: str, at: int, folder: Path
) -> None:
    """Among its imports, and where it reads its files."""
    assert signalled(folder, command, kind, at=at, number=number) == CODES[number]


@pytest.mark.soak
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["import", "open"])
def test_a_signal_at_any_point_of_a_start(command: str, kind: str, folder: Path) -> None:
    """At every 25th import and every 10th file, up to the command's end."""
    step = 25 if kind == "import" else 10
    for at in range(1, 5000, step):
        code = signalled(folder, command, kind, at=at)
        assert code in (0, 3, 130)
        if code != 130:
            break


@pytest.mark.parametrize("command", ["merge", "export"])
def test_a_file_that_is_not_complete_is_removed(command: str, folder: Path) -> None:
    """By Ctrl-C at once, and what a kill left by the next command that writes the same file."""
    assert signalled(folder, command, "open", about=".part") == 130
    words = [sys.executable, "-c", PROGRAM, "9", "open", ".part", "2", *COMMANDS[command]]
    assert subprocess.run(words, cwd=folder, env=clean_env(), check=False).returncode == -9
    assert len([path for path in folder.iterdir() if path.name.endswith(".part")]) == 1
    assert crewrun(*COMMANDS[command], cwd=folder).returncode == 0
    assert [path for path in folder.iterdir() if path.name.endswith(".part")] == []


def test_a_replacement_that_another_process_writes_stays(folder: Path) -> None:
    """It is not stale."""
    part = folder / ".new.jsonl.12345.part"
    part.touch()
    command = f"exec 3<{part.name}; flock -s 3; crewrun merge in.results.jsonl -o new.jsonl"
    assert shell(command, folder).returncode == 0
    assert part.exists()


def test_a_copy_of_a_pipe_is_removed(folder: Path) -> None:
    """Its rows are the user's data."""
    scratch = folder / "scratch"
    scratch.mkdir()
    program = f"import os; os.environ['TMPDIR'] = {str(scratch)!r}\n{PROGRAM}"
    words = [sys.executable, "-c", program, "2", "open", "scratch", "2", "plan", "-", "--canary", "1"]
    rows = (folder / "in.jsonl").read_bytes()
    done = subprocess.run(words, cwd=folder, env=clean_env(), input=rows, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr, [*scratch.iterdir()]) == (130, False, [])


IN_THE_CREW = {
    "a signal": ("os.kill(os.getpid(), signal.SIGINT)", 130),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", 143),
    "an interrupt": ("raise KeyboardInterrupt", 130),
    "Python's own handler": ("signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), 2)", 130),
}


@pytest.mark.parametrize("command", ["batch", "check", "run"])
@pytest.mark.parametrize(("line", "code"), IN_THE_CREW.values(), ids=IN_THE_CREW)
def test_a_signal_while_the_crew_is_loaded(line: str, code: int, command: str, folder: Path) -> None:
    """In the user's own code, which may have handlers of its own."""
    if command == "check" and "default_int_handler" in line:
        pytest.skip("check loads it in a thread, where Python refuses handlers")
    (folder / "tools.py").write_text(f'import os, signal\n{line}\ndef look(topic: str) -> str:\n    """Look."""\n')
    crew = folder / "crew.yaml"
    crew.write_text(crew.read_text().replace("    role: Writer\n", "    role: Writer\n    tools: ['tools:look']\n"))
    done = crewrun(*COMMANDS[command], cwd=folder)
    assert (done.returncode, "Traceback" in done.stderr, done.stdout) == (code, False, "")


@pytest.mark.parametrize(("trap", "code"), [("trap '' HUP; ", 0), ("", 129)], ids=["nohup", "a terminal"])
def test_a_hangup_while_it_starts(trap: str, code: int, folder: Path) -> None:
    """Under nohup it stays ignored."""
    (folder / "tools.py").write_text(
        'import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\ndef look(topic: str) -> str:\n    """Look."""\n'
    )
    crew = folder / "crew.yaml"
    crew.write_text(crew.read_text().replace("    role: Writer\n", "    role: Writer\n    tools: ['tools:look']\n"))
    done = shell(f"{trap}crewrun batch in.jsonl --fresh", folder)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
