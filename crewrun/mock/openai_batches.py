"""Batch jobs on OpenAI's wire: `/v1/batches`.

https://platform.openai.com/docs/api-reference/batch
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.endpoint import MockRequest, Refused, page_of
from crewrun.mock.files import Files, StoredFile
from crewrun.mock.input_lines import prompt_tokens, read_lines, texts_of
from crewrun.mock.job import Job, JobLine, JobStatus, LineState
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.replies import MockReply, json_reply
from crewrun.mock.request_body import read_object
from crewrun.mock.wire import Wire

_MOST_METADATA = 16
_MOST_KEY_CHARS = 64
_MOST_VALUE_CHARS = 512
# OpenAI's words for lines that never ran.
_NOT_RUN = {
    LineState.EXPIRED: ("batch_expired", "This request could not be executed before the completion window expired."),
    LineState.CANCELLED: ("batch_cancelled", "This request was cancelled along with the batch."),
}


class OpenAIBatches:
    """The endpoints. `wires` are those of the endpoints that jobs may call, by the end of their path; None embeds."""

    def __init__(
        self, jobs: Jobs, files: Files, calls: Calls, faults: JobFaults, wires: Mapping[str, Wire | None]
    ) -> None:
        self._jobs = jobs
        self._files = files
        self._calls = calls
        self._faults = faults
        self._wires = wires

    async def create(self, request: MockRequest) -> MockReply:
        """POST /v1/batches. What is wrong with the file shows later, in the job."""
        if self._faults.take("refused-create"):
            raise Refused(503, "The server is overloaded or not ready yet.")
        job = self._make(self._read(request))
        if self._faults.take("lost-create"):
            return MockReply(200, b"", cut=True)
        return json_reply(_on_wire(job))

    async def get(self, request: MockRequest) -> MockReply:
        """GET /v1/batches/ID."""
        return json_reply(_on_wire(self._job(request)))

    async def page(self, request: MockRequest) -> MockReply:
        """GET /v1/batches, the newest first."""
        page = page_of(self._jobs.newest_first(), request.query, "after", most=100)
        return json_reply({"object": "list", "data": [_on_wire(job) for job in page.things], **page.ends()})

    async def cancel(self, request: MockRequest) -> MockReply:
        """POST /v1/batches/ID/cancel."""
        job = self._job(request)
        if not self._jobs.cancel(job):
            raise Refused(409, f"Cannot cancel a batch with status '{job.status}'.")
        return json_reply(_on_wire(job))

    def _read(self, request: MockRequest) -> "_NewJob":
        try:
            body = read_object(request.body)
            _check_metadata(body.get("metadata"))
        except ValueError as error:
            raise Refused(400, str(error)) from error
        file_id, endpoint = body.get("input_file_id"), body.get("endpoint")
        if not isinstance(endpoint, str) or self._suffix(endpoint) is None:
            raise Refused(400, f"endpoint: {endpoint!r} is not one of {', '.join(f'/v1/{end}' for end in self._wires)}")
        if body.get("completion_window") != "24h":
            raise Refused(400, f"completion_window: {body.get('completion_window')!r} is not '24h'")
        file = self._files.find(file_id) if isinstance(file_id, str) else None
        if file is None:
            raise Refused(400, f"input_file_id: there is no file {file_id!r}")
        if file.purpose != "batch":
            raise Refused(400, f"input_file_id: the purpose of {file_id!r} is {file.purpose!r}, not 'batch'")
        return _NewJob(endpoint, file, body.get("metadata"))

    def _suffix(self, endpoint: str) -> str | None:
        return next((suffix for suffix in self._wires if f"/{endpoint}".endswith(f"/{suffix}")), None)

    def _make(self, new: "_NewJob") -> Job:
        wire = self._wires[self._suffix(new.endpoint) or ""]
        lines, errors = read_lines(new.file.content, new.endpoint, self._faults.number("invalid"))
        tokens, limit = prompt_tokens(lines), self._faults.number("enqueued")
        if not errors and limit is not None and self._jobs.enqueued_tokens() + tokens > limit:
            errors = [_too_many_tokens(lines, limit)]
        details = {"endpoint": new.endpoint, "input_file_id": new.file.id, "metadata": new.metadata}

        def answer(job_id: str, line: JobLine) -> MockReply:
            return self._calls.line(wire, line.request, line.custom_id, job_id)

        job = self._jobs.create(lines, lambda line: texts_of(line.request), answer, self._write_results, details)
        job.errors, job.tokens = errors, tokens
        return job

    def _job(self, request: MockRequest) -> Job:
        job = self._jobs.find(request.id)
        if job is None:
            raise Refused(404, f"No batch found with id '{request.id}'.")
        return job

    def _write_results(self, job: Job) -> None:
        """Store the files of a job that has ended; there is none that would be empty, or for one that failed."""
        if self._faults.is_on("no-output") or job.status is JobStatus.FAILED:
            return
        lines = [line for line in self._jobs.in_result_order(job) if line.state is not LineState.LOST]
        for key, content in (
            ("output_file_id", b"".join(_result(job, line) for line in lines if line.has_succeeded)),
            ("error_file_id", b"".join(_result(job, line) for line in lines if not line.has_succeeded)),
        ):
            if content:
                name = f"{job.id}_{key.removesuffix('_file_id')}.jsonl"
                job.details[key] = self._files.add(name, "batch_output", content).id
        for line in lines:
            if line.reply is not None:
                line.reply = MockReply(line.reply.status, b"")  # the files have the bodies


class _NewJob(NamedTuple):
    """What a valid request asks for."""

    endpoint: str
    file: StoredFile
    metadata: Any


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or len(metadata) > _MOST_METADATA:
        raise ValueError(f"metadata must be an object of at most {_MOST_METADATA} pairs")
    for key, value in metadata.items():
        if len(key) > _MOST_KEY_CHARS or not isinstance(value, str) or len(value) > _MOST_VALUE_CHARS:
            raise ValueError(
                f"metadata: {key!r} must be a key of at most {_MOST_KEY_CHARS} characters with a text of at most "
                f"{_MOST_VALUE_CHARS}"
            )


def _too_many_tokens(lines: Iterable[JobLine], limit: float) -> dict[str, Any]:
    model = next((line.request.get("model") for line in lines), "the model")
    message = (
        f"Enqueued token limit reached for {model} in organization org-mock. Limit: {limit:,.0f} enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
    return {"code": "token_limit_exceeded", "line": None, "message": message, "param": None}


def _result(job: Job, line: JobLine) -> bytes:
    """A line of the output or error file; the body is spliced in as it would have been sent."""
    head = json.dumps({"id": f"batch_req_{job.number}_{line.custom_id}", "custom_id": line.custom_id})[:-1]
    if line.reply is None:
        code, message = _NOT_RUN[line.state]
        rest = json.dumps({"response": None, "error": {"code": code, "message": message}})[1:]
        return f"{head}, {rest}\n".encode()
    body = line.reply.body if line.reply.body.startswith(b"{") else json.dumps(line.reply.body.decode()).encode()
    response = json.dumps({"status_code": line.reply.status, "request_id": f"req_mock_{line.custom_id}"})[:-1]
    return f'{head}, "response": {response}, "body": '.encode() + body + b'}, "error": null}\n'


def _on_wire(job: Job) -> dict[str, Any]:
    def at(status: JobStatus) -> int | None:
        reached_s = job.reached_s.get(status)
        return None if reached_s is None else int(reached_s)

    errors = {"object": "list", "data": job.errors} if job.status is JobStatus.FAILED else None
    succeeded = sum(line.has_succeeded for line in job.lines)
    answered = job.count(LineState.ANSWERED)
    # Lines that never ran are counted when the job has ended, in whose error file they are then.
    not_run = job.count(*_NOT_RUN) if job.status.has_ended else 0
    is_counted = job.status not in (JobStatus.VALIDATING, JobStatus.FAILED)
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.details["endpoint"],
        "errors": errors,
        "input_file_id": job.details["input_file_id"],
        "completion_window": "24h",
        "status": job.status.value,
        "output_file_id": job.details.get("output_file_id"),
        "error_file_id": job.details.get("error_file_id"),
        "created_at": int(job.created_s),
        "in_progress_at": at(JobStatus.IN_PROGRESS),
        "expires_at": int(job.ends_at_s),
        "finalizing_at": at(JobStatus.FINALIZING),
        "completed_at": at(JobStatus.COMPLETED),
        "failed_at": at(JobStatus.FAILED),
        "expired_at": at(JobStatus.EXPIRED),
        "cancelling_at": at(JobStatus.CANCELLING),
        "cancelled_at": at(JobStatus.CANCELLED),
        "request_counts": {
            "total": len(job.lines) if is_counted else 0,
            "completed": succeeded,
            "failed": answered - succeeded + not_run,
        },
        "metadata": job.details["metadata"],
    }
