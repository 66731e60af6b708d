"""The litellm transport against a loopback server that answers in the providers' own wire shapes.

litellm takes seconds to import, so one worker runs the module; a process started beside it shows what its user sees.
"""

import gc
import json
import re
import socket
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support.mock_process import MockProcess
from support.provider import Provider, serving
from support.transport_contract import (
    GARBAGE,
    RESPONSE_FORMAT,
    SCHEMA,
    TOOL_REPLIES,
    TOOL_TALK,
    mock_cases,
    reply_with,
    request,
    tool_talk,
)

from crewrun import LLM, Agent, Gateway
from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    NetworkError,
    OutputInvalid,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from crewrun.llm.endpoints import resolve
from crewrun.llm.transports.litellm.requests import check_parameters
from crewrun.llm.transports.litellm.transport import LitellmTransport
from crewrun.messages import ChatRequest, Completion, Endpoint, Message, Part, ToolCall, Usage, UsageDetails, in_parts
from crewrun.testing import check_transport
from crewrun.tools import tool

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("litellm")]

# A reply as Anthropic's reference records it, https://docs.anthropic.com/en/api/messages
ANSWER: dict[str, Any] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-3-5-haiku-20241022",
    "content": [{"type": "text", "text": "Hello!"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 90,
        "output_tokens": 5,
    },
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serving() as served:
        yield served


@pytest.fixture
async def transport(provider: Provider) -> AsyncIterator[LitellmTransport]:
    sender = LitellmTransport()
    yield sender
    await sender.aclose()
    gc.collect()  # what a cancelled call left behind is collected here, and not in another file's test
    gc.freeze()  # the rest is litellm itself, which the next one need not look through


def request_to(url: str, model: str = "anthropic/claude-3-5-haiku-20241022", **params: Any) -> ChatRequest:
    name, _, rest = model.partition("/")
    endpoint = Endpoint("litellm", name, rest, url, "key-of-the-test", params, {"x-mine": "yes"})
    return ChatRequest(endpoint, (Message("system", "Be brief."), Message("user", "Hello?")))


def said(error: CallError) -> tuple[type[CallError], str, int | None, float | None]:
    return type(error), str(error), error.http_status, error.retry_after_s


def refusal(kind: str, message: str) -> dict[str, Any]:
    """An error as Anthropic writes it, https://docs.anthropic.com/en/api/errors"""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011"}


async def test_an_answer_keeps_its_text_and_its_cached_tokens(provider: Provider, transport: LitellmTransport) -> None:
    """Anthropic counts cached tokens beside the input, a Usage within the prompt; parameters, key, headers go out."""
    provider.reply(ANSWER)
    answer = await transport.send(request_to(provider.url, temperature=0.5, max_tokens=100))
    assert answer == Completion("Hello!", Usage(100, 90, 5, 0))
    [(path, headers, body)] = provider.asked
    assert path == "/v1/messages"
    assert (headers["x-api-key"], headers["x-mine"]) == ("key-of-the-test", "yes")
    assert body == {
        "model": "claude-3-5-haiku-20241022",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}],
        "temperature": 0.5,
        "max_tokens": 100,
    }


async def test_an_answer_cut_at_max_tokens_is_truncated(provider: Provider, transport: LitellmTransport) -> None:
    """Anthropic's stop_reason max_tokens is the direct transport's finish_reason length."""
    provider.reply({**ANSWER, "stop_reason": "max_tokens"})
    assert await transport.send(request_to(provider.url)) == Completion("Hello!", Usage(100, 90, 5), True)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"content": []}, OutputInvalid, id="empty"),
        pytest.param({"content": [], "stop_reason": "refusal"}, ContentFiltered, id="declined"),
    ],
)
async def test_an_answer_that_is_none_keeps_what_it_cost(
    provider: Provider, transport: LitellmTransport, change: dict[str, Any], kind: type[CallError]
) -> None:
    """An empty or declined answer is an error that carries the billed tokens."""
    provider.reply({**ANSWER, **change})
    with pytest.raises(kind) as caught:
        await transport.send(request_to(provider.url))
    assert caught.value.usage == Usage(100, 90, 5)


async def test_azure_answers_through_the_openai_sdk(provider: Provider, transport: LitellmTransport) -> None:
    """The provider whose calls litellm makes with the openai package."""
    provider.reply(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        }
    )
    answer = await transport.send(request_to(provider.url, "azure/mine", api_version="2024-06-01"))
    assert answer == Completion("Hi", Usage(9, 4, 3, 0))


async def test_gemini_answers(provider: Provider, transport: LitellmTransport) -> None:
    """https://ai.google.dev/api/generate-content#UsageMetadata"""
    provider.reply(
        {
            "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}],
            "usageMetadata": {
                "promptTokenCount": 20,
                "cachedContentTokenCount": 8,
                "candidatesTokenCount": 4,
                "totalTokenCount": 24,
            },
        }
    )
    answer = await transport.send(request_to(provider.url, "gemini/gemini-2.0-flash"))
    assert answer == Completion("Hi", Usage(20, 8, 4, 0))


GEMINI_ANSWER: dict[str, Any] = {
    "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 20,
        "cachedContentTokenCount": 8,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 10,
        "totalTokenCount": 34,
    },
}
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "a-model",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
}


