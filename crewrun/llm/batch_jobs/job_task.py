"""`JobTask`: one batch job, from its intent to its results.

    intend → upload → create, or find again → wait for its end → keep the results → answer the lines

The intent is in the journal before anything is sent, so that a session which was killed at any moment is continued
here: a job without an id is looked for at the provider before a line of it is sent again.
"""

import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import Final, TypeVar

import anyio

from crewrun.errors import (
    BadRequest,
    BatchJobFailed,
    CallError,
    ModelNotFound,
    OutageTooLong,
    RateLimited,
    RunStopped,
    ServerError,
    TransientError,
)
from crewrun.llm.batch_jobs.gatherer import WaitingLine
from crewrun.llm.batch_jobs.job import METADATA_KEY, BatchApi, Job, JobProblem, JobState, Line, LineResult
from crewrun.llm.batch_jobs.store import JobStore, StoredJob, StoredLine
from crewrun.llm.transports.http_errors import failure_in

T = TypeVar("T")

# Clocks differ, and a list may be sorted by whole seconds.
_CLOCK_S: Final = 900.0
# Between two looks at a job that has not changed the pause grows up to this many times the interval.
_SLOWEST: Final = 10.0
_GROWTH: Final = 1.5
_RETRY_S: Final = 2.0
# How often a job is created whose creation was not answered and that is not in the provider's list.
_CREATIONS: Final = 5
# How often its creation is refused with a 429 before it counts as too large: there may have been too many requests.
_RATE_REFUSALS: Final = 3
# How many looks a job that is being cancelled has for that: an hour, where OpenAI says up to ten minutes.
_CANCELLING_LOOKS: Final = 120
_MARK_CHARS: Final = 24
# A job or its files may be invisible for a moment, and a download may end early: so often one looks before it counts.
_LOOKS: Final = 5
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
        self._name = name
        self._waiting = {waiting.line.custom_id: waiting for waiting in new}
        self._new: list[Line] = [waiting.line for waiting in self._waiting.values()]
        self._lines = [*lines] or [_stored(waiting) for waiting in self._waiting.values()]
        if not self._new:
            self.created.set()
        self.line_ids = {line.custom_id for line in self._lines if not line.is_taken}
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
            raise _not_here(self.stored, missing) from missing
        try:
            if job.results:
                await self._keep_all(job)
        except ModelNotFound as missing:
            await self._store.end(self.stored.number, GONE)
            raise _gone(job.id, missing) from missing
        if job.state is JobState.FAILED:
            await self._fail(job.problems)
        elif job.answered and not job.results:
            await self._store.end(self.stored.number, GONE)
            raise _gone(job.id, f"it names no file of results, and says that it has {job.answered:,} answers")
        return job.state

    async def _created(self) -> Job | None:
        """The job at the provider; None if there is none."""
        if self.stored.id:
            return await self._look(self.stored.id)
        if not self._new:
            return await self._find_again()
        try:
            lines = [line._replace(custom_id=f"{self._mark}{line.custom_id}") for line in self._new]
            upload = await self._patiently(partial(self._api.upload, lines, self.stored.intent))
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
        return (await self._steadily(partial(self._api.get, job_id))).counted(self.stored.lines)

    async def _create(self, upload: bytes) -> Job:
        metadata = {METADATA_KEY: self.stored.intent}
        for attempt in count(1):
            self._create_at = anyio.current_time()
            try:
                job = await self._api.create(upload, metadata)
            except RateLimited as full:
                if attempt < _RATE_REFUSALS:
                    await anyio.sleep(self._pause_s(full, attempt))
                    continue
                await self._store.end(self.stored.number, NOT_CREATED)
                raise CrowdedOut from None
            except TransientError as unclear:
                lost = await self._find_again(self._pause_s(unclear, attempt))
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
        for job in await self._steadily(self._candidates):
            if self._api.keeps_metadata or await self._is_ours(job):
                await self._store.created(self.stored.number, job.id)
                return job
        return None

    async def _candidates(self) -> list[Job]:
        """The jobs in the provider's list that may be this one: the one with its metadata or, where there is none, all
        of its size that no other job of the run is, the oldest first.
        """
        listed: list[Job] = []
        async with aclosing(self._api.jobs(self.stored.intended_at - _CLOCK_S)) as jobs:
            async for job in jobs:
                if job.metadata.get(METADATA_KEY) == self.stored.intent:
                    return [job.counted(self.stored.lines)]
                if not self._api.keeps_metadata and job.lines == self.stored.lines:
                    listed.insert(0, job)
        others = await self._store.ids() if listed else set()
        return [job for job in listed if job.id not in others]

    async def _is_ours(self, job: Job) -> bool:
        """Whether a job has this one's lines, which its results tell: so it is followed to its end first, and not
        cancelled, since it may be somebody else's.
        """
        try:
            job = await self._wait_for_end(job, may_cancel=False)
            return await self._steadily(partial(self._has_our_lines, job))
        except ModelNotFound:
            return False  # whoever made it has deleted it

    async def _has_our_lines(self, job: Job) -> bool:
        async with aclosing(self._api.results(job)) as results:
            async for result in results:
                if result.custom_id:
                    return result.custom_id.startswith(self._mark)
        return False

    @property
    def _mark(self) -> str:
        """What the custom ids begin with, by which a job without metadata is recognised: the results have them too."""
        return "" if self._api.keeps_metadata else f"{self.stored.intent[:_MARK_CHARS]}-"

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
                raise _still_cancelling(job, self.stored, _CANCELLING_LOOKS * poll_s)
            with anyio.move_on_after(pause_s if is_asked else min(pause_s, cancel_at - anyio.current_time())):
                await (anyio.sleep_forever() if is_asked else self._hurry.wait())
            if not is_asked and (self.is_cancelled or anyio.current_time() >= cancel_at):
                self.is_cancelled = is_asked = True
                await self._ask_to_cancel(job)
                pause_s, give_up_at = poll_s, anyio.current_time() + _CANCELLING_LOOKS * poll_s
                continue
            latest = await self._look(job.id)
            has_moved = (latest.ended, latest.state) != (job.ended, job.state)
            pause_s = poll_s if has_moved or is_asked else min(pause_s * _GROWTH, poll_s * _SLOWEST)
            job = latest
            if may_cancel:
                self.job = job
                self._store.looked(self.stored.number, job.ended)
        if job.state is JobState.CANCELLED and anyio.current_time() >= cancel_at:
            self.is_cancelled = may_cancel  # perhaps an earlier session has asked for it
        return job

    async def _ask_to_cancel(self, job: Job) -> None:
        try:
            await self._patiently(partial(self._api.cancel, job.id))
        except CallError:
            return  # it has ended, or is about to: the next look tells

    async def _with_results(self, job: Job) -> Job:
        """`job`, looked at a few times more if it has answers but does not name its results yet."""
        for _ in range(_LOOKS):
            if job.results or not job.answered or job.state is JobState.FAILED:
                break
            await anyio.sleep(self._timing.poll_s)
            job = await self._look(job.id)
        return job

    async def _keep_all(self, job: Job) -> None:
        """Read the results into the journal, a few times more if some are missing or cannot be read: a line that is
        taken for one that was not run is sent, and billed, again.
        """
        for attempt in range(_LOOKS):
            if await self._steadily(partial(self._keep, job)):
                return
            await anyio.sleep(min(self._timing.poll_s, _RETRY_S * 2.0**attempt))
        if job.answered and not self._has_results:
            await self._store.end(self.stored.number, GONE)
            raise _gone(job.id, f"its results are empty, and it says that it has {job.answered:,} answers")

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
        """Give the results to the rows that wait, also to those that begin to wait meanwhile."""
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

    async def _patiently(self, request: Callable[[], Awaitable[T]]) -> T:
        """Repeat a request whose failure may pass: the provider goes on with the job. Raises OutageTooLong."""
        silent_since = anyio.current_time()
        for attempt in count(1):
            try:
                return await request()
            except TransientError as failed:
                silent_s = anyio.current_time() - silent_since
                if silent_s >= self._timing.outage_s:
                    raise OutageTooLong(self._name, silent_s, failed) from failed
                await anyio.sleep(self._pause_s(failed, attempt))
        raise AssertionError

    async def _steadily(self, request: Callable[[], Awaitable[T]]) -> T:
        """As `_patiently`, for a job that the provider may have: its refusals may pass too, and to give the job up
        would send its requests once more. Raises ModelNotFound if it is refused so several times in a row, and
        OutageTooLong with `has_job`.
        """

        async def attempt() -> T:
            for look in count(1):
                try:
                    return await request()
                except ModelNotFound:
                    if look == _LOOKS:
                        raise
                except TransientError:
                    raise
                except CallError as refused:
                    raise ServerError(str(refused), http_status=refused.http_status) from refused
                await anyio.sleep(min(self._timing.poll_s, _RETRY_S * 2.0 ** (look - 1)))
            raise AssertionError

        try:
            return await self._patiently(attempt)
        except OutageTooLong as silent:
            silent.has_job = True
            raise

    def _pause_s(self, failed: TransientError, attempt: int) -> float:
        longest_s = min(self._timing.poll_s, _RETRY_S * 2.0 ** min(attempt - 1, 10))
        jitter = random.uniform(0.75, 1.25)  # noqa: S311  (no secret)
        # No longer than a look may take, so that a deadline is not missed.
        asked_s = min(failed.retry_after_s or 0.0, self._timing.poll_s * _SLOWEST)
        return max(asked_s, longest_s * jitter)

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
                waiting.fail(_refusal(blamed[position]))
        if not blamed:
            await self._store.end(number, JobState.FAILED)
            raise _refusal(problems[0] if problems else JobProblem("failed", "the provider does not say why"))
        for waiting in self._waiting.values():
            waiting.sends -= 1  # it was not this line that kept the job from running


