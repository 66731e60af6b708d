"""When batch jobs go, and what becomes of their lines: a scripted provider, a journal in memory, a virtual clock."""

import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from math import inf
from typing import Any

import anyio
import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    BatchJobFailed,
    CallError,
    ModelNotFound,
    NetworkError,
    RateLimited,
    RunStopped,
    ServerError,
)
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.permit import CallResult, Permit
from crewrun.llm.batch_jobs.gatherer import Gatherer, GoesLive, WaitingLine
from crewrun.llm.batch_jobs.job import Job, JobLimits, JobProblem, JobState, Line, LineEnd, LineResult
from crewrun.llm.batch_jobs.job_task import JobTiming
from crewrun.llm.batch_jobs.run_jobs import JobCall, JobsOptions, RunJobs
from crewrun.llm.batch_jobs.store import StoredJob, StoredLine
from crewrun.messages import Endpoint

ENDPOINT = Endpoint("direct", "openai", "gpt-4.1-mini", base_url="https://provider.invalid/v1", tier="batch")


@dataclass
class Provider:
    """A provider of batch jobs, which outlives the sessions of a run.

    `takes_s` is how long a job takes, and `fate` what becomes of a line. A create is answered by `replies` in turn:
    None answers it, "lost" makes the job and loses the reply, "refused" does not make it. `looks` are the times of all
    looks at each job.
    """

    takes_s: float = 3600.0
    fate: Callable[[str], LineEnd | None] = lambda line_id: LineEnd.ANSWERED
    replies: list[str] = field(default_factory=list)
    problems: Callable[[Sequence[Line]], tuple[JobProblem, ...]] = lambda lines: ()
    limits: JobLimits = field(default_factory=lambda: JobLimits(1000, 10_000_000))
    jobs_made: dict[str, "Made"] = field(default_factory=dict)
    uploads: dict[str, list[Line]] = field(default_factory=dict)
    billed: Counter[str] = field(default_factory=Counter)
    looks: dict[str, list[float]] = field(default_factory=dict)
    keeps_metadata: bool = True
    refusals: list[CallError] = field(default_factory=list)  # of looks at a job and its results, one after the other
    downloads: list[int] = field(default_factory=list)  # after how many lines the next downloads end
    appears_s: float = 0.0  # how long after its creation a job is in the list
    cancels: bool = True  # else a job that is to be cancelled goes on
    unnamed_looks: int = 0  # so many looks at a job that has ended do not name its results

    def size_of(self, line: Line) -> int:
        return len(line.body)

    async def upload(self, lines: Sequence[Line], intent: str) -> bytes:
        await anyio.sleep(1)
        name = f"file-{len(self.uploads)}"
        self.uploads[name] = list(lines)
        return name.encode()

    async def create(self, upload: bytes, metadata: Mapping[str, str]) -> Job:
        await anyio.sleep(1)
        reply = self.replies.pop(0) if self.replies else ""
        if reply == "refused":
            raise ServerError("overloaded", http_status=503)
        if reply == "too soon":
            raise RateLimited("slow down", http_status=429)
        made = Made(
            f"job-{len(self.jobs_made)}",
            self.uploads[upload.decode()],
            dict(metadata) if self.keeps_metadata else {},
            anyio.current_time(),
        )
        self.jobs_made[made.id] = made
        await anyio.sleep(1)
        if reply == "lost":
            raise NetworkError("the connection broke")
        return self._seen(made)

    async def get(self, job_id: str) -> Job:
        self.looks.setdefault(job_id, []).append(anyio.current_time())
        await anyio.sleep(0.1)
        self._refuse()
        job = self._seen(self.jobs_made[job_id])
        if job.has_ended and self.unnamed_looks:
            self.unnamed_looks -= 1
            return replace(job, results=())
        return job

    async def jobs(self, since: float) -> AsyncGenerator[Job, None]:
        await anyio.sleep(0.1)
        for made in reversed(list(self.jobs_made.values())):
            if anyio.current_time() - made.created_at >= self.appears_s:
                yield self._seen(made)

    async def results(self, job: Job) -> AsyncGenerator[LineResult, None]:
        self._refuse()
        ends = self.jobs_made[job.id].ends
        for line_id, end in islice(ends.items(), self.downloads.pop(0) if self.downloads else len(ends)):
            await anyio.sleep(0.01)
            yield LineResult(line_id, end, 200, line_id[-32:].encode())

    async def cancel(self, job_id: str) -> None:
        self.jobs_made[job_id].cancelled_at = anyio.current_time()

    async def aclose(self) -> None:
        pass

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    def _seen(self, made: "Made") -> Job:
        now = anyio.current_time()
        problems = self.problems(made.lines)
        if problems:
            return Job(made.id, JobState.FAILED, time.time(), problems=problems, metadata=made.metadata)
        state = JobState.PENDING
        if now >= made.created_at + self.takes_s:
            state = JobState.COMPLETED
        if made.cancelled_at is not None and self.cancels:
            state = JobState.CANCELLED
        if state is not JobState.PENDING and not made.has_ended:
            made.has_ended = True
            self._end(made, state)
        ended = len(made.ends)
        results = (made.id,) if made.ends else ()
        return Job(made.id, state, time.time(), len(made.lines), ended, ended, made.metadata, (), results)

    def _end(self, made: "Made", state: JobState) -> None:
        for line in made.lines:
            end = LineEnd.CANCELLED if state is JobState.CANCELLED else self.fate(line.custom_id[-32:])
            if end is not None:
                made.ends[line.custom_id] = end
                self.billed[line.custom_id[-32:]] += end is LineEnd.ANSWERED