@pytest.mark.parametrize(
    ("model", "reply", "headers", "usage"),
    [
        pytest.param(
            "anthropic/claude-sonnet-4-5",
            {
                **ANSWER,
                "usage": {
                    "input_tokens": 10,
                    "cache_read_input_tokens": 90,
                    "cache_creation_input_tokens": 50,
                    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
                    "output_tokens": 5,
                    "service_tier": "priority",
                },
            },
            {},
            Usage(150, 90, 5, 0, 0, 50, UsageDetails(cache_write_1h_tokens=30, service_tier="priority")),
            id="anthropic",
        ),
        pytest.param("gemini/gemini-2.5-flash", GEMINI_ANSWER, {}, Usage(20, 8, 14, 10), id="gemini"),
        pytest.param(
            "gemini/gemini-2.5-flash",
            GEMINI_ANSWER,
            {"x-gemini-service-tier": "flex"},
            Usage(20, 8, 14, 10, details=UsageDetails(service_tier="flex")),
            id="gemini's tier",
        ),
        pytest.param(
            "gemini/gemini-2.5-flash",
            {
                **GEMINI_ANSWER,
                "usageMetadata": {
                    **GEMINI_ANSWER["usageMetadata"],
                    "toolUsePromptTokenCount": 6,
                    "totalTokenCount": 40,
                },
            },
            {},
            Usage(26, 8, 14, 10),
            id="gemini's tools",
        ),
        pytest.param(
            "xai/grok-4.20-0309-reasoning",
            {
                **COMPLETION,
                "usage": {
                    "prompt_tokens": 32,
                    "completion_tokens": 9,
                    "total_tokens": 326,
                    "completion_tokens_details": {"reasoning_tokens": 285},
                },
            },
            {},
            Usage(32, 0, 294, 285),
            id="xai",
        ),
        pytest.param(
            "azure/mine",
            {
                **COMPLETION,
                "service_tier": "flex",
                "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
            },
            {"x-litellm-response-cost": "0.25"},
            Usage(9, 0, 3, details=UsageDetails(service_tier="flex", cost_usd=0.25)),
            id="a proxy's cost",
        ),
    ],
)
async def test_what_a_call_is_billed_for_comes_through(
    provider: Provider,
    transport: LitellmTransport,
    model: str,
    reply: dict[str, Any],
    headers: dict[str, str],
    usage: Usage,
) -> None:
    """What the cache took and for how long, reasoning, the tier, a stated cost: as on the direct transport."""
    provider.reply(reply, 200, **headers)
    more = {"api_version": "2024-06-01"} if model.startswith("azure/") else {}
    assert (await transport.send(request_to(provider.url, model, **more))).usage == usage


@pytest.mark.parametrize(
    ("model", "reply", "usage"),
    [
        pytest.param(
            "azure/mine",
            {**COMPLETION, "usage": {"prompt_tokens": 100.0, "completion_tokens": 12.7, "total_tokens": 112.7}},
            Usage(100, 0, 13),
            id="fractions",
        ),
        pytest.param(
            "perplexity/sonar",
            {**COMPLETION, "usage": {"prompt_tokens": "100", "completion_tokens": "10", "cost": 0.01}},
            Usage(100, 0, 10, details=UsageDetails(cost_usd=0.01)),
            id="texts",
        ),
        pytest.param(
            "anthropic/claude-sonnet-4-5",
            {**ANSWER, "usage": {"input_tokens": 10.0, "cache_read_input_tokens": None, "output_tokens": None}},
            Usage(10),
            id="anthropic",
        ),
        pytest.param("anthropic/claude-sonnet-4-5", {**ANSWER, "usage": None}, Usage(), id="no usage"),
        pytest.param(
            "gemini/gemini-2.5-flash",
            {
                **GEMINI_ANSWER,
                "usageMetadata": {"promptTokenCount": 20.0, "candidatesTokenCount": None, "totalTokenCount": "34"},
            },
            Usage(20, 0, 14),
            id="gemini",
        ),
    ],
)
async def test_odd_counts_cost_no_answer(
    provider: Provider, transport: LitellmTransport, model: str, reply: dict[str, Any], usage: Usage
) -> None:
    """litellm gives up a reply whose counts are no whole numbers; it was billed, and would be bought again."""
    provider.reply(reply)
    more = {"api_version": "2024-06-01"} if model.startswith("azure/") else {}
    assert (await transport.send(request_to(provider.url, model, **more))).usage == usage


LONG = "prompt is too long: 200001 tokens > 200000 maximum"
BROKE = "Your credit balance is too low to access the Anthropic API."


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        pytest.param(
            401,
            refusal("authentication_error", "invalid x-api-key"),
            {},
            (AuthRefused, "HTTP 401: invalid x-api-key", 401, None),
            id="401",
        ),
        pytest.param(
            404,
            refusal("not_found_error", "model: claude-9"),
            {},
            (ModelNotFound, "HTTP 404: model: claude-9", 404, None),
            id="404",
        ),
        pytest.param(
            429,
            refusal("rate_limit_error", "slow down"),
            {"retry_after": "7"},
            (RateLimited, "HTTP 429: slow down", 429, 7.0),
            id="429-retry-after",
        ),
        pytest.param(
            429,
            refusal("insufficient_quota", "You exceeded your current quota"),
            {},
            (QuotaExhausted, "HTTP 429: You exceeded your current quota", 429, None),
            id="429-quota",
        ),
        pytest.param(
            400,
            refusal("invalid_request_error", BROKE),
            {},
            (QuotaExhausted, f"HTTP 400: {BROKE}", 400, None),
            id="400-no-credit",
        ),
        pytest.param(
            529,
            refusal("overloaded_error", "Overloaded"),
            {},
            (ServerError, "HTTP 529: Overloaded", 529, None),
            id="529",
        ),
        pytest.param(
            500,
            refusal("api_error", "Internal server error"),
            {},
            (ServerError, "HTTP 500: Internal server error", 500, None),
            id="500",
        ),
        pytest.param(
            400,
            refusal("invalid_request_error", LONG),
            {},
            (ContextTooLong, f"HTTP 400: {LONG}", 400, None),
            id="400-too-long",
        ),
        pytest.param(
            400,
            refusal("invalid_request_error", "temperature: range 0..1"),
            {},
            (BadRequest, "HTTP 400: temperature: range 0..1", 400, None),
            id="400",
        ),
        pytest.param(504, b"<html>gateway", {}, (ServerError, "HTTP 504: <html>gateway", 504, None), id="504-html"),
    ],
)
async def test_a_refusal_of_anthropic_has_its_meaning_after_one_request(
    *,
    provider: Provider,
    transport: LitellmTransport,
    status: int,
    body: Any,
    headers: dict[str, str],
    expected: tuple[Any, ...],
) -> None:
    """Class, message, status and wait are the provider's, not litellm's; and nothing was sent twice."""
    provider.reply(body, status, **headers)
    with pytest.raises(CallError) as caught:
        await transport.send(request_to(provider.url))
    assert (said(caught.value), len(provider.asked)) == (expected, 1)


