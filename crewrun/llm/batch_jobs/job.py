"""A batch job as values, and `BatchApi`, what each provider's wire is reduced to.

A job is made of lines, one request each. When it has ended, every line has at most one result; a line that was never
run may have none. https://platform.openai.com/docs/guides/batch
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

# The name of the intent among what a job says of itself at the provider.
METADATA_KEY: Final = "crewrun_job"


class Line(NamedTuple):
    """One request of a job. `custom_id` is unique in it, 32 hex digits, on the wire perhaps after a mark of the job;
    `body` is the JSON of a live call.
    """

    custom_id: str
    body: bytes


class JobState(StrEnum):
    """How far a job is. `PENDING` covers all states before the end, cancelling included."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class JobProblem:
    """Why a provider refused a job. `line` counts lines of the job from 1, None if it is about the job as a whole."""

    code: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job at the provider.

    Attributes:
        id: the provider's.
        created_at: Unix time in seconds.
        lines: how many requests it has, None if the provider has not counted them yet.
        ended: how many of them have a result so far.
        answered: how many of these were answered, and so billed.
        metadata: what was said when it was created; empty where the provider keeps none.
        problems: why it failed.
        results: the paths of its results; empty without results.
        ended_share: the fraction of its requests that have ended, where the provider counts none; else None.
    """

    id: str
    state: JobState
    created_at: float
    lines: int | None = None
    ended: int = 0
    answered: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[JobProblem, ...] = ()
    results: tuple[str, ...] = ()
    ended_share: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether its state is final."""
        return self.state is not JobState.PENDING

    def counted(self, lines: int) -> "Job":
        """The job, whose provider may count nothing, with counts: it has `lines` requests.

        One that is complete without saying where its answers are has them all the same.
        """
        if self.ended_share is None:
            return self
        ended = round(min(1.0, max(0.0, self.ended_share)) * lines)
        return replace(self, ended=ended, answered=ended if self.state is JobState.COMPLETED else 0)


class LineEnd(StrEnum):
    """How a line ended. Only lines that were `ANSWERED` are billed."""

    ANSWERED = "answered"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class LineResult(NamedTuple):
    """The result of one line: the `status` and the `body` that a live call would have got, for one that was run."""

    custom_id: str
    end: LineEnd
    status: int = 200
    body: bytes = b""

    @property
    def was_run(self) -> bool:
        """Whether the provider has dealt with the request."""
        return self.end in (LineEnd.ANSWERED, LineEnd.REFUSED)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """The most that one job may have."""

    lines: int
    size_bytes: int


class BatchApi(Protocol):
    """The batch jobs of one account at one provider. Every method is one attempt and raises a CallError.

    Without `keeps_metadata` a job does not say what was said when it was created.
    """

    limits: JobLimits
    keeps_metadata: bool

    def size_of(self, line: Line) -> int:
        """The bytes that a line takes in an upload."""
        ...

    async def upload(self, lines: Sequence[Line], intent: str) -> bytes:
        """Upload lines, as a file that has the name of `intent` where there are files. Returns what `create` needs;
        nothing is run or billed for an upload alone.
        """
        ...

    async def create(self, upload: bytes, metadata: Mapping[str, str]) -> Job:
        """Make a job of an upload."""
        ...

    async def get(self, job_id: str) -> Job:
        """The job as it is now."""
        ...

    def jobs(self, since: float) -> AsyncGenerator[Job, None]:
        """The account's jobs that were created at `since`, a Unix time, or later; the latest first."""
        ...

    def results(self, job: Job) -> AsyncGenerator[LineResult, None]:
        """The results of a job that has ended, in any order."""
        ...

    async def cancel(self, job_id: str) -> None:
        """Ask for the end of a job; it ends some time later, and lines that were done by then keep their results."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


def text_of(value: Any) -> str:
    """`value` if it is a text, else empty: providers leave fields out or send null."""
    return value if isinstance(value, str) else ""
