"""`Desk`: the run's end of the post to one worker. It answers with the run's own limiters, journal and cache.

What is answered at once costs no task; what waits, for a limiter or for the disk, has one in the fleet's group.
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
from crewrun.executors import letters
from crewrun.executors.errand import Errand, call_error
from crewrun.executors.job import Job
from crewrun.executors.letters import (
    Ended,
    Enter,
    EnterProbe,
    Failed,
    Fault,
    Keep,
    Leave,
    Letter,
    Refuses,
    Reply,
    Written,
)
from crewrun.executors.post import Inbox, Outbox
from crewrun.limits.limiter import LocalLimiter
from crewrun.limits.permit import CallResult, Permit
from crewrun.row import ErrorRecord


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
        self._limiters: dict[int, LocalLimiter] = {}
        self._entering: dict[int, anyio.CancelScope] = {}
        self._passes: dict[int, tuple[LocalLimiter, Permit]] = {}
        self._lent = count(1)
        self._lends = True  # until leave that was lent comes back unused: rows do not begin with a call then
        self._usual_tokens: int | None = None  # of a call, once one was answered
        self.errands: dict[int, Errand] = {}

    async def run(self, errand: Errand) -> bool:
        """Have the worker run a row. False when it died before there was an outcome. Cancelling gives the row up."""
        errand.settled, errand.waiting = Future(), 0
        self.errands[errand.number] = errand
        leave = self._lend()
        self.outbox.put(letters.Start(errand.number, errand.row, list(errand.known), leave))
        if leave is None:
            errand.is_on_its_way = True
            self._job.limiters.on_their_way += 1
        try:
            return await errand.settled
        except BaseException:
            # What it recorded before it hears of that is still kept: the worker says when the row has ended.
            self.outbox.put(letters.Drop(errand.number))
            raise
        finally:
            self._has_arrived(errand)

    def gather(self, gap_s: float) -> None:
        """Have letters of both ends gather for so long."""
        self.outbox.gap_s = gap_s
        self.outbox.put(letters.Gap(gap_s))

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
            if not self.outbox.is_due:
                await self.outbox.wait_due()
                continue
            self._out += 1
            try:
                news = await self._line.exchange(self.outbox.bundle())
            finally:
                self._out -= 1
                self.outbox.wake()
            for letter in self._opened(news):
                self._read(letter)

    def _opened(self, news: bytes) -> list[Letter]:
        try:
            return list(self._inbox.open(news))
        except Exception as wrong:
            raise LineBroken(f"it sent what cannot be read: {type(wrong).__name__}: {wrong}") from wrong

    def _give_back(self) -> None:
        lost = list(self.errands.values())
        self.errands.clear()
        for errand in lost:
            errand.lose()
        for scope in self._entering.values():
            scope.cancel()
        for limiter, leave in self._passes.values():
            limiter.given_up(leave, CallResult(is_unknown=True))
        self._passes.clear()

    def _read(self, letter: Letter) -> None:
        match letter:
            case Enter() | EnterProbe():
                self._let_in(letter)
            case letters.Begun(row):
                self._has_arrived(self.errands.get(row))
            case letters.Answered(number, end):
                limiter, leave = self._passes.pop(number)
                limiter.answered(leave, end)
                self._usual_tokens = end.tokens or self._usual_tokens or 0
            case Keep():
                self._keep(letter)
            case Ended():
                self._end(letter)
            case Failed():
                limiter, leave = self._passes.pop(letter.leave)
                error = call_error(letter.fault)
                self._answer(letter.number, limiter.failed(leave, error, letter.end))
            case letters.GivenUp(number, end):
                self._lends = self._lends and number > 0
                if number in self._passes:
                    limiter, leave = self._passes.pop(number)
                    limiter.given_up(leave, end)
                elif number in self._entering:
                    self._entering[number].cancel()
            case letters.Note(row, what, arguments):
                self._note(row, what, arguments)
            case letters.Ask(number, what, arguments):
                self._answer(number, getattr(self._job.cache, what)(*arguments))
            case letters.Meet(limiter, endpoint):
                self._limiters[limiter] = self._job.limiters.of(endpoint)

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

    def _let_in(self, letter: Enter | EnterProbe) -> None:
        limiter = self._limiters[letter.limiter]
        leave = limiter.enter_nowait(letter.tokens) if isinstance(letter, Enter) else None
        if leave is not None:
            self._passes[letter.number] = limiter, leave
            self.outbox.put(Reply(letter.number, value=False))
        else:
            self._tasks.start_soon(self._enter, letter, self._scope(letter.number))

    def _scope(self, number: int) -> anyio.CancelScope:
        """What cancels the wait for this permit."""
        scope = self._entering[number] = anyio.CancelScope()
        return scope

    def _has_arrived(self, errand: Errand | None) -> None:
        """The worker has begun with a row, or will not any more."""
        if errand is not None and errand.is_on_its_way:
            errand.is_on_its_way = False
            self._job.limiters.on_their_way -= 1

    async def _enter(self, letter: Enter | EnterProbe, scope: anyio.CancelScope) -> None:
        limiter, row = self._limiters[letter.limiter], letter.row if isinstance(letter, Enter) else 0
        errand = self.errands.get(row)
        if errand is not None:
            errand.waiting += 1
        with scope:
            try:
                permit = await self._permit(limiter, letter)
            except CrewrunError as refused:
                self.outbox.put(Reply(letter.number, fault=Fault.of(refused)))
            else:
                self._hand_out(limiter, permit, letter, too_late=scope.cancel_called)
        del self._entering[letter.number]
        if errand is not None and row in self.errands:  # else it has ended, or runs elsewhere by now
            errand.waiting -= 1

    async def _permit(self, limiter: LocalLimiter, letter: Enter | EnterProbe) -> Permit | bool:
        if isinstance(letter, Enter):
            return await limiter.enter(letter.tokens, letter.price, is_patient=letter.is_patient)
        error = call_error(letter.fault) if letter.fault is not None else None
        return await limiter.enter_probe(error, letter.tokens, letter.price)

    def _hand_out(
        self, limiter: LocalLimiter, permit: Permit | bool, letter: Enter | EnterProbe, *, too_late: bool
    ) -> None:
        if isinstance(permit, bool):
            self.outbox.put(Reply(letter.number, value=permit))
        elif too_late:  # it came through without a wait
            limiter.given_up(permit)
        else:
            self._passes[letter.number] = limiter, permit
            self.outbox.put(Reply(letter.number, value=permit.is_probe if isinstance(letter, Enter) else None))

    def _answer(self, number: int, answering: Coroutine[Any, Any, Any]) -> None:
        self._tasks.start_soon(self._reply, number, answering)

    async def _reply(self, number: int, answering: Coroutine[Any, Any, Any]) -> None:
        try:
            self.outbox.put(Reply(number, await answering))
        except Exception as failed:
            self.outbox.put(_refusal(number, failed))

    def _keep(self, letter: Keep) -> None:
        """Record what a row's call gave; whoever goes on with the row has it from now on."""
        errand = self.errands.get(letter.row)
        if errand is None:  # given up meanwhile: nobody waits for the reply
            return
        kept = errand.keep(letter)
        if kept is None:
            self.outbox.put(Reply(letter.number))
        else:
            kept.add_done_callback(partial(self._kept, letter.number))

    def _kept(self, number: int, kept: Future[None]) -> None:
        failed = kept.exception()
        self.outbox.put(_refusal(number, failed) if failed is not None else Reply(number))

    def _note(self, row: int, what: str, arguments: tuple[Any, ...]) -> None:
        errand = self.errands.get(row)
        recorder = errand.recorder if errand is not None else None
        if what == "refused":
            self._spread(Refuses(*arguments))
            if recorder is not None:
                recorder.refused(*arguments)
        elif recorder is not None and what == "record_unfinished":
            recorder.record_unfinished(*arguments)
        elif recorder is not None:
            task, fault, delay_s = arguments
            recorder.retrying(task, call_error(fault), delay_s)

    def _end(self, ended: Ended) -> None:
        errand = self.errands.pop(ended.row)
        if ended.files:
            self._tasks.start_soon(self._write, errand, ended)
        else:
            errand.settle(ended, self._job.files)

    async def _write(self, errand: Errand, ended: Ended) -> None:
        try:
            await anyio.to_thread.run_sync(_write_all, self._job.files, ended.files)
        except OSError as refused:
            error = ErrorRecord(Category.INTERNAL, type(refused).__name__, str(refused))
            ended = ended._replace(
                outcome=ended.outcome and replace(ended.outcome, status="failed", output=None, error=error)
            )
        errand.settle(ended, self._job.files)


def _refusal(number: int, failed: BaseException) -> Reply:
    """What the worker raises instead of an answer."""
    told = failed if isinstance(failed, CrewrunError) else OutputFailed(f"{type(failed).__name__}: {failed}")
    return Reply(number, fault=Fault.of(told))


def _write_all(folder: Path, files: Sequence[Written]) -> None:
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