GOOGLE_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def google(code: int, message: str, quota_id: str | None = None, retry_delay: str | None = None) -> dict[str, Any]:
    """An error as Google writes it, https://google.aip.dev/193"""
    failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota_id}]}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay}
    details = [*([failure] if quota_id else []), *([retry] if retry_delay else [])]
    return {"error": {"code": code, "message": message, "details": details}}


@pytest.mark.parametrize(
    ("model", "status", "body", "expected"),
    [
        pytest.param(
            "gemini/gemini-2.0-flash",
            429,
            google(429, GOOGLE_QUOTA, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "26s"),
            (RateLimited, f"HTTP 429: {GOOGLE_QUOTA}", 429, 26.0),
            id="gemini-per-minute",
        ),
        pytest.param(
            "gemini/gemini-2.0-flash",
            429,
            google(429, GOOGLE_QUOTA, "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            (QuotaExhausted, f"HTTP 429: {GOOGLE_QUOTA}", 429, None),
            id="gemini-per-day",
        ),
        pytest.param(
            "gemini/gemini-2.0-flash",
            400,
            google(400, "API key not valid. Please pass a valid API key."),
            (AuthRefused, "HTTP 400: API key not valid. Please pass a valid API key.", 400, None),
            id="gemini-key",
        ),
        pytest.param(
            "gemini/gemini-2.0-flash",
            403,
            google(403, "Permission denied"),
            (AuthRefused, "HTTP 403: Permission denied", 403, None),
            id="gemini-403",
        ),
        pytest.param(
            "azure/mine",
            429,
            {"error": {"code": "429", "message": "slow down"}},
            (RateLimited, "HTTP 429: slow down", 429, 3.0),
            id="azure-429",
        ),
        pytest.param(
            "azure/mine",
            500,
            {"error": {"code": "x", "message": "broken"}},
            (ServerError, "HTTP 500: broken", 500, 3.0),
            id="azure-500",
        ),
        pytest.param(
            "azure/mine",
            408,
            {"error": {"code": "x", "message": "too slow"}},
            (CallTimedOut, "HTTP 408: too slow", 408, 3.0),
            id="azure-408",
        ),
        pytest.param(
            "azure/mine",
            400,
            {"error": {"code": "content_filter", "message": "no"}},
            (ContentFiltered, "HTTP 400: no", 400, None),
            id="azure-filter",
        ),
        pytest.param(
            "bedrock/anthropic.claude-3-haiku-20240307-v1:0",
            429,
            {"message": "Too many tokens, please wait before trying again."},
            (RateLimited, "HTTP 429: Too many tokens, please wait before trying again.", 429, 3.0),
            id="bedrock-429",
        ),
        pytest.param(
            "cohere/command-r",
            500,
            {"message": "broken"},
            (ServerError, "HTTP 500: broken", 500, 3.0),
            id="cohere-500",
        ),
    ],
)
async def test_a_refusal_of_others_has_its_meaning_after_one_request(
    *,
    provider: Provider,
    transport: LitellmTransport,
    model: str,
    status: int,
    body: Any,
    expected: tuple[Any, ...],
) -> None:
    """Azure goes through the openai package, whose own retries default to 2; the others through litellm's client."""
    headers = {"retry_after": "3"} if expected[3] == 3.0 else {}
    provider.reply(body, status, **headers)
    aws = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region_name": "us-east-1"}
    params = {"azure": {"api_version": "2024-06-01"}, "bedrock": aws}.get(model.partition("/")[0], {})
    with pytest.raises(CallError) as caught:
        await transport.send(request_to(provider.url, model, **params))
    assert (said(caught.value), len(provider.asked)) == (expected, 1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(
            429,
            {"error": {"code": "rate_limit_exceeded", "message": "Try again in 1.2s. See billing"}},
            ("RateLimited", True, 1.2),
            id="a rate",
        ),
        pytest.param(429, [google(429, GOOGLE_QUOTA, None, "2s")], ("RateLimited", False, 2.0), id="in an array"),
        pytest.param(
            413,
            {"error": {"code": "rate_limit_exceeded", "message": "Limit 6000, Requested 9000"}},
            ("ContextTooLong", False, None),
            id="one request",
        ),
        pytest.param(
            400,
            {"error": {"code": "tool_use_failed", "message": "no", "failed_generation": "<f>"}},
            ("GenerationFailed", True, None),
            id="a generation",
        ),
        pytest.param(
            403,
            {"error": {"message": "flagged", "metadata": {"flagged_input": "x"}}},
            ("ContentFiltered", True, None),
            id="a text",
        ),
        pytest.param(500, {"error": "prompt is too long"}, ("ContextTooLong", False, None), id="a context"),
        pytest.param(498, {"error": {"code": "capacity_exceeded"}}, ("ServerError", True, None), id="no capacity"),
        pytest.param(
            200,
            {"error": {"code": 429, "message": "slow down"}, "choices": None},
            ("RateLimited", False, None),
            id="inside a 200",
        ),
        pytest.param(200, b"<html>hello", ("ServerError", False, None), id="garbage in a 200"),
    ],
)
async def test_a_refusal_means_the_same_as_on_the_direct_transport(
    *, provider: Provider, transport: LitellmTransport, status: int, body: Any, expected: tuple[str, bool, float | None]
) -> None:
    """Whatever class litellm makes of it. A reply that is garbage has its status, so it is no outage."""
    provider.reply(body, status)
    with pytest.raises(CallError) as caught:
        await transport.send(request(compatible(provider), "Hello?"))
    error = caught.value
    assert (type(error).__name__, error.is_coded, error.retry_after_s) == expected
    assert error.http_status == (429 if expected[0] == "RateLimited" else status)
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("model", "params", "message"),
    [
        pytest.param("nosuch/m", {}, "BadRequestError: LLM Provider NOT provided", id="no such provider"),
        pytest.param(
            "anthropic/claude-3-5-haiku-20241022",
            {"temperature": object()},
            "AnthropicError: Object of type object is not JSON serializable",
            id="a parameter that is no JSON",
        ),
        pytest.param(
            "anthropic/claude-3-5-haiku-20241022",
            {"response_format": 5},
            "TypeError: Unsupported response_format type - 5",
            id="a parameter that litellm trips over",
        ),
    ],
)
async def test_a_request_that_litellm_cannot_make_is_a_bad_one(
    provider: Provider, transport: LitellmTransport, model: str, params: dict[str, Any], message: str
) -> None:
    """Not a failure of the provider's, which never saw it: it is not sent again, and is no outage."""
    with pytest.raises(BadRequest) as caught:
        await transport.send(request_to(provider.url, model, **params))
    assert str(caught.value).startswith(message)
    assert provider.asked == []


