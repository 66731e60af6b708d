"""Batch jobs on Anthropic's wire: `/v1/messages/batches`.

https://docs.anthropic.com/en/api/creating-message-batches
"""

import re
from datetime import UTC, datetime
from typing import Any

from crewrun.mock.anthropic_errors import error_body
from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.endpoint import MockRequest, Refused, page_of
from crewrun.mock.files import content_reply
from crewrun.mock.input_lines import prompt_tokens, texts_of
from crewrun.mock.job import Job, JobLine, JobStatus, LineState
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.replies import MockReply, json_reply
from crewrun.mock.request_body import read_object
from crewrun.mock.wire import Wire

_MOST_REQUESTS = 100_000
_MOST_BYTES = 256 * 1024 * 1024
_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESULTS = {LineState.EXPIRED: "expired", LineState.CANCELLED: "canceled"}


class AnthropicBatches:
    """The endpoints; `wire` answers the requests of jobs."""

    def __init__(self, jobs: Jobs, calls: Calls, faults: JobFaults, wire: Wire) -> None:
        self._jobs = jobs
        self._calls = calls
        self._faults = faults
        self._wire = wire

    async def create(self, request: MockRequest) -> MockReply:
        """POST /v1/messages/batches. What is wrong with the parameters of a request shows later, in its result."""
        if self._faults.take("refused-create"):
            raise Refused(529, "Overloaded")
        job = self._make(_read_requests(request.body))
        if self._faults.take("lost-create"):
            return MockReply(200, b"", cut=True)
        return json_reply(_on_wire(job, request.origin))

    async def get(self, request: MockRequest) -> MockReply:
        """GET /v1/messages/batches/ID."""
        return json_reply(_on_wire(self._job(request), request.origin))

    async def page(self, request: MockRequest) -> MockReply:
        """GET /v1/messages/batches, the newest first; with `before_id` those before it."""
        jobs, is_backward = self._jobs.newest_first(), "before_id" in request.query
        if is_backward:
            jobs.reverse()
        page = page_of(jobs, request.query, "before_id" if is_backward else "after_id", most=1000)
        data = [_on_wire(job, request.origin) for job in page.things]
        return json_reply({"data": data[::-1] if is_backward else data, **page.ends(reverse=is_backward)})

    async def cancel(self, request: MockRequest) -> MockReply:
        """POST /v1/messages/batches/ID/cancel."""
        job = self._job(request)
        if not self._jobs.cancel(job) and job.status.has_ended:
            raise Refused(400, f"Batch {job.id} cannot be canceled because it has already ended.")
        return json_reply(_on_wire(job, request.origin))

    async def delete(self, request: MockRequest) -> MockReply:
        """DELETE /v1/messages/batches/ID."""
        job = self._job(request)
        if not job.status.has_ended:
            raise Refused(400, f"Batch {job.id} cannot be deleted while it is in progress.")
        self._jobs.delete(job)
        return json_reply({"id": job.id, "type": "message_batch_deleted"})

    async def results(self, request: MockRequest) -> MockReply:
        """GET /v1/messages/batches/ID/results."""
        job = self._job(request)
        if not job.status.has_ended or self._faults.take("gone"):
            raise Refused(404, f"Batch {job.id} has no available results.")
        lines = [line for line in self._jobs.in_result_order(job) if line.state is not LineState.LOST]
        return content_reply(b"".join(_result(line) for line in lines), self._faults)

    def _make(self, lines: list[JobLine]) -> Job:
        tokens, limit = prompt_tokens(lines), self._faults.number("enqueued")
        if limit is not None and self._jobs.enqueued_tokens() + tokens > limit:
            raise Refused(429, "Number of tokens in the batch processing queue would exceed the limit of this account.")

        def answer(job_id: str, line: JobLine) -> MockReply:
            return self._calls.line(self._wire, line.request, line.custom_id, job_id)

        number = self._faults.number("invalid")
        if number is not None and 1 <= number <= len(lines):
            # Parameters are validated when a request runs: this one is none that any wire reads.
            lines[int(number) - 1].request = {**lines[int(number) - 1].request, "max_tokens": 0}
        job = self._jobs.create(lines, lambda line: texts_of(line.request), answer, lambda job: None, {})
        job.tokens = tokens
        return job

    def _job(self, request: MockRequest) -> Job:
        job = self._jobs.find(request.id)
        if job is None:
            raise Refused(404, f"Batch {request.id} not found.")
        return job


def _read_requests(body: bytes) -> list[JobLine]:
    if len(body) > _MOST_BYTES:
        raise Refused(413, f"The batch has {len(body)} bytes, more than {_MOST_BYTES}.")
    try:
        requests = read_object(body).get("requests")
    except ValueError as error:
        raise Refused(400, str(error)) from error
    if not isinstance(requests, list) or not 1 <= len(requests) <= _MOST_REQUESTS:
        raise Refused(400, f"requests: a list of 1 to {_MOST_REQUESTS} requests is required")
    lines: dict[str, JobLine] = {}
    for i, request in enumerate(requests):
        custom_id, params = (request.get("custom_id"), request.get("params")) if isinstance(request, dict) else (0, 0)
        if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
            raise Refused(400, f"requests.{i}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if not isinstance(params, dict):
            raise Refused(400, f"requests.{i}.params: Field required")
        if custom_id in lines:
            raise Refused(400, f"requests: custom_id must be unique: {custom_id!r} is there twice")
        lines[custom_id] = JobLine(custom_id, params)
    return list(lines.values())


def _result(line: JobLine) -> bytes:
    head = json_reply({"custom_id": line.custom_id}).body[:-1] + b', "result": '
    if line.reply is None:
        return head + json_reply({"type": _RESULTS[line.state]}).body + b"}\n"
    if not line.reply.body.startswith(b"{"):
        # A message that is none has no place in this wire, whose server reads it first.
        return head + json_reply({"type": "errored", "error": error_body(500, "Internal server error")}).body + b"}\n"
    kind, key = ("succeeded", "message") if line.has_succeeded else ("errored", "error")
    return head + f'{{"type": "{kind}", "{key}": '.encode() + line.reply.body + b"}}\n"


def _on_wire(job: Job, origin: str) -> dict[str, Any]:
    def at(status: JobStatus) -> str | None:
        return _time(job.reached_s[status]) if status in job.reached_s else None

    ended = job.status if job.status.has_ended else None
    status = "ended" if ended else "canceling" if job.status is JobStatus.CANCELLING else "in_progress"
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": _counts(job),
        "ended_at": at(ended) if ended else None,
        "created_at": _time(job.created_s),
        "expires_at": _time(job.ends_at_s),
        "archived_at": None,
        "cancel_initiated_at": at(JobStatus.CANCELLING),
        "results_url": f"{origin}/v1/messages/batches/{job.id}/results" if ended else None,
    }


def _counts(job: Job) -> dict[str, int]:
    """Their sum is the number of requests; all are processing until the job has ended."""
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if not job.status.has_ended:
        return counts | {"processing": len(job.lines)}
    succeeded = sum(line.has_succeeded for line in job.lines)
    return counts | {
        "succeeded": succeeded,
        "errored": job.count(LineState.ANSWERED, LineState.LOST) - succeeded,
        "canceled": job.count(LineState.CANCELLED),
        "expired": job.count(LineState.EXPIRED),
    }


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
