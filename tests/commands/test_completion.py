"""Tab in bash, zsh and fish: commands, flags, the words that a flag takes, and files."""

import os
import pty
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest
from support.command import clean_env
from support.forks import crewrun

BIN = Path(sys.executable).parent
# What is typed before Tab, and what the line is to end with then.
TYPED = {
    "a command": ("crewrun stat", "crewrun status "),
    "a flag": ("crewrun batch in.jsonl --max-co", "--max-concurrent "),
    "a flag of plan": ("crewrun plan in.jsonl --max-fo", "--max-forecast "),
    "a word": ("crewrun batch in.jsonl --progress pl", "--progress plain "),
    "a word behind =": ("crewrun batch in.jsonl --progress=pl", "--progress=plain "),
    "a file": ("crewrun batch topi", "crewrun batch topics.jsonl "),
    "a file of a flag": ("crewrun batch in.jsonl --summary topi", "--summary topics.jsonl "),
}
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--private", "-i"],
}


class Terminal:
    """A shell on a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._screen = pyte.Screen(100, 24)
        self._stream = pyte.ByteStream(self._screen)

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._descriptor, keys.encode())

    def wait_shown(self, *texts: str) -> None:
        """Until all of `texts` are on the screen."""
        deadline = time.monotonic() + 20
        while not all(text in "\n".join(self._screen.display) for text in texts):
            assert time.monotonic() < deadline, (texts, *filter(str.strip, self._screen.display))
            if select.select([self._descriptor], [], [], 0.2)[0]:
                self._stream.feed(os.read(self._descriptor, 1 << 16))

    def clear(self) -> None:
        """Begin with an empty line on an empty screen."""
        self.type("\x15\f")  # Ctrl-U, Ctrl-L
        self._screen.reset()


@contextmanager
def shell(name: str, folder: Path) -> Iterator[Terminal]:
    """The shell with crewrun's completion, in `folder`."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        env = clean_env(TERM="xterm", PS1="$ ", HOME=str(folder), PATH=f"{BIN}:{os.environ['PATH']}", fish_greeting="")
        os.execvpe(START[name][0], START[name], env)
    terminal = Terminal(descriptor)
    try:
        terminal.wait_shown("#" if name == "fish" else "$")
        load = "crewrun completion fish | source" if name == "fish" else f'eval "$(crewrun completion {name})"'
        terminal.type(f"{load}; echo lo''aded\r")
        terminal.wait_shown("loaded")
        yield terminal
    finally:
        os.close(descriptor)
        os.waitpid(pid, 0)


# Seconds each: the shells start crewrun at every Tab.
@pytest.mark.parametrize("name", ["bash", *(pytest.param(name, marks=pytest.mark.soak) for name in ("zsh", "fish"))])
def test_tab_completes(name: str, tmp_path: Path) -> None:
    """Each kind of word, in each shell as a user has it."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    (tmp_path / "topics.jsonl").touch()
    with shell(name, tmp_path) as terminal:
        for typed, line in TYPED.values():
            terminal.clear()
            terminal.type(f"{typed}\t")
            terminal.wait_shown(line)
        terminal.clear()
        terminal.type("crewrun batch x --lock \t\t")
        terminal.wait_shown("fail", "wait", "skip")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(["batch", "--lock", ""], ["fail", "wait", "skip"], id="words"),
        pytest.param(["batch", "--lock", "=", "w"], ["wait"], id="as bash cuts it"),
        pytest.param(["batch", "--lock", "="], ["fail", "wait", "skip"], id="as bash cuts it, nothing written"),
        pytest.param(["batch", "--lock=s"], ["--lock=skip"], id="one word"),
        pytest.param(["batch", "in.jsonl", "--fres"], ["--fresh"], id="a flag"),
        pytest.param(["batch", "in.jsonl", "--fresh", "--fre"], [], id="a flag that is there already"),
        pytest.param(["batch", "--rpm", "5", "--rp"], ["--rpm"], id="a flag for each model"),
        pytest.param(["batch", "--", "--fre"], [":files"], id="after --"),
        pytest.param(["batch", "--limit", ""], [":files"], id="a number"),
        pytest.param(["completion", "f"], ["fish"], id="an argument"),
        pytest.param(["help", "rec"], ["recipes"], id="a page of the manual"),
        pytest.param(["retry", "x", "--only", "rate"], ["rate_limit"], id="a category"),
        pytest.param(["bacth", ""], [":files"], id="no command"),
        pytest.param(["--ver"], ["--version"], id="a flag of the program"),
        pytest.param(["sta"], ["status"], id="a command"),
        pytest.param([], ["batch", "plan", "retry", "run"], id="nothing"),
    ],
)
def test_candidates(words: list[str], offered: list[str], tmp_path: Path) -> None:
    """What a shell gets for the words up to the cursor."""
    done = crewrun("__complete", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    values = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert (values[: len(offered)] if not words else values) == offered


@pytest.mark.parametrize(
    ("args", "variable", "code"),
    [((), "/usr/bin/fish", 0), ((), "/bin/tcsh", 2), ((), "", 2), (("zsh",), "/bin/tcsh", 0), (("tcsh",), "", 2)],
)
def test_the_shell_is_that_of_the_user(args: tuple[str, ...], variable: str, code: int, tmp_path: Path) -> None:
    """Unless it is named. One that is not supported is said."""
    done = crewrun("completion", *args, cwd=tmp_path, env={"SHELL": variable})
    assert (done.returncode, bool(done.stdout)) == (code, code == 0)
    assert code == 0 or "bash" in done.stderr
