"""`Assignment`: a row for a worker, or for several in turn if they die, with what is recorded of it."""

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio.to_thread

from crewrun.errors import Category, RunStopped
from crewrun.executors.remote.messages import OutputFile, RecordedAnswer, RemoteFault, RowResult
from crewrun.executors.run_spec import RowRecorder
from crewrun.failed_tools import FailedCall, FailedTools
from crewrun.messages import ChatRequest, Completion, Endpoint, Message, Usage
from crewrun.recorder import Spent
from crewrun.row import ErrorRecord, Outcome, Replayed, Row

# The journal identifies a request by its identity; the request itself is only used for the messages in the log.
_ANY_ENDPOINT = Endpoint("offline", "offline", "offline")


@dataclass(slots=True, eq=False)
class Assignment:
    """See above. `answers` grows with everything that is recorded, so a second worker pays for nothing again.

    `number` changes with each worker that gets the row. The methods up to `refused` are those of a `Recorder`, as a
    worker calls them: errors arrive as faults, requests as their messages.
    """

    number: int
    row: Row
    recorder: RowRecorder | None
    answers: list[RecordedAnswer]
    deaths: int = 0  # of workers that had it
    waiting: int = 0  # calls that wait for a permit
    has_begun: bool = False
    failed_tools: FailedTools = field(default_factory=FailedTools)

    def record(
        self, task: str, identity: bytes, messages: tuple[Message, ...], completion: Completion, spent: Spent
    ) -> Future[None] | None:
        """See `Recorder.record`. None when nothing is recorded."""
        self.answers.append(RecordedAnswer(task, identity, (completion, spent), is_new=True))
        request = ChatRequest(_ANY_ENDPOINT, messages)
        return self.recorder.record(task, identity, request, completion, spent) if self.recorder else None

    def record_failure(self, task: str, identity: bytes, fault: RemoteFault, spent: Spent) -> Future[None] | None:
        """See `Recorder.record_failure`."""
        return self.recorder.record_failure(task, identity, fault.call_error(), spent) if self.recorder else None

    def record_unfinished(self, *arguments: Any) -> None:
        """See `Recorder.record_unfinished`."""
        if self.recorder is not None:
            self.recorder.record_unfinished(*arguments)

    def record_tool(self, task: str, identity: bytes, tool: str, result: str, duration_s: float) -> Future[None] | None:
        """See `Recorder.record_tool`."""
        self.answers.append(RecordedAnswer(task, identity, result, is_new=True))
        return self.recorder.record_tool(task, identity, tool, result, duration_s) if self.recorder else None

    def record_tool_failure(
        self, task: str, identity: bytes, tool: str, reason: str, message: str, duration_s: float
    ) -> Future[None] | None:
        """See `Recorder.record_tool_failure`."""
        self.failed_tools.add(FailedCall(task, tool, reason, message))
        recorder = self.recorder
        return recorder.record_tool_failure(task, identity, tool, reason, message, duration_s) if recorder else None

    def retrying(self, task: str, fault: RemoteFault, delay_s: float) -> None:
        """See `Recorder.retrying`."""
        if self.recorder is not None:
            self.recorder.retrying(task, fault.call_error(), delay_s)

    def refused(self, endpoint: str, what: str) -> None:
        """See `Recorder.refused`."""
        if self.recorder is not None:
            self.recorder.refused(endpoint, what)

    async def outcome(self, result: RowResult, folder: Path) -> Outcome:
        """The outcome of a row that a worker has finished. Writes its files below `folder`."""
        outcome, recorder = result.outcome, self.recorder
        if result.files:
            try:
                await anyio.to_thread.run_sync(_write_all, folder, result.files)
            except OSError as refused:
                error = ErrorRecord(Category.INTERNAL, type(refused).__name__, str(refused))
                outcome = replace(outcome, status="failed", output=None, error=error)
        if recorder is not None and result.replayed:
            tools = {(answer.task, answer.identity) for answer in self.answers if isinstance(answer.answer, str)}
            for call in result.replayed:  # so that the recorder knows which answers the row used
                (recorder.replay_tool if call in tools else recorder.replay)(*call)
        stopped: Any = result.stopped.error() if result.stopped else None
        replayed = self._replayed(result) if self.deaths else outcome.replayed
        written = {file.path for file in result.files}
        files = [str(folder / name) if name in written else name for name in outcome.files]
        return replace(outcome, row=self.row, stopped=stopped, replayed=replayed, files=files)

    def unfinished_outcome(
        self, error: ErrorRecord, started_at: datetime, duration_s: float, stopped: RunStopped | None = None
    ) -> Outcome:
        """The outcome of a row that no worker has finished, with what this session paid for it."""
        paid = [entry.answer[1] for entry in self.answers if entry.is_new and not isinstance(entry.answer, str)]
        total = _sum(paid)
        return Outcome(
            row=self.row,
            status="failed",
            output=None,
            tasks=(),
            error=error,
            attempts=total.attempts if total else 0,
            calls=total.calls if total else 0,
            usage=total.usage if total else Usage(),
            cost_usd=total.cost_usd if total else 0.0,
            models=list(dict.fromkeys(spent.model for spent in paid)),
            started_at=started_at,
            duration_s=duration_s,
            stopped=stopped,
            tool_failures=self.failed_tools.groups,
        )

    def _replayed(self, result: RowResult) -> Replayed | None:
        """What earlier sessions paid for: without what this session paid for on a worker that has died."""
        used = set(result.replayed)
        return _sum(
            [
                entry.answer[1]
                for entry in self.answers
                if not (entry.is_new or isinstance(entry.answer, str)) and (entry.task, entry.identity) in used
            ]
        )


def _sum(spent: Sequence[Spent]) -> Replayed | None:
    """The sum of what was spent on answers, None without any."""
    if not spent:
        return None
    costs = [one.cost_usd for one in spent if one.cost_usd is not None]
    usage = sum((one.usage for one in spent), Usage())
    cost_usd = sum(costs) if len(costs) == len(spent) else None
    return Replayed(len(spent), sum(one.attempts for one in spent), usage, cost_usd)


def _write_all(folder: Path, files: Sequence[OutputFile]) -> None:
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
