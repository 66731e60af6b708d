"""What Azure, Gemini, Mistral and Together send of batch jobs, in the forms of their documents and of real replies."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import anyio
import pytest
from aiohttp import web
from support.job_http import served

from crewrun.errors import AuthRefused, BadRequest, CallError, ModelNotFound, ModelRefused, RateLimited, ServerError
from crewrun.llm.batch_jobs.accounts import Account, account_of, jobs_of
from crewrun.llm.batch_jobs.gemini_api import GeminiBatches
from crewrun.llm.batch_jobs.http import JobsHttp
from crewrun.llm.batch_jobs.job import METADATA_KEY, BatchApi, Job, JobProblem, JobState, Line, LineEnd, LineResult
from crewrun.llm.batch_jobs.mistral_api import MistralBatches
from crewrun.llm.batch_jobs.openai_api import OpenAIBatches
from crewrun.llm.batch_jobs.openai_wires import AZURE, OPENAI, TOGETHER
from crewrun.llm.endpoints import resolve
from crewrun.llm.model_fields import ModelFields

Open = Callable[[JobsHttp], BatchApi]
APIS: dict[str, Open] = {
    "azure": lambda http: OpenAIBatches(http, AZURE),
    "gemini": lambda http: GeminiBatches(http, "gemini-2.5-flash", "v1beta"),
    "mistral": lambda http: MistralBatches(http, "m"),
    "together": lambda http: OpenAIBatches(http, TOGETHER),
}
INTENT = "0123456789abcdef"
CREATED = 1_721_409_237  # 2024-07-19T17:13:57Z
# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
OF_AZURE = {
    "created_at": "2024-07-19T17:13:57.2491382+00:00",
    "error_file_id": "",
    "id": "batch_1",
    "input_file_id": "file-1",
    "errors": None,
    "metadata": None,
    "output_file_id": None,
    "request_counts": {"total": None, "completed": None, "failed": None},
    "status": "Validating",
}
OF_TOGETHER = {
    "id": "b1",
    "input_file_id": "file-1",
    "status": "IN_PROGRESS",
    "progress": 40.0,
    "created_at": "2024-07-19T17:13:57Z",
    "endpoint": "/v1/chat/completions",
}
OF_MISTRAL = {
    "id": "j",
    "object": "batch",
    "input_files": ["f"],
    "metadata": {METADATA_KEY: INTENT},
    "endpoint": "/v1/chat/completions",
    "errors": [],
    "status": "RUNNING",
    "created_at": CREATED,
    "total_requests": 5,
    "completed_requests": 3,
    "succeeded_requests": 2,
    "failed_requests": 1,
}
OF_GEMINI: dict[str, Any] = {
    "name": "batches/1",
    "metadata": {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "displayName": f"crewrun-{INTENT}",
        "state": "BATCH_STATE_RUNNING",
        "createTime": "2024-07-19T17:13:57.053519Z",
        "batchStats": {"requestCount": "5", "successfulRequestCount": "2", "failedRequestCount": "1"},
    },
}


def answered(name: str, pages: Mapping[str, Any], ask: Callable[[BatchApi], Any]) -> Any:
    """What `ask` gets from an API whose server has `pages`, by the end of their path; the first that fits."""

    async def answer(request: web.Request) -> web.StreamResponse:
        page = next(page for path, page in pages.items() if request.path.endswith(path))
        return web.Response(body=page) if isinstance(page, bytes) else web.json_response(page)

    async def run() -> Any:
        async with served(answer) as http:
            with anyio.fail_after(10):
                return await ask(APIS[name](http))

    return anyio.run(run)


def job(name: str, entry: Mapping[str, Any]) -> Job:
    """A look at a job."""
    found: Job = answered(name, {"": entry}, lambda api: api.get("x"))
    return found


def results(name: str, *lines: Any) -> list[LineResult]:
    """The results in a file."""

    async def read(api: BatchApi) -> list[LineResult]:
        return [result async for result in api.results(Job("j", JobState.COMPLETED, 0.0, results=("/f",)))]

    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    found: list[LineResult] = answered(name, {"": content}, read)
    return found


def test_a_new_job_of_azure_has_no_counts_and_another_spelling() -> None:
    """Its time has seven digits of a second."""
    found = job("azure", OF_AZURE)
    assert found == Job("batch_1", JobState.PENDING, found.created_at)
    assert int(found.created_at) == CREATED


@pytest.mark.parametrize(
    ("changes", "state", "ended"),
    [
        ({}, JobState.PENDING, 2),
        ({"status": "CANCELING"}, JobState.PENDING, 2),  # in no document
        ({"status": "COMPLETED", "progress": 100}, JobState.COMPLETED, 5),
        ({"status": "EXPIRED", "progress": None}, JobState.EXPIRED, 0),
    ],
    ids=["in progress", "cancelling", "completed", "expired"],
)
def test_a_job_of_together_is_counted_by_its_percentage(changes: dict[str, Any], state: JobState, ended: int) -> None:
    """One that is complete has answers, wherever they are; of another they are in its files or not there."""
    found = job("together", OF_TOGETHER | changes).counted(5)
    assert (found.state, found.ended, found.answered) == (state, ended, 5 if state is JobState.COMPLETED else 0)


def test_a_job_that_together_refuses_says_why_in_a_text() -> None:
    """It blames no line."""
    error = "Invalid model ID: Unable to access non-serverless model x"
    found = job("together", OF_TOGETHER | {"status": "FAILED", "error": error})
    assert (found.state, found.problems) == (JobState.FAILED, (JobProblem("", error),))


@pytest.mark.parametrize("name", ["azure", "together"])
def test_a_job_without_metadata_is_known_by_the_name_of_its_file(name: str) -> None:
    """Together's list is an array, and its files have other people's among them."""
    entry = OF_AZURE if name == "azure" else OF_TOGETHER
    other = {**entry, "id": "other", "input_file_id": "file-2"}
    files = [{"id": "file-2", "filename": "mine.jsonl"}, {"id": "file-1", "filename": f"crewrun-{INTENT}.jsonl"}, 5]
    jobs = [other, entry]

    async def listed(api: BatchApi) -> dict[str, str | None]:
        return {job.id: job.metadata.get(METADATA_KEY) async for job in api.jobs(0.0)}

    pages = {"/files": {"data": files}, "/batches": jobs if name == "together" else {"data": jobs, "has_more": False}}
    assert answered(name, pages, listed) == {"other": None, entry["id"]: INTENT}


@pytest.mark.parametrize(
    ("status", "raises"), [(403, AuthRefused), (429, RateLimited), (500, ServerError), (404, None), (405, None)]
)
def test_a_file_that_is_not_shown_to_us_may_be_ours(status: int, raises: type[CallError] | None) -> None:
    """Then its job may be too, and nothing is sent again; unlike one that is not there."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/batches"):
            return web.json_response({"data": [{**OF_AZURE, "status": "in_progress"}], "has_more": False})
        return web.json_response({"error": {"message": "no"}}, status=status)

    async def names() -> list[str | None]:
        async with served(answer) as http:
            return [job.metadata.get(METADATA_KEY) async for job in OpenAIBatches(http, OPENAI).jobs(0.0)]

    with pytest.raises(raises) if raises else nullcontext():
        assert anyio.run(names) == [None]


