"""What `--notify`'s command gets, and how it is run."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewrun.errors import CrewrunError
from crewrun.redaction.redactor import learn, redact_line
from crewrun.redaction.values import environment_secrets
from crewrun.terminal import say

if TYPE_CHECKING:
    from crewrun.batch.invocation import BatchRequest

# A webhook answers within seconds; a cron job that never ends keeps the next night's from starting.
_TIME_LIMIT_S = 60.0
_VARIABLE_CHARS = 10_000
DONE = "done"  # the watching process has nothing to do
_KILLED = "crewrun was killed, or ended without a word"


@dataclass(frozen=True, slots=True)
class EndOfRun:
    """What a notification says of any run: `inputs` as the user wrote them, the absolute paths of results and run
    folder, where there are any, and the command that goes on.
    """

    inputs: str
    results: str | None = None
    run: str | None = None
    command: str | None = None

    @classmethod
    def of(cls, request: "BatchRequest") -> "EndOfRun":
        """The run that is about to begin."""
        from crewrun.batch.locations import output_path
        from crewrun.cli.resume_command import resume_command
        from crewrun.runs.folder import folder_of

        settings = request.settings
        try:
            output = output_path(request.invocation.inputs, settings.output, settings.part, settings.output_format)
        except CrewrunError:
            output = None
        folder = settings.run_dir or (None if output is None else str(folder_of(Path(output)).path))
        return cls(
            request.invocation.inputs,
            None if output is None else os.path.abspath(output),
            None if folder is None else os.path.abspath(folder),
            resume_command(request),
        )

    def to_json(self) -> dict[str, Any]:
        """As the watching process gets it."""
        return asdict(self)

    def with_summary(self, summary: Mapping[str, Any], text: str, command: str | None) -> dict[str, Any]:
        """The record for a run that has a summary."""
        return {
            **summary,
            "text": text,
            "inputs": self.inputs,
            "results": self.results,
            "run": self.run,
            "command": command,
            "host": socket.gethostname(),
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }


def about_failure(end: EndOfRun, failure: BaseException) -> dict[str, Any]:
    """The record for a run that an exception ended."""
    code = 1
    if isinstance(failure, CrewrunError):
        code = failure.exit_code
    elif isinstance(failure, SystemExit) and isinstance(failure.code, int):
        code = failure.code
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]  # what a task group wraps
    why = str(failure) if isinstance(failure, CrewrunError) else f"{type(failure).__name__}: {failure}"
    return _without_summary(end, code, why)


def watch(text: str) -> None:
    """Notify of a run whose process has ended, unless its last line is `DONE`. `text` is what it wrote to the pipe: one
    line of JSON about the run, and a later one with what was known later.
    """
    lines = text.splitlines()
    if not lines or lines[-1] == DONE:
        return
    learn(environment_secrets())
    news = json.loads(lines[-1])
    deliver(news["command"], _without_summary(EndOfRun(**news["end"]), None, _KILLED))


def deliver(command: str, record: Mapping[str, Any]) -> None:
    """Run `command` in a shell, with `record` on its standard input. What it prints goes to stderr.

    It may take a minute. That it fails, or takes longer, is a warning.
    """
    safe = _redacted(record)
    code = record["exit_code"]
    variables = {f"CREWRUN_{name.upper()}": _variable(safe[name] or "") for name in ("text", "results", "run")}
    environment = {**os.environ, **variables, "CREWRUN_EXIT_CODE": "" if code is None else str(code)}
    environment.pop("CREWRUN_NOTIFY", None)  # not for runs that the command starts
    try:
        with _Signals() as signals:
            _run(command, environment, (json.dumps(safe) + "\n").encode(), signals)
    except KeyboardInterrupt:
        say("warning: --notify was ended by a signal")


def _run(command: str, environment: Mapping[str, str], text: bytes, signals: "_Signals") -> None:
    try:
        process = subprocess.Popen(  # noqa: S603  (the user's own command)
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=2,
            env=environment,
            start_new_session=True,  # to end all of it, and so that Ctrl-C leaves it alone
        )
    except OSError as refused:
        say(f"warning: --notify cannot be run: {refused.strerror}")
        return
    try:
        signals.interrupt()
        process.communicate(text, timeout=_TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        say(f"warning: --notify did not end within {_TIME_LIMIT_S:.0f} s, and was ended")
        return
    finally:
        if process.poll() is None:
            _kill(process)
    if process.returncode:
        ended = f"with {process.returncode}" if process.returncode > 0 else f"by signal {-process.returncode}"
        say(f"warning: --notify ended {ended}; the run's own exit code stays")


def _variable(text: str) -> str:
    """`text` as the environment takes it: without NUL and lone surrogates, and not too long for Linux (128 KiB)."""
    text = text[:_VARIABLE_CHARS].replace("\0", "")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Signals:
    """In its block, SIGINT and SIGTERM raise KeyboardInterrupt from `interrupt` on, unless they are ignored.

    Before that they wait: raised while the command is being started, nothing would know the process to end.
    """

    def __init__(self) -> None:
        self._is_waiting = True
        self._has_come = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *failure: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt for signals from now on, at once if one has come."""
        self._is_waiting = False
        if self._has_come:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: object) -> None:
        self._has_come = True
        if not self._is_waiting:
            raise KeyboardInterrupt


def _without_summary(end: EndOfRun, exit_code: int | None, why: str) -> dict[str, Any]:
    """The record for a run that ended without a summary: what its journal has, if it can be read."""
    from crewrun.batch.summary import SCHEMA
    from crewrun.inspect.status import read_status
    from crewrun.inspect.view import open_run

    rows, in_all, counts = None, None, ""
    if end.run is not None:
        with suppress(Exception), open_run(end.run) as view:
            status = read_status(view, held=False)
            rows, in_all = {"ok": status.ok, "failed": status.failed}, status.in_all
            counts = f"{status.ok:,} ok, {status.failed:,} failed; "
    reason = " ".join(redact_line(why).split())
    text = f"{counts}stopped: {reason}"
    if end.command and rows is not None:
        text += f"; to go on: {end.command}"
    summary = {"schema": SCHEMA, "exit_code": exit_code, "stopped": reason, "rows": rows, "in_all": in_all}
    return end.with_summary(summary, text, end.command)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact_line(value)
    if isinstance(value, Mapping):
        return {name: _redacted(one) for name, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list | tuple) else value
