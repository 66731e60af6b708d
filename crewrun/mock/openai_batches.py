"""Batch jobs at OpenAI's endpoints: `/v1/batches`. `batch_forms` has what Azure's and Together's look like.

https://platform.openai.com/docs/api-reference/batch
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from crewrun.mock.batch_forms import OpenAIForm, form_of, make_forms
from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.endpoint import MockRequest, Page, Refused, page_of
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
        self._forms = make_forms()

    async def create(self, request: MockRequest) -> MockReply:
        """POST /v1/batches. What is wrong with the file shows later, in the job."""
        if self._faults.take("refused-create"):
            raise Refused(503, "The server is overloaded or not ready yet.")
        job = self._make(self._read(request))
        if self._faults.take("lost-create"):
            return MockReply(200, b"", cut=True)
        return json_reply(self._form(request).created(job))

    async def get(self, request: MockRequest) -> MockReply:
        """GET /v1/batches/ID."""
        return json_reply(self._form(request).job(self._job(request)))

    async def page(self, request: MockRequest) -> MockReply:
        """GET /v1/batches, the newest first."""
        jobs, form = self._jobs.newest_first(), self._form(request)
        page = page_of(jobs, request.query, "after", most=100) if form.has_pages else Page(jobs, has_more=False)
        return json_reply(form.page(page))

    async def cancel(self, request: MockRequest) -> MockReply:
        """POST /v1/batches/ID/cancel."""
        job = self._job(request)
        if not self._jobs.cancel(job):
            raise Refused(409, f"Cannot cancel a batch with status '{job.status}'.")
        return json_reply(self._form(request).job(job))

    def _form(self, request: MockRequest) -> OpenAIForm:
        return self._forms[form_of(request)]

    def _read(self, request: MockRequest) -> "_NewJob":
        try:
            body = read_object(request.body)
            _check_metadata(body.get("metadata"))
        except ValueError as error:
            raise Refused(400, str(error)) from error
        file_id, endpoint = body.get("input_file_id"), body.get("endpoint")
        if not isinstance(endpoint, str) or self._suffix(endpoint) is None:
            raise Refused(400, f"endpoint: {endpoint!r} is not one of {', '.join(f'/v1/{end}' for end in self._wires)}")
        provider = form_of(request)
        if body.get("completion_window") != "24h" and provider != "together_ai":
            raise Refused(400, f"completion_window: {body.get('completion_window')!r} is not '24h'")
        file = self._files.find(file_id) if isinstance(file_id, str) else None
        if file is None:
            raise Refused(400, f"input_file_id: there is no file {file_id!r}")
        if file.purpose != "batch":
            raise Refused(400, f"input_file_id: the purpose of {file_id!r} is {file.purpose!r}, not 'batch'")
        if provider == "azure" and not self._files.is_processed(file):
            raise Refused(400, f"input_file_id: {file.id!r} is not processed yet")
        return _NewJob(endpoint, file, body.get("metadata"), self._forms[provider])

    def _suffix(self, endpoint: str) -> str | None:
        return next((suffix for suffix in self._wires if f"/{endpoint}".endswith(f"/{suffix}")), None)

    def _make(self, new: "_NewJob") -> Job:
        suffix = self._suffix(new.endpoint) or ""
        wire = new.form.chat if suffix == "chat/completions" else self._wires[suffix]
        invalid = self._faults.number("invalid")
        lines, errors = read_lines(new.file.content, suffix if new.form.has_urls else None, invalid)
        tokens, limit = prompt_tokens(lines), self._faults.number("enqueued")
        if not errors and limit is not None and self._jobs.enqueued_tokens() + tokens > limit:
            errors = [_too_many_tokens(lines, limit)]
        metadata = None if self._faults.is_on("no-metadata") else new.metadata
        details = {"endpoint": new.endpoint, "input_file_id": new.file.id, "metadata": metadata}

        def answer(job_id: str, line: JobLine) -> MockReply:
            return self._calls.line(wire, line.request, line.custom_id, job_id)

        def write(job: Job) -> None:
            self._write_results(job, new.form)

        job = self._jobs.create(lines, lambda line: texts_of(line.request), answer, write, details)
        job.errors, job.tokens = errors, tokens
        return job

    def _job(self, request: MockRequest) -> Job:
        job = self._jobs.find(request.id)
        if job is None:
            raise Refused(404, f"No batch found with id '{request.id}'.")
        return job

    def _write_results(self, job: Job, form: OpenAIForm) -> None:
        """Store the files of a job that has ended; none is made that would be empty, and none for one that failed."""
        if self._faults.is_on("no-output") or job.status is JobStatus.FAILED:
            return
        lines = [line for line in self._jobs.in_result_order(job) if line.state is not LineState.LOST]
        for key, content in (
            ("output_file_id", b"".join(form.result(job, line) for line in lines if line.has_succeeded)),
            ("error_file_id", b"".join(form.result(job, line) for line in lines if not line.has_succeeded)),
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
    form: OpenAIForm


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