def _stored(waiting: WaitingLine) -> StoredLine:
    hold = waiting.permit.hold
    return StoredLine(waiting.line.custom_id, None if hold is None else hold.worst_usd)


def _refusal(problem: JobProblem) -> CallError:
    """What a live call with such a request would have raised."""
    error = failure_in(400, {"code": problem.code, "message": problem.message}, {})
    return BadRequest(str(error), http_status=400) if isinstance(error, TransientError) else error


def _not_here(stored: StoredJob, why: object) -> RunStopped:
    what = f"batch job {stored.id}" if stored.id else "a batch job whose creation was not answered"
    return RunStopped(
        f"{what}, which has {stored.lines:,} requests of this run, is not in the account ({why}); with the key and the "
        "project that it was made with the same command goes on; --tier standard does without it and pays its requests "
        "again"
    )


def _still_cancelling(job: Job, stored: StoredJob, asked_s: float) -> RunStopped:
    return RunStopped(
        f"batch job {job.id}, which has {stored.lines:,} requests of this run, was to be cancelled {asked_s:,.0f} s "
        "ago and has not ended; its requests are not sent live, since it may still answer and bill them. The same "
        "command goes on with it; --tier standard does without it and may pay its requests twice"
    )


def _gone(job_id: str, why: object) -> BatchJobFailed:
    return BatchJobFailed(
        f"batch job {job_id}: its results cannot be had from the provider ({why}); what it answered was billed, and a "
        "row that runs again sends its requests once more",
        is_billed=True,
    )


def not_run() -> BatchJobFailed:
    """What a line raises that several jobs have not run."""
    return BatchJobFailed("several batch jobs have ended without running this request; nothing was billed for that")
