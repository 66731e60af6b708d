"""`WorkerClient`: the run's end of the post to one worker. It answers with the run's own limiters, journal and cache.

What is answered at once costs no task; what waits, for a limiter or for the disk, has one in the pool's group.
"""

from asyncio import Future
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from crewrun.errors import Category, CrewrunError, OutputFailed
from crewrun.executors.remote import messages
from crewrun.executors.remote.assignment import Assignment, call_error
from crewrun.executors.remote.channel import Inbox, Outbox
from crewrun.executors.remote.messages import (
    AcquirePermit,
    AcquireProbePermit,
    CallFailed,
    EndpointRefusal,
    Fault,
    Leave,
    OutputFile,
    Record,
    Reply,
    RowEnded,
    WireMessage,
)
from crewrun.executors.run_spec import RunSpec
from crewrun.limits.limiter import LocalLimiter
from crewrun.limits.permit import CallResult, Permit
from crewrun.row import ErrorRecord


class ConnectionLost(Exception):
    """A worker does not answer any more: it has died, or nothing reaches it. The message says why."""


class Connection(Protocol):
    """A connection to one worker whose `WorkerServer` is open."""

    async def exchange(self, bundle: bytes) -> bytes:
        """`WorkerServer.exchange` over there. Two may be under way at once. Raises ConnectionLost."""
        ...

    async def close(self) -> None:
        """Have the worker end, if it has not. Called once; raises nothing."""
        ...