@pytest.mark.parametrize("model", ["anthropic/claude-3-5-haiku-20241022", "gemini/gemini-2.0-flash", "azure/mine"])
@pytest.mark.parametrize("body", [b"<html>hello", b"[1]", b"{}"], ids=["html", "list", "object"])
async def test_a_reply_that_is_no_completion_is_a_call_error(
    provider: Provider, transport: LitellmTransport, model: str, body: bytes
) -> None:
    """litellm raises what its parser trips over; nothing but CallErrors leaves a transport, without a traceback."""
    provider.reply(body)
    with pytest.raises(CallError) as caught:
        await transport.send(request_to(provider.url, model, api_version="2024-06-01"))
    assert isinstance(caught.value, ServerError | OutputInvalid), caught.value
    assert "Traceback" not in str(caught.value)
    assert len(provider.asked) == 1


@pytest.mark.parametrize("model", ["anthropic/claude-3-5-haiku-20241022", "gemini/gemini-2.0-flash", "azure/mine"])
async def test_a_reset_connection_is_not_tried_again(
    provider: Provider, transport: LitellmTransport, model: str
) -> None:
    """litellm's HTTP client sends a POST again by itself after a reset; the provider may have billed the first."""
    provider.resets = True
    with pytest.raises(NetworkError):
        await transport.send(request_to(provider.url, model, api_version="2024-06-01"))
    assert len(provider.asked) == 1


def _bind(sock: socket.socket, digits: str) -> int:
    """Bind `sock` to a free port whose number contains `digits`."""
    for port in (n for n in range(10_000, 30_000) if digits in str(n)):
        with suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@pytest.mark.parametrize("model", ["anthropic/claude-3-5-haiku-20241022", "gemini/gemini-2.0-flash", "azure/mine"])
async def test_a_refused_connection_is_a_network_error(transport: LitellmTransport, model: str) -> None:
    """litellm calls it an InternalServerError, or what a 403 in the port makes it think; there was no reply."""
    with socket.socket() as bound:  # bound, not listening: nobody else gets the port meanwhile
        port = _bind(bound, "403")
        with pytest.raises(NetworkError) as caught:
            await transport.send(request_to(f"http://127.0.0.1:{port}", model, api_version="2024-06-01"))
    expected = f"ConnectError: Cannot connect to host 127.0.0.1:{port} [Connect call failed ('127.0.0.1', {port})]"
    assert said(caught.value) == (NetworkError, expected, None, None)


async def test_a_parameter_that_the_provider_lacks_is_an_error(provider: Provider, transport: LitellmTransport) -> None:
    """It is not dropped in silence, and nothing is sent; drop_params asks for litellm's way."""
    provider.reply(ANSWER)
    with pytest.raises(BadRequest) as caught:
        await transport.send(request_to(provider.url, seed=1))
    assert str(caught.value) == (
        "UnsupportedParamsError: anthropic does not support parameters: ['seed'], for "
        "model=claude-3-5-haiku-20241022. Remove them, or say drop_params: true in the llm; "
        "what the provider has all the same may stand in extra_body"
    )
    assert provider.asked == []
    await transport.send(request_to(provider.url, seed=1, drop_params=True))
    assert "seed" not in provider.asked[0][2]


async def test_parameters_cannot_ask_for_retries_or_a_stream(provider: Provider, transport: LitellmTransport) -> None:
    """One send is one attempt, whatever an LLM's extra parameters say."""
    provider.reply(refusal("api_error", "broken"), 500)
    directives: dict[str, Any] = {
        "num_retries": 2,
        "max_retries": 2,
        "stream": True,
        "fallbacks": ["anthropic/claude-3-haiku"],
    }
    with pytest.raises(ServerError):
        await transport.send(request_to(provider.url, **directives))
    assert len(provider.asked) == 1
    assert not {"stream", *directives} & provider.asked[0][2].keys()


async def test_many_first_sends_at_once_are_one_request_each(provider: Provider) -> None:
    """Also of two transports on one loop."""
    provider.reply(ANSWER)
    first, second = LitellmTransport(), LitellmTransport()
    answers: list[Completion] = []

    async def send(transport: LitellmTransport) -> None:
        answers.append(await transport.send(request_to(provider.url)))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(send, first)
            tasks.start_soon(send, second)
    await first.aclose()
    await second.aclose()
    assert (answers, len(provider.asked)) == ([Completion("Hello!", Usage(100, 90, 5))] * 16, 16)


async def test_the_last_transport_of_a_loop_to_close_closes_the_connections(provider: Provider) -> None:
    """litellm keeps one set of connections for a loop: closing one transport must not cut off another's calls."""
    provider.reply(ANSWER)
    first, second = LitellmTransport(), LitellmTransport()
    for transport in (first, second):
        await transport.send(request_to(provider.url))
    [connection] = {id(c): c for c in provider.connections}.values()
    await first.aclose()
    await second.send(request_to(provider.url))
    assert [c is connection for c in provider.connections] == [True, True, True]
    await second.aclose()
    with anyio.fail_after(5):
        while not connection.is_closing():  # the end of the stream arrives some turns of the loop later
            await anyio.lowlevel.checkpoint()


