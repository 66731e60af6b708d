"""The run's limiters, recorder and cache as a worker elsewhere has them: each question is a letter to the run."""

import time
from collections import deque
from contextvars import ContextVar
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import anyio

from crewrun.errors import CallError
from crewrun.executors.letters import (
    Answered,
    Ask,
    Enter,
    EnterProbe,
    Failed,
    Fault,
    GivenUp,
    Keep,
    Known,
    Leave,
    Meet,
    Note,
)
from crewrun.executors.post import Correspondence, Outbox
from crewrun.limits.learned_bounds import NOTHING_LEARNED
from crewrun.limits.permit import CallResult, FailureScope, Permit, Price
from crewrun.limits.rate_limiter import Ticket
from crewrun.messages import ChatRequest, Completion, Endpoint, Message
from crewrun.recorder import Spent

# The row that this code belongs to, by its number.
row_number: ContextVar[int] = ContextVar("crewrun_row_number", default=0)
# A leave that came with a row and has not been used for so long goes back.
_SPARE_S = 0.25


class RemoteLimiters:
    """The limiters of the run: one limiter for all workers. What was lent for rows' first calls and is not used goes
    back
    by `return_spares`, which somebody has to call now and then.
    """

    is_of_a_run = True

    def __init__(self, outbox: Outbox, correspondence: Correspondence, *, is_budgeted: bool) -> None:
        self.is_budgeted = is_budgeted
        self._outbox = outbox
        self._correspondence = correspondence
        self._limiters: dict[tuple[str | None, ...], RemoteLimiter] = {}
        self._met: list[RemoteLimiter] = []  # by number

    def of(self, endpoint: Endpoint) -> "RemoteLimiter":
        """The limiter of an endpoint. Its key stays here: the run knows it by a digest."""
        key = (endpoint.transport_name, endpoint.name, endpoint.base_url, endpoint.api_key)
        limiter = self._limiters.get(key)
        if limiter is None:
            number = len(self._met)
            limiter = self._limiters[key] = RemoteLimiter(number, self._outbox, self._correspondence)
            self._met.append(limiter)
            secret = endpoint.api_key and blake2b(endpoint.api_key.encode(), digest_size=8).hexdigest()
            bare = Endpoint(endpoint.transport_name, endpoint.provider, endpoint.model, endpoint.base_url, secret)
            self._outbox.put(Meet(number, bare))
        return limiter

    def lend(self, leave: Leave) -> None:
        """Leave that the next call through a limiter need not ask for."""
        self._met[leave.limiter].spares.append((leave.number, time.monotonic()))

    def return_spares(self) -> None:
        """Give back what was lent and not used."""
        for limiter in self._met:
            limiter.return_spares()


class RemoteLimiter:
    """One limiter of the run; see `crewrun.limits.limiter.Limiter`."""

    bounds = NOTHING_LEARNED  # those of the run are at the run

    def __init__(self, number: int, outbox: Outbox, correspondence: Correspondence) -> None:
        self._number = number
        self._outbox = outbox
        self._correspondence = correspondence
        self.spares: deque[tuple[int, float]] = deque()  # passes, and when they came

    def return_spares(self) -> None:
        """Give back those that have not been used."""
        oldest = time.monotonic() - _SPARE_S
        while self.spares and self.spares[0][1] < oldest:
            self._outbox.put(GivenUp(self.spares.popleft()[0]))

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Permit:
        """See `Limiter.enter`."""
        if self.spares:
            number, _ = self.spares.popleft()
            return _permit(number)
        number = self._correspondence.number()
        is_probe = await self._ask(Enter(number, self._number, tokens, price, is_patient, row_number.get()))
        return _permit(number, is_probe=is_probe)

    async def enter_probe(self, error: CallError | None, tokens: int, price: Price | None) -> Permit | bool:
        """See `Limiter.enter_probe`."""
        number = self._correspondence.number()
        fault = Fault.of(error) if error is not None else None
        is_own: bool | None = await self._ask(EnterProbe(number, self._number, fault, tokens, price))
        return _permit(number, is_probe=True) if is_own is None else is_own

    async def _ask(self, letter: Enter | EnterProbe) -> Any:
        try:
            return await self._correspondence.ask(letter)
        except anyio.get_cancelled_exc_class():
            self._outbox.put(GivenUp(letter.number))  # it may have been let in by then
            raise

    def answered(self, leave: Permit, end: CallResult) -> None:
        """See `Limiter.answered`."""
        self._outbox.put(Answered(leave.number, end))

    async def failed(self, leave: Permit, error: CallError, end: CallResult) -> FailureScope:
        """See `Limiter.failed`."""
        letter = Failed(self._correspondence.number(), leave.number, Fault.of(error), end)
        scope: FailureScope = await self._correspondence.ask(letter)
        return scope

    def given_up(self, leave: Permit, end: CallResult | None = None) -> None:
        """See `Limiter.given_up`."""
        self._outbox.put(GivenUp(leave.number, end))


