"""`crewrun` as a process that starts in milliseconds: a fork of one process that has imported it.

It is a process of its own from its first line on. Tests of the start itself use `support.command`: what is imported,
which streams are closed and which signals are ignored by then, what a variable says to the interpreter.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, send_fds, socketpair
from threading import Event, Thread
from typing import BinaryIO, Self, TextIO

from support import command as own_process
from support import mutants
from support.command import clean_env
from support.kill_points import Point

_TESTS = Path(__file__).resolve().parents[1]
_SERVER = "support.fork_server"
_CLIENT = str(Path(__file__).with_name("fork_client.py"))


class Fork:
    """A command that runs, with what tests need of `subprocess.Popen`. Its streams are UTF-8, line ends as they are."""

    def __init__(self, told: BinaryIO, stdin: TextIO | None, stdout: TextIO, stderr: TextIO) -> None:
        self.pid = int(told.readline())
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        self.memory_kib = 0  # at most, once it has ended
        self._told = told
        self._ended = Event()
        Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with self._told:
            code, self.memory_kib = map(int, self._told.readline().split())
            self.returncode = code
        self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is not None:
            self.kill()
        self.close()
        self.wait()

    def close(self) -> None:
        """Close this end of its streams."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def poll(self) -> int | None:
        """Its exit code, or minus the signal; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once there is one."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """As `kill -9`."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, text: str | bytes = b"", timeout: float = 60) -> tuple[str, str]:
        """Give it the rest of its input; what else it wrote, once it has ended. After `timeout` s it is killed."""
        with ThreadPoolExecutor(3) as pool:
            pool.submit(self._feed, text.encode() if isinstance(text, str) else text)
            written = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self.close()
        return written[0].result(), written[1].result()

    def _feed(self, content: bytes) -> None:
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.buffer.write(content)
                self.stdin.close()


class Forks:
    """A server of forks. A test process has one, which `shared` gives, for each set of `modules` that the server is to
    import besides those of most commands.
    """

    def __init__(self, *modules: str) -> None:
        self._line, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", _SERVER, str(theirs.fileno()), *modules]
            env = {name: value for name, value in os.environ.items() if name == mutants.VARIABLE}
            env["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches a price list
            self._server = subprocess.Popen(
                command, cwd=_TESTS, env=clean_env(**env), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def close(self) -> None:
        """End the server; what it has started goes on."""
        self._line.close()
        self._server.wait()

    def start(
        self,
        *args: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        pipe_stdin: bool = False,
        kill_at: Point | None = None,
    ) -> Fork:
        """As `command.start` does. With `kill_at` the process is killed there, if it comes to it."""
        given, fed = os.pipe() if pipe_stdin else (os.open(os.devnull, os.O_RDONLY), None)
        (read_out, out), (read_err, err) = os.pipe(), os.pipe()
        told = self.launch([given, out, err], *args, cwd=cwd, env=env, kill_at=kill_at)
        return Fork(
            told,
            None if fed is None else os.fdopen(fed, "w", encoding="utf-8", newline=""),
            os.fdopen(read_out, encoding="utf-8", newline=""),
            os.fdopen(read_err, encoding="utf-8", newline=""),
        )

    def launch(
        self,
        streams: Sequence[int],
        *args: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        kill_at: Point | None = None,
        is_terminal: bool = False,
    ) -> BinaryIO:
        """Start a command with three streams, which are closed here. What it returns tells its number and its end.

        If its streams are a terminal, `is_terminal` makes that the one that controls it.
        """
        words = {
            "args": list(map(str, args)),
            "cwd": os.path.abspath(cwd),
            "env": clean_env(**(env or {})),
            "kill_at": kill_at,
            "file_size": None,
            "is_terminal": is_terminal,
        }
        read_told, told = os.pipe()
        send_fds(self._line, [json.dumps(words).encode()], [*streams, told])
        for fd in {*streams, told}:
            os.close(fd)
        return os.fdopen(read_told, "rb")

    def crewrun(
        self,
        *args: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: float = 60,
        kill_at: Point | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """As `command.crewrun` does. With `kill_at` the process is killed there, if it comes to it."""
        with self.start(*args, cwd=cwd, env=env, pipe_stdin=True, kill_at=kill_at) as process:
            stdout, stderr = process.communicate(stdin or b"", timeout)
        return subprocess.CompletedProcess(args, process.wait(), stdout, stderr)

    def shell(self, command: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """As `command.shell` does, `ulimit -f` too. No stream may be closed."""
        line = self._line.fileno()
        return own_process.shell(command, cwd, env, (sys.executable, "-IS", _CLIENT, str(line)), pass_fds=[line])


@cache
def shared(*modules: str) -> Forks:
    """The forks of this test process; their server ends with it."""
    made = Forks(*modules)
    atexit.register(made.close)
    return made


def crewrun(
    *args: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: str | bytes | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """As `command.crewrun` does, in a fork."""
    return shared().crewrun(*args, cwd=cwd, env=env, stdin=stdin, timeout=timeout)


def start(*args: str | Path, cwd: Path, env: Mapping[str, str] | None = None, pipe_stdin: bool = False) -> Fork:
    """As `command.start` does, in a fork."""
    return shared().start(*args, cwd=cwd, env=env, pipe_stdin=pipe_stdin)


def shell(command: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """As `command.shell` does, in forks. No stream may be closed."""
    return shared().shell(command, cwd, env)
