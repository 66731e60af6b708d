"""`crewrun` as a real process, and the small files that it is given."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-m", "crewrun")

CREW = """\
agents:
  writer:
    role: Writer
    goal: Write well
    backstory: You have written for years.
tasks:
  draft:
    agent: writer
    description: Write about {topic}
    expected_output: One line
"""


def clean_env(**more: str) -> dict[str, str]:
    """An environment without keys, models, proxies or settings of crewrun, and with `more`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", **more}


def crewrun(
    *args: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: str | bytes | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `crewrun *args` in `cwd` to its end. `env` is added to a clean environment; without `stdin` there is none."""
    done = subprocess.run(
        [*PROGRAM, *map(str, args)],
        cwd=cwd,
        env=clean_env(**(env or {})),
        input=b"" if stdin is None else stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return subprocess.CompletedProcess(args, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(
    *args: str | Path, cwd: Path, env: Mapping[str, str] | None = None, pipe_stdin: bool = False
) -> subprocess.Popen[str]:
    """Begin `crewrun *args` in `cwd`; the caller talks to its pipes, signals it and waits for it."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, args)],
        cwd=cwd,
        env=clean_env(**(env or {})),
        stdin=subprocess.PIPE if pipe_stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def shell(
    command: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run `command` in bash, where `crewrun` is the program; for redirections that only a shell can make."""
    words = " ".join(f"'{word}'" for word in program)
    return subprocess.run(
        ["bash", "-c", f'crewrun() {{ {words} "$@"; }}; {command}'],
        pass_fds=pass_fds,
        cwd=cwd,
        env=clean_env(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def write_crew(folder: Path, llm: str = "offline", tasks: Sequence[str] = (), more: str = "") -> Path:
    """`crew.yaml` in `folder`: one agent on `llm`, one task about {topic} and one more per description in `tasks`."""
    text = CREW + "".join(
        f"  task_{i}:\n    agent: writer\n    description: {json.dumps(words)}\n    expected_output: One line\n"
        for i, words in enumerate(tasks, 2)
    )
    path = folder / "crew.yaml"
    path.write_text(f"{text}llm: {llm}\n{more}", encoding="utf-8")
    return path


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """A JSONL file at `path`: texts and bytes as they are, one a line, everything else as JSON. `.gz` is compressed."""
    lines = [
        row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else json.dumps(row).encode()
        for row in rows
    ]
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def topics(count: int) -> list[dict[str, str]]:
    """Rows that differ."""
    return [{"topic": f"topic {i}"} for i in range(count)]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The result rows in `path`, in input order."""
    return parse_rows(path.read_text(encoding="utf-8"))


def parse_rows(text: str) -> list[dict[str, Any]]:
    """The result rows in `text`, in input order. Every line is whole, the last one too."""
    assert text == "" or text.endswith("\n")
    return sorted((json.loads(line) for line in text.split("\n")[:-1]), key=itemgetter("index"))


def problems(rows: Iterable[dict[str, Any]]) -> dict[int, str]:
    """The messages of the failed rows by their index."""
    return {row["index"]: row["error"]["message"] for row in rows if row["error"]}