async def test_a_cancelled_send_ends_and_leaves_the_transport_usable(
    provider: Provider, transport: LitellmTransport
) -> None:
    """The gateway's time limit is a cancellation."""
    provider.hangs = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.send, request_to(provider.url))
        await provider.reached.wait()
        tasks.cancel_scope.cancel()
    provider.hangs = False
    provider.reply(ANSWER)
    assert (await transport.send(request_to(provider.url))).text == "Hello!"


async def test_an_error_while_another_is_handled_is_not_taken_for_it(
    provider: Provider, transport: LitellmTransport
) -> None:
    """A gateway may send again from the except clause of the attempt before."""
    provider.reply(refusal("rate_limit_error", "slow down"), 429)
    try:
        await transport.send(request_to(provider.url))
    except RateLimited:
        provider.resets = True
        with pytest.raises(NetworkError) as caught:
            await transport.send(request_to(provider.url))
    assert caught.value.http_status is None


PROGRAM = """
import sys, anyio
from aiohttp import web
from aiohttp.test_utils import TestServer
from crewrun.errors import CallError
from crewrun.llm.endpoints import resolve
from crewrun.llm.transports.litellm.requests import check_parameters
from crewrun.llm.transports.litellm.transport import LitellmTransport
from crewrun.messages import ChatRequest, Endpoint, Message

assert not {"litellm", "openai", "httpx"} & sys.modules.keys(), "litellm is imported with the module"

async def main():
    status = iter((500, 200))
    async def handle(request):
        return web.json_response(%(answer)s, status=next(status))
    app = web.Application()
    app.router.add_post("/v1/messages", handle)
    async with TestServer(app) as server:
        transport = LitellmTransport()
        url = str(server.make_url("")).rstrip("/")
        endpoint = Endpoint("litellm", "anthropic", "claude-3-5-haiku-20241022", url, "key")
        request = ChatRequest(endpoint, (Message("user", "Hello?"),))
        try:
            await transport.send(request)
        except CallError as error:
            print(type(error).__name__, file=sys.stderr)
        print((await transport.send(request)).text, file=sys.stderr)
        await transport.aclose()

anyio.run(main)
anyio.run(LitellmTransport().aclose)
"""


@pytest.fixture(scope="module", autouse=True)
def program() -> Iterator["subprocess.Popen[str]"]:
    """A program that makes one failing and one good call. It imports litellm while the other tests do."""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", PROGRAM % {"answer": ANSWER}],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def test_a_program_sees_its_own_output_only(program: "subprocess.Popen[str]") -> None:
    """Nothing on stdout, no chatter of litellm, no "Unclosed client session" at exit; litellm comes with the send."""
    out, err = program.communicate(timeout=60)
    ours = re.sub(r"^Executing <.*\n|^.*asyncio.*took.*\n", "", err, flags=re.MULTILINE)
    assert (program.returncode, out, ours) == (0, "", "ServerError\nHello!\n")


async def test_the_litellm_transport_keeps_the_contract_of_transports(transport: LitellmTransport) -> None:
    """The cases of the direct transport, through litellm's own way to an OpenAI-compatible server."""
    with MockProcess() as mock:
        endpoint = Endpoint("litellm", "hosted_vllm", "m", base_url=mock.base_url, api_key="sk-test")
        await check_transport(transport, mock_cases(endpoint), lambda: int(mock.ledger()["totals"]["requests"]))


def compatible(provider: Provider) -> Endpoint:
    """An OpenAI-compatible server, through litellm."""
    return Endpoint("litellm", "hosted_vllm", "m", provider.url + "/v1", "key-of-the-test")


GOOGLE = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}


@pytest.mark.parametrize(
    ("model", "reply", "fields", "sent"),
    [
        pytest.param(
            "anthropic/claude-sonnet-4-5",
            ANSWER,
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "top_k": 3, "max_tokens": 2000},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "top_k": 3, "max_tokens": 2000},
            id="anthropic",
        ),
        pytest.param(
            "gemini/gemini-2.5-pro",
            GOOGLE,
            {"seed": 1, "max_tokens": 9},
            {"generationConfig": {"seed": 1, "max_output_tokens": 9}},
            id="gemini",
        ),
        pytest.param(
            "azure/gpt-4.1",
            reply_with({"content": "Hi"}, "stop"),
            {"service_tier": "flex", "verbosity": None, "prompt_cache_key": "k", "api_version": "2024-10-21"},
            {"service_tier": "flex", "prompt_cache_key": "k"},
            id="azure",
        ),
    ],
)
async def test_parameters_go_where_each_provider_has_them(
    provider: Provider,
    transport: LitellmTransport,
    model: str,
    reply: dict[str, Any],
    fields: dict[str, Any],
    sent: dict[str, Any],
) -> None:
    """Those of tools with tools only, what extra_body has beside them, and nothing that is left out."""
    provider.reply(reply)
    more = {"extra_body": {"mine": {"a": 1}, "gone": 1}, "parallel_tool_calls": False, "tool_choice": "auto"}
    endpoint = resolve(LLM(model=model, base_url=provider.url, api_key="k", **fields, **more), {})
    check_parameters(endpoint)
    await transport.send(replace(ChatRequest(endpoint, (Message("user", "Hello?"),)), left_out=("gone",)))
    [(path, _, body)] = provider.asked
    assert ("api-version=2024-10-21" in path) == ("api_version" in fields)
    kept = ("model", "messages", "contents", "stream")
    assert {k: v for k, v in body.items() if k not in kept} == {**sent, "mine": {"a": 1}}


async def test_organization_and_project_reach_a_proxy(provider: Provider, transport: LitellmTransport) -> None:
    """A LiteLLM proxy may stand before OpenAI."""
    provider.reply(reply_with({"content": "Hi"}, "stop"))
    fields = {"organization": "o", "project": "p"}
    endpoint = resolve(LLM(model="litellm_proxy/mine", base_url=provider.url, api_key="k", **fields), {})
    await transport.send(ChatRequest(endpoint, (Message("user", "Hello?"),)))
    [(_, headers, body)] = provider.asked
    assert (headers["OpenAI-Organization"], headers["OpenAI-Project"], body["model"]) == ("o", "p", "mine")


