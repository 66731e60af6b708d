"""`Errand`: a row on its way to an outcome, over as many workers as it takes, and what is recorded of it meanwhile."""

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from crewrun.errors import CallError, RunStopped
from crewrun.executors.job import Recorded
from crewrun.executors.letters import Ended, Fault, Keep, Known
from crewrun.failed_tools import FailedCall, FailedTools
from crewrun.messages import ChatRequest, Endpoint, Usage
from crewrun.recorder import Spent
from crewrun.row import ErrorRecord, Outcome, Replayed, Row

# A request as the journal gets it: its identity says what was asked, its messages are for the log.
_SOME_ENDPOINT = Endpoint("offline", "offline", "offline")


@dataclass(slots=True, eq=False)
class Errand:
    """See above. `known` grows with all that is recorded: a second worker pays for nothing that a first one did.

    `deaths` are those of workers that had it. `settled` is there once a worker has it: true when there is an `outcome`,
    or the `failure` that the run is to end with, and false when the worker died.
    """

    number: int
    row: Row
    recorder: Recorded | None
    known: list[Known]
    deaths: int = 0
    waiting: int = 0  # calls that wait for leave
    is_on_its_way: bool = False
    outcome: Outcome | None = None
    failure: Exception | None = None
    settled: Future[bool] = field(init=False)
    failed_tools: FailedTools = field(default_factory=FailedTools)

    def keep(self, letter: Keep) -> Future[None] | None:
        """Record what a call gave; done when it is safe. None where nothing is to be waited for."""
        recorder = self.recorder
        task, identity, *rest = letter.arguments
        match letter.what:
            case "record":
                messages, completion, spent = rest
                self.known.append(Known(task, identity, (completion, spent), is_new=True))
                request = ChatRequest(_SOME_ENDPOINT, messages)
                return recorder.record(task, identity, request, completion, spent) if recorder else None
            case "record_tool":
                self.known.append(Known(task, identity, rest[1], is_new=True))
                return recorder.record_tool(task, identity, *rest) if recorder else None
            case "record_tool_failure":
                tool, reason, told, _ = rest
                self.failed_tools.add(FailedCall(task, tool, reason, told))
                return recorder.record_tool_failure(task, identity, *rest) if recorder else None
            case _:
                fault, spent = rest
                return recorder.record_failure(task, identity, call_error(fault), spent) if recorder else None

    def settle(self, ended: Ended, files: Path) -> None:
        """The worker says how it ended, with the row's files below `files`."""
        if ended.outcome is None:
            self.failure = ended.fault.error() if ended.fault else RuntimeError("a row without an outcome")
        else:
            self.outcome = self._completed(ended.outcome, ended, files)
        self._settle(True)

    def lose(self) -> None:
        """The worker has died."""
        self._settle(False)

    def _settle(self, is_settled: bool) -> None:
        if not self.settled.done():  # nobody waits any more where the row was given up
            self.settled.set_result(is_settled)

    def given_up(
        self, error: ErrorRecord, started_at: datetime, duration_s: float, stopped: RunStopped | None = None
    ) -> Outcome:
        """The outcome of a row that no worker brought to its end, with what was paid for it in this session."""
        paid = [known.answer[1] for known in self.known if known.is_new and not isinstance(known.answer, str)]
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

    def _completed(self, outcome: Outcome, ended: Ended, folder: Path) -> Outcome:
        recorder = self.recorder
        if recorder is not None and ended.replayed:
            tools = {known[:2] for known in self.known if isinstance(known.answer, str)}
            for used in ended.replayed:  # so that it knows which answers the row was made of
                (recorder.replay_tool if used in tools else recorder.replay)(*used)
        stopped: Any = ended.stopped.error() if ended.stopped else None
        replayed = self._replayed(ended) if self.deaths else outcome.replayed
        written = {file.path for file in ended.files}
        files = [str(folder / name) if name in written else name for name in outcome.files]
        return replace(outcome, row=self.row, stopped=stopped, replayed=replayed, files=files)

    def _replayed(self, ended: Ended) -> Replayed | None:
        """What an earlier session paid for: not what was recorded in this one, for a worker that has died."""
        used = set(ended.replayed)
        return _sum(
            [
                known.answer[1]
                for known in self.known
                if not (known.is_new or isinstance(known.answer, str)) and (known.task, known.identity) in used
            ]
        )


def _sum(spent: Sequence[Spent]) -> Replayed | None:
    """What was spent on answers, None when there are none."""
    if not spent:
        return None
    costs = [one.cost_usd for one in spent if one.cost_usd is not None]
    usage = sum((one.usage for one in spent), Usage())
    cost_usd = sum(costs) if len(costs) == len(spent) else None
    return Replayed(len(spent), sum(one.attempts for one in spent), usage, cost_usd)


def call_error(fault: Fault) -> CallError:
    """The failure of a call, which a worker sent."""
    error = fault.error()
    assert isinstance(error, CallError)  # noqa: S101  (our own worker sent it)
    return error
