"""Anthropic's Message Batches: requests in one JSON body, results at an address.

There is no metadata: a job whose creation was not answered is found by its time and its number of requests, and
recognised by the custom ids of its results. https://docs.anthropic.com/en/api/creating-message-batches
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from crewrun.errors import ServerError
from crewrun.llm.batch_jobs.entries import jobs_since, results_of, unix_time
from crewrun.llm.batch_jobs.http import JobsHttp
from crewrun.llm.batch_jobs.job import Job, JobLimits, JobState, Line, LineEnd, LineResult, text_of
from crewrun.llm.transports.http_errors import embedded_status

# 100,000 requests and 256 MB, https://docs.anthropic.com/en/docs/build-with-claude/batch-processing; a little less.
LIMITS: Final = JobLimits(100_000, 240 * 1000 * 1000)
_PAGE: Final = 1000
_PATH: Final = "/v1/messages/batches"
_COUNTS: Final = ("succeeded", "errored", "canceled", "expired")
# https://docs.anthropic.com/en/api/errors
_STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}
_ENDS: Final[Mapping[str, LineEnd]] = {"expired": LineEnd.EXPIRED, "canceled": LineEnd.CANCELLED}


class AnthropicBatches:
    """The message batches of one account."""

    limits = LIMITS
    keeps_metadata = False

    def __init__(self, http: JobsHttp) -> None:
        self._http = http

    def size_of(self, line: Line) -> int:
        """See `BatchApi.size_of`."""
        return len(_written(line)) + 1

    async def upload(self, lines: Sequence[Line], intent: str) -> bytes:
        """See `BatchApi.upload`: the body of `create`, nothing is sent."""
        return b'{"requests": [' + b",".join(map(_written, lines)) + b"]}"

    async def create(self, upload: bytes, metadata: Mapping[str, str]) -> Job:
        """See `BatchApi.create`; `metadata` has no place on this wire."""
        return _job(await self._http.json("POST", _PATH, data=upload, content_type="application/json"))

    async def get(self, job_id: str) -> Job:
        """See `BatchApi.get`."""
        return _job(await self._http.json("GET", f"{_PATH}/{job_id}"))

    def jobs(self, since: float) -> AsyncGenerator[Job, None]:
        """See `BatchApi.jobs`."""
        return jobs_since(self._http, _PATH, since, _job, limit=_PAGE, after="after_id")

    def results(self, job: Job) -> AsyncGenerator[LineResult, None]:
        """See `BatchApi.results`."""
        return results_of(self._http, job, _result)

    async def cancel(self, job_id: str) -> None:
        """See `BatchApi.cancel`."""
        await self._http.json("POST", f"{_PATH}/{job_id}/cancel")

    async def aclose(self) -> None:
        """See `BatchApi.aclose`."""
        await self._http.aclose()


def _written(line: Line) -> bytes:
    return b'{"custom_id": %s, "params": %s}' % (json.dumps(line.custom_id).encode(), line.body)


def _job(entry: Mapping[str, Any]) -> Job:
    """A batch as the wire has it. Raises ServerError for anything else."""
    try:
        counts = {name: int(count) for name, count in (entry.get("request_counts") or {}).items()}
        has_ended = entry["processing_status"] == "ended"
        return Job(
            str(entry["id"]),
            _state(counts) if has_ended else JobState.PENDING,
            unix_time(entry["created_at"]),
            sum(counts.values()) or None,
            sum(counts.get(name, 0) for name in _COUNTS),
            counts.get("succeeded", 0),
            results=(f"{_PATH}/{entry['id']}/results",) if has_ended and entry.get("results_url") else (),
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as wrong:
        raise ServerError(f"the reply is no message batch: {type(wrong).__name__}: {wrong}", http_status=200) from None


def _state(counts: Mapping[str, int]) -> JobState:
    """How a batch ended, which its lines alone say: it is not over before all of them are."""
    if counts.get("expired"):
        return JobState.EXPIRED
    return JobState.CANCELLED if counts.get("canceled") else JobState.COMPLETED


def _result(entry: Mapping[str, Any]) -> LineResult:
    custom_id, result = text_of(entry.get("custom_id")), entry.get("result")
    kind = text_of(result.get("type")) if isinstance(result, Mapping) else ""
    if kind == "succeeded" and isinstance(result, Mapping):
        return LineResult(custom_id, LineEnd.ANSWERED, 200, json.dumps(result.get("message")).encode())
    if kind in _ENDS:
        return LineResult(custom_id, _ENDS[kind])
    error = result.get("error") if isinstance(result, Mapping) else None
    inner = error.get("error", error) if isinstance(error, Mapping) else error
    word = text_of(inner.get("type")) if isinstance(inner, Mapping) else ""
    status = _STATUSES.get(word) or embedded_status(inner) or 500
    return LineResult(custom_id, LineEnd.REFUSED, status, json.dumps({"error": inner}).encode())
