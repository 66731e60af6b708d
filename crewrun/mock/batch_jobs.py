"""`Jobs`: the batch jobs of one wire, and what becomes of their lines.

A `job` goes on by itself; `openai_batches` and `anthropic_batches` have the endpoints.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crewrun.mock.clock import MockClock
from crewrun.mock.faults import find_fault
from crewrun.mock.job import Job, JobLine, JobStatus, LineState
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.replies import MockReply


class Jobs:
    """All jobs of one wire, the oldest first. `prefix` begins their ids."""

    def __init__(self, prefix: str, clock: MockClock, faults: JobFaults, latency_s: float, seed: int | None) -> None:
        self._prefix = prefix
        self._clock = clock
        self._faults = faults
        self._latency_s = latency_s
        self._dice = random.Random(seed)  # noqa: S311  # for tests, not for secrets
        self._jobs: dict[str, Job] = {}
        self._count = 0

    def create(
        self,
        lines: Sequence[JobLine],
        texts: Callable[[JobLine], Iterable[str]],
        answer: Callable[[str, JobLine], MockReply],
        on_end: Callable[[Job], None],
        details: Mapping[str, Any],
    ) -> Job:
        """Make a job. `texts` are what of a line may contain fault words, and `answer` gets the job's id."""
        self._count += 1
        job_id = f"{self._prefix}{self._count}"
        job = Job(
            number=self._count,
            id=job_id,
            lines=list(lines),
            created_s=self._clock.unix_s,
            latency_s=self._latency_s,
            answer=lambda line: answer(job_id, line),
            on_end=on_end,
            details=dict(details),
            never_ends=self._faults.is_on("never-ends"),
        )
        for line in job.lines:
            line.state = self._fate(texts(line))
        self._jobs[job.id] = job
        return job

    def advance(self) -> None:
        """Have all jobs go on to the present."""
        now_s = self._clock.unix_s
        for job in self._jobs.values():
            is_stuck = job.status is JobStatus.CANCELLING and self._faults.is_on("never-cancels")
            if not (job.status.has_ended or is_stuck):
                job.advance(now_s)

    def find(self, job_id: str) -> Job | None:
        """The job with this id as it is now, None if it does not exist."""
        self.advance()
        return self._jobs.get(job_id)

    def newest_first(self) -> list[Job]:
        """All jobs as they are now."""
        self.advance()
        return list(reversed(self._jobs.values()))

    def cancel(self, job: Job) -> bool:
        """Cancel a job now. False if it is too late for that."""
        return job.cancel(self._clock.unix_s)

    def delete(self, job: Job) -> None:
        """Forget a job."""
        del self._jobs[job.id]

    def enqueued_tokens(self) -> int:
        """The tokens in jobs that have not ended."""
        self.advance()
        return sum(job.tokens for job in self._jobs.values() if not job.status.has_ended and not job.errors)

    def in_result_order(self, job: Job) -> list[JobLine]:
        """The lines of `job` in the order of its results: its own, or another one."""
        lines = list(job.lines)
        if self._faults.is_on("shuffle"):
            random.Random(job.number).shuffle(lines)  # noqa: S311  # for tests, not for secrets
        return lines

    def _fate(self, texts: Iterable[str]) -> LineState:
        """How a line will end other than with an answer, by its words or at random; WAITING if it will be answered."""
        drawn = self._dice.random()
        by_word = find_fault(texts)
        lost, expired = self._faults.share("lost-lines"), self._faults.share("expired-lines")
        match by_word.kind if by_word else None:
            case "lost":
                return LineState.LOST
            case "expired":
                return LineState.EXPIRED
            case "hang":
                return LineState.STUCK
        if drawn < lost:
            return LineState.LOST
        return LineState.EXPIRED if drawn < lost + expired else LineState.WAITING
