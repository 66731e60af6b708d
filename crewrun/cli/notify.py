"""`--notify`: runs the user's command when a batch ends, with the summary as JSON on its standard input.

`Notice` does that for a run that ends by itself: well, by an error, or by a bug. A small process next to it does it for
one that is killed, or ends without its last words: it reads from a pipe that only this process holds, and finds its end
there. Before the settings are known, the command is that of the flag or the environment.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from crewrun.cli.end_of_run import EndOfRun, about_failure, without_summary
from crewrun.cli.notify_command import deliver
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import environment_secrets
from crewrun.terminal import say

if TYPE_CHECKING:
    from crewrun.batch.invocation import BatchRequest
    from crewrun.batch.summary import Report

# Reads to the end before it imports anything of ours, so it waits in a few megabytes. -P: files of the working
# directory are not imported.
_WATCH = "import sys; text = sys.stdin.read(); from crewrun.cli.notify import watch; watch(text)"
_WATCHER = (sys.executable, "-P", "-c", _WATCH)

_DONE = "done"  # the watching process has nothing to do
_KILLED = "crewrun was killed, or ended without a word"
_LEAVE_S = 5.0  # it takes milliseconds, unless somebody has stopped it


@dataclass(slots=True)
class Notice:
    """Runs `command` once, when the block ends or `send` is called; None runs nothing.

    `inputs` is the input as the user wrote it. `run` is known once the settings are.
    """

    command: str | None
    inputs: str
    run: EndOfRun | None = None
    _pipe: "subprocess.Popen[str] | None" = None

    def __enter__(self) -> Self:
        self._watch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if failure is not None and self.command and not (isinstance(failure, SystemExit) and not failure.code):
            self._deliver(about_failure(self._end, failure))
        self._stand_down()

    def learn(self, request: "BatchRequest") -> None:
        """Take the command and the run from the settings."""
        self.command = request.settings.notify
        if self.command:
            self.run = EndOfRun.of(request)
            self._watch()

    def send(self, report: "Report", text: str, next_command: str | None) -> None:
        """Run the command with the summary of a run that has ended. `text` says in one line how."""
        if self.command:
            self._deliver(self._end.with_summary(report.summary, text, next_command))
        self._stand_down()

    @property
    def _end(self) -> EndOfRun:
        return self.run or EndOfRun(self.inputs)

    def _deliver(self, record: Mapping[str, Any]) -> None:
        self._stand_down()  # first: what ends this process now is not to be told twice
        if self.command:
            deliver(self.command, record)
            self.command = None

    def _watch(self) -> None:
        """Start the process that notices the end of this one, and tell it what is known."""
        if not self.command:
            return
        if self._pipe is None:
            try:
                self._pipe = subprocess.Popen(  # noqa: S603  (ours)
                    _WATCHER,
                    stdin=subprocess.PIPE,
                    stdout=2,
                    text=True,
                    start_new_session=True,  # a terminal's signals and its end are not for it
                )
            except OSError as refused:
                say(f"warning: --notify will not be run if this process is killed: {refused.strerror}")
                return
        self._tell(json.dumps({"command": self.command, "end": self._end.to_json()}) + "\n")

    def _stand_down(self) -> None:
        if self._pipe is not None:
            self._tell(f"{_DONE}\n")
            with suppress(OSError):
                self._pipe.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            with suppress(subprocess.TimeoutExpired):
                self._pipe.wait(_LEAVE_S)
            self._pipe = None

    def _tell(self, line: str) -> None:
        with suppress(OSError):  # it was killed
            self._pipe.stdin.write(line)  # type: ignore[union-attr]  # as above
            self._pipe.stdin.flush()  # type: ignore[union-attr]  # as above


def watch(text: str) -> None:
    """Notify of a run whose process has ended, unless it has said that there is nothing to do.

    `text` is what it wrote to the pipe: one line of JSON about the run, and a later one with what was known later.
    """
    lines = text.splitlines()
    if not lines or lines[-1] == _DONE:
        return
    learn(environment_secrets())
    news = json.loads(lines[-1])
    deliver(news["command"], without_summary(EndOfRun(**news["end"]), None, _KILLED))
