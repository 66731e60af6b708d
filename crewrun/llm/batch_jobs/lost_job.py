"""`LostJob`: a job whose creation was not answered, and how it is recognised among those of the account."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from crewrun.errors import ModelNotFound
from crewrun.llm.batch_jobs.job import METADATA_KEY, BatchApi, Job
from crewrun.llm.batch_jobs.patience import Patience
from crewrun.llm.batch_jobs.store import JobStore, StoredJob

# Clocks differ, and a list may be sorted by whole seconds.
_CLOCK_S: Final = 900.0
_MARK_CHARS: Final = 24


class LostJob:
    """The job `stored` of a run, which the provider may have."""

    def __init__(self, api: BatchApi, store: JobStore, stored: StoredJob, patience: Patience) -> None:
        self._api = api
        self._store = store
        self._stored = stored
        self._patience = patience

    async def find(self, follow: Callable[[Job], Awaitable[Job]]) -> Job | None:
        """The job; None if it is not in the provider's list. `follow` waits for the end of one, without metadata."""
        for job in await self._patience.steadily(self._candidates):
            if self._api.keeps_metadata or await self._is_ours(job, follow):
                return job
        return None

    async def _candidates(self) -> list[Job]:
        """The jobs in the provider's list that may be this one: the one with its metadata or, where there is none, all
        of its size that no other job of the run is, the oldest first.
        """
        listed: list[Job] = []
        async with aclosing(self._api.jobs(self._stored.intended_at - _CLOCK_S)) as jobs:
            async for job in jobs:
                if job.metadata.get(METADATA_KEY) == self._stored.intent:
                    return [job.counted(self._stored.lines)]
                if not self._api.keeps_metadata and job.lines == self._stored.lines:
                    listed.insert(0, job)
        others = await self._store.ids() if listed else set()
        return [job for job in listed if job.id not in others]

    async def _is_ours(self, job: Job, follow: Callable[[Job], Awaitable[Job]]) -> bool:
        """Whether a job has this one's lines, which its results tell: so it is followed to its end first, and not
        cancelled, since it may be somebody else's.
        """
        try:
            return await self._patience.steadily(partial(self._has_our_lines, await follow(job)))
        except ModelNotFound:
            return False  # whoever made it has deleted it

    async def _has_our_lines(self, job: Job) -> bool:
        mark = mark_of(self._stored, self._api)
        async with aclosing(self._api.results(job)) as results:
            async for result in results:
                if result.custom_id:
                    return result.custom_id.startswith(mark)
        return False


def mark_of(stored: StoredJob, api: BatchApi) -> str:
    """What the custom ids begin with, by which a job without metadata is recognised: the results have them too."""
    return "" if api.keeps_metadata else f"{stored.intent[:_MARK_CHARS]}-"