class WorkerClient:
    """Runs assignments with the worker at the other end of `connection`."""

    def __init__(
        self, connection: Connection, run_spec: RunSpec, tasks: TaskGroup, spread: Callable[[EndpointRefusal], None]
    ) -> None:
        """`tasks` is where answers are waited for; `spread` tells the other workers."""
        self._connection = connection
        self._run_spec = run_spec
        self._tasks = tasks
        self._spread = spread
        self.outbox = Outbox()
        self._inbox = Inbox()
        self._out = 0  # exchanges under way
        self._limiters: dict[int, LocalLimiter] = {}
        self._entering: dict[int, anyio.CancelScope] = {}
        self._passes: dict[int, tuple[LocalLimiter, Permit]] = {}
        self._lent = count(1)
        self._lends = True  # until leave that was lent comes back unused: rows do not begin with a call then
        self._usual_tokens: int | None = None  # of a call, once one was answered
        self.assignments: dict[int, Assignment] = {}

    async def run(self, assignment: Assignment) -> bool:
        """Have the worker run a row. False when it died before there was an outcome. Cancelling gives the row up."""
        assignment.settled, assignment.waiting = Future(), 0
        self.assignments[assignment.number] = assignment
        leave = self._lend()
        self.outbox.put(messages.StartRow(assignment.number, assignment.row, list(assignment.known), leave))
        if leave is None:
            assignment.is_on_its_way = True
            self._run_spec.limiters.on_their_way += 1
        try:
            return await assignment.settled
        except BaseException:
            # What it recorded before it hears of that is still kept: the worker says when the row has ended.
            self.outbox.put(messages.CancelRow(assignment.number))
            raise
        finally:
            self._has_arrived(assignment)

    def gather(self, gap_s: float) -> None:
        """Have messages of both ends gather for so long."""
        self.outbox.gap_s = gap_s
        self.outbox.put(messages.SetLinger(gap_s))

    async def serve(self) -> str:
        """Exchange messages until the connection is lost; why it did. Then all that the worker had is given back."""
        why = "the run has ended"
        try:
            async with anyio.create_task_group() as pumps:

                async def pump() -> None:
                    nonlocal why
                    try:
                        await self._pump()
                    except ConnectionLost as broken:
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
            if not self.outbox.is_due:
                await self.outbox.wait_due()
                continue
            self._out += 1
            try:
                news = await self._connection.exchange(self.outbox.bundle())
            finally:
                self._out -= 1
                self.outbox.wake()
            for message in self._opened(news):
                self._read(message)

    def _opened(self, news: bytes) -> list[WireMessage]:
        try:
            return list(self._inbox.open(news))
        except Exception as wrong:
            raise ConnectionLost(f"it sent what cannot be read: {type(wrong).__name__}: {wrong}") from wrong

    def _give_back(self) -> None:
        lost = list(self.assignments.values())
        self.assignments.clear()
        for assignment in lost:
            assignment.lose()
        for scope in self._entering.values():
            scope.cancel()
        for limiter, leave in self._passes.values():
            limiter.given_up(leave, CallResult(is_unknown=True))
        self._passes.clear()

    def _read(self, message: WireMessage) -> None:
        match message:
            case AcquirePermit() | AcquireProbePermit():
                self._let_in(message)
            case messages.RowStarted(row):
                self._has_arrived(self.assignments.get(row))
            case messages.CallAnswered(number, end):
                limiter, leave = self._passes.pop(number)
                limiter.answered(leave, end)
                self._usual_tokens = end.tokens or self._usual_tokens or 0
            case Record():
                self._keep(message)
            case RowEnded():
                self._end(message)
            case CallFailed():
                limiter, leave = self._passes.pop(message.leave)
                error = call_error(message.fault)
                self._answer(message.number, limiter.failed(leave, error, message.end))
            case messages.CallAbandoned(number, end):
                self._lends = self._lends and number > 0
                if number in self._passes:
                    limiter, leave = self._passes.pop(number)
                    limiter.given_up(leave, end)
                elif number in self._entering:
                    self._entering[number].cancel()
            case messages.Notify(row, what, arguments):
                self._note(row, what, arguments)
            case messages.AskCache(number, what, arguments):
                self._answer(number, getattr(self._run_spec.cache, what)(*arguments))
            case messages.AddEndpoint(limiter, endpoint):
                self._limiters[limiter] = self._run_spec.limiters.of(endpoint)

    def _lend(self) -> Leave | None:
        """Leave for a row's first call, so that it has not to be asked for: where that goes to the only model there is,
        which takes as much as comes, as far as its first answers have said.
        """
        tokens = self._usual_tokens
        if tokens is None or not self._lends or len(self._limiters) != 1:
            return None
        ((number, limiter),) = self._limiters.items()
        leave = None if limiter.rate_limiter.is_timed else limiter.enter_nowait(tokens)
        if leave is None:
            return None
        lent = Leave(number, -next(self._lent))
        self._passes[lent.number] = limiter, leave
        return lent

    def _let_in(self, message: AcquirePermit | AcquireProbePermit) -> None:
        limiter = self._limiters[message.limiter]
        leave = limiter.enter_nowait(message.tokens) if isinstance(message, AcquirePermit) else None
        if leave is not None:
            self._passes[message.number] = limiter, leave
            self.outbox.put(Reply(message.number, value=False))
        else:
            self._tasks.start_soon(self._enter, message, self._scope(message.number))

    def _scope(self, number: int) -> anyio.CancelScope:
        """What cancels the wait for this permit."""
        scope = self._entering[number] = anyio.CancelScope()
        return scope

    def _has_arrived(self, assignment: Assignment | None) -> None:
        """The worker has begun with a row, or will not any more."""
        if assignment is not None and assignment.is_on_its_way:
            assignment.is_on_its_way = False
            self._run_spec.limiters.on_their_way -= 1

    async def _enter(self, message: AcquirePermit | AcquireProbePermit, scope: anyio.CancelScope) -> None:
        limiter, row = self._limiters[message.limiter], message.row if isinstance(message, AcquirePermit) else 0
        assignment = self.assignments.get(row)
        if assignment is not None:
            assignment.waiting += 1
        with scope:
            try:
                permit = await self._permit(limiter, message)
            except CrewrunError as refused:
                self.outbox.put(Reply(message.number, fault=Fault.of(refused)))
            else:
                self._hand_out(limiter, permit, message, too_late=scope.cancel_called)
        del self._entering[message.number]
        if assignment is not None and row in self.assignments:  # else it has ended, or runs elsewhere by now
            assignment.waiting -= 1

    async def _permit(self, limiter: LocalLimiter, message: AcquirePermit | AcquireProbePermit) -> Permit | bool:
        if isinstance(message, AcquirePermit):
            return await limiter.enter(message.tokens, message.price, is_patient=message.is_patient)
        error = call_error(message.fault) if message.fault is not None else None
        return await limiter.enter_probe(error, message.tokens, message.price)

    def _hand_out(
        self,
        limiter: LocalLimiter,
        permit: Permit | bool,
        message: AcquirePermit | AcquireProbePermit,
        *,
        too_late: bool,
    ) -> None:
        if isinstance(permit, bool):
            self.outbox.put(Reply(message.number, value=permit))
        elif too_late:  # it came through without a wait
            limiter.given_up(permit)
        else:
            self._passes[message.number] = limiter, permit
            self.outbox.put(
                Reply(message.number, value=permit.is_probe if isinstance(message, AcquirePermit) else None)
            )

    def _answer(self, number: int, answering: Coroutine[Any, Any, Any]) -> None:
        self._tasks.start_soon(self._reply, number, answering)

    async def _reply(self, number: int, answering: Coroutine[Any, Any, Any]) -> None:
        try:
            self.outbox.put(Reply(number, await answering))
        except Exception as failed:
            self.outbox.put(_refusal(number, failed))

    def _keep(self, message: Record) -> None:
        """Record what a row's call gave; whoever goes on with the row has it from now on."""
        assignment = self.assignments.get(message.row)
        if assignment is None:  # given up meanwhile: nobody waits for the reply
            return
        kept = assignment.keep(message)
        if kept is None:
            self.outbox.put(Reply(message.number))
        else:
            kept.add_done_callback(partial(self._kept, message.number))

    def _kept(self, number: int, kept: Future[None]) -> None:
        failed = kept.exception()
        self.outbox.put(_refusal(number, failed) if failed is not None else Reply(number))

    def _note(self, row: int, what: str, arguments: tuple[Any, ...]) -> None:
        assignment = self.assignments.get(row)
        recorder = assignment.recorder if assignment is not None else None
        if what == "refused":
            self._spread(EndpointRefusal(*arguments))
            if recorder is not None:
                recorder.refused(*arguments)
        elif recorder is not None and what == "record_unfinished":
            recorder.record_unfinished(*arguments)
        elif recorder is not None:
            task, fault, delay_s = arguments
            recorder.retrying(task, call_error(fault), delay_s)

    def _end(self, ended: RowEnded) -> None:
        assignment = self.assignments.pop(ended.row)
        if ended.files:
            self._tasks.start_soon(self._write, assignment, ended)
        else:
            assignment.settle(ended, self._run_spec.files)

    async def _write(self, assignment: Assignment, ended: RowEnded) -> None:
        try:
            await anyio.to_thread.run_sync(_write_all, self._run_spec.files, ended.files)
        except OSError as refused:
            error = ErrorRecord(Category.INTERNAL, type(refused).__name__, str(refused))
            ended = ended._replace(
                outcome=ended.outcome and replace(ended.outcome, status="failed", output=None, error=error)
            )
        assignment.settle(ended, self._run_spec.files)


def _refusal(number: int, failed: BaseException) -> Reply:
    """What the worker raises instead of an answer."""
    told = failed if isinstance(failed, CrewrunError) else OutputFailed(f"{type(failed).__name__}: {failed}")
    return Reply(number, fault=Fault.of(told))


def _write_all(folder: Path, files: Sequence[OutputFile]) -> None:
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
