"""The mock's endpoints, in the dialect of https://platform.openai.com/docs/api-reference/chat.

Which request fails is decided in `faults`; what came and what was answered is noted in `ledger`.
"""

import asyncio
import errno
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from signal import SIGINT, SIGTERM
from socket import gaierror
from typing import Any

import anyio
from aiohttp import web

from crewrun.errors import UsageError
from crewrun.mock.faults import Fault, RandomFault, TokenBucket, disarm, find_fault
from crewrun.mock.ledger import Entry, Ledger

_MAX_BODY_BYTES = 128 * 1024 * 1024
_EXCERPT_CHARS = 80
_GARBAGE = b"<html><body>FAIL-GARBAGE: this is not JSON</body></html>"


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's flags. Times are seconds; `rpm` is requests per minute; `reply` is every answer's text."""

    host: str = "127.0.0.1"
    port: int = 8123
    latency_s: float = 0.0
    jitter_s: float = 0.0
    fail: RandomFault | None = None
    rpm: int | None = None
    seed: int | None = None
    reply: str | None = None


def serve(settings: Settings, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then end at once, whatever hangs.

    `on_listening` gets the base URL when requests can come. Raises UsageError if the address cannot be had.
    """
    options = {"use_uvloop": find_spec("uvloop") is not None}
    anyio.run(_serve, settings, on_listening, backend_options=options)


async def _serve(settings: Settings, on_listening: Callable[[str], None]) -> None:
    # aiohttp reads a timeout of 0 as none at all: the smallest real one ends requests that hang.
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
    except OSError as error:
        # uvloop words a failed bind by its own; a host that has no address has no errno of the system's.
        reason = error.strerror if isinstance(error, gaierror) else os.strerror(error.errno or 0)
        hint = ": pick another --port, or --port 0 for any free one" if error.errno == errno.EADDRINUSE else ""
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: {reason}{hint}") from error


def make_app(settings: Settings) -> web.Application:
    """The mock as an aiohttp application."""
    mock = _Mock(settings)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    # The usual path stands first and fixed, which aiohttp finds without trying patterns.
    app.router.add_post("/v1/chat/completions", mock.chat)
    app.router.add_get("/ledger", mock.report)
    app.router.add_delete("/ledger", mock.clear)
    app.router.add_get("/health", _health)
    app.router.add_post("/{prefix:(?:.*/)?}chat/completions", mock.chat)
    app.router.add_get("/{prefix:(?:.*/)?}models", _models)
    app.router.add_route("*", "/{path:.*}", _not_found)
    return app


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _models(request: web.Request) -> web.Response:
    mock = {"id": "mock", "object": "model", "created": 0, "owned_by": "crewrun-mock"}
    return web.json_response({"object": "list", "data": [mock]})


async def _not_found(request: web.Request) -> web.Response:
    known = "POST /v1/chat/completions, GET /v1/models, GET and DELETE /ledger"
    message = f"the mock has no {request.method} {request.path}; it has {known}"
    return _response(_refusal(404, message, code="unknown_url"))


