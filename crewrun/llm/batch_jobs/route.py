"""`Route`: where lines go, one model of one account: what waits for a job there, the jobs, and what has room."""

from math import inf
from typing import Final
from urllib.parse import urlsplit

import anyio

from crewrun.errors import BatchJobFailed
from crewrun.limits.waits import Wait, WaitKind
from crewrun.llm.batch_jobs.gatherer import Gatherer
from crewrun.llm.batch_jobs.job import BatchApi
from crewrun.llm.batch_jobs.job_task import ENQUEUED_LIMIT, JobTask
from crewrun.messages import Endpoint

# A job that had no room beside others is tried again when one of them ends, or after this many intervals between looks.
_CROWDED_PAUSES: Final = 10
# How often in a row the provider may have no room for a single request before its row fails: a quarter of an hour.
_MOST_CROWDED: Final = 6


class Route:
    """Where lines go: one model of one account, with its jobs."""

    def __init__(self, endpoint: Endpoint, api: BatchApi, gatherer: Gatherer) -> None:
        self.endpoint = endpoint
        self.api = api
        self.gatherer = gatherer
        self.jobs: list[JobTask] = []
        self._is_crowded = False
        self._crowded_alone = 0  # how often in a row there was no room for a single request
        self.name = route_name(endpoint)

    def job_with(self, line_id: str) -> JobTask | None:
        """The latest job that may still bring a line."""
        return next((job for job in reversed(self.jobs) if job.expects(line_id)), None)

    def make_room(self) -> None:
        """A job has ended as it should."""
        self.gatherer.blocked_until = -inf
        self._crowded_alone = 0

    def crowd(self, job: JobTask, pause_s: float) -> bool:
        """The provider has no room for `job`: send less at once, when another one ends or after a while.

        Returns whether there has been none for a single request so often that it is to be given up.
        """
        self._is_crowded = True
        pauses = float(_CROWDED_PAUSES)
        if len(self.jobs) == 1:  # else it may have room when the others have ended
            size_bytes = sum(waiting.size_bytes for waiting in job.left)  # none yet of a job of an earlier session
            self.gatherer.most_bytes = min(self.gatherer.most_bytes, max(1, size_bytes // 2) if size_bytes else inf)
            self._crowded_alone = self._crowded_alone + 1 if job.stored.lines == 1 else 0
            pauses = min(pauses, 2.0 ** max(0, self._crowded_alone - 1))
        self.gatherer.blocked_until = anyio.current_time() + pauses * pause_s
        return self._crowded_alone >= _MOST_CROWDED

    @property
    def has_room(self) -> bool:
        """Whether another job can go. Once the provider had no room for one, they go one after the other, each when the
        one before has passed validation.
        """
        return not self._is_crowded or all(job.is_accepted for job in self.jobs)

    @property
    def can_send(self) -> bool:
        """Whether a job is to go that has not gone yet."""
        return len(self.gatherer) > 0 and self.has_room and anyio.current_time() >= self.gatherer.blocked_until

    @property
    def wait(self) -> Wait:
        """What its calls wait for."""
        lines = sum(job.stored.lines for job in self.jobs)
        ended = sum(job.job.ended for job in self.jobs if job.job is not None)
        name, gathered = self.endpoint.name, len(self.gatherer)
        return Wait(WaitKind.JOBS, name, gathered, jobs=len(self.jobs), lines=lines, lines_ended=ended)


def route_name(endpoint: Endpoint) -> str:
    """The name of an endpoint's route in the journal, without secrets, and without the key: a new key of the same
    account finds its jobs.
    """
    parts = urlsplit(endpoint.base_url or "")
    return f"{endpoint.provider} {parts.netloc.rpartition('@')[2]}{parts.path} {endpoint.model}"


def no_room() -> BatchJobFailed:
    return BatchJobFailed(
        f"{_MOST_CROWDED} times in a row the provider had no room for a batch job of a single request "
        f"({ENQUEUED_LIMIT}), and nothing was billed; when the account's other batch jobs have ended, the same command "
        "sends this one again; --tier standard sends it live"
    )
