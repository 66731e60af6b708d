"""The batch jobs of a run: whether it has any, which settings cannot hold with them, and the jobs that calls go by."""

import math
from collections.abc import Sequence
from typing import Final

import anyio

from crewrun.batch.locations import Places
from crewrun.batch.settings import BatchSettings
from crewrun.errors import CrewrunError, UsageError
from crewrun.journal.jobs import unended_jobs
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.llm.batch_jobs.job_task import JobTiming
from crewrun.llm.batch_jobs.route import route_name
from crewrun.llm.batch_jobs.run_jobs import JobsOptions, RunJobs
from crewrun.llm.batch_jobs.wire import open_api
from crewrun.llm.endpoints import resolve
from crewrun.llm.gateway import Gateway
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.prices.price import BATCH
from crewrun.messages import Endpoint
from crewrun.runs.folder import RunFolder
from crewrun.runs.state import RunState

# Before the deadline the jobs are cancelled, which takes providers up to ten minutes, and their calls are made live.
_LIVE_S: Final = 1800.0
# How long the end of a session waits for the provider to hear that its jobs are to be cancelled.
_CANCEL_S: Final = 15.0


def uses_jobs(settings: BatchSettings, endpoints: Sequence[Endpoint], gateway: Gateway) -> bool:
    """Whether calls of the run go in batch jobs, as far as its models are known before it begins."""
    if settings.replay or gateway.is_offline:
        return False
    return any(endpoint.tier == BATCH for endpoint in endpoints) or (settings.tier == BATCH and not endpoints)


def check_detach(settings: BatchSettings, *, in_jobs: bool, is_offline: bool) -> None:
    """Raise UsageError for --detach in a run without batch jobs."""
    if settings.detach and not (in_jobs or is_offline or settings.replay):
        raise UsageError("--detach: only batch jobs go on without the command; add --tier batch, or leave it out")


def check_jobs(settings: BatchSettings, places: Places) -> None:
    """Raise UsageError for settings that cannot hold with batch jobs."""
    if places.folder is None:
        raise UsageError(
            "--tier batch: results go to a stream, and batch jobs have to be remembered while the provider has them; "
            "add --run-dir DIR, or name a results file with -o"
        )
    if not settings.is_here:
        raise UsageError(
            f"--tier batch --executor {settings.executor}: batch jobs are made by this process; leave one out"
        )


def open_jobs(settings: BatchSettings, state: RunState, limiters: LocalLimiters, deadline_s: float | None) -> RunJobs:
    """The jobs of a run that is to end in `deadline_s`, None for no deadline."""
    ends_in_s = math.inf if deadline_s is None else max(0.0, deadline_s - min(_LIVE_S, deadline_s / 2))
    timing = JobTiming(settings.poll_s, settings.job_patience_s, settings.outage_patience_s)
    return RunJobs(JobsOptions(settings.batch_delay_s, ends_in_s, timing), state.jobs, limiters, open_api)


async def warning_of_jobs(state: RunState) -> str | None:
    """What to say in a run without batch jobs of those that earlier sessions of it have left at the provider."""
    jobs = [job for job in await state.jobs.jobs() if not job.end]
    if not jobs:
        return None
    at_provider = _at_provider(len(jobs), sum(job.lines for job in jobs), "this run")
    return f"{at_provider}; without --tier batch their answers are not used, and those calls are paid again"


def note_of_open_jobs(folder: RunFolder | None) -> list[str]:
    """What a plan says of batch jobs that earlier sessions of the run have left at the provider."""
    number, lines = unended_jobs(folder.journal) if folder is not None and folder.is_used else (0, 0)
    if not number:
        return []
    calls = f"{lines:,} call{'' if lines == 1 else 's'}"
    jobs = f"{number:,} batch job{'' if number == 1 else 's'}"
    return [f"{calls} of this run may already be at the provider, in {jobs}"]


def warning_of_fresh(settings: BatchSettings, folder: RunFolder) -> str | None:
    """What to say of batch jobs that `--fresh` leaves behind."""
    number, lines = unended_jobs(folder.journal) if settings.fresh and folder.is_used else (0, 0)
    if not number:
        return None
    at_provider = _at_provider(number, lines, "the run that --fresh moves aside")
    return f"{at_provider}; what they answer is billed, and this run does not use it"


def _at_provider(number: int, lines: int, run: str) -> str:
    jobs = f"{number:,} batch job{'' if number == 1 else 's'} of {run}"
    return f"{jobs} with {lines:,} requests may still be at the provider"


async def close_jobs(jobs: RunJobs, *, cancels: bool) -> list[str]:
    """No row waits any more: leave the jobs to the provider, or have it cancel them. Returns what to say of them."""
    await jobs.finish()
    number, lines = jobs.unanswered
    if not number:
        return []
    what = f"{number:,} batch job{'' if number == 1 else 's'} with {lines:,} requests"
    if not cancels:
        them = "it" if number == 1 else "them"
        return [f"{what}: the provider goes on with {them}; the same command goes on with the answers"]
    cancelled = 0
    with anyio.move_on_after(_CANCEL_S):
        cancelled = await jobs.cancel_jobs()
    if cancelled < number:
        return [f"{what}: {number - cancelled:,} of them could not be cancelled, and the provider goes on with them"]
    return [f"{what}: being cancelled; answers that they have by then are billed, and the same command uses them"]


async def close_unclaimed(jobs: RunJobs, *, cancels: bool) -> list[str]:
    """As `close_jobs`, for open jobs of earlier sessions whose models were not called in this one."""
    unclaimed = jobs.unclaimed
    if not unclaimed:
        return []
    lines, models = sum(job.lines for job in unclaimed), sorted({job.route.rpartition(" ")[2] for job in unclaimed})
    number = len(unclaimed)
    what = f"{number:,} batch job{'' if number == 1 else 's'} of {', '.join(models)} with {lines:,} requests"
    if not cancels:
        return [
            f"warning: {what}: this session has called no such model, so nobody collects what is answered and billed; "
            "--cancel-jobs cancels them"
        ]
    ended = 0
    with anyio.move_on_after(_CANCEL_S):
        ended = await jobs.end_unclaimed(_endpoint_at)
    if ended < number:
        return [
            f"warning: {what}: {number - ended:,} of them could not be cancelled with the addresses and keys of now"
        ]
    return [f"{what}: cancelled, or ended before; answers that they have by then are billed"]


async def name_unused(jobs: RunJobs) -> list[str]:
    """Once all rows have ended: what to say of answers to requests that the crew does not make any more."""
    number = await jobs.unused()
    if not number:
        return []
    answers, them = f"{number:,} answer{'' if number == 1 else 's'}", "it" if number == 1 else "them"
    return [
        f"warning: {answers} of earlier batch jobs not used: no row has asked for {them}, as when the crew was "
        "changed; billed, and not in the costs here"
    ]


def _endpoint_at(route: str) -> Endpoint | None:
    """An endpoint with the name of a route, as far as the environment still leads there."""
    provider, model = route.partition(" ")[0], route.rpartition(" ")[2]
    try:
        endpoint = resolve(ModelFields(model=f"{provider}/{model}"))
    except CrewrunError:
        return None
    return endpoint if route_name(endpoint) == route else None
