"""`Desk`: the run's end of the post to one worker. It answers with the run's own gates, journal and cache.

What is answered at once costs no task; what waits, for a gate or for the disk, has one in the fleet's group.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from crewrun.errors import CallError, Category, CrewrunError, OutputFailed
from crewrun.executors import letters
from crewrun.executors.job import Job, Recorded
from crewrun.executors.letters import Ended, Enter, Failed, Fault, Keep, Known, Letter, Refuses, Reply, Written
from crewrun.executors.post import Inbox, Outbox
from crewrun.llm.gate import Gate, Pass
from crewrun.llm.recorder import Spent
from crewrun.messages import ChatRequest, Endpoint, Usage
from crewrun.row import ErrorRecord, Outcome, Replayed, Row

# A request as the journal gets it: its identity says what was asked, its messages are for the log.
_SOME_ENDPOINT = Endpoint("offline", "offline", "offline")


class LineBroken(Exception):
    """A worker does not answer any more: it has died, or nothing reaches it. The message says why."""


class Line(Protocol):
    """A connection to one worker whose `Station` is open."""

    async def exchange(self, bundle: bytes) -> bytes:
        """`Station.exchange` over there. Two may be under way at once. Raises LineBroken."""
        ...

    async def close(self) -> None:
        """Have the worker end, if it has not. Called once; raises nothing."""
        ...


@dataclass(slots=True, eq=False)
class Errand:
    """A row on its way to an outcome, over as many workers as it takes.

    `known` grows with all that is recorded for it, so that a second worker does not pay for what a first one did.
    """

    number: int
    row: Row
    recorder: Recorded | None
    known: list[Known]
    deaths: int = 0
    outcome: Outcome | None = None
    failure: Exception | None = None
    is_lost: bool = False
    settled: anyio.Event = field(default_factory=anyio.Event)


class Desk:
    """Runs errands with the worker at the other end of `line`."""

    def __init__(self, line: Line, job: Job, tasks: TaskGroup, spread: Callable[[Refuses], None]) -> None:
        """`tasks` is where answers are waited for; `spread` tells the other workers."""
        self._line = line
        self._job = job
        self._tasks = tasks
        self._spread = spread
        self.outbox = Outbox()
        self._inbox = Inbox()
        self._out = 0  # exchanges under way
        self._gates: dict[int, Gate] = {}
        self._entering: dict[int, anyio.CancelScope] = {}
        self._passes: dict[int, tuple[Gate, Pass]] = {}
        self.errands: dict[int, Errand] = {}

    async def run(self, errand: Errand) -> bool:
        """Have the worker run a row. False when it died before there was an outcome. Cancelling gives the row up."""
        errand.settled, errand.is_lost = anyio.Event(), False
        self.errands[errand.number] = errand
        self.outbox.put(letters.Start(errand.number, errand.row, list(errand.known)))
        try:
            await errand.settled.wait()
        except BaseException:
            # What it recorded before it hears of that is still kept: the worker says when the row has ended.
            self.outbox.put(letters.Drop(errand.number))
            raise
        return not errand.is_lost

    async def serve(self) -> str:
        """Exchange letters until the line breaks; why it did. Then all that the worker had is given back."""
        why = "the run has ended"
        try:
            async with anyio.create_task_group() as pumps:

                async def pump() -> None:
                    nonlocal why
                    try:
                        await self._pump()
                    except LineBroken as broken:
                        why = str(broken)
                        pumps.cancel_scope.cancel()

                # One exchange waits for news from there, the other takes news there meanwhile.
                pumps.start_soon(pump)
                pumps.start_soon(pump)
        finally:
            self._give_back()
        return why

    async def _pump(self) -> None:
        while True:
            while self._out and not self.outbox:
                await self.outbox.wait_news()
            self._out += 1
            try:
                news = await self._line.exchange(self.outbox.bundle())
            finally:
                self._out -= 1
                self.outbox.wake()
            for letter in self._inbox.open(news):
                self._read(letter)

    def _give_back(self) -> None:
        for scope in self._entering.values():
            scope.cancel()
        for gate, leave in self._passes.values():
            gate.given_up(leave)
        self._passes.clear()
        lost = list(self.errands.values())
        self.errands.clear()
        for errand in lost:
            errand.is_lost = True
            errand.settled.set()

    def _read(self, letter: Letter) -> None:
        match letter:
            case Enter():
                scope = self._entering[letter.number] = anyio.CancelScope()
                self._tasks.start_soon(self._enter, letter, scope)
            case letters.Answered(number, end):
                gate, leave = self._passes.pop(number)
                gate.answered(leave, end)
            case Keep():
                self._keep(letter)
            case Ended():
                self._end(letter)
            case Failed():
                gate, leave = self._passes.pop(letter.leave)
                error = _call_error(letter.fault)
                self._answer(letter.number, gate.failed(leave, error, letter.end))
            case letters.GivenUp(number):
                if number in self._passes:
                    gate, leave = self._passes.pop(number)
                    gate.given_up(leave)
                elif number in self._entering:
                    self._entering[number].cancel()
            case letters.Note(row, what, arguments):
                self._note(row, what, arguments)
            case letters.Ask(number, what, arguments):
                self._answer(number, getattr(self._job.cache, what)(*arguments))
            case letters.Meet(gate, endpoint):
                self._gates[gate] = self._job.gates.of(endpoint)

    async def _enter(self, letter: Enter, scope: anyio.CancelScope) -> None:
        gate = self._gates[letter.gate]
        with scope:
            try:
                leave = await gate.enter(letter.tokens, letter.price, is_patient=letter.is_patient)
            except CrewrunError as refused:
                self.outbox.put(Reply(letter.number, fault=Fault.of(refused)))
            else:
                if scope.cancel_called:  # too late for this one: it came through without a wait
                    gate.given_up(leave)
                else:
                    self._passes[letter.number] = gate, leave
                    self.outbox.put(Reply(letter.number))
        del self._entering[letter.number]

    def _answer(self, number: int, answering: Coroutine[Any, Any, Any]) -> None:
        self._tasks.start_soon(self._reply, number, answering)

    async def _reply(self, number: int, answering: Coroutine[Any, Any, Any]) -> None:
        try:
            reply = Reply(number, await answering)
        except Exception as failed:
            told = failed if isinstance(failed, CrewrunError) else OutputFailed(f"{type(failed).__name__}: {failed}")
            reply = Reply(number, fault=Fault.of(told))
        self.outbox.put(reply)

    def _keep(self, letter: Keep) -> None:
        """Record what a row's call gave; whoever goes on with the row has it from now on."""
        errand = self.errands.get(letter.row)
        if errand is None:  # given up meanwhile: nobody waits for the reply
            return
        task, identity, *rest = letter.arguments
        recorder = errand.recorder
        match letter.what:
            case "record":
                messages, completion, spent = rest
                errand.known.append(Known(task, identity, (completion, spent), is_new=True))
                request = ChatRequest(_SOME_ENDPOINT, messages)
                kept = recorder.record(task, identity, request, completion, spent) if recorder else None
            case "record_tool":
                errand.known.append(Known(task, identity, rest[1], is_new=True))
                kept = recorder.record_tool(task, identity, *rest) if recorder else None
            case _:
                fault, spent = rest
                kept = recorder.record_failure(task, identity, _call_error(fault), spent) if recorder else None
        if kept is None:
            self.outbox.put(Reply(letter.number))
        else:
            self._answer(letter.number, kept)

    def _note(self, row: int, what: str, arguments: tuple[Any, ...]) -> None:
        errand = self.errands.get(row)
        recorder = errand.recorder if errand is not None else None
        if what == "refused":
            self._spread(Refuses(*arguments))
            if recorder is not None:
                recorder.refused(*arguments)
        elif recorder is not None:
            task, fault, delay_s = arguments
            recorder.retrying(task, _call_error(fault), delay_s)

    def _end(self, ended: Ended) -> None:
        errand = self.errands.pop(ended.row)
        if ended.files:
            self._tasks.start_soon(self._write, errand, ended)
        else:
            self._settle(errand, ended)

    async def _write(self, errand: Errand, ended: Ended) -> None:
        try:
            await anyio.to_thread.run_sync(_write_all, self._job.files, ended.files)
        except OSError as refused:
            error = ErrorRecord(Category.INTERNAL, type(refused).__name__, str(refused))
            ended = ended._replace(
                outcome=ended.outcome and replace(ended.outcome, status="failed", output=None, error=error)
            )
        self._settle(errand, ended)

    def _settle(self, errand: Errand, ended: Ended) -> None:
        if ended.outcome is None:
            errand.failure = ended.fault.error() if ended.fault else RuntimeError("a row without an outcome")
        else:
            errand.outcome = self._outcome(errand, ended, ended.outcome)
        errand.settled.set()

    def _outcome(self, errand: Errand, ended: Ended, outcome: Outcome) -> Outcome:
        recorder = errand.recorder
        if recorder is not None:
            tools = {known[:2] for known in errand.known if isinstance(known.answer, str)}
            for used in ended.replayed:  # so that it knows which answers the row was made of
                (recorder.replay_tool if used in tools else recorder.replay)(*used)
        stopped: Any = ended.stopped.error() if ended.stopped else None
        replayed = _replayed(errand, ended) if errand.deaths else outcome.replayed
        written = {file.path for file in ended.files}
        files = [str(self._job.files / name) if name in written else name for name in outcome.files]
        return replace(outcome, row=errand.row, stopped=stopped, replayed=replayed, files=files)


def _replayed(errand: Errand, ended: Ended) -> Replayed | None:
    """What an earlier session paid for: not what was recorded in this one, for a worker that has died."""
    used = set(ended.replayed)
    return sum_of(
        [
            known.answer[1]
            for known in errand.known
            if not (known.is_new or isinstance(known.answer, str)) and (known.task, known.identity) in used
        ]
    )


def sum_of(old: Sequence[Spent]) -> Replayed | None:
    """The sum of what was spent on answers, None when there are none."""
    if not old:
        return None
    costs = [spent.cost_usd for spent in old if spent.cost_usd is not None]
    usage = sum((spent.usage for spent in old), Usage())
    cost_usd = sum(costs) if len(costs) == len(old) else None
    return Replayed(len(old), sum(spent.attempts for spent in old), usage, cost_usd)


def _call_error(fault: Fault) -> CallError:
    error = fault.error()
    assert isinstance(error, CallError)  # noqa: S101  (our own worker sent it)
    return error


def _write_all(folder: Path, files: Sequence[Written]) -> None:
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
