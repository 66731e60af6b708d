"""`Mock`: everything that the server has, put together, and its paths."""

import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple

from crewrun.mock.anthropic_batches import AnthropicBatches
from crewrun.mock.anthropic_errors import anthropic_refusal
from crewrun.mock.anthropic_messages import AnthropicMessages, read_prompt
from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.clock import MockClock
from crewrun.mock.controls import Controls
from crewrun.mock.endpoint import MockRequest, Refused
from crewrun.mock.files import Files
from crewrun.mock.gemini_batches import GeminiBatches
from crewrun.mock.gemini_content import GeminiContent
from crewrun.mock.gemini_errors import gemini_refusal
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.mistral_batches import MistralBatches
from crewrun.mock.models import list_models, one_model
from crewrun.mock.openai_batches import OpenAIBatches
from crewrun.mock.openai_chat import OpenAIChat
from crewrun.mock.openai_errors import openai_refusal
from crewrun.mock.openai_responses import OpenAIResponses
from crewrun.mock.replies import MockReply, Refusal, count_prompt, json_reply
from crewrun.mock.request_body import check_model, read_object
from crewrun.mock.settings import Settings
from crewrun.mock.wire import Wire

Endpoint = Callable[[MockRequest], Awaitable[MockReply]]
# Users spell their base URL as their provider does: /v1, /openai/v1, /openai/deployments/NAME, or nothing.
_ANY = "/{prefix:(?:.*/)?}"


class Route(NamedTuple):
    """Which endpoint answers a path, and in which form it refuses."""

    method: str
    path: str
    endpoint: Endpoint
    refusal: Callable[[Refusal], MockReply] = openai_refusal