async def test_the_environment_s_account_stays_at_openai_s(
    provider: Provider, transport: LitellmTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's client, which litellm uses for others too, would send it to whoever is called."""
    for name in ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-the-environment")
    provider.reply(reply_with({"content": "Hi"}, "stop"))
    for model in ("zai/glm-4.6", "azure/mine"):
        endpoint = resolve(LLM(model=model, base_url=provider.url, api_key="k"), {})
        await transport.send(ChatRequest(endpoint, (Message("user", "Hello?"),)))
    assert [name for _, headers, _ in provider.asked for name in headers if name.lower().startswith("openai-")] == []


@pytest.mark.parametrize(
    ("model", "fields", "named"),
    [
        ("anthropic/claude-sonnet-4-5", {"verbosity": "low"}, "verbosity"),
        ("gemini/gemini-2.5-pro", {"safety_identifier": "me"}, "safety_identifier"),
        ("zai/glm-4.6", {"service_tier": "flex"}, "service_tier"),
        ("anthropic/claude-sonnet-4-5", {"verbosity": "low", "drop_params": True}, None),
        ("anthropic/claude-sonnet-4-5", {"verbosity": "low", "additional_drop_params": ["verbosity"]}, None),
        (
            "zai/glm-4.6",
            {"service_tier": "flex", "additional_params": {"allowed_openai_params": ["service_tier"]}},
            None,
        ),
        ("anthropic/claude-sonnet-4-5", {"top_k": 3, "temperature": 0.5, "stop": ["x"], "max_tokens": 9}, None),
    ],
)
def test_what_litellm_would_refuse_is_known_before_the_first_call(
    model: str, fields: dict[str, Any], named: str | None
) -> None:
    """By its own table of what providers take."""
    endpoint = resolve(LLM(model=model, api_key="k", **fields), {})
    with pytest.raises(BadRequest, match=f"{named}.*drop_params: true") if named else nullcontext():
        check_parameters(endpoint)


async def test_tools_and_their_turns_go_out_as_openai_has_them(provider: Provider, transport: LitellmTransport) -> None:
    """The whole body; a content of null may as well be left out, and litellm does that."""
    provider.reply(reply_with({"content": "Hi"}, "stop"))
    await transport.send(tool_talk(compatible(provider)))
    [(path, _, body)] = provider.asked
    messages = [{k: v for k, v in message.items() if v is not None} for message in TOOL_TALK["messages"]]
    expected = {"model": "m", "messages": messages, "tools": TOOL_TALK["tools"], "stream": False}
    assert (path, body) == ("/v1/chat/completions", expected)


async def test_a_schema_goes_out_as_a_response_format(provider: Provider, transport: LitellmTransport) -> None:
    """As it is, for a provider that has it."""
    provider.reply(reply_with({"content": '{"city": "Rome"}'}, "stop"))
    await transport.send(replace(request(compatible(provider), "Where?"), schema=SCHEMA))
    [(_, _, body)] = provider.asked
    assert body["response_format"] == RESPONSE_FORMAT


@pytest.mark.parametrize(("message", "said"), TOOL_REPLIES)
async def test_tool_calls_are_read_as_servers_write_them(
    provider: Provider, transport: LitellmTransport, message: dict[str, Any], said: tuple[str, tuple[ToolCall, ...]]
) -> None:
    """As the direct transport reads them."""
    provider.reply(reply_with(message))
    answer = await transport.send(tool_talk(compatible(provider)))
    assert answer == Completion(said[0], Usage(9, 0, 3), tool_calls=said[1])


@pytest.mark.parametrize("calls", GARBAGE)
async def test_tool_calls_that_are_none_are_the_servers_failure(
    provider: Provider, transport: LitellmTransport, calls: Any
) -> None:
    """Whatever litellm trips over."""
    provider.reply(reply_with({"content": None, "tool_calls": calls}))
    with pytest.raises(ServerError) as caught:
        await transport.send(tool_talk(compatible(provider)))
    assert "Traceback" not in str(caught.value)


# What an agent says when its turns are used up, in a request without tools.
LAST = Message("user", "Answer now.")
TOLD = [
    ("user", "Weather?"),
    ("assistant", 'I call weather with {"city": "Rome"}\nI call clock with {}'),
    ("user", "The tool's result: sunny\nThe tool's result: noon"),
    ("assistant", "Once more.\nI call clock with {}"),
    ("user", "The tool's result: one\n\nAnswer now."),
]

# https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use
TOOL_USE = [
    {"type": "text", "text": "I'll check."},
    {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": "weather", "input": {"city": "Rome"}},
    {"type": "tool_use", "id": "toolu_01B", "name": "clock", "input": {}},
]


async def test_tools_of_anthropic(provider: Provider, transport: LitellmTransport) -> None:
    """Calls out of tool_use blocks; results as tool_result, those of one turn in one message."""
    provider.reply({**ANSWER, "content": TOOL_USE, "stop_reason": "tool_use"})
    endpoint = request_to(provider.url).endpoint
    answer = await transport.send(tool_talk(endpoint))
    asked = (
        ToolCall("toolu_01A09q90qw90lq917835lq9", "weather", '{"city": "Rome"}'),
        ToolCall("toolu_01B", "clock", "{}"),
    )
    assert answer == Completion("I'll check.", Usage(100, 90, 5), tool_calls=asked)
    [(_, _, body)] = provider.asked
    assert [tool["name"] for tool in body["tools"]] == ["weather", "clock"]
    assert body["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_a", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "call_b", "content": "noon"},
        ],
    }


SIGNED = {"type": "thinking", "thinking": "I look.", "signature": "EqQBCgIYAhIM"}
THINKING = LLM(
    "anthropic/claude-sonnet-4-5",
    api_key="k",
    function_calling=True,
    thinking={"type": "enabled", "budget_tokens": 1024},
)


@tool
def clock() -> str:
    """The time."""
    return "noon"


