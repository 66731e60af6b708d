"""A process that has imported crewrun, and becomes a command in each of its forks; `forks` starts it and talks to it.

A command in a fork has a process, a working directory, an environment, streams and an exit code of its own, as one
that a shell starts. What it has not is a start and an end of the interpreter: what variables such as PYTHONUTF8 say
comes too late, what the modules import has been imported, and nothing is torn down.
"""

import fcntl
import gc
import json
import os
import resource
import signal
import sys
import termios
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from socket import recv_fds, socket
from typing import Any

import typer.main
from typer.core import TyperGroup

from support.kill_points import Point, arm
from support.mutants import VARIABLE, obey_variable

# What most commands import, ours and what they import late.
_IMPORTED = [
    "uvloop",
    "anyio._backends._asyncio",
    "anyio._core._signals",
    "anyio.streams.memory",
    "typer._adapters",
    "encodings.idna",
    "pydantic.type_adapter",
    "pydantic.dataclasses",
    "pydantic._internal._dataclasses",
    "pydantic._internal._serializers",
    "crewrun.__main__",
    "crewrun.cli.app",
    "crewrun.cli.batch",
    "crewrun.cli.console",
    "crewrun.cli.display",
    "crewrun.cli.final_report",
    "crewrun.cli.setup",
    "crewrun.batch.run",
    "crewrun.batch.check",
    "crewrun.batch.plan",
    "crewrun.batch.resume",
    "crewrun.executors.inline",
    "crewrun.inspect.export",
    "crewrun.inspect.gc",
    "crewrun.inspect.merge",
    "crewrun.inspect.prompts",
    "crewrun.inspect.show",
    "crewrun.llm.transports.offline",
    "crewrun.llm.transports.openai",
    "crewrun.crew.crew",
    "mcp.client",
    "mcp.client.sse",
    "mcp.client.streamable_http",
    "crewrun.crew.plot",
    "crewrun.flow",
    "crewrun.definitions.formats.python",
    "crewrun.definitions.schema",
    "crewrun.target.script",
    "crewrun.mock.server",
]


def main() -> None:
    """In the server: fork until the tests hang up. In each fork: be the command."""
    for name in [*_IMPORTED, *sys.argv[2:]]:
        import_module(name)
    _make_command_line()
    if VARIABLE in os.environ:
        obey_variable()
    gc.collect()
    gc.freeze()  # else each fork would look through all that, and copy the pages
    command = _fork_each(socket(fileno=int(sys.argv[1])))
    if command is not None:
        _become(**command)
        os._exit(_run())


def _make_command_line() -> None:
    """Make typer's commands and their parameters once, and not in each fork: a fifth of a small command's time."""
    from crewrun.cli.app import app

    typer.main.get_command = cache(typer.main.get_command)
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    with group.make_context("crewrun", ["batch", "in.jsonl"], resilient_parsing=True) as context:
        for name in ("batch", "run"):
            group.commands[name].make_context(name, ["x"], parent=context, resilient_parsing=True)


def _fork_each(tests: socket) -> dict[str, Any] | None:
    """What to run, in a fork of its own for each command; None in the server, when no more will come.

    With each command come its three streams, and a pipe to which its process number is written, and in the end its
    exit code and how many KiB of memory it has had at most.
    """
    told: dict[int, int] = {}

    def reap(*_: object) -> None:
        with suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0]:
                pid, status, usage = ended
                pipe = told.pop(pid)
                with suppress(BrokenPipeError):
                    os.write(pipe, b"%d %d\n" % (os.waitstatus_to_exitcode(status), usage.ru_maxrss))
                os.close(pipe)

    signal.signal(signal.SIGCHLD, reap)
    while True:
        words, streams, _, _ = recv_fds(tests, 1 << 18, 4)
        if not words:
            return None
        # A command that ends at once is not to be reaped before it is known.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            for fd, stream in enumerate(streams[:3]):
                os.dup2(stream, fd)
            tests.detach()
            os.closerange(3, max(*streams, *told.values()) + 1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            command: dict[str, Any] = json.loads(words)
            return command
        *inherited, told[pid] = streams
        os.write(told[pid], b"%d\n" % pid)
        for fd in inherited:
            os.close(fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _become(
    args: list[str],
    cwd: str,
    env: dict[str, str],
    kill_at: list[Any] | None,
    file_size: tuple[int, int] | None,
    *,
    is_terminal: bool = False,
) -> None:
    if is_terminal:  # keys such as Ctrl-C come as signals only from a terminal that controls the process
        os.setsid()
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = cwd  # as `python -m` has it
    sys.argv = ["crewrun", *args]
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, file_size)
    if kill_at is not None:
        arm(Point(*kill_at))


def _run() -> int:
    from crewrun.__main__ import main as crewrun

    code = 0
    try:
        crewrun()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else end.code is not None
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120  # as the interpreter has it
    return code


if __name__ == "__main__":
    main()
