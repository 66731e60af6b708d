"""Batch jobs on Gemini's wire: uploads by its resumable protocol, jobs as operations, one file of responses.

https://ai.google.dev/gemini-api/docs/batch-api, https://ai.google.dev/api/batch-api
"""

import json
from datetime import UTC, datetime
from typing import Any, Final

from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.endpoint import MockRequest, Refused, whole_number
from crewrun.mock.files import Files, content_reply
from crewrun.mock.gemini_content import GeminiContent, field
from crewrun.mock.gemini_errors import line_error
from crewrun.mock.input_lines import prompt_tokens, texts_of
from crewrun.mock.job import Job, JobLine, JobStatus, LineState
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.replies import MockReply, json_reply
from crewrun.mock.request_body import read_object

_TYPE: Final = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_PAGE: Final = 50
_STATES: Final = {
    JobStatus.VALIDATING: "PENDING",
    JobStatus.FAILED: "FAILED",
    JobStatus.COMPLETED: "SUCCEEDED",
    JobStatus.EXPIRED: "EXPIRED",
    JobStatus.CANCELLED: "CANCELLED",
}
_UNFIT: Final = (LineState.EXPIRED, LineState.STUCK)


class GeminiBatches:
    """The endpoints; `wire` answers the requests of jobs."""

    def __init__(self, jobs: Jobs, files: Files, calls: Calls, faults: JobFaults, wire: GeminiContent) -> None:
        self._jobs = jobs
        self._files = files
        self._calls = calls
        self._faults = faults
        self._wire = wire
        self._uploads: dict[str, bytearray] = {}

    async def upload(self, request: MockRequest) -> MockReply:
        """POST /upload/v1beta/files: the start of an upload, and its pieces at the address that the start names."""
        upload_id = request.query.get("upload_id")
        commands = request.headers.get("x-goog-upload-command", "")
        if upload_id is None:
            if "start" not in commands:
                raise Refused(400, "the mock has only uploads by the resumable protocol")
            upload_id = str(len(self._uploads) + 1)
            self._uploads[upload_id] = bytearray()
            url = f"{request.origin}{request.http.path}?upload_id={upload_id}"
            return MockReply(200, b"{}", {"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})
        content = self._uploads.get(upload_id)
        if content is None:
            raise Refused(404, f"there is no upload {upload_id!r}")
        if request.headers.get("x-goog-upload-offset") != str(len(content)):
            raise Refused(400, f"the offset of the next piece is {len(content)}")
        content += request.body
        if "finalize" not in commands:
            return MockReply(200, b"{}", {"X-Goog-Upload-Status": "active"})
        if self._faults.take("cut-upload"):
            return MockReply(200, b"", cut=True)
        file = self._files.add("batch.jsonl", "batch", bytes(content))
        if self._faults.take("lost-upload"):
            return MockReply(200, b"", cut=True)
        about = {"name": f"files/{file.id}", "sizeBytes": str(len(content)), "state": "ACTIVE"}
        return json_reply({"file": about})._replace(headers={"X-Goog-Upload-Status": "final"})

    async def create(self, request: MockRequest) -> MockReply:
        """POST /v1beta/models/MODEL:batchGenerateContent."""
        if self._faults.take("refused-create"):
            raise Refused(503, "The model is overloaded. Please try again later.")
        job = self._make(request)
        if self._faults.take("lost-create"):
            return MockReply(200, b"", cut=True)
        return json_reply(_on_wire(job))

    async def get(self, request: MockRequest) -> MockReply:
        """GET /v1beta/batches/ID."""
        return json_reply(_on_wire(self._job(request)))

    async def page(self, request: MockRequest) -> MockReply:
        """GET /v1beta/batches."""
        jobs = self._jobs.newest_first()
        most, start = whole_number(request.query, "pageSize", _PAGE), whole_number(request.query, "pageToken", 0)
        more = {"nextPageToken": str(start + most)} if len(jobs) > start + most else {}
        return json_reply({"operations": [_on_wire(job) for job in jobs[start : start + most]], **more})

    async def cancel(self, request: MockRequest) -> MockReply:
        """POST /v1beta/batches/ID:cancel."""
        job = self._job(request)
        if not self._jobs.cancel(job) and job.status.has_ended:
            raise Refused(400, f"{job.id} has ended.")
        return json_reply({})

    async def content(self, request: MockRequest) -> MockReply:
        """GET /download/v1beta/files/ID:download."""
        file = self._files.find(request.id)
        if file is None or (file.purpose == "batch_output" and self._faults.take("gone")):
            raise Refused(404, f"files/{request.id} does not exist.")
        return content_reply(file.content, self._faults)

    def _make(self, request: MockRequest) -> Job:
        try:
            batch = read_object(request.body).get("batch")
        except ValueError as error:
            raise Refused(400, str(error)) from error
        name = str(field(field(batch, "inputConfig"), "fileName")).removeprefix("files/")
        file = self._files.find(name)
        if file is None:
            raise Refused(404, f"files/{name} does not exist.")
        lines, wrong = _read_lines(file.content, request.id, self._faults.number("invalid"))
        tokens, limit = prompt_tokens(lines), self._faults.number("enqueued")
        if limit is not None and self._jobs.enqueued_tokens() + tokens > limit:
            raise Refused(
                429, "You exceeded the limit of tokens in batch jobs. Try again when others have ended.", "rate"
            )
        details = {"model": f"models/{request.id}", "displayName": field(batch, "displayName")}

        def answer(job_id: str, line: JobLine) -> MockReply:
            return self._calls.line(self._wire, line.request, line.custom_id, job_id)

        job = self._jobs.create(lines, lambda line: texts_of(line.request), answer, self._write_results, details)
        job.tokens = tokens
        job.errors = [{"message": wrong}] if wrong else []
        if any(line.state in _UNFIT for line in job.lines):
            for line in job.lines:
                line.state = LineState.STUCK  # a job that expires has no results, and runs nothing here
        return job

    def _job(self, request: MockRequest) -> Job:
        job = self._jobs.find(f"batches/{request.id}")
        if job is None:
            raise Refused(404, f"batches/{request.id} does not exist.")
        return job

    def _write_results(self, job: Job) -> None:
        """Store the responses of a job that has ended. Lines that were not run have none."""
        has_results = job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED)
        if self._faults.is_on("no-output") or not has_results:
            return
        lines = [line for line in self._jobs.in_result_order(job) if line.reply is not None]
        if lines:
            content = b"".join(map(_result, lines))
            job.details["file"] = f"files/{self._files.add('responses.jsonl', 'batch_output', content).id}"
        for line in lines:
            if line.reply is not None:
                line.reply = MockReply(line.reply.status, b"")  # the file has the bodies


def _read_lines(content: bytes, model: str, invalid: float | None) -> tuple[list[JobLine], str]:
    """The lines, and the first thing that is wrong with them, for which the job fails."""
    lines: dict[str, JobLine] = {}
    for number, text in enumerate((text for text in content.splitlines() if text.strip()), 1):
        try:
            entry = json.loads(text)
            key, request = entry["key"], entry["request"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return [], f"line {number} is no object with a key and a request"
        if not isinstance(key, str) or not isinstance(request, dict) or key in lines or number == invalid:
            return [], f"line {number} is invalid"
        lines[key] = JobLine(key, {**request, "model": model})
    return list(lines.values()), "" if lines else "the file is empty"


def _result(line: JobLine) -> bytes:
    head = json.dumps({"key": line.custom_id})[:-1]
    if line.reply is None or not line.has_succeeded or not line.reply.body.startswith(b"{"):
        error = line_error(line.reply or MockReply(500, b""))
        return f'{head}, "error": {json.dumps(error)}}}\n'.encode()
    return f'{head}, "response": '.encode() + line.reply.body + b"}\n"


def _on_wire(job: Job) -> dict[str, Any]:
    succeeded, answered = sum(line.has_succeeded for line in job.lines), job.count(LineState.ANSWERED)
    counts = {
        "requestCount": len(job.lines),
        "successfulRequestCount": succeeded,
        "failedRequestCount": answered - succeeded,
        "pendingRequestCount": len(job.lines) - answered,
    }
    output = {"responsesFile": job.details["file"]} if "file" in job.details else {}
    about = {
        "@type": _TYPE,
        "name": job.id,
        "model": job.details["model"],
        "displayName": job.details["displayName"],
        "state": f"BATCH_STATE_{_STATES.get(job.status, 'RUNNING')}",
        "createTime": _time(job.created_s),
        "updateTime": _time(max(job.reached_s.values(), default=job.created_s)),
        "batchStats": {name: str(count) for name, count in counts.items() if count},
        **({"output": output} if output else {}),
    }
    operation: dict[str, Any] = {"name": job.id, "metadata": about}
    if not job.status.has_ended:
        return operation
    return {**operation, "done": True, **_end(job, output)}


def _end(job: Job, output: dict[str, Any]) -> dict[str, Any]:
    match job.status:
        case JobStatus.COMPLETED:
            return {"response": {"@type": f"{_TYPE}Output", **output}}
        case JobStatus.FAILED:
            return {"error": {"code": 3, "message": job.errors[0]["message"]}}
        case JobStatus.EXPIRED:
            return {"error": {"code": 4, "message": "The batch expired."}}
    return {"error": {"code": 1, "message": "The batch was cancelled."}}


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
