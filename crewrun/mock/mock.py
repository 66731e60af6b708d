"""`Mock`: everything that the server has, put together, and its paths."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple

from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.calls import Calls
from crewrun.mock.clock import MockClock
from crewrun.mock.controls import Controls
from crewrun.mock.endpoint import MockRequest, Refused
from crewrun.mock.files import Files
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.models import list_models, one_model
from crewrun.mock.openai_batches import OpenAIBatches
from crewrun.mock.openai_chat import OpenAIChat
from crewrun.mock.openai_errors import openai_refusal
from crewrun.mock.replies import MockReply, Refusal
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
        wires: dict[str, Wire | None] = {"chat/completions": self._chat, "embeddings": None}
        self._batches = OpenAIBatches(jobs, self._files, self._calls, faults, wires)
        self._controls = Controls(self._calls, self.clock, faults, jobs.advance)

    def routes(self) -> Iterator[Route]:
        """All paths, in the order in which they are tried."""
        # The usual path is first and fixed, which aiohttp finds without trying patterns.
        chat = partial(self._answer, self._chat)
        yield Route("POST", "/v1/chat/completions", chat)
        yield from self._control_routes()
        yield Route("POST", f"{_ANY}chat/completions", chat)
        yield Route("POST", f"{_ANY}embeddings", self._embed)
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

    def _batch_routes(self) -> Iterator[Route]:
        files, batches = self._files, self._batches
        yield Route("POST", f"{_ANY}files", files.upload)
        yield Route("GET", f"{_ANY}files", files.list)
        yield Route("GET", f"{_ANY}files/{{id}}", files.get)
        yield Route("DELETE", f"{_ANY}files/{{id}}", files.delete)
        yield Route("GET", f"{_ANY}files/{{id}}/content", files.content)
        yield Route("POST", f"{_ANY}batches", batches.create)
        yield Route("GET", f"{_ANY}batches", batches.list)
        yield Route("GET", f"{_ANY}batches/{{id}}", batches.get)
        yield Route("POST", f"{_ANY}batches/{{id}}/cancel", batches.cancel)

    async def _answer(self, wire: Wire, request: MockRequest) -> MockReply:
        return await self._calls.chat(wire, request.body, request.peer)

    async def _embed(self, request: MockRequest) -> MockReply:
        return await self._calls.embeddings(request.body, request.peer)


async def _no_route(request: MockRequest) -> MockReply:
    message = (
        f"the mock has no {request.http.method} {request.http.path}; it has POST /v1/chat/completions and "
        "/v1/embeddings, GET /v1/models, /v1/files, /v1/batches, GET and DELETE /ledger, GET and PUT /limits and "
        "/batch-faults, GET and POST /clock"
    )
    raise Refused(404, message, "unknown_url")
