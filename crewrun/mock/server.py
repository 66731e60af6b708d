"""The mock's HTTP endpoints, as in https://platform.openai.com/docs/api-reference/chat.

`faults` and `rate_limits` decide which requests fail, `answers` what to answer, `replies` what that looks like, and
`ledger` records the result.
"""

import asyncio
import errno
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from signal import SIGINT, SIGTERM
from socket import gaierror

import anyio
from aiohttp import web

from crewrun.errors import UsageError
from crewrun.llm.offline_model.fake_model import FakeAnswer
from crewrun.mock.answers import answer
from crewrun.mock.chat import Chat, read_chat
from crewrun.mock.embeddings import embeddings, read_texts
from crewrun.mock.faults import Fault, RandomFault, find_fault
from crewrun.mock.ledger import Entry, Ledger
from crewrun.mock.rate_limits import MockLimits, read_limits
from crewrun.mock.replies import MockReply, completion, count_completion, count_prompt, half, refusal, refusal_for

# aiohttp's own limit is 1 MiB. Requests with images and documents take tens of MB.
_MAX_BODY_BYTES = 128 * 1024 * 1024
_GARBAGE = b"<html><body>FAIL-GARBAGE: this is not JSON</body></html>"


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's flags.

    `rpm` and `tpm` limit requests and tokens per minute, and with `limit_headers` replies report them. `reply` is the
    text of every answer. Without `tools` or `schemas`, requests with them are refused, as by a server that lacks them.
    """

    host: str = "127.0.0.1"
    port: int = 8123
    latency_s: float = 0.0
    jitter_s: float = 0.0
    fail: RandomFault | None = None
    rpm: int | None = None
    tpm: int | None = None
    limit_headers: bool = True
    seed: int | None = None
    reply: str | None = None
    tools: bool = True
    schemas: bool = True


def serve(settings: Settings, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then end at once, even if requests hang.

    `on_listening` is called with the base URL once the server listens. Raises UsageError if it cannot.
    """
    options = {"use_uvloop": find_spec("uvloop") is not None}
    anyio.run(_serve, settings, on_listening, backend_options=options)


