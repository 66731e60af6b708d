"""OpenAI's batch jobs: files of lines in, files of results out. Groq, Azure and Together have the same endpoints, with
the differences in `openai_wires`.

https://platform.openai.com/docs/api-reference/batch
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import anyio

from crewrun.errors import AuthRefused, BadRequest, CallError, QuotaExhausted, ServerError, TransientError
from crewrun.llm.batch_jobs.entries import Entry, jobs_since, results_of, unix_time
from crewrun.llm.batch_jobs.http import JobsHttp
from crewrun.llm.batch_jobs.job import METADATA_KEY, Job, JobProblem, JobState, Line, LineEnd, LineResult, text_of
from crewrun.llm.batch_jobs.openai_wires import OPENAI, OpenAIWire
from crewrun.llm.transports.http_errors import embedded_status

_PAGE: Final = 100
_STATES: Final[Mapping[str, JobState]] = {
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "expired": JobState.EXPIRED,
    "cancelled": JobState.CANCELLED,
    "canceled": JobState.CANCELLED,
}
_ENDS: Final[Mapping[str, LineEnd]] = {"batch_expired": LineEnd.EXPIRED, "batch_cancelled": LineEnd.CANCELLED}
# Together's codes for the errors of lines, none of which has a status.
_STATUSES: Final = {"batch_client_error": 400}
# An upload is named after its intent.
_NAME: Final = re.compile(r"crewrun-(\w+)\.jsonl")
# https://learn.microsoft.com/rest/api/azureopenai/files/get#filestatus
_NOT_PROCESSED: Final = frozenset({"uploaded", "pending", "running", "notrunning"})
_FILE_LOOK_S: Final = 2.0
_FILE_LOOKS: Final = 300


class OpenAIBatches:
    """The batch jobs of one account."""

    keeps_metadata = True  # or what stands for it: the name of the upload

    def __init__(self, http: JobsHttp, wire: OpenAIWire = OPENAI) -> None:
        self._http = http
        self._wire = wire
        self.limits = wire.limits
        self._head = json.dumps(wire.line)[1:-1]

    def size_of(self, line: Line) -> int:
        """See `BatchApi.size_of`."""
        return len(self._written(line))

    async def upload(self, lines: Sequence[Line], intent: str) -> bytes:
        """See `BatchApi.upload`."""
        name, fields = f"crewrun-{intent}.jsonl", {"purpose": self._wire.purpose}
        if self._wire.has_file_name:
            fields["file_name"] = name
        content = b"".join(map(self._written, lines))
        file = await self._http.upload(self._wire.upload_path, name, content, **fields)
        if not (file_id := text_of(file.get("id"))):
            raise ServerError("the reply to an upload names no file", http_status=200)
        if self._wire.waits_for_file:
            await self._wait_until_processed(file)
        return file_id.encode()

    async def create(self, upload: bytes, metadata: Mapping[str, str]) -> Job:
        """See `BatchApi.create`."""
        request = {"input_file_id": upload.decode(), "endpoint": self._wire.endpoint, **self._wire.window}
        more = {"metadata": dict(metadata)} if self._wire.takes_metadata else {}
        created = await self._http.json("POST", "/batches", json={**request, **more})
        job = created.get("job")
        return self._job(job if isinstance(job, Mapping) else created)

    async def get(self, job_id: str) -> Job:
        """See `BatchApi.get`."""
        return self._job(await self._http.json("GET", f"/batches/{job_id}"))

    async def jobs(self, since: float) -> AsyncGenerator[Job, None]:
        """See `BatchApi.jobs`."""
        intents = await self._intents() if self._wire.names_files else {}
        files: dict[str, str] = {}  # of jobs that say nothing of themselves

        def read(entry: Entry) -> Job:
            job, file_id = self._job(entry), text_of(entry.get("input_file_id"))
            if file_id and not (job.metadata or self._wire.names_files):
                files[job.id] = file_id
            return _with_intent(job, intents.get(file_id))

        async with aclosing(jobs_since(self._http, "/batches", since, read, limit=_PAGE, after="after")) as jobs:
            async for job in jobs:
                yield _with_intent(job, await self._intent(files[job.id])) if job.id in files else job

    def results(self, job: Job) -> AsyncGenerator[LineResult, None]:
        """See `BatchApi.results`."""
        return results_of(self._http, job, read_result)

    async def cancel(self, job_id: str) -> None:
        """See `BatchApi.cancel`."""
        await self._http.json("POST", f"/batches/{job_id}/cancel")

    async def aclose(self) -> None:
        """See `BatchApi.aclose`."""
        await self._http.aclose()

    def _written(self, line: Line) -> bytes:
        head = f'{{"custom_id": {json.dumps(line.custom_id)}, {self._head}{", " if self._head else ""}"body": '
        return b"%s%s}\n" % (head.encode(), line.body)

    async def _wait_until_processed(self, file: Entry) -> None:
        for look in range(_FILE_LOOKS):
            status = text_of(file.get("status")).lower()
            if status == "error":
                raise BadRequest(f"the provider cannot read the file of a batch job: {file.get('status_details')}")
            if status not in _NOT_PROCESSED:
                return
            await anyio.sleep(min(_FILE_LOOK_S, 0.1 * 2.0 ** min(look, 10)))
            file = await self._http.json("GET", f"/files/{file['id']}")
        raise ServerError(f"file {file['id']} is not processed after {_FILE_LOOKS * _FILE_LOOK_S:.0f} s")

    async def _intent(self, file_id: str) -> str | None:
        """The intent of an upload of ours, for a job at a server that keeps no metadata."""
        try:
            name = _NAME.fullmatch(text_of((await self._http.json("GET", f"/files/{file_id}")).get("filename")))
        except (TransientError, AuthRefused, QuotaExhausted):
            raise  # the job may be ours: its lines must not be sent again
        except CallError:
            return None  # it shows no files, or not this one
        return name[1] if name else None

    async def _intents(self) -> dict[str, str]:
        """The intents of our uploads in the account, by the ids of their files."""
        intents: dict[str, str] = {}
        cursor: dict[str, str] = {}
        while True:
            page = await self._http.page("/files", cursor)
            entries = page.get("data")
            files = [file for file in entries if isinstance(file, Mapping)] if isinstance(entries, list) else []
            for file in files:
                if name := _NAME.fullmatch(text_of(file.get("filename"))):
                    intents[text_of(file.get("id"))] = name[1]
            last = text_of(files[-1].get("id")) if files else ""
            if not page.get("has_more") or not last or cursor.get("after") == last:
                return intents
            cursor = {"after": last}

    def _job(self, entry: Entry) -> Job:
        """A job as the wire has it. Raises ServerError for anything else."""
        try:
            counts = entry.get("request_counts") or {}
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
                tuple(_problems(entry)),
                tuple(f"/files/{file_id}/content" for file_id in files if file_id),
                None if self._wire.counts else float(entry.get("progress") or 0.0) / 100,
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as wrong:
            raise ServerError(f"the reply is no batch job: {type(wrong).__name__}: {wrong}", http_status=200) from None


def _with_intent(job: Job, intent: str | None) -> Job:
    return job if intent is None else replace(job, metadata={**job.metadata, METADATA_KEY: intent})


def _problems(entry: Entry) -> list[JobProblem]:
    """Why a job failed: a list of errors, or one as a text."""
    if message := text_of(entry.get("error")):
        return [JobProblem("", message)]
    errors = (entry.get("errors") or {}).get("data") or ()
    return [_problem(error) for error in errors]


def _problem(error: Entry) -> JobProblem:
    line = error.get("line")
    return JobProblem(
        text_of(error.get("code")), text_of(error.get("message")), line if isinstance(line, int) else None
    )


def read_result(entry: Entry) -> LineResult:
    """A line of a results file: with a response of status 200, with one of another status, or with an error alone.

    A refused request has a response with its status and body, and no error; one that never ran has an error.
    """
    custom_id = text_of(entry.get("custom_id"))
    response, error = entry.get("response"), entry.get("error")
    status = response.get("status_code") if isinstance(response, Mapping) else None
    if isinstance(response, Mapping) and (isinstance(status, int) or not error):
        body = json.dumps(response.get("body")).encode()
        if not isinstance(status, int) or 200 <= status < 300:
            return LineResult(custom_id, LineEnd.ANSWERED, 200, body)
        return LineResult(custom_id, LineEnd.REFUSED, status if 300 <= status < 600 else 500, body)
    code = text_of(error.get("code")) if isinstance(error, Mapping) else ""
    if code in _ENDS:
        return LineResult(custom_id, _ENDS[code])
    status = embedded_status(error) or _STATUSES.get(code, 500)
    return LineResult(custom_id, LineEnd.REFUSED, status, json.dumps({"error": error}).encode())
