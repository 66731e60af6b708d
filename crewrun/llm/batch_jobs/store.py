"""`JobStore`: what a run has to remember of its batch jobs. The journal implements it, in `crewrun.journal.jobs`."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from crewrun.llm.batch_jobs.job import LineResult


class StoredJob(NamedTuple):
    """A job that the run wanted.

    Attributes:
        number: its number in the run, from 1.
        intent: a random name, which the provider gets as metadata, so that the job can be recognised there.
        route: where it goes, as `Route.name`.
        intended_at: Unix time in seconds.
        lines: how many it has.
        id: the provider's, empty as long as its creation has not been answered.
        end: how it ended, in a word; empty as long as something is expected of it.
    """

    number: int
    intent: str
    route: str
    intended_at: float
    lines: int
    id: str = ""
    end: str = ""


class StoredLine(NamedTuple):
    """A line of a job: its custom id, and US dollars that its answer may cost, None if there is no budget.

    With `is_taken`, the call that it was made for is in the journal; its result is gone then.
    """

    custom_id: str
    most_usd: float | None
    is_taken: bool = False
    has_result: bool = False


class JobStore(Protocol):
    """The jobs of a run. What a method has returned from is on disk; all of them raise JournalFailed."""

    async def jobs(self) -> list[StoredJob]:
        """The jobs that have lines whose calls are not in the journal, in the order in which they were intended."""
        ...

    async def lines(self, number: int) -> list[StoredLine]:
        """The lines of a job, in the order of the upload."""
        ...

    async def ids(self) -> set[str]:
        """The provider's ids of all jobs of the run, ended ones too."""
        ...

    async def intend(self, job: StoredJob, lines: Sequence[StoredLine]) -> StoredJob:
        """A new job, before anything of it is sent. Returns it with its number."""
        ...

    async def created(self, number: int, job_id: str) -> None:
        """The provider has made the job."""
        ...

    def looked(self, number: int, ended: int) -> None:
        """The provider says that so many lines have ended. For `status`; nothing waits for it."""
        ...

    async def keep(self, number: int, results: Sequence[LineResult]) -> None:
        """Keep results of a job. Those of other lines than the job's are dropped."""
        ...

    async def end(self, number: int, end: str) -> None:
        """Nothing is to be expected of the job any more, and the results that it had are kept."""
        ...

    async def unused(self) -> set[str]:
        """The ids of lines with an answer, which was billed, whose call is not in the journal."""
        ...

    async def results(self, number: int, line_ids: Sequence[str]) -> dict[str, LineResult]:
        """The results of these lines of a job, as far as they have any."""
        ...
