"""Gemini's batch jobs: files of lines `{"key", "request"}` in, one of lines `{"key", "response"}` or `"error"` out.

A job is a long-running operation, what it says of itself is in its `metadata`, and its name there is the intent's.
https://ai.google.dev/gemini-api/docs/batch-api, https://ai.google.dev/api/batch-api
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from crewrun.errors import AuthRefused, ModelNotFound, ServerError, recast
from crewrun.llm.batch_jobs.entries import Entry, listed, results_of, unix_time, with_partial_results
from crewrun.llm.batch_jobs.http import JobsHttp
from crewrun.llm.batch_jobs.job import (
    METADATA_KEY,
    Job,
    JobLimits,
    JobProblem,
    JobState,
    Line,
    LineEnd,
    LineResult,
    text_of,
)

# A file may have 2 GB, and no number of requests is documented. An upload is made in memory, and a run has several.
LIMITS: Final = JobLimits(100_000, 190 * 1000 * 1000)
_PAGE: Final = 100
_NAME: Final = re.compile(r"crewrun-(\w+)")
# Their beginning is BATCH_STATE_ in the API's reference and JOB_STATE_ in its guide.
_STATES: Final[Mapping[str, JobState]] = {
    "SUCCEEDED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "EXPIRED": JobState.EXPIRED,
    "CANCELLED": JobState.CANCELLED,
}
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_STATUSES: Final[Mapping[int, int]] = {
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
_CANCELLED: Final = 1


class GeminiBatches:
    """The batch jobs of one account for one `model`, at the API's `version`."""

    limits = LIMITS
    keeps_metadata = True  # a name

    def __init__(self, http: JobsHttp, model: str, version: str) -> None:
        self._http = http
        self._model = model
        self._version = version

    def size_of(self, line: Line) -> int:
        """See `BatchApi.size_of`."""
        return len(_written(line))

    async def upload(self, lines: Sequence[Line], intent: str) -> bytes:
        """See `BatchApi.upload`."""
        content = b"".join(map(_written, lines))
        reply = await self._http.upload_resumable(f"/upload/{self._version}/files", f"crewrun-{intent}", content)
        file = reply.get("file")
        if not isinstance(file, Mapping) or not (name := text_of(file.get("name"))):
            raise ServerError("the reply to an upload names no file", http_status=200)
        return name.encode()

    async def create(self, upload: bytes, metadata: Mapping[str, str]) -> Job:
        """See `BatchApi.create`."""
        batch = {"displayName": f"crewrun-{metadata[METADATA_KEY]}", "inputConfig": {"fileName": upload.decode()}}
        path = f"/{self._version}/models/{self._model}:batchGenerateContent"
        return self._job(await self._http.json("POST", path, json={"batch": batch}))

    async def get(self, job_id: str) -> Job:
        """See `BatchApi.get`."""
        return self._job(await self._http.json("GET", f"/{self._version}/{job_id}"))

    async def jobs(self, since: float) -> AsyncGenerator[Job, None]:
        """See `BatchApi.jobs`. How the list is sorted is not documented, so all of it is read."""
        seen: set[str] = set()
        cursor: dict[str, str] = {}
        while True:
            page = await self._http.page(f"/{self._version}/batches", {"pageSize": str(_PAGE), **cursor})
            jobs = listed({"data": page.get("operations")}, self._job, seen)
            for job in jobs:
                if job.created_at >= since:
                    yield job
            token = text_of(page.get("nextPageToken"))
            if not token or not jobs:
                return
            cursor = {"pageToken": token}

    async def results(self, job: Job) -> AsyncGenerator[LineResult, None]:
        """See `BatchApi.results`. A file that is gone is refused with a 403: it "may not exist"."""
        try:
            async with aclosing(results_of(self._http, job, _result)) as results:
                async for result in results:
                    yield result
        except AuthRefused as refused:
            raise recast(refused, ModelNotFound) from refused

    async def cancel(self, job_id: str) -> None:
        """See `BatchApi.cancel`."""
        await self._http.json("POST", f"/{self._version}/{job_id}:cancel")

    async def aclose(self) -> None:
        """See `BatchApi.aclose`."""
        await self._http.aclose()

    def _job(self, entry: Entry) -> Job:
        """An operation as the wire has it. Raises ServerError for anything else."""
        try:
            about = entry["metadata"]
            file = _file_of(about.get("output")) or _file_of(entry.get("response"))
            results = (f"/download/{self._version}/{file}:download?alt=media",) if file else ()
            counts = {name: int(count) for name, count in (about.get("batchStats") or {}).items()}
            total, answered = counts.get("requestCount", 0), counts.get("successfulRequestCount", 0)
            state = _STATES.get(str(about["state"]).rpartition("_")[2], JobState.PENDING)
            if not results and state in (JobState.EXPIRED, JobState.CANCELLED):
                answered = 0  # "the job will not have any results to retrieve"
            name = _NAME.fullmatch(text_of(about.get("displayName")))
            return Job(
                str(entry["name"]),
                with_partial_results(state, results),
                unix_time(about["createTime"]),
                total or None,
                answered + counts.get("failedRequestCount", 0),
                answered,
                {METADATA_KEY: name[1]} if name else {},
                _problems(entry.get("error")),
                results,
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as wrong:
            raise ServerError(f"the reply is no batch job: {type(wrong).__name__}: {wrong}", http_status=200) from None


def _written(line: Line) -> bytes:
    return b'{"key": %s, "request": %s}\n' % (json.dumps(line.custom_id).encode(), line.body)


def _file_of(output: Any) -> str:
    return text_of(output.get("responsesFile")) if isinstance(output, Mapping) else ""


def _problems(error: Any) -> tuple[JobProblem, ...]:
    return (JobProblem("", text_of(error.get("message"))),) if isinstance(error, Mapping) else ()


def _result(entry: Entry) -> LineResult:
    """A line of the responses: its status is one of HTTP's or of gRPC's, which are smaller."""
    about = entry.get("metadata")
    key = text_of(entry.get("key")) or (text_of(about.get("key")) if isinstance(about, Mapping) else "")
    error = entry.get("error")
    if not error and isinstance(entry.get("response"), Mapping):
        return LineResult(key, LineEnd.ANSWERED, 200, json.dumps(entry["response"]).encode())
    fields = error if isinstance(error, Mapping) else {"message": str(error)}
    code = fields.get("code")
    if code == _CANCELLED:
        return LineResult(key, LineEnd.CANCELLED)
    status = _STATUSES.get(code, code) if isinstance(code, int) else 500
    status = status if 300 <= status < 600 else 500
    return LineResult(key, LineEnd.REFUSED, status, json.dumps({"error": {**fields, "code": status}}).encode())
