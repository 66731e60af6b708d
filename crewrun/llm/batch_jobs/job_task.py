"""`JobTask`: one batch job, from its intent to its results.

    intend → upload → create, or find again → wait for its end → keep the results → answer the lines

The intent is in the journal before anything is sent, so that a session which was killed at any moment is continued
here: a job without an id is looked for at the provider before a line of it is sent again.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import Final

import anyio

from crewrun.errors import (
    CallError,
    ModelNotFound,
    RateLimited,
    ServerError,
    TransientError,
)
from crewrun.llm.batch_jobs.gatherer import WaitingLine
from crewrun.llm.batch_jobs.job import METADATA_KEY, BatchApi, Job, JobProblem, JobState, Line, LineResult
from crewrun.llm.batch_jobs.job_failures import gone, not_here, refusal, still_cancelling
from crewrun.llm.batch_jobs.lost_job import LostJob, mark_of
from crewrun.llm.batch_jobs.patience import LOOKS, RETRY_S, SLOWEST, Patience
from crewrun.llm.batch_jobs.store import JobStore, StoredJob, StoredLine

_GROWTH: Final = 1.5  # of the pause between two looks at a job that has not changed
# How often a job is created whose creation was not answered and that is not in the provider's list.
_CREATIONS: Final = 5
# How often its creation is refused with a 429 before it counts as too large: there may have been too many requests.
_RATE_REFUSALS: Final = 3
# How many looks a job that is being cancelled has for that: an hour, where OpenAI says up to ten minutes.
_CANCELLING_LOOKS: Final = 120
_AT_ONCE: Final = 200  # lines read from the journal at once
_KEPT_AT_ONCE: Final = 500  # results written to it at once
ENQUEUED_LIMIT: Final = "token_limit_exceeded"
# Ends of jobs that ran no line.
NOT_CREATED: Final = "not created"
GONE: Final = "gone"


class CrowdedOut(Exception):
    """The provider has no room for as many requests as the job has; nothing was billed."""


@dataclass(frozen=True, slots=True)
class JobTiming:
    """When a job is looked at, and when it is given up.

    Attributes:
        poll_s: the shortest time between two looks. A create that a kill or a broken connection interrupted may still
            be on its way for as long.
        patience_s: how long after its intent a job is cancelled, infinity for never.
        outage_s: how long the provider may stay silent.
    """

    poll_s: float = 30.0
    patience_s: float = inf
    outage_s: float = 300.0


class JobTask:
    """One job of a run. `run` follows it; rows may ask for its lines as long as it `expects` them.

    `new` are the lines of a job of which nothing has been sent; without them it is an earlier session's, with `lines`.
    `name` is that of its endpoint.
    """

    def __init__(
        self,
        api: BatchApi,
        store: JobStore,
        stored: StoredJob,
        timing: JobTiming,
        name: str,
        *,
        new: Iterable[WaitingLine] = (),
        lines: Iterable[StoredLine] = (),
    ) -> None:
        self.stored = stored
        self.job: Job | None = None
        self.has_ended = False
        self.is_answering = False  # its rows wait no longer, or will not in a moment
        self.is_cancelled = False
        self.created = anyio.Event()  # no create is on its way
        self.left: list[WaitingLine] = []  # lines that were not run and that rows wait for
        self._api = api
        self._store = store
        self._timing = timing
        self._patience = Patience(name, timing.poll_s, timing.outage_s)
        self._waiting = {waiting.line.custom_id: waiting for waiting in new}
        self._new: list[Line] = [waiting.line for waiting in self._waiting.values()]
        self._lines = [*lines] or [_stored(waiting) for waiting in self._waiting.values()]
        if not self._new:
            self.created.set()
        self.line_ids = {line.custom_id for line in self._lines if not line.is_taken}
        self._mark = mark_of(stored, api)
        self._hurry = anyio.Event()
        self._has_results = False
        # When it was last asked to be created; by an earlier session, just now at the latest.
        self._create_at = anyio.current_time()

    @property
    def is_accepted(self) -> bool:
        """Whether the provider has counted the job's lines, which it does once they are valid and have room."""
        return self.job is not None and self.job.lines is not None

    def expects(self, line_id: str) -> bool:
        """Whether the job may still bring the result of a line."""
        return not self.has_ended and line_id in self.line_ids

    def add(self, waiting: WaitingLine) -> None:
        """A row waits for one of the lines."""
        waiting.is_sent = True
        self._waiting[waiting.line.custom_id] = waiting

    def remove(self, waiting: WaitingLine) -> None:
        """The row does not wait any more; the line stays in the job."""
        if self._waiting.get(waiting.line.custom_id) is waiting:
            del self._waiting[waiting.line.custom_id]

    def cancel(self) -> None:
        """Have the provider end the job; what is done by then is kept."""
        self.is_cancelled = True
        self._hurry.set()

    async def run(self) -> None:
        """Follow the job to its end, and answer its lines. Then `left` has those that were not run.

        Raises CrowdedOut if the provider has no room for the job, a CallError that concerns all lines, OutageTooLong
        and JournalFailed; then `left` has all lines that rows wait for.
        """
        try:
            if self._new:
                self.stored = await self._store.intend(self.stored, self._lines)
            if not self.stored.end:
                await self._store.end(self.stored.number, await self._follow())
            await self._answer()
        finally:
            self.has_ended = True
            self.left += self._waiting.values()
            self._waiting.clear()

    async def cancel_now(self) -> None:
        """Ask the provider once to end the job, without waiting for that. Raises a CallError."""
        if self.job is not None and not self.job.has_ended:
            await self._api.cancel(self.job.id)

    async def _follow(self) -> str:
        """Wait for the end and keep the results. Returns how it ended, in a word."""
        try:
            job = await self._created()
            if job is None:
                return NOT_CREATED
            job = await self._with_results(await self._wait_for_end(job))
        except ModelNotFound as missing:
            if self._new:
                raise
            raise not_here(self.stored, missing) from missing
        try:
            if job.results:
                await self._keep_all(job)
        except ModelNotFound as missing:
            await self._store.end(self.stored.number, GONE)
            raise gone(job.id, missing) from missing
        if job.state is JobState.FAILED:
            await self._fail(job.problems)
        elif job.answered and not job.results:
            await self._store.end(self.stored.number, GONE)
            raise gone(job.id, f"it names no file of results, and says that it has {job.answered:,} answers")
        return job.state

    async def _created(self) -> Job | None:
        """The job at the provider; None if there is none."""
        if self.stored.id:
            return await self._look(self.stored.id)
        if not self._new:
            return await self._find_again()
        try:
            lines = [line._replace(custom_id=f"{self._mark}{line.custom_id}") for line in self._new]
            upload = await self._patience.patiently(partial(self._api.upload, lines, self.stored.intent))
            job = await self._create(upload)
        except CallError:
            await self._store.end(self.stored.number, NOT_CREATED)
            raise
        finally:
            self.created.set()
        self._new = []
        return job

    async def _look(self, job_id: str) -> Job:
        """The job as it is now."""
        return (await self._patience.steadily(partial(self._api.get, job_id))).counted(self.stored.lines)

    async def _create(self, upload: bytes) -> Job:
        metadata = {METADATA_KEY: self.stored.intent}
        for attempt in count(1):
            self._create_at = anyio.current_time()
            try:
                job = await self._api.create(upload, metadata)
            except RateLimited as full:
                if attempt < _RATE_REFUSALS:
                    await anyio.sleep(self._patience.pause_s(full, attempt))
                    continue
                await self._store.end(self.stored.number, NOT_CREATED)
                raise CrowdedOut from None
            except TransientError as unclear:
                lost = await self._find_again(self._patience.pause_s(unclear, attempt))
                if lost is not None:
                    return lost
                if attempt == _CREATIONS:
                    raise
                continue
            await self._store.created(self.stored.number, job.id)
            return job
        raise AssertionError

    async def _find_again(self, pause_s: float = 0.0) -> Job | None:
        """The job whose creation was not answered, once it must be in the provider's list; None if it is not there."""
        appears_s = self._create_at + self._timing.poll_s - anyio.current_time()
        await anyio.sleep(max(0.0, pause_s, appears_s))
        follow = partial(self._wait_for_end, may_cancel=False)
        job = await LostJob(self._api, self._store, self.stored, self._patience).find(follow)
        if job is not None:
            await self._store.created(self.stored.number, job.id)
        return job

    async def _wait_for_end(self, job: Job, *, may_cancel: bool = True) -> Job:
        """The job once it has ended. It is looked at once per interval at most."""
        poll_s = pause_s = self._timing.poll_s
        patience_s = self.stored.intended_at + self._timing.patience_s - time.time()
        cancel_at, is_asked = anyio.current_time() + patience_s, not may_cancel
        give_up_at = inf
        if may_cancel:
            self.job = job
        while not job.has_ended:
            if anyio.current_time() >= give_up_at:
                raise still_cancelling(job, self.stored, _CANCELLING_LOOKS * poll_s)
            with anyio.move_on_after(pause_s if is_asked else min(pause_s, cancel_at - anyio.current_time())):
                await (anyio.sleep_forever() if is_asked else self._hurry.wait())
            if not is_asked and (self.is_cancelled or anyio.current_time() >= cancel_at):
                self.is_cancelled = is_asked = True
                await self._ask_to_cancel(job)
                pause_s, give_up_at = poll_s, anyio.current_time() + _CANCELLING_LOOKS * poll_s
                continue
            latest = await self._look(job.id)
            has_moved = (latest.ended, latest.state) != (job.ended, job.state)
            pause_s = poll_s if has_moved or is_asked else min(pause_s * _GROWTH, poll_s * SLOWEST)
            job = latest
            if may_cancel:
                self.job = job
                self._store.looked(self.stored.number, job.ended)
        if job.state is JobState.CANCELLED and anyio.current_time() >= cancel_at:
            self.is_cancelled = may_cancel  # perhaps an earlier session has asked for it
        return job

    async def _ask_to_cancel(self, job: Job) -> None:
        try:
            await self._patience.patiently(partial(self._api.cancel, job.id))
        except CallError:
            return  # it has ended, or is about to: the next look tells

    async def _with_results(self, job: Job) -> Job:
        """`job`, looked at a few times more if it has answers but does not name its results yet."""
        for _ in range(LOOKS):
            if job.results or not job.answered or job.state is JobState.FAILED:
                break
            await anyio.sleep(self._timing.poll_s)
            job = await self._look(job.id)
        return job

    async def _keep_all(self, job: Job) -> None:
        """Read the results into the journal, a few times more if some are missing or cannot be read: a line that is
        taken for one that was not run is sent, and billed, again.
        """
        for attempt in range(LOOKS):
            if await self._patience.steadily(partial(self._keep, job)):
                return
            await anyio.sleep(min(self._timing.poll_s, RETRY_S * 2.0**attempt))
        if job.answered and not self._has_results:
            await self._store.end(self.stored.number, GONE)
            raise gone(job.id, f"its results are empty, and it says that it has {job.answered:,} answers")

    async def _keep(self, job: Job) -> bool:
        """Read results into the journal. Returns whether they are all there and can be read.

        Raises ServerError if there is something else in their place, such as the page of a proxy.
        """
        several: list[LineResult] = []
        number, is_readable = 0, True
        async with aclosing(self._api.results(job)) as results:
            async for result in results:
                if not result.custom_id:
                    is_readable = False
                    continue
                number += 1
                several.append(result._replace(custom_id=result.custom_id.removeprefix(self._mark)))
                if len(several) == _KEPT_AT_ONCE:
                    await self._store.keep(self.stored.number, several)
                    several = []
        await self._store.keep(self.stored.number, several)
        self._has_results = number > 0
        if not (number or is_readable):
            raise ServerError(f"the results of batch job {job.id} cannot be read", http_status=200)
        return is_readable and number >= job.ended

    async def _answer(self) -> None:
        """Give the results to the rows that wait, also to those that begin to wait while it does."""
        self.is_answering = True
        while self._waiting:
            line_ids = list(self._waiting)[:_AT_ONCE]
            results = await self._store.results(self.stored.number, line_ids)
            for line_id in line_ids:
                waiting = self._waiting.pop(line_id, None)
                if waiting is None:
                    continue
                result = results.get(line_id)
                if result is not None and result.was_run:
                    self.line_ids.discard(line_id)
                    waiting.answer(result)
                else:
                    waiting.sends += 1
                    self.left.append(waiting)

    async def _fail(self, problems: Sequence[JobProblem]) -> None:
        """A job that failed as a whole ran no line and billed nothing. Lines that it blames fail; if there are none,
        raises what all of them are to raise.
        """
        number = self.stored.number
        if any(problem.code == ENQUEUED_LIMIT for problem in problems):
            await self._store.end(number, ENQUEUED_LIMIT)
            raise CrowdedOut
        # A provider that blames no line of the job would do so again and again.
        blamed = {problem.line: problem for problem in problems if problem.line in range(1, len(self._lines) + 1)}
        for position, line in enumerate(self._lines, 1):
            if position in blamed and (waiting := self._waiting.pop(line.custom_id, None)) is not None:
                waiting.fail(refusal(blamed[position]))
        if not blamed:
            await self._store.end(number, JobState.FAILED)
            raise refusal(problems[0] if problems else JobProblem("failed", "the provider does not say why"))
        for waiting in self._waiting.values():
            waiting.sends -= 1  # it was not this line that kept the job from running


def _stored(waiting: WaitingLine) -> StoredLine:
    hold = waiting.permit.hold
    return StoredLine(waiting.line.custom_id, None if hold is None else hold.worst_usd)