def test_a_file_that_azure_cannot_read_is_said() -> None:
    """Before a job is made of it."""
    pages = {
        "/files/f": {"id": "f", "status": "error", "status_details": "bad JSON"},
        "/files": {"id": "f", "status": "pending"},
    }
    with pytest.raises(BadRequest, match="bad JSON"):
        answered("azure", pages, lambda api: api.upload([Line("1", b"{}")], INTENT))


def test_an_error_of_a_line_at_together_is_the_clients() -> None:
    """It has a code and no status; a line in the output has no `error` at all."""
    refused, line = results(
        "together",
        {"id": "br_1", "custom_id": "1", "error": {"code": "batch_client_error", "message": "malformed tool"}},
        {"id": "br_2", "custom_id": "2", "response": {"status_code": 200, "body": {"choices": []}}},
    )
    assert (refused.end, refused.status) == (LineEnd.REFUSED, 400)
    assert line == LineResult("2", LineEnd.ANSWERED, 200, b'{"choices": []}')


def test_a_job_of_mistral_has_counts_and_metadata() -> None:
    """As OpenAI's has, under other names."""
    found = job("mistral", OF_MISTRAL)
    assert (found.lines, found.ended, found.answered, found.metadata) == (5, 3, 2, {METADATA_KEY: INTENT})


