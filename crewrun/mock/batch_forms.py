"""The forms in which providers with OpenAI's endpoints for batch jobs write jobs and results.

`form_of` tells by a request whose client it is: Together's paths are OpenAI's, so its base URL here has `/together`;
Azure's clients send an `api-key`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crewrun.mock.endpoint import MockRequest, Page
from crewrun.mock.job import Job, JobLine, JobStatus, LineState
from crewrun.mock.openai_chat import OpenAIChat

# OpenAI's words for lines that never ran.
_NOT_RUN = {
    LineState.EXPIRED: ("batch_expired", "This request could not be executed before the completion window expired."),
    LineState.CANCELLED: ("batch_cancelled", "This request was cancelled along with the batch."),
}


@dataclass(frozen=True, slots=True)
class OpenAIForm:
    """OpenAI's. `has_urls` says that lines name their endpoint as the job does, `has_pages` that lists are in pages."""

    chat: OpenAIChat
    has_urls: bool = True
    has_pages: bool = True

    def job(self, job: Job) -> dict[str, Any]:
        """A job."""
        return _on_wire(job)

    def created(self, job: Job) -> dict[str, Any]:
        """The reply to a create."""
        return self.job(job)

    def page(self, page: Page[Job]) -> Any:
        """A page of the list."""
        return {"object": "list", "data": [self.job(job) for job in page.things], **page.ends()}

    def result(self, job: Job, line: JobLine) -> bytes:
        """A line of the output or error file; the body is spliced in as it would have been sent."""
        head = json.dumps({"id": f"batch_req_{job.number}_{line.custom_id}", "custom_id": line.custom_id})[:-1]
        if line.reply is None:
            code, message = _NOT_RUN[line.state]
            rest = json.dumps({"response": None, "error": {"code": code, "message": message}})[1:]
            return f"{head}, {rest}\n".encode()
        response = json.dumps({"status_code": line.reply.status, "request_id": f"req_mock_{line.custom_id}"})[:-1]
        return f'{head}, "response": {response}, "body": '.encode() + _body(line) + b'}, "error": null}\n'


class AzureForm(OpenAIForm):
    """Azure's: other times and statuses, and no metadata in the job.

    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
    """

    def job(self, job: Job) -> dict[str, Any]:
        """A job."""
        entry = _on_wire(job)
        times = {name: _time(value) for name, value in entry.items() if name.endswith("_at")}
        # Before the lines have been read there are no counts, and the first status has a capital.
        is_new = job.status is JobStatus.VALIDATING
        counts = dict.fromkeys(entry["request_counts"]) if is_new else entry["request_counts"]
        status = entry["status"].capitalize() if is_new else entry["status"]
        return {**entry, **times, "request_counts": counts, "status": status, "metadata": None}


class TogetherForm(OpenAIForm):
    """Together's: no counts, no metadata, an error as a text, lists without pages.

    https://docs.together.ai/docs/inference/batch/manage
    """

    def job(self, job: Job) -> dict[str, Any]:
        """A job."""
        done = job.count(LineState.ANSWERED)
        status = "CANCELING" if job.status is JobStatus.CANCELLING else job.status.name
        files = {key: value for key, value in job.details.items() if key in ("output_file_id", "error_file_id")}
        entry: dict[str, Any] = {
            "id": job.id,
            "endpoint": job.details["endpoint"],
            "input_file_id": job.details["input_file_id"],
            "status": "IN_PROGRESS" if job.status is JobStatus.FINALIZING else status,
            "progress": 100 * done / max(1, len(job.lines)),
            "created_at": _time(job.created_s),
            "job_deadline": _time(job.ends_at_s),
        }
        if job.status is JobStatus.FAILED:
            entry["error"] = "; ".join(f"Line {error['line']}: {error['message']}" for error in job.errors)
        return {**entry, **files}

    def created(self, job: Job) -> dict[str, Any]:
        """The reply to a create, which alone wraps the job."""
        return {"job": self.job(job)}

    def page(self, page: Page[Job]) -> Any:
        """The list."""
        return [self.job(job) for job in page.things]

    def result(self, job: Job, line: JobLine) -> bytes:
        """A line of the output or error file; one that was not run has none."""
        if line.reply is None:
            return b""
        head = json.dumps({"id": f"br_{job.number}_{line.custom_id}", "custom_id": line.custom_id})[:-1]
        if line.has_succeeded:
            return f'{head}, "response": {{"status_code": 200, "body": '.encode() + _body(line) + b"}}\n"
        error = {"code": "batch_client_error", "message": _message(line)}
        return f'{head}, "error": {json.dumps(error)}}}\n'.encode()


def form_of(request: MockRequest) -> str:
    """Whose form a request asks for: `together_ai`, `azure` or `openai`."""
    if request.http.path.startswith("/together/"):
        return "together_ai"
    return "azure" if "api-key" in request.headers else "openai"


def make_forms() -> Mapping[str, OpenAIForm]:
    """The forms by provider."""
    return {
        "openai": OpenAIForm(OpenAIChat()),
        "azure": AzureForm(OpenAIChat("azure")),
        "together_ai": TogetherForm(OpenAIChat("together_ai"), has_urls=False, has_pages=False),
    }


def _body(line: JobLine) -> bytes:
    body = line.reply.body if line.reply is not None else b""
    return body if body.startswith(b"{") else json.dumps(body.decode()).encode()


def _message(line: JobLine) -> str:
    try:
        return str(json.loads(_body(line))["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return "Internal server error"


def _time(unix_s: float | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat()


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