async def test_claude_thinks_and_calls_tools(provider: Provider) -> None:
    """It refuses a turn with a tool that does not begin with the signed thinking that came with it."""

    def anthropic(body: Any) -> tuple[int, Any]:
        turns = [turn["content"] for turn in body["messages"] if turn["role"] == "assistant"]
        if any(content[0] != SIGNED for content in turns):
            return 400, refusal("invalid_request_error", "messages.1.content.0.type: Expected `thinking`")
        if len(turns) == 2:
            return 200, {**ANSWER, "content": [SIGNED, {"type": "text", "text": "noon"}]}
        use = {"type": "tool_use", "id": f"toolu_{len(turns)}", "name": "clock", "input": {}}
        return 200, {**ANSWER, "content": [SIGNED, use], "stop_reason": "tool_use"}

    provider.decides = anthropic
    agent = Agent(
        role="r", goal="g", backstory="b", tools=[clock], llm=THINKING.model_copy(update={"base_url": provider.url})
    )
    async with Gateway():
        output = await agent.akickoff("What time is it?")
    assert (output.raw, len(provider.asked)) == ("noon", 3)


async def test_thought_signatures_of_gemini_go_back(provider: Provider, transport: LitellmTransport) -> None:
    """With the call that they came with."""
    part = {"functionCall": {"name": "clock", "args": {}}, "thoughtSignature": "c2lnbmVk"}
    provider.reply(gemini("STOP", part))
    talk = tool_talk(request_to(provider.url, "gemini/gemini-3-pro-preview").endpoint)
    answer = await transport.send(talk)
    turn = Message("assistant", "", answer.tool_calls, carried=answer.carried)
    result = Message("tool", "noon", tool_call_id=answer.tool_calls[0].id)
    await transport.send(replace(talk, messages=(talk.messages[1], turn, result)))
    [_, (_, _, body)] = provider.asked
    assert body["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"


COUNTS = {"promptTokenCount": 20, "candidatesTokenCount": 4, "totalTokenCount": 24}


def gemini(finish_reason: str, *parts: Any) -> dict[str, Any]:
    content = {"parts": parts or [{"text": "Hi"}], "role": "model"}
    return {"candidates": [{"content": content, "finishReason": finish_reason}], "usageMetadata": COUNTS}


def azure(finish_reason: str = "stop", choice: Any = None, **beside: Any) -> dict[str, Any]:
    reply = reply_with({"content": "Hi"}, finish_reason)
    reply["choices"][0] |= choice or {}
    return {**reply, **beside}


GEMINI, CLAUDE, AZURE = "gemini/gemini-2.0-flash", "anthropic/claude-3-5-haiku-20241022", "azure/mine"
ENDINGS: dict[str, tuple[str, Any, tuple[Any, Any]]] = {
    "failed": (AZURE, azure("error"), (ServerError, 200)),
    "failed in other words": (AZURE, azure("engine_abort"), (ServerError, 200)),
    "a broken call": (GEMINI, gemini("MALFORMED_FUNCTION_CALL"), (ServerError, 200)),
    "filtered": (AZURE, azure("SAFETY"), (ContentFiltered, None)),
    "filtered by Gemini": (GEMINI, gemini("PROHIBITED_CONTENT"), (ContentFiltered, None)),
    "unknown": (AZURE, azure("pondered"), ("Hi", "pondered")),
    "unknown of Gemini": (GEMINI, gemini("PONDERED"), ("Hi", "PONDERED")),
    "unknown of Claude": (CLAUDE, {**ANSWER, "stop_reason": "pondered"}, ("Hello!", "pondered")),
    "a cut call": (CLAUDE, {**ANSWER, "content": TOOL_USE[1:], "stop_reason": "max_tokens"}, ("", None)),
    "only a cut call": (CLAUDE, {**ANSWER, "content": TOOL_USE[:2], "stop_reason": "max_tokens"}, (OutputInvalid, 200)),
    "an error in a choice": (AZURE, azure(choice={"error": {"code": 502, "message": "m"}}), (ServerError, 502)),
    "an error beside": (AZURE, azure(error={"code": 429, "message": "m"}), (RateLimited, 429)),
    "no error beside": (AZURE, azure(error={"code": None, "message": ""}), ("Hi", None)),
    "an error only": (AZURE, {"error": {"code": "402", "message": "m"}}, (QuotaExhausted, 402)),
    "no choices": (AZURE, {"choices": []}, (ServerError, 200)),
    "no message": (AZURE, {"choices": [{"message": None}]}, (ServerError, 200)),
    "Anthropic's error": (CLAUDE, refusal("overloaded_error", "Overloaded"), (ServerError, 503)),
    "Google's error": (GEMINI, [google(429, "slow down")], (RateLimited, 429)),
}


@pytest.mark.parametrize(("model", "reply", "expected"), ENDINGS.values(), ids=ENDINGS)
async def test_a_200_says_how_it_ended(
    provider: Provider, transport: LitellmTransport, model: str, reply: Any, expected: tuple[Any, Any]
) -> None:
    """By the provider's own words, which litellm maps to others, and by errors that it drops."""
    provider.reply(reply)
    asked = replace(
        request_to(provider.url, model, api_version="2024-06-01"), tools=tool_talk(Endpoint("litellm", "", "")).tools
    )
    found: tuple[Any, Any]
    try:
        answer = await transport.send(asked)
        found = answer.text, answer.finish_reason
        assert [call.name for call in answer.tool_calls] == (["weather"] if answer.truncated else [])
    except CallError as error:
        found = type(error), error.http_status
    assert found == expected


async def test_a_reply_is_read_up_to_64_mib(provider: Provider, transport: LitellmTransport) -> None:
    """After decompression, as on the direct transport; an error up to 64 KiB."""
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 8)) + packer.flush()  # 256 MiB
    for model in (CLAUDE, AZURE):
        asked = request_to(provider.url, model, api_version="2024-06-01")
        for body, status, encoding in ((bomb, 200, "gzip"), (bytes(1 << 17), 503, "identity")):
            provider.reply(body, status, content_encoding=encoding)
            with pytest.raises(ServerError, match=r"the reply is larger than 64 [KM]iB") as failed:
                await transport.send(asked)
            assert failed.value.http_status == status
    provider.reply(zlib.compress(json.dumps(ANSWER).encode()), content_encoding="deflate")
    assert (await transport.send(request_to(provider.url))).text == "Hello!"