class Mock:
    """The mock of one process."""

    def __init__(self, settings: Settings) -> None:
        self.clock = MockClock()
        faults = JobFaults(settings.batch_faults)
        self._calls = Calls(settings, self.clock)
        self._chat = OpenAIChat()
        self._files = Files(self.clock, faults)
        jobs = Jobs("batch_mock_", self.clock, faults, settings.batch_latency_s, settings.seed)
        self._responses = OpenAIResponses()
        wires: dict[str, Wire | None] = {
            "chat/completions": self._chat,
            "responses": self._responses,
            "embeddings": None,
        }
        self._batches = OpenAIBatches(jobs, self._files, self._calls, faults, wires)
        self._messages = AnthropicMessages()
        message_jobs = Jobs("msgbatch_mock_", self.clock, faults, settings.batch_latency_s, settings.seed)
        self._message_batches = AnthropicBatches(message_jobs, self._calls, faults, self._messages)
        mistral_jobs = Jobs("mistral_mock_", self.clock, faults, settings.batch_latency_s, settings.seed)
        self._mistral_batches = MistralBatches(mistral_jobs, self._files, self._calls, faults)
        self._content = GeminiContent()
        gemini_jobs = Jobs("batches/mock", self.clock, faults, settings.batch_latency_s, settings.seed)
        self._gemini_batches = GeminiBatches(gemini_jobs, self._files, self._calls, faults, self._content)
        self._controls = Controls(self._calls, self.clock, faults, (jobs, message_jobs, mistral_jobs, gemini_jobs))

    def routes(self) -> Iterator[Route]:
        """All paths, in the order in which they are tried."""
        # The usual path is first and fixed, which aiohttp finds without trying patterns.
        chat = partial(self._answer, self._chat)
        yield Route("POST", "/v1/chat/completions", chat)
        yield from self._control_routes()
        yield Route("POST", f"{_ANY}chat/completions", chat)
        yield Route("POST", f"{_ANY}responses", partial(self._answer, self._responses))
        yield Route("POST", f"{_ANY}embeddings", self._embed)
        yield from self._message_routes()
        yield from self._gemini_routes()
        yield from self._batch_routes()
        yield Route("GET", f"{_ANY}models", list_models)
        yield Route("GET", f"{_ANY}models/{{id:.+}}", one_model)
        yield Route("*", "/{path:.*}", _no_route)

    def _control_routes(self) -> Iterator[Route]:
        controls = self._controls
        yield Route("GET", "/ledger", controls.ledger)
        yield Route("DELETE", "/ledger", controls.clear_ledger)
        yield Route("GET", "/limits", controls.limits)
        yield Route("PUT", "/limits", controls.change_limits)
        yield Route("GET", "/clock", controls.clock)
        yield Route("POST", "/clock", controls.advance_clock)
        yield Route("GET", "/batch-faults", controls.faults)
        yield Route("PUT", "/batch-faults", controls.change_faults)
        yield Route("GET", "/health", controls.health)

    def _message_routes(self) -> Iterator[Route]:
        batches = self._message_batches
        messages = f"{_ANY}messages"
        for method, path, endpoint in (
            ("POST", messages, partial(self._answer, self._messages)),
            ("POST", f"{messages}/count_tokens", count_tokens),
            ("POST", f"{messages}/batches", batches.create),
            ("GET", f"{messages}/batches", batches.page),
            ("GET", f"{messages}/batches/{{id}}", batches.get),
            ("DELETE", f"{messages}/batches/{{id}}", batches.delete),
            ("POST", f"{messages}/batches/{{id}}/cancel", batches.cancel),
            ("GET", f"{messages}/batches/{{id}}/results", batches.results),
        ):
            yield Route(method, path, endpoint, anthropic_refusal)

    def _gemini_routes(self) -> Iterator[Route]:
        batches, model = self._gemini_batches, f"{_ANY}models/{{id:[^/:]+}}"
        for method, path, endpoint in (
            ("POST", f"{model}:generateContent", self._generate),
            ("POST", f"{model}:streamGenerateContent", self._generate),
            ("POST", f"{model}:batchGenerateContent", batches.create),
            ("POST", "/upload/{version}/files", batches.upload),
            ("GET", "/download/{version}/files/{id:[^/:]+}:download", batches.content),
            ("GET", "/v1beta/files/{id:[^/:]+}:download", batches.content),
            ("GET", "/v1beta/batches", batches.page),
            ("GET", "/v1beta/batches/{id:[^/:]+}", batches.get),
            ("POST", "/v1beta/batches/{id:[^/:]+}:cancel", batches.cancel),
        ):
            yield Route(method, path, endpoint, gemini_refusal)

    def _batch_routes(self) -> Iterator[Route]:
        files, batches = self._files, self._batches
        yield Route("POST", f"{_ANY}files", files.upload)
        yield Route("POST", f"{_ANY}files/upload", files.upload)
        yield Route("GET", f"{_ANY}files", files.page)
        yield Route("GET", f"{_ANY}files/{{id}}", files.get)
        yield Route("DELETE", f"{_ANY}files/{{id}}", files.delete)
        yield Route("GET", f"{_ANY}files/{{id}}/content", files.content)
        yield Route("POST", f"{_ANY}batches", batches.create)
        yield Route("GET", f"{_ANY}batches", batches.page)
        yield Route("GET", f"{_ANY}batches/{{id}}", batches.get)
        yield Route("POST", f"{_ANY}batches/{{id}}/cancel", batches.cancel)
        mistral = self._mistral_batches
        yield Route("POST", f"{_ANY}batch/jobs", mistral.create)
        yield Route("GET", f"{_ANY}batch/jobs", mistral.page)
        yield Route("GET", f"{_ANY}batch/jobs/{{id}}", mistral.get)
        yield Route("POST", f"{_ANY}batch/jobs/{{id}}/cancel", mistral.cancel)

    async def _answer(self, wire: Wire, request: MockRequest) -> MockReply:
        return await self._calls.chat(wire, request.body, request.peer)

    async def _generate(self, request: MockRequest) -> MockReply:
        """The model and whether to stream are in Gemini's path; elsewhere they are in the body."""
        try:
            body = read_object(request.body)
        except ValueError:
            return await self._answer(self._content, request)  # it says what is wrong
        body = {**body, "model": request.id}
        if "streamGenerateContent" in request.http.path:
            body["stream"] = True
        return await self._calls.chat(self._content, json.dumps(body).encode(), request.peer)

    async def _embed(self, request: MockRequest) -> MockReply:
        return await self._calls.embeddings(request.body, request.peer)


async def count_tokens(request: MockRequest) -> MockReply:
    """POST /v1/messages/count_tokens."""
    try:
        body = read_object(request.body)
        check_model(body)
        return json_reply({"input_tokens": count_prompt(read_prompt(body))})
    except (ValueError, RecursionError) as error:
        raise Refused(400, str(error)) from error


async def _no_route(request: MockRequest) -> MockReply:
    message = (
        f"the mock has no {request.http.method} {request.http.path}; it has POST /v1/chat/completions, "
        "/v1/responses, /v1/embeddings and /v1/messages, GET /v1/models, /v1/files, /v1/batches, /v1/messages/batches, "
        "GET and DELETE /ledger, GET and PUT /limits and /batch-faults, GET and POST /clock"
    )
    raise Refused(404, message, "unknown_url")