@dataclass(frozen=True, slots=True)
class _Chat:
    """A request that can be answered. `texts` are its messages' texts, `steering` those that no system wrote."""

    model: str
    texts: list[str]
    steering: list[str]
    last_user: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """What goes out. `reply` is set if a model would have been paid for it; `cut` breaks the connection instead."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False


class _Mock:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger()
        self._failed_once: set[int] = set()
        self._bucket = TokenBucket(settings.rpm, time.monotonic()) if settings.rpm else None
        # Two, so that --jitter does not change which requests a --seed fails.
        self._fail_dice = random.Random(settings.seed)  # noqa: S311  # a rehearsal, not a secret
        self._jitter_dice = random.Random(settings.seed)  # noqa: S311

    async def report(self, request: web.Request) -> web.Response:
        last = request.query.get("last", "")
        if last and not (last.isascii() and last.isdigit()):
            return _response(_refusal(400, f"?last={last!r} is not a number of requests"))
        return web.json_response(self._ledger.report(int(last) if last else None))

    async def clear(self, request: web.Request) -> web.Response:
        """Start over. What is in flight ends in the old ledger, so the new one counts only what comes from now on."""
        self._ledger = Ledger()
        self._failed_once.clear()
        return web.json_response(self._ledger.report())

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.read()
        ledger, transport = self._ledger, request.transport
        peer = transport.get_extra_info("peername") if transport else None
        entry = ledger.begin(body, peer[:2] if peer else ("", 0))
        try:
            answer = await self._answer(entry)
        except asyncio.CancelledError:
            ledger.end(entry, "hung up")
            raise
        entry.reply = answer.reply
        entry.billed = answer.reply is not None
        entry.prompt_tokens, entry.completion_tokens = answer.prompt_tokens, answer.completion_tokens
        ledger.end(entry, "cut" if answer.cut else answer.status)
        if answer.cut and transport:
            transport.abort()
        return _response(answer)

    async def _answer(self, entry: Entry) -> _Answer:
        try:
            chat = _read(entry.body)
        except ValueError as error:
            return _refusal(400, str(error))
        entry.model = chat.model
        admission = self._bucket.take(time.monotonic()) if self._bucket else None
        headers = admission.headers() if admission else {}
        if admission and not admission.admitted:
            entry.fault = "--rpm"
            wait = f"Rate limit of {admission.limit} requests per min reached: the next fits in {admission.wait_s:.3f}s"
            return _refusal(429, wait, code="rate_limit_exceeded", headers=headers)
        fault = self._fault(chat, entry.digest)
        entry.fault = fault.name if fault else None
        await self._delay()
        if fault and fault.kind == "hang":
            await anyio.sleep_forever()
        return self._compose(chat, entry, fault, headers)

    def _fault(self, chat: _Chat, digest: int) -> Fault | None:
        drawn = self._settings.fail.draw(self._fail_dice) if self._settings.fail else None
        asked = find_fault(chat.steering)
        if asked and asked.kind == "once":
            if digest in self._failed_once:
                return drawn
            self._failed_once.add(digest)
        return asked or drawn

    async def _delay(self) -> None:
        delay_s = self._settings.latency_s
        if self._settings.jitter_s:
            delay_s += self._jitter_dice.uniform(0, self._settings.jitter_s)
        if delay_s:
            await anyio.sleep(delay_s)

    def _compose(self, chat: _Chat, entry: Entry, fault: Fault | None, headers: Mapping[str, str]) -> _Answer:
        if fault and fault.kind in ("status", "once", "quota"):
            return _refuse_for(fault, headers)
        text = self._text(chat, entry)
        match fault.kind if fault else None:
            case "empty":
                return _completion(chat, entry, "", headers)
            case "length":
                return _completion(chat, entry, text[: len(text) // 2], headers, finish_reason="length")
            case "garbage":
                return replace(_completion(chat, entry, text, headers), body=_GARBAGE)
            case "cut":
                return replace(_completion(chat, entry, text, headers), cut=True)
        return _completion(chat, entry, text, headers)

    def _text(self, chat: _Chat, entry: Entry) -> str:
        if self._settings.reply is not None:
            return self._settings.reply
        words = " ".join(chat.last_user[: 4 * _EXCERPT_CHARS].split())
        excerpt = words if len(words) <= _EXCERPT_CHARS else words[:_EXCERPT_CHARS] + "…"
        return f"Mock reply {entry.digest >> 32:08x} to: {disarm(excerpt)}"


def _read(body: bytes) -> _Chat:
    """The request in `body`. Raises ValueError with what OpenAI, or the mock, would refuse."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise ValueError("the body is not a JSON object")
    model, messages = request.get("model"), request.get("messages")
    if not isinstance(model, str) or not model:
        raise ValueError("you must provide a model parameter")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise ValueError("messages must be a list of at least one message")
    if request.get("stream"):
        raise ValueError("stream is not supported by the mock")
    turns = [(message.get("role"), _content(message.get("content"))) for message in messages]
    return _Chat(
        model,
        [text for _, text in turns],
        [text for role, text in turns if role not in ("system", "developer")],
        next((text for role, text in reversed(turns) if role == "user"), ""),
    )


def _content(content: Any) -> str:
    """A message's text, also of one in parts: `[{"type": "text", "text": ...}, {"type": "image_url", ...}]`."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _completion(
    chat: _Chat, entry: Entry, text: str, headers: Mapping[str, str], *, finish_reason: str = "stop"
) -> _Answer:
    prompt_tokens, completion_tokens = _tokens(sum(map(len, chat.texts))), _tokens(len(text))
    message = {"role": "assistant", "content": text, "refusal": None}
    completion = {
        "id": f"chatcmpl-mock-{entry.number}",
        "object": "chat.completion",
        "created": int(entry.at_s),
        "model": chat.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }
    body = json.dumps(completion).encode()
    return _Answer(200, body, headers, text, prompt_tokens, completion_tokens)


def _tokens(chars: int) -> int:
    """OpenAI's rule of thumb, four characters to a token, rounded up."""
    return -(-chars // 4)


# https://platform.openai.com/docs/guides/error-codes
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def _refuse_for(fault: Fault, headers: Mapping[str, str]) -> _Answer:
    if fault.kind == "quota":
        message = "You exceeded your current quota, please check your plan and billing details."
        return _refusal(429, message, code="insufficient_quota", kind="insufficient_quota", headers=headers)
    if fault.kind == "once":
        headers = {**headers, "retry-after": "0"}
    message = f"{fault.name} asked the mock for this {fault.status}"
    return _refusal(fault.status, message, code=_CODES.get(fault.status), headers=headers)


def _refusal(
    status: int,
    message: str,
    *,
    code: str | None = None,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> _Answer:
    kind = kind or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": None, "code": code}
    return _Answer(status, json.dumps({"error": error}).encode(), headers or {})


def _response(answer: _Answer) -> web.Response:
    return web.Response(
        body=answer.body, status=answer.status, headers={**answer.headers, "Content-Type": "application/json"}
    )
