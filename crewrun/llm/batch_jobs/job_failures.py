"""What the rows of a batch job are told when it goes wrong."""

from crewrun.errors import BadRequest, BatchJobFailed, CallError, RunStopped, TransientError
from crewrun.llm.batch_jobs.job import Job, JobProblem
from crewrun.llm.batch_jobs.store import StoredJob
from crewrun.llm.transports.http_errors import failure_in


def refusal(problem: JobProblem) -> CallError:
    """What a live call with such a request would have raised."""
    error = failure_in(400, {"code": problem.code, "message": problem.message}, {})
    return BadRequest(str(error), http_status=400) if isinstance(error, TransientError) else error


def not_here(stored: StoredJob, why: object) -> RunStopped:
    what = f"batch job {stored.id}" if stored.id else "a batch job whose creation was not answered"
    return RunStopped(
        f"{what}, which has {stored.lines:,} requests of this run, is not in the account ({why}); with the key and the "
        "project that it was made with the same command goes on; --tier standard does without it and pays its requests "
        "again"
    )


def still_cancelling(job: Job, stored: StoredJob, asked_s: float) -> RunStopped:
    return RunStopped(
        f"batch job {job.id}, which has {stored.lines:,} requests of this run, was to be cancelled {asked_s:,.0f} s "
        "ago and has not ended; its requests are not sent live, since it may still answer and bill them. The same "
        "command goes on with it; --tier standard does without it and may pay its requests twice"
    )


def gone(job_id: str, why: object) -> BatchJobFailed:
    return BatchJobFailed(
        f"batch job {job_id}: its results cannot be had from the provider ({why}); what it answered was billed, and a "
        "row that runs again sends its requests once more",
        is_billed=True,
    )


def not_run() -> BatchJobFailed:
    """What a line raises that several jobs have not run."""
    return BatchJobFailed("several batch jobs have ended without running this request; nothing was billed for that")
