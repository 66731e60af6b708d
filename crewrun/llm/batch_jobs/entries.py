"""Entries of providers' lists and files, read without trust: one that cannot be read spoils no other."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from crewrun.errors import ServerError
from crewrun.llm.batch_jobs.http import JobsHttp, as_object
from crewrun.llm.batch_jobs.job import Job, JobState, LineEnd, LineResult

Entry = Mapping[str, Any]


async def jobs_since(
    http: JobsHttp, path: str, since: float, read: Callable[[Entry], Job], *, limit: int, after: str
) -> AsyncGenerator[Job, None]:
    """The jobs of a list that were created at `since` or later. Its pages have at most `limit` jobs each, and the one
    behind a job is asked for with the job's id as the parameter `after`.
    """
    cursor: dict[str, str] = {}
    seen: set[str] = set()
    while True:
        page = await http.page(path, {"limit": str(limit), **cursor})
        jobs = listed(page, read, seen)
        for job in jobs:
            if job.created_at >= since:
                yield job
        if not page.get("has_more") or all(job.created_at < since for job in jobs):
            return
        cursor = {after: jobs[-1].id}


async def results_of(http: JobsHttp, job: Job, read: Callable[[Entry], LineResult]) -> AsyncGenerator[LineResult, None]:
    """The results in the files of a job, as far as they can be read; a line that cannot has no custom id."""
    for path in job.results:
        async with aclosing(http.lines(path)) as lines:
            async for line in lines:
                yield read_line(line, read)


def listed(page: Entry, read: Callable[[Entry], Job], seen: set[str]) -> list[Job]:
    """The jobs of a page of a list that are not among the ids `seen`, which gets theirs. A page without any is the
    last, also where a server sends the same one again and again.
    """
    entries = page.get("data")
    jobs: list[Job] = []
    for entry in entries if isinstance(entries, list) else ():
        try:
            job = read(entry)
        except ServerError:
            continue  # somebody else's
        if job.id not in seen:
            seen.add(job.id)
            jobs.append(job)
    return jobs


def with_partial_results(state: JobState, results: tuple[str, ...]) -> JobState:
    """The state of a job with these results: one that failed after it had run lines ended early, and they count."""
    return JobState.EXPIRED if state is JobState.FAILED and results else state


def read_line(line: bytes, read: Callable[[Entry], LineResult]) -> LineResult:
    """A line of a results file. One that cannot be read has no custom id."""
    try:
        return read(as_object(line))
    except ServerError:
        return LineResult("", LineEnd.EXPIRED)


def unix_time(value: Any) -> float:
    """A time that is a number of seconds or milliseconds, or an ISO date. Raises ValueError and TypeError."""
    try:
        seconds = float(value)
    except ValueError:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return seconds / 1000 if seconds > 1e11 else seconds