async def _serve(settings: Settings, on_listening: Callable[[str], None]) -> None:
    # aiohttp takes a timeout of 0 for no timeout; a very short one ends requests that hang.
    runner = web.AppRunner(make_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
    with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        await runner.setup()
        try:
            await _listen(runner, settings)
            host, port = runner.addresses[0][:2]
            on_listening(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")
            await anext(signals)
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    except UnicodeError:
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: that is no name of a host") from None
    except OSError as error:
        # uvloop has its own text for a failed bind; for a host without an address, the errno is not the system's.
        reason = error.strerror if isinstance(error, gaierror) else os.strerror(error.errno or 0)
        hint = ": pick another --port, or --port 0 for any free one" if error.errno == errno.EADDRINUSE else ""
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: {reason}{hint}") from error


def make_app(settings: Settings) -> web.Application:
    """The mock as an aiohttp application."""
    mock = _Mock(settings)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    # The usual paths are first and fixed, which aiohttp finds without trying patterns.
    app.router.add_post("/v1/chat/completions", mock.chat)
    app.router.add_get("/ledger", mock.report)
    app.router.add_delete("/ledger", mock.clear)
    app.router.add_get("/limits", mock.limits)
    app.router.add_put("/limits", mock.change_limits)
    app.router.add_get("/health", _health)
    app.router.add_post("/{prefix:(?:.*/)?}chat/completions", mock.chat)
    app.router.add_post("/{prefix:(?:.*/)?}embeddings", mock.embeddings)
    app.router.add_get("/{prefix:(?:.*/)?}models", _models)
    app.router.add_route("*", "/{path:.*}", _not_found)
    return app


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _models(request: web.Request) -> web.Response:
    mock = {"id": "mock", "object": "model", "created": 0, "owned_by": "crewrun-mock"}
    return web.json_response({"object": "list", "data": [mock]})


async def _not_found(request: web.Request) -> web.Response:
    routes = (
        "POST /v1/chat/completions, POST /v1/embeddings, GET /v1/models, GET and DELETE /ledger, GET and PUT /limits"
    )
    message = f"the mock has no {request.method} {request.path}; it has {routes}"
    return _response(refusal(404, message, code="unknown_url"))


class _Mock:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger()
        self._failed_once: set[int] = set()
        self._limits = MockLimits(settings.rpm, settings.tpm, time.monotonic(), has_headers=settings.limit_headers)
        # Two, so that --jitter does not change which requests fail with a --seed.
        self._fail_dice = random.Random(settings.seed)  # noqa: S311  # for tests, not for secrets
        self._jitter_dice = random.Random(settings.seed)  # noqa: S311

    async def report(self, request: web.Request) -> web.Response:
        last = request.query.get("last", "")
        if last and not (last.isascii() and last.isdigit()):
            return _response(refusal(400, f"?last={last!r} is not a number of requests"))
        return web.json_response(self._ledger.report(int(last) if last else None))

    async def clear(self, request: web.Request) -> web.Response:
        """Start a new ledger. Requests in flight end in the old one, so the new one counts only later requests."""
        self._ledger = Ledger()
        self._failed_once.clear()
        return web.json_response(self._ledger.report())

    async def limits(self, request: web.Request) -> web.Response:
        return web.json_response(self._limits.report())

    async def change_limits(self, request: web.Request) -> web.Response:
        """Set the limits that the body names; the others stay."""
        try:
            limits = read_limits(await request.read())
        except ValueError as error:
            return _response(refusal(400, str(error)))
        self._limits.change(limits, time.monotonic())
        return web.json_response(self._limits.report())

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.read()
        ledger, transport = self._ledger, request.transport
        entry = ledger.begin(body, _peer(request))
        try:
            reply = await self._answer(entry)
        except asyncio.CancelledError:
            ledger.end(entry, "hung up")
            raise
        if reply.answer is not None:
            entry.billed = True
            entry.reply = reply.answer.text
            entry.tool_calls = tuple(call.name for call in reply.answer.calls)
        entry.prompt_tokens, entry.completion_tokens = reply.prompt_tokens, reply.completion_tokens
        ledger.end(entry, "cut" if reply.cut else reply.status)
        if reply.cut and transport:
            transport.abort()
        return _response(reply)

    async def embeddings(self, request: web.Request) -> web.Response:
        """As `chat`, without faults and limits."""
        body, ledger = await request.read(), self._ledger
        entry = ledger.begin(body, _peer(request))
        try:
            texts = read_texts(body)
        except ValueError as error:
            ledger.end(entry, 400)
            return _response(refusal(400, str(error)))
        try:
            await self._delay()
        except asyncio.CancelledError:
            ledger.end(entry, "hung up")
            raise
        reply = embeddings(texts)
        entry.model, entry.billed, entry.prompt_tokens = texts.model, True, reply.prompt_tokens
        ledger.end(entry, reply.status)
        return _response(reply)

    async def _answer(self, entry: Entry) -> MockReply:
        try:
            chat = read_chat(entry.body)
        except (ValueError, RecursionError) as error:
            return refusal(400, str(error))
        entry.model, entry.tier = chat.model, chat.tier
        entry.tools = tuple(tool.name for tool in chat.tools)
        tokens = self._tokens(chat, entry) if self._limits.counts_tokens else 0
        admission = self._limits.admit(tokens, time.monotonic())
        headers = admission.headers
        if admission.refused_by:
            entry.fault, entry.rate_limited = admission.refused_by, True
            return refusal(429, admission.message, code="rate_limit_exceeded", headers=headers)
        if unsupported := self._unsupported(chat):
            entry.fault, message = unsupported
            return refusal(400, message, headers=headers)
        fault = self._fault(chat, entry.digest)
        entry.fault = fault.name if fault else None
        await self._delay()
        if fault and fault.kind == "hang":
            await anyio.sleep_forever()
        return self._compose(chat, entry, fault, headers)

    def _fake_answer(self, chat: Chat, entry: Entry) -> FakeAnswer:
        fixed = self._settings.reply
        return answer(chat, entry.digest >> 32) if fixed is None else FakeAnswer(fixed)

    def _tokens(self, chat: Chat, entry: Entry) -> int:
        """The tokens of the request and its answer; unlike with a real model, they are known beforehand."""
        return count_prompt(chat) + count_completion(self._fake_answer(chat, entry))

    def _unsupported(self, chat: Chat) -> tuple[str, str] | None:
        """The flag that makes the mock refuse this request, and the message of a server without the feature."""
        if chat.tools and not self._settings.tools:
            return "--tools off", f"{chat.model} does not support tools"
        if chat.wants_json and not self._settings.schemas:
            return "--schemas off", f"{chat.model} does not support this response_format"
        return None

    def _fault(self, chat: Chat, digest: int) -> Fault | None:
        at_random = self._settings.fail.draw(self._fail_dice) if self._settings.fail else None
        by_word = find_fault(chat.steering)
        if by_word and by_word.kind == "once":
            if digest in self._failed_once:
                return at_random
            self._failed_once.add(digest)
        return by_word or at_random

    async def _delay(self) -> None:
        delay_s = self._settings.latency_s
        if self._settings.jitter_s:
            delay_s += self._jitter_dice.uniform(0, self._settings.jitter_s)
        if delay_s:
            await anyio.sleep(delay_s)

    def _compose(self, chat: Chat, entry: Entry, fault: Fault | None, headers: Mapping[str, str]) -> MockReply:
        if fault and fault.kind in ("status", "once", "quota"):
            return refusal_for(fault, headers)
        fake_answer = self._fake_answer(chat, entry)
        reply = partial(completion, chat, entry.number, int(entry.at_s), headers)
        match fault.kind if fault else None:
            case "empty":
                return reply(FakeAnswer(""))
            case "length":
                return reply(half(fake_answer), cut_off=True)
            case "garbage":
                return replace(reply(fake_answer), body=_GARBAGE)
            case "cut":
                return replace(reply(fake_answer), cut=True)
        return reply(fake_answer)


def _peer(request: web.Request) -> tuple[str, int]:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return peer[:2] if peer else ("", 0)


def _response(reply: MockReply) -> web.Response:
    return web.Response(
        body=reply.body, status=reply.status, headers={**reply.headers, "Content-Type": "application/json"}
    )