def _permit(number: int, *, is_probe: bool = False) -> Permit:
    """All that is here of the run's permit is its number."""
    return Permit(Ticket(number, 0), number, is_probe, None)


class RemoteRecorder:
    """A row's memory, see `crewrun.recorder.Recorder`: what is known came with the row, what is new goes home.

    `replayed` lists what was answered from it. Requests go without their messages, unless the run wants them.
    """

    def __init__(
        self, row: int, known: list[Known], outbox: Outbox, correspondence: Correspondence, *, tells_prompts: bool
    ) -> None:
        self._row = row
        self._outbox = outbox
        self._correspondence = correspondence
        self._tells_prompts = tells_prompts
        self._known: dict[tuple[str, bytes], deque[Known]] = {}
        for entry in known:
            self._known.setdefault((entry.task, entry.identity), deque()).append(entry)
        self.replayed: list[tuple[str, bytes]] = []

    def replay(self, task: str, identity: bytes) -> tuple[Completion, Spent] | None:
        """See `Recorder.replay`."""
        answer = self._take(task, identity)
        return None if answer is None or isinstance(answer, str) else answer

    def replay_tool(self, task: str, identity: bytes) -> str | None:
        """See `Recorder.replay_tool`."""
        answer = self._take(task, identity)
        return answer if isinstance(answer, str) else None

    def _take(self, task: str, identity: bytes) -> tuple[Completion, Spent] | str | None:
        entries = self._known.get((task, identity)) if self._known else None
        if not entries:
            return None
        self.replayed.append((task, identity))
        return entries.popleft().answer

    async def record(
        self, task: str, identity: bytes, request: ChatRequest, completion: Completion, spent: Spent
    ) -> None:
        """See `Recorder.record`."""
        messages: tuple[Message, ...] = ()
        if self._tells_prompts:  # images stay here: the log has their labels
            messages = tuple(replace(m, content=m.shown, parts=()) if m.parts else m for m in request.messages)
        await self._keep("record", task, identity, messages, completion, spent)

    async def record_failure(self, task: str, identity: bytes, error: CallError, spent: Spent) -> None:
        """See `Recorder.record_failure`."""
        await self._keep("record_failure", task, identity, Fault.of(error), spent)

    def record_unfinished(self, task: str, identity: bytes, why: str, spent: Spent) -> None:
        """See `Recorder.record_unfinished`."""
        self._outbox.put(Note(self._row, "record_unfinished", (task, identity, why, spent)))

    async def record_tool(self, task: str, identity: bytes, tool: str, result: str, duration_s: float) -> None:
        """See `Recorder.record_tool`."""
        await self._keep("record_tool", task, identity, tool, result, duration_s)

    async def record_tool_failure(
        self, task: str, identity: bytes, tool: str, reason: str, told: str, duration_s: float
    ) -> None:
        """See `Recorder.record_tool_failure`."""
        await self._keep("record_tool_failure", task, identity, tool, reason, told, duration_s)

    def retrying(self, task: str, error: CallError, delay_s: float) -> None:
        """See `Recorder.retrying`."""
        self._outbox.put(Note(self._row, "retrying", (task, Fault.of(error), delay_s)))

    def refused(self, endpoint: str, what: str) -> None:
        """See `Recorder.refused`."""
        self._outbox.put(Note(self._row, "refused", (endpoint, what)))

    async def _keep(self, what: str, *arguments: object) -> None:
        await self._correspondence.ask(Keep(self._correspondence.number(), self._row, what, arguments))


class RemoteAnswers:
    """The run's cache; see `crewrun.llm.cache.Answers`."""

    def __init__(self, correspondence: Correspondence) -> None:
        self._correspondence = correspondence

    async def get(self, identity: bytes) -> Completion | None:
        """See `Answers.get`."""
        found: Completion | None = await self._ask("get", identity)
        return found

    async def put(self, identity: bytes, answer: Completion) -> None:
        """See `Answers.put`."""
        await self._ask("put", identity, answer)

    async def _ask(self, what: str, *arguments: object) -> Any:
        return await self._correspondence.ask(Ask(self._correspondence.number(), what, arguments))
