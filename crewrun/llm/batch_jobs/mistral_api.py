"""Mistral's batch jobs: files of lines as OpenAI has them, in jobs of another form.

A job names its model, and its lines are `{"custom_id", "body"}`. Names of fields and states:
https://docs.mistral.ai/api/endpoint/batch and the models of https://pypi.org/project/mistralai (3.7).
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from crewrun.errors import ServerError
from crewrun.llm.batch_jobs.entries import Entry, listed, results_of, unix_time, with_partial_results
from crewrun.llm.batch_jobs.http import JobsHttp
from crewrun.llm.batch_jobs.job import Job, JobLimits, JobProblem, JobState, Line, LineResult, text_of
from crewrun.llm.batch_jobs.openai_api import read_result

# https://docs.mistral.ai/resources/known-limitations: 100,000 requests and 512 MB. An upload is made in memory, and
# a run has several of them.
LIMITS: Final = JobLimits(100_000, 190 * 1000 * 1000)
_PATH: Final = "/batch/jobs"
_PAGE: Final = 100
_STATES: Final[Mapping[str, JobState]] = {
    "SUCCESS": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "TIMEOUT_EXCEEDED": JobState.EXPIRED,
    "CANCELLED": JobState.CANCELLED,
}


class MistralBatches:
    """The batch jobs of one account for one `model`."""

    limits = LIMITS
    keeps_metadata = True

    def __init__(self, http: JobsHttp, model: str) -> None:
        self._http = http
        self._model = model

    def size_of(self, line: Line) -> int:
        """See `BatchApi.size_of`."""
        return len(_written(line))

    async def upload(self, lines: Sequence[Line], intent: str) -> bytes:
        """See `BatchApi.upload`."""
        content = b"".join(map(_written, lines))
        file = await self._http.upload("/files", f"crewrun-{intent}.jsonl", content, purpose="batch")
        if not (file_id := text_of(file.get("id"))):
            raise ServerError("the reply to an upload names no file", http_status=200)
        return file_id.encode()

    async def create(self, upload: bytes, metadata: Mapping[str, str]) -> Job:
        """See `BatchApi.create`."""
        request = {
            "input_files": [upload.decode()],
            "endpoint": "/v1/chat/completions",
            "model": self._model,
            "metadata": dict(metadata),
            "timeout_hours": 24,
        }
        return _job(await self._http.json("POST", _PATH, json=request))

    async def get(self, job_id: str) -> Job:
        """See `BatchApi.get`."""
        return _job(await self._http.json("GET", f"{_PATH}/{job_id}"))

    async def jobs(self, since: float) -> AsyncGenerator[Job, None]:
        """See `BatchApi.jobs`. Pages have numbers, from 0, so a new job moves the others on."""
        seen: set[str] = set()
        number = 0
        while True:
            page = await self._http.page(_PATH, {"page": str(number), "page_size": str(_PAGE), "order_by": "-created"})
            jobs = listed(page, _job, seen)
            for job in jobs:
                if job.created_at >= since:
                    yield job
            if not jobs or all(job.created_at < since for job in jobs):
                return
            number += 1

    def results(self, job: Job) -> AsyncGenerator[LineResult, None]:
        """See `BatchApi.results`."""
        return results_of(self._http, job, read_result)

    async def cancel(self, job_id: str) -> None:
        """See `BatchApi.cancel`."""
        await self._http.json("POST", f"{_PATH}/{job_id}/cancel")

    async def aclose(self) -> None:
        """See `BatchApi.aclose`."""
        await self._http.aclose()


def _written(line: Line) -> bytes:
    return b'{"custom_id": %s, "body": %s}\n' % (json.dumps(line.custom_id).encode(), line.body)


def _job(entry: Entry) -> Job:
    """A job as the wire has it. Raises ServerError for anything else."""
    try:
        files = [_file_id(entry.get(name)) for name in ("output_file", "error_file")]
        results = tuple(f"/files/{file_id}/content" for file_id in files if file_id)
        return Job(
            str(entry["id"]),
            with_partial_results(_STATES.get(str(entry["status"]).upper(), JobState.PENDING), results),
            unix_time(entry["created_at"]),
            int(entry.get("total_requests") or 0) or None,
            int(entry.get("completed_requests") or 0),
            int(entry.get("succeeded_requests") or 0),
            metadata={str(key): str(value) for key, value in (entry.get("metadata") or {}).items()},
            problems=tuple(_problem(error) for error in entry.get("errors") or ()),
            results=results,
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as wrong:
        raise ServerError(f"the reply is no batch job: {type(wrong).__name__}: {wrong}", http_status=200) from None


def _file_id(value: Any) -> str:
    """The id of a file, which some servers give as an object."""
    return text_of(value.get("id") if isinstance(value, Mapping) else value)


def _problem(error: Any) -> JobProblem:
    return JobProblem("", text_of(error.get("message")) if isinstance(error, Mapping) else str(error))