@dataclass
class Made:
    """A job that a provider has made."""

    id: str
    lines: list[Line]
    metadata: dict[str, str]
    created_at: float
    ends: dict[str, LineEnd] = field(default_factory=dict)
    cancelled_at: float | None = None
    has_ended: bool = False


class Memory:
    """A `JobStore` that outlives the sessions of a run."""

    def __init__(self) -> None:
        self.stored: dict[int, StoredJob] = {}
        self.kept_lines: dict[int, list[StoredLine]] = {}
        self.kept: dict[int, dict[str, LineResult]] = {}

    async def jobs(self) -> list[StoredJob]:
        await anyio.sleep(0)
        return [job for job in self.stored.values() if not job.end or self.kept[job.number]]

    async def lines(self, number: int) -> list[StoredLine]:
        has = self.kept[number]
        return [line._replace(has_result=line.custom_id in has) for line in self.kept_lines[number]]

    async def ids(self) -> set[str]:
        return {job.id for job in self.stored.values()}

    async def intend(self, job: StoredJob, lines: Sequence[StoredLine]) -> StoredJob:
        job = job._replace(number=len(self.stored) + 1)
        self.stored[job.number], self.kept_lines[job.number], self.kept[job.number] = job, list(lines), {}
        await anyio.sleep(0.01)
        return job

    async def created(self, number: int, job_id: str) -> None:
        self.stored[number] = self.stored[number]._replace(id=job_id)
        await anyio.sleep(0.01)

    def looked(self, number: int, ended: int) -> None:
        pass

    async def keep(self, number: int, results: Sequence[LineResult]) -> None:
        self.kept[number].update((result.custom_id, result) for result in results)
        await anyio.sleep(0.01)

    async def end(self, number: int, end: str) -> None:
        self.stored[number] = self.stored[number]._replace(end=end)
        await anyio.sleep(0.01)

    async def unused(self) -> set[str]:
        untaken = {line.custom_id for lines in self.kept_lines.values() for line in lines if not line.is_taken}
        return untaken & {line_id for kept in self.kept.values() for line_id, r in kept.items() if r.end == "answered"}

    async def results(self, number: int, line_ids: Sequence[str]) -> dict[str, LineResult]:
        await anyio.sleep(0.01)
        return {line_id: self.kept[number][line_id] for line_id in line_ids if line_id in self.kept[number]}

    def take(self, line_id: str) -> None:
        """The call is recorded."""
        for number, lines in self.kept_lines.items():
            is_it = [line.custom_id == line_id for line in lines]
            self.kept_lines[number] = [
                line._replace(is_taken=line.is_taken or is_taken) for line, is_taken in zip(lines, is_it, strict=True)
            ]
            self.kept[number].pop(line_id, None)


