"""`CrossLoopJobs`: the batch jobs of a run for kickoffs in another event loop of the process."""

import asyncio

from crewrun.limits.permit import CallResult, Permit
from crewrun.llm.batch_jobs.run_jobs import JobAnswer, JobCall, Jobs
from crewrun.messages import Endpoint


class CrossLoopJobs:
    """A jobs whose event loop runs in another thread."""

    def __init__(self, jobs: Jobs, loop: asyncio.AbstractEventLoop) -> None:
        self._jobs = jobs
        self._loop = loop

    async def send(self, call: JobCall) -> JobAnswer:
        """See `Jobs.send`."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._jobs.send(call), self._loop))

    def settle(self, endpoint: Endpoint, permit: Permit, result: CallResult) -> None:
        """See `Jobs.settle`."""
        self._loop.call_soon_threadsafe(self._jobs.settle, endpoint, permit, result)