async def test_the_last_answer_without_tools_tells_anthropic_of_them_in_words(
    provider: Provider, transport: LitellmTransport
) -> None:
    """It refuses tool_use blocks in a request that has no tools, and two turns of one role in a row."""
    provider.reply(ANSWER)
    talk = tool_talk(request_to(provider.url).endpoint)
    await transport.send(replace(talk, tools=(), messages=(*talk.messages, LAST)))
    [(_, _, body)] = provider.asked
    assert "tools" not in body
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == [
        (role, [{"type": "text", "text": text}]) for role, text in TOLD
    ]


async def test_a_schema_for_anthropic_comes_back_as_text(provider: Provider, transport: LitellmTransport) -> None:
    """litellm makes a tool of it, and a text of the tool's arguments."""
    made = {"type": "tool_use", "id": "toolu_01C", "name": "json_tool_call", "input": {"city": "Rome"}}
    provider.reply({**ANSWER, "content": [made], "stop_reason": "tool_use"})
    asked = request(request_to(provider.url).endpoint, "Where?")
    answer = await transport.send(replace(asked, schema=SCHEMA))
    assert (json.loads(answer.text), answer.tool_calls) == ({"city": "Rome"}, ())


async def test_tools_of_gemini(provider: Provider, transport: LitellmTransport) -> None:
    """Calls come without ids, so each gets one; results go out by the tool's name."""
    parts = [
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
        {"functionCall": {"name": "clock", "args": {}}},
    ]
    provider.reply(
        {
            "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 4, "totalTokenCount": 24},
        }
    )
    talk = tool_talk(request_to(provider.url, "gemini/gemini-2.0-flash").endpoint)
    answer = await transport.send(talk)
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("weather", '{"city": "Rome"}'),
        ("clock", "{}"),
    ]
    assert len({call.id for call in answer.tool_calls}) == 2
    await transport.send(replace(talk, tools=(), messages=(*talk.messages, LAST)))
    (_, _, with_tools), (_, _, without) = provider.asked
    assert with_tools["contents"][2] == {
        "role": "user",
        "parts": [
            {"function_response": {"name": "weather", "response": {"content": "sunny"}}},
            {"function_response": {"name": "clock", "response": {"content": "noon"}}},
        ],
    }
    assert [turn["parts"][-1]["text"] for turn in without["contents"]] == [text for _, text in TOLD]


PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjcK"
ADDRESS = "https://example.com/cat.png"


def in_turn(*wires: dict[str, Any]) -> Message:
    return Message("user", **in_parts([Part.of(wire, "x", wire.get("text")) for wire in wires]))


def image_of(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


async def test_parts_reach_a_provider_in_its_own_form(provider: Provider, transport: LitellmTransport) -> None:
    """What litellm makes of OpenAI's: images and documents, with their content or their address."""
    provider.reply(ANSWER)
    asked = request_to(provider.url)
    file = {"type": "file", "file": {"filename": "r.pdf", "file_data": PDF}}
    there = {"type": "file", "file": {"filename": "r.pdf", "file_data": "https://example.com/r.pdf"}}
    parts = in_turn({"type": "text", "text": "Compare"}, image_of(PNG), image_of(ADDRESS), file, there)
    await transport.send(replace(asked, messages=(Message("developer", "Be brief."), parts)))
    [(_, _, body)] = provider.asked
    (turn,) = [message for message in body["messages"] if message["role"] == "user" and len(message["content"]) > 1]
    about = [
        (part["type"], part.get("source", {}).get("type"), part.get("source", {}).get("url"))
        for part in turn["content"]
    ]
    assert about[-5:] == [
        ("text", None, None),
        ("image", "base64", None),
        ("image", "url", ADDRESS),
        ("document", "base64", None),
        ("document", "url", "https://example.com/r.pdf"),
    ]
    assert "Be brief." in json.dumps(body)


async def test_films_are_files_to_gemini(provider: Provider, transport: LitellmTransport) -> None:
    """litellm has no words for them, but takes a file of any type."""
    provider.reply({"candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}]})
    film = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}
    asked = request_to(provider.url, "gemini/gemini-2.5-flash")
    with suppress(CallError):
        await transport.send(replace(asked, messages=(in_turn({"type": "text", "text": "See"}, film),)))
    [(_, _, body)] = provider.asked
    (data,) = [
        part.get("inline_data") or part["inlineData"] for part in body["contents"][0]["parts"] if "text" not in part
    ]
    assert (data.get("mime_type") or data["mimeType"], data["data"]) == ("video/mp4", "AAAA")


async def test_nothing_is_fetched_from_a_row_s_address(provider: Provider, transport: LitellmTransport) -> None:
    """Not even for providers that take no addresses: it may be one of this machine's own network."""
    async with serving() as other:
        asked = request_to(provider.url, "anthropic/claude-3-5-haiku-20241022")
        with pytest.raises(BadRequest) as refused:  # http, which Anthropic does not take
            await transport.send(replace(asked, messages=(in_turn(image_of(f"{other.url}/cat.png")),)))
    assert (provider.asked, other.asked) == ([], [])
    assert "this provider takes no addresses of images and files, and crewrun fetches none; name a local file." in str(
        refused.value
    )


async def test_images_stay_where_tools_are_told_in_words(provider: Provider, transport: LitellmTransport) -> None:
    """Turns with tools in a request without any are merged with what stands beside them."""
    provider.reply(ANSWER)
    call = ToolCall("c1", "look", "{}")
    image = image_of(PNG)
    result = replace(in_turn({"type": "text", "text": "A cat"}, image), role="tool", tool_call_id="c1")
    turns = (in_turn(image), Message("assistant", "Hm.", (call,)), result, in_turn({"type": "text", "text": "Go on"}))
    await transport.send(replace(request_to(provider.url), messages=turns))
    [(_, _, body)] = provider.asked
    said = [[part.get("text", part["type"]) for part in message["content"]] for message in body["messages"]]
    assert said == [["image"], ["Hm.\nI call look with {}"], ["The tool's result:", "A cat", "image", "Go on"]]
