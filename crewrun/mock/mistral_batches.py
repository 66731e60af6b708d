"""Batch jobs on Mistral's wire: `/v1/batch/jobs`, of files as OpenAI has them.

https://docs.mistral.ai/api/endpoint/batch
"""

from typing import Any, Final

from crewrun.mock.batch_forms import OpenAIForm
from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.endpoint import MockRequest, Refused, whole_number
from crewrun.mock.files import Files, StoredFile
from crewrun.mock.input_lines import prompt_tokens, read_lines, texts_of
from crewrun.mock.job import Job, JobLine, JobStatus, LineState
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.openai_chat import OpenAIChat
from crewrun.mock.replies import MockReply, json_reply
from crewrun.mock.request_body import read_object

_ENDPOINT: Final = "/v1/chat/completions"
_MOST_HOURS: Final = 168
_PAGE: Final = 100
_STATUSES: Final = {
    JobStatus.VALIDATING: "QUEUED",
    JobStatus.FAILED: "FAILED",
    JobStatus.COMPLETED: "SUCCESS",
    JobStatus.EXPIRED: "TIMEOUT_EXCEEDED",
    JobStatus.CANCELLING: "CANCELLATION_REQUESTED",
    JobStatus.CANCELLED: "CANCELLED",
}


class MistralBatches:
    """The endpoints."""

    def __init__(self, jobs: Jobs, files: Files, calls: Calls, faults: JobFaults) -> None:
        self._jobs = jobs
        self._files = files
        self._calls = calls
        self._faults = faults
        self._chat = OpenAIChat("mistral")
        self._form = OpenAIForm(self._chat)  # of results

    async def create(self, request: MockRequest) -> MockReply:
        """POST /v1/batch/jobs. What is wrong with the file shows later, in the job."""
        if self._faults.take("refused-create"):
            raise Refused(503, "The service is overloaded.")
        job = self._make(*self._read(request))
        if self._faults.take("lost-create"):
            return MockReply(200, b"", cut=True)
        return json_reply(_on_wire(job))

    async def get(self, request: MockRequest) -> MockReply:
        """GET /v1/batch/jobs/ID."""
        return json_reply(_on_wire(self._job(request)))

    async def page(self, request: MockRequest) -> MockReply:
        """GET /v1/batch/jobs, the newest first, in pages with numbers from 0."""
        jobs = self._jobs.newest_first()
        number = whole_number(request.query, "page", 0, 422)
        size = whole_number(request.query, "page_size", _PAGE, 422)
        data = [_on_wire(job) for job in jobs[number * size : (number + 1) * size]]
        return json_reply({"object": "list", "data": data, "total": len(jobs)})

    async def cancel(self, request: MockRequest) -> MockReply:
        """POST /v1/batch/jobs/ID/cancel."""
        job = self._job(request)
        if not self._jobs.cancel(job) and job.status.has_ended:
            raise Refused(400, f"Job {job.id} has ended.")
        return json_reply(_on_wire(job))

    def _read(self, request: MockRequest) -> tuple[StoredFile, dict[str, Any]]:
        try:
            body = read_object(request.body)
        except ValueError as error:
            raise Refused(400, str(error)) from error
        if body.get("endpoint") != _ENDPOINT:
            raise Refused(422, f"endpoint: the mock has only {_ENDPOINT}")
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise Refused(422, "model: a job needs one")
        hours = body.get("timeout_hours", 24)
        if not isinstance(hours, int) or not 1 <= hours <= _MOST_HOURS:
            raise Refused(422, f"timeout_hours: {hours!r} is no whole number from 1 to {_MOST_HOURS}")
        files = body.get("input_files")
        file = self._files.find(str(files[0])) if isinstance(files, list) and len(files) == 1 else None
        if file is None:
            raise Refused(422, "input_files: a list of one file that exists is required")
        return file, body

    def _make(self, file: StoredFile, body: dict[str, Any]) -> Job:
        lines, errors = read_lines(file.content, None, self._faults.number("invalid"))
        tokens, limit = prompt_tokens(lines), self._faults.number("enqueued")
        if limit is not None and self._jobs.enqueued_tokens() + tokens > limit:
            raise Refused(429, "Too many tokens in the batches of this workspace.", "rate")
        for line in lines:
            line.request = {**line.request, "model": body["model"]}
        details = {"input_files": [file.id], "model": body["model"], "metadata": body.get("metadata")}

        def answer(job_id: str, line: JobLine) -> MockReply:
            return self._calls.line(self._chat, line.request, line.custom_id, job_id)

        job = self._jobs.create(lines, lambda line: texts_of(line.request), answer, self._write_results, details)
        job.errors, job.tokens = errors, tokens
        return job

    def _job(self, request: MockRequest) -> Job:
        job = self._jobs.find(request.id)
        if job is None:
            raise Refused(404, f"Job {request.id} not found.")
        return job

    def _write_results(self, job: Job) -> None:
        """Store the files of a job that has ended. Lines that were not run are in neither."""
        if self._faults.is_on("no-output") or job.status is JobStatus.FAILED:
            return
        lines = [line for line in self._jobs.in_result_order(job) if line.reply is not None]
        for key, has_succeeded in (("output_file", True), ("error_file", False)):
            content = b"".join(self._form.result(job, line) for line in lines if line.has_succeeded is has_succeeded)
            if content:
                job.details[key] = self._files.add(f"{job.id}_{key}.jsonl", "batch_output", content).id
        for line in lines:
            if line.reply is not None:
                line.reply = MockReply(line.reply.status, b"")  # the files have the bodies


def _on_wire(job: Job) -> dict[str, Any]:
    succeeded, answered = sum(line.has_succeeded for line in job.lines), job.count(LineState.ANSWERED)
    started_s = job.reached_s.get(JobStatus.IN_PROGRESS)
    return {
        "id": job.id,
        "object": "batch",
        "input_files": job.details["input_files"],
        "metadata": job.details["metadata"],
        "endpoint": _ENDPOINT,
        "model": job.details["model"],
        "output_file": job.details.get("output_file"),
        "error_file": job.details.get("error_file"),
        "errors": [{"message": error["message"], "count": 1} for error in job.errors],
        "status": _STATUSES.get(job.status, "RUNNING"),
        "created_at": int(job.created_s),
        "total_requests": len(job.lines),
        "completed_requests": answered,
        "succeeded_requests": succeeded,
        "failed_requests": answered - succeeded,
        "started_at": None if started_s is None else int(started_s),
        "completed_at": int(job.reached_s[job.status]) if job.status.has_ended else None,
    }