@dataclass
class Rows:
    """Rows of several steps, one line each, and what they had by then: as a journal, it outlives the sessions."""

    count: int
    steps: int = 1
    bodies: Mapping[int, bytes] = field(default_factory=dict)  # of the lines of some rows
    done: dict[str, str] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)

    async def run(self, jobs: RunJobs, memory: Memory) -> None:
        """Run them all, as an engine would."""
        self.in_flight = self.count
        jobs.is_quiet = lambda waiting: 0 < self.in_flight <= waiting
        async with anyio.create_task_group() as tasks:
            for row in range(self.count):
                tasks.start_soon(self._row, row, jobs, memory)

    async def _row(self, row: int, jobs: RunJobs, memory: Memory) -> None:
        try:
            for step in range(self.steps):
                line_id = f"{row * 1000 + step:032x}"
                if line_id in self.done:
                    continue
                line = Line(line_id, self.bodies.get(row, b"{}"))
                answer = await jobs.send(JobCall(ENDPOINT, line, row, None))
                jobs.settle(ENDPOINT, answer.permit, CallResult())
                await anyio.sleep(random.Random(row).random() / 10)
                assert line_id not in self.done
                self.done[line_id] = answer.result.body.decode()
                memory.take(line_id)
        except (CallError, GoesLive) as error:
            self.failed[f"{row}"] = error
        finally:
            self.in_flight -= 1


async def session(
    provider: Provider,
    memory: Memory,
    rows: Rows,
    options: JobsOptions | None = None,
    kill_after_s: float = inf,
    begin_after_s: float = 0.0,
) -> None:
    """One session of a run, whose rows begin after a time, killed after a time."""
    jobs = RunJobs(options or JobsOptions(), memory, LocalLimiters(), lambda endpoint: provider)
    with anyio.move_on_after(kill_after_s):
        await jobs.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.run)
            await anyio.sleep(begin_after_s)
            await rows.run(jobs, memory)
            tasks.cancel_scope.cancel()


def run(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(function, *args, backend="trio", backend_options={"clock": clock})


def test_rows_of_three_steps_make_three_jobs() -> None:
    """However many rows there are."""
    provider, rows = Provider(), Rows(50, steps=3)
    run(session, provider, Memory(), rows)
    assert len(rows.done) == 150
    assert [len(made.lines) for made in provider.jobs_made.values()] == [50, 50, 50]


def test_a_job_is_looked_at_once_per_interval_at_most() -> None:
    """Less and less often while nothing changes, and ten times as rarely at most."""
    provider = Provider(takes_s=36_000)
    run(session, provider, Memory(), Rows(3))
    (looks,) = provider.looks.values()
    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert min(pauses) >= 30
    assert 299 <= max(pauses) <= 301
    assert len(looks) < 140


def test_a_full_job_goes_at_once_and_the_rest_when_all_rows_wait() -> None:
    """The provider's limit on lines is kept."""
    provider = Provider(limits=JobLimits(20, 10_000_000))
    run(session, provider, Memory(), Rows(50))
    assert sorted(len(made.lines) for made in provider.jobs_made.values()) == [10, 20, 20]


@pytest.mark.parametrize("reply", ["lost", "refused"])
def test_a_create_that_is_not_answered_makes_one_job(reply: str) -> None:
    """It is looked for in the provider's list before it is made again."""
    provider, rows = Provider(replies=[reply]), Rows(5)
    run(session, provider, Memory(), rows)
    assert (len(rows.done), len(provider.jobs_made), set(provider.billed.values())) == (5, 1, {1})


def test_a_job_that_appears_late_is_waited_for_after_each_create() -> None:
    """It may be in the provider's list only some time after a create whose answer was lost, also the second one."""
    provider, rows = Provider(replies=["refused", "lost"], appears_s=25), Rows(5)
    run(session, provider, Memory(), rows)
    assert (len(rows.done), len(provider.jobs_made)) == (5, 1)


@pytest.mark.parametrize(
    "refused", [AuthRefused, BadRequest, ModelNotFound, ServerError], ids=lambda kind: kind.__name__
)
def test_a_refusal_that_passes_does_not_give_up_a_job(refused: type[CallError]) -> None:
    """A firewall or a gateway refuses a look or a download: the job goes on, and would be paid again."""
    provider, rows = Provider(takes_s=20, refusals=[refused("blocked", http_status=400)] * 4), Rows(5)
    run(session, provider, Memory(), rows)
    assert (len(rows.done), len(provider.jobs_made), rows.failed) == (5, 1, {})


def test_a_job_that_is_not_in_the_account_stops_the_run_and_is_not_forgotten() -> None:
    """The key may be that of another project: with the right one its answers are used."""
    provider, memory, rows = Provider(takes_s=100), Memory(), Rows(4)

    async def three_sessions() -> None:
        await session(provider, memory, rows, kill_after_s=50)
        provider.refusals = [ModelNotFound("no such batch", http_status=404)] * 20
        with pytest.raises(ExceptionGroup) as stopped:
            await session(provider, memory, rows, JobsOptions(timing=JobTiming(outage_s=0)))
        assert stopped.group_contains(RunStopped, match="is not in the account")
        provider.refusals = []
        await session(provider, memory, rows)

    run(three_sessions)
    assert (len(rows.done), len(provider.jobs_made)) == (4, 1)


def test_a_refusal_that_asks_for_hours_does_not_miss_the_end_of_the_run() -> None:
    """The job is looked at, and its calls go live, in time."""
    refused = RateLimited("slow down", http_status=429, retry_after_s=36_000)
    provider, rows = Provider(takes_s=600, refusals=[refused]), Rows(4)
    run(session, provider, Memory(), rows, JobsOptions(ends_in_s=1800))
    assert (len(rows.done), rows.failed) == (4, {})


def test_a_download_that_ends_early_is_begun_again() -> None:
    """The lines that are missing were answered, and billed."""
    provider, rows = Provider(takes_s=20, downloads=[0, 3]), Rows(5)
    run(session, provider, Memory(), rows)
    assert (len(rows.done), set(provider.billed.values())) == (5, {1})


def test_a_job_may_name_its_results_some_looks_after_its_end() -> None:
    """Its answers are not given up before."""
    provider, rows = Provider(takes_s=20, unnamed_looks=3), Rows(5)
    run(session, provider, Memory(), rows)
    assert (len(rows.done), rows.failed) == (5, {})


def test_a_provider_that_blames_a_line_that_the_job_has_not_fails_all_of_it() -> None:
    """It would say so of each job to come."""
    provider, rows = Provider(problems=lambda lines: (JobProblem("invalid", "a line is invalid", 0),)), Rows(5)
    run(session, provider, Memory(), rows)
    assert (len(rows.failed), len(provider.jobs_made)) == (5, 1)


def test_a_row_that_leaves_as_its_job_ends_is_not_sent_again() -> None:
    """Nobody would take the answer."""
    provider, memory = Provider(takes_s=20, fate=lambda line_id: None), Memory()

    async def leave() -> None:
        jobs = RunJobs(JobsOptions(), memory, LocalLimiters(), lambda endpoint: provider)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.run)
            async with anyio.create_task_group() as rows:
                for row in range(300):
                    rows.start_soon(jobs.send, JobCall(ENDPOINT, Line(f"{row:032x}", b"{}"), row, None))
                while not any(job.is_answering and job.left for job in jobs.jobs):
                    await anyio.sleep(0.001)
                rows.cancel_scope.cancel()
            await anyio.sleep(600)
            tasks.cancel_scope.cancel()

    run(leave)
    assert len(provider.jobs_made) == 1