def test_a_job_of_mistral_that_failed_after_it_had_run_lines_keeps_them() -> None:
    """Their answers were billed."""
    failed = OF_MISTRAL | {"status": "FAILED", "errors": [{"message": "Boom", "count": 2}]}
    assert (job("mistral", failed).state, job("mistral", failed).problems) == (
        JobState.FAILED,
        (JobProblem("", "Boom"),),
    )
    partial = job("mistral", failed | {"output_file": "o"})
    assert (partial.state, partial.results) == (JobState.EXPIRED, ("/files/o/content",))


def test_an_error_of_a_line_at_mistral_may_be_a_text_with_an_empty_response() -> None:
    """It is no answer."""
    (line,) = results("mistral", {"custom_id": "1", "response": {"status_code": None}, "error": "Rate limit exceeded"})
    assert (line.end, line.status) == (LineEnd.REFUSED, 429)


def test_an_operation_of_gemini_is_a_job() -> None:
    """Counts are texts, and zeros are left out."""
    found = job("gemini", OF_GEMINI)
    assert found == Job("batches/1", JobState.PENDING, found.created_at, 5, 3, 2, {METADATA_KEY: INTENT})
    assert int(found.created_at) == CREATED


@pytest.mark.parametrize("state", ["JOB_STATE_SUCCEEDED", "BATCH_STATE_SUCCEEDED"])
@pytest.mark.parametrize("place", ["output", "response"])
def test_the_file_of_a_job_of_gemini_is_in_its_metadata_or_its_response(state: str, place: str) -> None:
    """Documents differ in this, and in the states' names."""
    file = {"responsesFile": "files/batch-1"}
    about = {**OF_GEMINI["metadata"], "state": state}
    entry: dict[str, Any] = {"name": "batches/1", "metadata": about, "done": True}
    if place == "output":
        about["output"] = file
    else:
        entry["response"] = file
    found = job("gemini", entry)
    assert (found.state, found.results) == (
        JobState.COMPLETED,
        ("/download/v1beta/files/batch-1:download?alt=media",),
    )


def test_a_job_of_gemini_that_expires_has_no_answers() -> None:
    """Whatever it had counted by then."""
    about = {**OF_GEMINI["metadata"], "state": "BATCH_STATE_EXPIRED"}
    found = job("gemini", {"name": "batches/1", "metadata": about, "error": {"code": 4, "message": "late"}})
    assert (found.state, found.answered, found.results) == (JobState.EXPIRED, 0, ())


def test_results_of_gemini_that_are_gone_are_not_taken_for_a_refused_key() -> None:
    """Its files are refused with a 403 when they do not exist, and a job cannot be followed without a key."""
    message = "You do not have permission to access the File abc or it may not exist."

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"code": 403, "message": message}}, status=403)

    async def read() -> None:
        async with served(refuse) as http:
            job = Job("j", JobState.COMPLETED, 0.0, results=("/f",))
            async for _ in APIS["gemini"](http).results(job):
                pass

    with pytest.raises(ModelNotFound, match="may not exist"):
        anyio.run(read)


