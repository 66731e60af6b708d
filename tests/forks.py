"""Whole commands of crewrun, each in a fork of one process that has imported everything: a start that costs little.

`Forks` is for tests, and `python forks.py` the process that it talks to. A command in a fork has a working directory,
an environment, streams and an exit code of its own, as one that a shell starts.
"""

import gc
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, Self

from cli import clean_env
from kill_points import Point, arm

_IMPORTED = (
    *("uvloop", "anyio._backends._asyncio", "anyio.streams.memory", "typer._adapters", "pydantic.type_adapter"),
    *("crewrun.batch.run", "crewrun.llm.offline_transport", "crewrun.llm.openai_transport", "crewrun.crew.crew"),
    *("crewrun.cli.app", "crewrun.cli.batch", "crewrun.cli.display", "crewrun.cli.report", "crewrun.cli.setup"),
    *("crewrun.batch.reread", "crewrun.runs.export", "crewrun.runs.gc", "crewrun.runs.prompts", "crewrun.runs.show"),
)


class Forks:
    """`with Forks() as forks: forks.crewrun("batch", …, cwd=…)`."""

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory()
        self._server = subprocess.Popen(
            [sys.executable, __file__], env=clean_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()
        self._folder.cleanup()

    def crewrun(
        self,
        *args: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        kill_at: Point | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """As `cli.crewrun` does. With `kill_at` the process is killed there, if it comes to it."""
        streams = [Path(self._folder.name, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin or "", encoding="utf-8")
        command = {
            "args": args,
            "cwd": str(cwd),
            "env": clean_env(**(env or {})),
            "streams": [str(path) for path in streams],
            "kill_at": kill_at,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(command), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess(args, code, *(path.read_text(encoding="utf-8") for path in streams[1:]))


def _serve() -> None:
    """Run the commands that come as lines of JSON, and print each one's exit code."""
    for name in _IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # else each fork would look through all that, and copy the pages
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(args: list[str], cwd: str, env: dict[str, str], streams: list[str], kill_at: list[Any] | None) -> NoReturn:
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        for fd, path in enumerate(streams):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if fd else os.O_RDONLY
            os.dup2(os.open(path, flags, 0o600), fd)
        if kill_at is not None:
            arm(Point(*kill_at))
        from crewrun.__main__ import main

        sys.argv = ["crewrun", *args]
        main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    _serve()
