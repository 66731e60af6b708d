"""OpenAI's batch jobs: files of lines in, files of results out. Groq has the same endpoints.

https://platform.openai.com/docs/api-reference/batch
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from crewrun.errors import ServerError
from crewrun.llm.batch_jobs.entries import listed, read_line, unix_time
from crewrun.llm.batch_jobs.http import JobsHttp
from crewrun.llm.batch_jobs.job import Job, JobLimits, JobProblem, JobState, Line, LineEnd, LineResult, text_of
from crewrun.llm.transports.http_errors import embedded_status

# https://platform.openai.com/docs/guides/batch: 50,000 requests and 200 MB; a little less, for what we do not count.
LIMITS: Final = JobLimits(50_000, 190 * 1000 * 1000)
_PAGE: Final = 100
_PATH: Final = "/v1/chat/completions"  # in jobs, also where the address of live calls has another prefix
_STATES: Final[Mapping[str, JobState]] = {
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "expired": JobState.EXPIRED,
    "cancelled": JobState.CANCELLED,
    "canceled": JobState.CANCELLED,
}
_ENDS: Final[Mapping[str, LineEnd]] = {"batch_expired": LineEnd.EXPIRED, "batch_cancelled": LineEnd.CANCELLED}


class OpenAIBatches:
    """The batch jobs of one account."""

    limits = LIMITS
    keeps_metadata = True

    def __init__(self, http: JobsHttp) -> None:
        self._http = http

    def size_of(self, line: Line) -> int:
        """See `BatchApi.size_of`."""
        return len(_written(line))

    async def upload(self, lines: Sequence[Line]) -> bytes:
        """See `BatchApi.upload`."""
        file = await self._http.upload("/files", "batch", b"".join(map(_written, lines)))
        if not (file_id := text_of(file.get("id"))):
            raise ServerError("the reply to an upload names no file", http_status=200)
        return file_id.encode()

    async def create(self, upload: bytes, metadata: Mapping[str, str]) -> Job:
        """See `BatchApi.create`."""
        request = {
            "input_file_id": upload.decode(),
            "endpoint": _PATH,
            "completion_window": "24h",
            "metadata": dict(metadata),
        }
        return _job(await self._http.json("POST", "/batches", json=request))

    async def get(self, job_id: str) -> Job:
        """See `BatchApi.get`."""
        return _job(await self._http.json("GET", f"/batches/{job_id}"))

    async def jobs(self, since: float) -> AsyncGenerator[Job, None]:
        """See `BatchApi.jobs`."""
        after: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            page = await self._http.json("GET", "/batches", params={"limit": str(_PAGE), **after})
            jobs = listed(page, _job, seen)
            for job in jobs:
                if job.created_at >= since:
                    yield job
            if not page.get("has_more") or all(job.created_at < since for job in jobs):
                return
            after = {"after": jobs[-1].id}

    async def results(self, job: Job) -> AsyncGenerator[LineResult, None]:
        """See `BatchApi.results`."""
        for file_id in job.results:
            async with aclosing(self._http.lines(f"/files/{file_id}/content")) as lines:
                async for line in lines:
                    yield read_line(line, _result)

    async def cancel(self, job_id: str) -> None:
        """See `BatchApi.cancel`."""
        await self._http.json("POST", f"/batches/{job_id}/cancel")

    async def aclose(self) -> None:
        """See `BatchApi.aclose`."""
        await self._http.aclose()


def _written(line: Line) -> bytes:
    head = json.dumps({"custom_id": line.custom_id, "method": "POST", "url": _PATH})
    return b'%s, "body": %s}\n' % (head[:-1].encode(), line.body)


def _job(entry: Mapping[str, Any]) -> Job:
    """A job as the wire has it. Raises ServerError for anything else."""
    try:
        counts = entry.get("request_counts") or {}
        errors = (entry.get("errors") or {}).get("data") or ()
        files = (text_of(entry.get(name)) for name in ("output_file_id", "error_file_id"))
        answered = int(counts.get("completed") or 0)
        return Job(
            str(entry["id"]),
            _STATES.get(str(entry["status"]).lower(), JobState.PENDING),
            unix_time(entry["created_at"]),
            int(counts["total"]) if counts.get("total") else None,
            answered + int(counts.get("failed") or 0),
            answered,
            {str(key): str(value) for key, value in (entry.get("metadata") or {}).items()},
            tuple(_problem(error) for error in errors),
            tuple(filter(None, files)),
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as wrong:
        raise ServerError(f"the reply is no batch job: {type(wrong).__name__}: {wrong}", http_status=200) from None


def _problem(error: Mapping[str, Any]) -> JobProblem:
    line = error.get("line")
    return JobProblem(
        text_of(error.get("code")), text_of(error.get("message")), line if isinstance(line, int) else None
    )


def _result(entry: Mapping[str, Any]) -> LineResult:
    """A line of a results file: with a response of status 200, with one of another status, or with an error alone.

    A refused request has a response with its status and body, and no error; one that never ran has an error.
    """
    custom_id = text_of(entry.get("custom_id"))
    response, error = entry.get("response"), entry.get("error")
    if isinstance(response, Mapping):
        status, body = response.get("status_code"), json.dumps(response.get("body")).encode()
        if not isinstance(status, int) or 200 <= status < 300:
            return LineResult(custom_id, LineEnd.ANSWERED, 200, body)
        return LineResult(custom_id, LineEnd.REFUSED, status if 300 <= status < 600 else 500, body)
    code = text_of(error.get("code")) if isinstance(error, Mapping) else ""
    if code in _ENDS:
        return LineResult(custom_id, _ENDS[code])
    return LineResult(custom_id, LineEnd.REFUSED, embedded_status(error) or 500, json.dumps({"error": error}).encode())