@pytest.mark.parametrize(
    ("error", "end", "status"),
    [
        ({"code": 3, "message": "bad"}, LineEnd.REFUSED, 400),
        ({"code": 8, "message": "full"}, LineEnd.REFUSED, 429),
        ({"code": 503, "message": "busy"}, LineEnd.REFUSED, 503),
        ({"code": 1, "message": "cancelled"}, LineEnd.CANCELLED, 200),
        ("what", LineEnd.REFUSED, 500),
    ],
    ids=["invalid", "quota", "http", "cancelled", "text"],
)
def test_an_error_of_a_line_at_gemini_has_a_code_of_grpc_or_of_http(error: Any, end: LineEnd, status: int) -> None:
    """The key may be in the line's metadata."""
    by_key, by_metadata = results("gemini", {"key": "1", "error": error}, {"metadata": {"key": "1"}, "error": error})
    assert (by_key.custom_id, by_key.end, by_key.status) == ("1", end, status)
    assert by_metadata == by_key


@pytest.mark.parametrize(
    ("fields", "base_url", "query"),
    [
        ({"base_url": "https://r.openai.azure.com/"}, "https://r.openai.azure.com/openai/v1", {}),
        ({"base_url": "https://r.openai.azure.com/openai/v1/"}, "https://r.openai.azure.com/openai/v1", {}),
        (
            {"base_url": "https://r.openai.azure.com", "api_version": "2024-10-21"},
            "https://r.openai.azure.com/openai",
            {"api-version": "2024-10-21"},
        ),
        (
            {
                "base_url": "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2025-01-01-preview"
            },
            "https://r.openai.azure.com/openai",
            {"api-version": "2025-01-01-preview"},
        ),
        # It has no batch jobs yet.
        ({"base_url": "https://gw/x", "api_version": "2024-02-01"}, "https://gw/x/openai/v1", {}),
    ],
)
def test_the_batch_jobs_of_azure_are_the_resources(
    fields: dict[str, Any], base_url: str, query: dict[str, str]
) -> None:
    """By the api-version of the llm, if it has them."""
    endpoint = resolve(ModelFields(model="azure/d", api_key="k", **fields), {})
    assert account_of(endpoint, {}) == Account(base_url, {"api-key": "k"}, query)


def test_azure_takes_a_token_in_place_of_a_key_and_no_other_login() -> None:
    """As live calls do, which have others too."""
    endpoint = resolve(ModelFields(model="azure/d", base_url="https://r"), {})
    assert account_of(endpoint, {"AZURE_AD_TOKEN": "t"}).headers == {"Authorization": "Bearer t"}
    with pytest.raises(ModelRefused, match="tier: standard"):
        account_of(endpoint, {"AZURE_CLIENT_ID": "c"})


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (None, "https://generativelanguage.googleapis.com/v1beta"),
        ("https://gw/google", "https://gw/google/v1beta"),
        ("https://gw/v1/", "https://gw/v1"),
    ],
)
def test_gemini_is_at_its_own_address_or_at_the_llms(base_url: str | None, expected: str) -> None:
    """With the version of its API."""
    endpoint = resolve(ModelFields(model="gemini/gemini-2.5-flash", base_url=base_url), {})
    assert account_of(endpoint, {"GEMINI_API_KEY": "k"}) == Account(expected, {"x-goog-api-key": "k"}, {})


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://r.openai.azure.com/openai/v1", "azure"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.together.xyz/v1", "together_ai"),
        ("http://127.0.0.1:8000/v1", "openai"),
        ("https://notopenai.azure.com.example/v1", "openai"),
    ],
)
def test_an_openai_server_at_a_providers_address_has_that_providers_batch_jobs(base_url: str, provider: str) -> None:
    """Where users have the address of a provider in place of its name."""
    assert jobs_of(resolve(ModelFields(model="openai/m", base_url=base_url), {})) == provider