def test_an_enqueued_limit_halves_the_jobs_without_busy_polling() -> None:
    """Jobs wait for each other, and the number of uploads stays near the number of jobs."""
    provider = Provider(takes_s=600)

    def problems(lines: Sequence[Line]) -> tuple[JobProblem, ...]:
        return (JobProblem("token_limit_exceeded", "full"),) if len(lines) > 10 else ()

    provider.problems = problems
    rows = Rows(100)
    run(session, provider, Memory(), rows)
    assert len(rows.done) == 100
    assert set(provider.billed.values()) == {1}
    assert len(provider.uploads) < 40


def full_beyond(most: int) -> Callable[[Sequence[Line]], tuple[JobProblem, ...]]:
    """An enqueued limit: jobs whose bodies have more bytes than that fail."""

    def problems(lines: Sequence[Line]) -> tuple[JobProblem, ...]:
        size_bytes = sum(len(line.body) for line in lines)
        return (JobProblem("token_limit_exceeded", "full"),) if size_bytes > most else ()

    return problems


def test_a_request_above_the_enqueued_limit_fails_its_row_after_some_tries_and_the_others_are_done() -> None:
    """The tries take a quarter of an hour, and the others go in jobs of several lines all the same."""
    provider = Provider(takes_s=60, problems=full_beyond(100))
    rows = Rows(40, bodies={7: b" " * 200})
    run(session, provider, Memory(), rows)
    assert len(rows.done) == 39
    assert {row: type(error) for row, error in rows.failed.items()} == {"7": BatchJobFailed}
    assert "had no room for a batch job of a single request" in str(rows.failed["7"])
    assert len(provider.uploads) < 30


def test_an_account_without_any_room_fails_the_rows_in_time() -> None:
    """The first after some tries, and the others at their first."""
    provider = Provider(problems=full_beyond(0))

    async def timed() -> float:
        await session(provider, Memory(), rows)
        return anyio.current_time()

    rows = Rows(3)
    assert run(timed) < 3600
    assert len(rows.failed) == 3


