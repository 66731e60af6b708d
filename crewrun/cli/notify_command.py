"""The command of `--notify`: how it is run, and what it gets."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from threading import current_thread, main_thread
from typing import Any

from crewrun.redaction.redactor import redact_line
from crewrun.terminal import say

# A webhook answers within seconds; a cron job that never ends keeps the next night's from starting.
_TIME_LIMIT_S = 60.0
_VARIABLE_CHARS = 10_000


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
    """In its block, SIGINT and SIGTERM raise KeyboardInterrupt from `interrupt` on, unless they are ignored. In
    a thread of a program they are the program's.

    Before that they wait: raised while the command is being started, nothing would know the process to end.
    """

    def __init__(self) -> None:
        self._is_waiting = True
        self._has_come = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        for number in (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ():
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


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact_line(value)
    if isinstance(value, Mapping):
        return {name: _redacted(one) for name, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list | tuple) else value
