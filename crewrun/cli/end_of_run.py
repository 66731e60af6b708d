"""What a notification says of the end of a run: its summary, or what is known of a run that has none."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewrun.errors import CrewrunError
from crewrun.redaction.redactor import redact_line

if TYPE_CHECKING:
    from crewrun.batch.invocation import BatchRequest


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
    return without_summary(end, code, why)


def without_summary(end: EndOfRun, exit_code: int | None, why: str) -> dict[str, Any]:
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