def test_a_create_that_comes_too_soon_makes_no_smaller_jobs() -> None:
    """A 429 may be about the number of requests; it is tried again before the job counts as too large."""
    provider, rows = Provider(replies=["too soon", "too soon"]), Rows(40)
    run(session, provider, Memory(), rows)
    assert (len(rows.done), [len(made.lines) for made in provider.jobs_made.values()]) == (40, [40])


def test_a_job_that_stays_in_cancelling_stops_the_run_and_is_billed_once() -> None:
    """Its requests do not go live, since it may still answer them. The next session goes on with it."""
    provider, memory, rows = Provider(takes_s=inf, cancels=False), Memory(), Rows(4)
    options = JobsOptions(timing=JobTiming(patience_s=600))

    async def two_sessions() -> None:
        with pytest.raises(ExceptionGroup) as stopped:
            await session(provider, memory, rows, options)
        assert stopped.group_contains(RunStopped, match="was to be cancelled 3,600 s ago and has not ended")
        assert anyio.current_time() < 5000
        provider.cancels = True
        await session(provider, memory, rows, JobsOptions(timing=JobTiming(patience_s=0)))  # the journal has real times

    run(two_sessions)
    assert {type(error) for error in rows.failed.values()} == {GoesLive}
    assert len(provider.jobs_made) == 1


def test_rows_go_live_when_the_end_of_the_run_is_near() -> None:
    """The job is cancelled first, so what it does not answer is not billed."""
    provider, rows = Provider(takes_s=inf), Rows(4)
    run(session, provider, Memory(), rows, JobsOptions(ends_in_s=600))
    assert {type(error) for error in rows.failed.values()} == {GoesLive}
    assert all(made.cancelled_at is not None for made in provider.jobs_made.values())


def test_answers_of_an_earlier_session_count_also_when_calls_go_live() -> None:
    """They are paid for, so no call is made once more."""
    provider, memory, rows = Provider(takes_s=100), Memory(), Rows(4)

    async def two_sessions() -> None:
        await session(provider, memory, rows, kill_after_s=50)
        await anyio.sleep(3600)
        await session(provider, memory, rows, JobsOptions(ends_in_s=0), begin_after_s=1)

    run(two_sessions)
    assert (len(rows.done), rows.failed) == (4, {})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_happens_each_line_is_answered_once_and_billed_once(data: st.DataObject) -> None:
    """Over any number of kills, lost and refused creates, lost and expired lines, at any moment."""
    rows = Rows(data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3)))
    not_run = data.draw(st.sets(st.integers(0, 5), max_size=3))
    runs: Counter[str] = Counter()

    def fate(line_id: str) -> LineEnd | None:
        runs[line_id] += 1
        if int(line_id, 16) // 1000 in not_run and runs[line_id] == 1:
            return data.draw(st.sampled_from([None, LineEnd.EXPIRED]))
        return LineEnd.ANSWERED

    provider = Provider(
        takes_s=data.draw(st.sampled_from([0.0, 20.0, 400.0])),
        fate=fate,
        replies=data.draw(st.lists(st.sampled_from(["", "lost", "refused"]), max_size=4)),
        limits=JobLimits(data.draw(st.sampled_from([1, 2, 1000])), 10_000_000),
        keeps_metadata=data.draw(st.booleans()),
    )
    memory = Memory()
    kills = data.draw(st.lists(st.sampled_from([0.0, 0.35, 1.5, 2.5, 3.2, 31.0, 32.0, 60.0, 300.0]), max_size=5))

    async def all_sessions() -> None:
        for kill_after_s in [*kills, inf]:
            await session(provider, memory, rows, JobsOptions(timing=JobTiming(poll_s=30.0)), kill_after_s)

    run(all_sessions)
    assert len(rows.done) == rows.count * rows.steps
    assert set(provider.billed.values()) <= {1}
    assert not rows.failed


def test_the_oldest_lines_go_first_and_a_row_that_leaves_takes_its_line_along() -> None:
    """A line of a row that was cut short is not sent."""

    async def gather() -> list[str]:
        gatherer = Gatherer(JobLimits(2, 1000), 60.0)
        lines = [WaitingLine(Line(name, b""), Permit(), 10, anyio.current_time()) for name in "abcd"]
        for line in lines:
            gatherer.add(line)
        gatherer.remove(lines[1])
        return [line.line.custom_id for line in gatherer.take()]

    assert run(gather) == ["a", "c"]
