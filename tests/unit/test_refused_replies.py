"""What one refused reply means, by status, structured codes, words and headers: the table that both transports use.

Bodies have the shapes in which providers, local servers and proxies send them; the wordings are ours.
"""

import json
from collections.abc import Mapping
from email.utils import formatdate
from time import time
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.batch.failures import likely_cause
from crewrun.errors import CallError, GenerationFailed, RateLimited
from crewrun.limits import rate_headers
from crewrun.llm.transports.http_errors import embedded_status, failure
from crewrun.llm.transports.retry_after import retry_after, wait_in
from crewrun.row_context import RowContext
from crewrun.target.failure import describe_failure


def openai(message: str, code: str | None = None, kind: str | None = "invalid_request_error", **fields: Any) -> Any:
    """https://platform.openai.com/docs/guides/error-codes"""
    return {"error": {"message": message, "type": kind, "param": fields.pop("param", None), "code": code, **fields}}


def anthropic(kind: str, message: str) -> Any:
    """https://docs.anthropic.com/en/api/errors"""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011"}


def google(code: int, message: str, status: str, *details: Mapping[str, Any]) -> Any:
    """https://google.aip.dev/193"""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def quota(*ids: str) -> Mapping[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": name} for name in ids]}


def retry_info(delay: Any) -> Mapping[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def reason(word: str) -> Mapping[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "googleapis.com"}


def as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


class Case(NamedTuple):
    status: int
    body: Any
    kind: str
    is_coded: bool = False
    retry_after_s: float | None = None
    headers: Mapping[str, str] = {}


PLAN = "You exceeded your current quota, please check your plan and billing details."
GROQ = (
    "Rate limit reached for model `m` in organization `org_1` on tokens per minute (TPM): Limit 6000, Used 5900, "
    "Requested 200. Please try again in 1.2s. Need more tokens? Upgrade at https://console.groq.com/settings/billing"
)
MINUTE, DAY = (
    "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
)
GEMINI = google(429, PLAN, "RESOURCE_EXHAUSTED", quota(MINUTE), retry_info("2s"))

CASES = {
    # The account, and what only looks like it.
    "openai quota": Case(429, openai(PLAN, "insufficient_quota", "insufficient_quota"), "QuotaExhausted", True),
    "openai hard limit": Case(400, openai("Limit reached", "billing_hard_limit_reached"), "QuotaExhausted", True),
    "openai spend limit": Case(429, openai(PLAN, "project_spend_limit_exceeded", None), "QuotaExhausted", True),
    "kimi balance": Case(429, openai("Suspended", None, "exceeded_current_quota_error"), "QuotaExhausted", True),
    "zai balance": Case(429, openai("Please recharge", "1113", None), "QuotaExhausted", True),
    "dashscope arrears": Case(400, {"code": "Arrearage", "message": "Access denied"}, "QuotaExhausted", True),
    "modelark overdue": Case(403, openai("Overdue balance", "AccountOverdueError"), "QuotaExhausted", True),
    "402": Case(402, b"pay", "QuotaExhausted"),
    "402 deepseek": Case(402, openai("Insufficient Balance", "invalid_request_error", "x"), "QuotaExhausted"),
    "anthropic credit": Case(
        400,
        anthropic("invalid_request_error", "Your credit balance is too low to access the API. Go to Plans & Billing."),
        "QuotaExhausted",
    ),
    "anthropic usage limits": Case(
        400, anthropic("invalid_request_error", "You have reached your specified API usage limits."), "QuotaExhausted"
    ),
    "xai credits": Case(
        403, {"code": "permission-denied", "error": "Your team doesn't have any credits yet."}, "QuotaExhausted"
    ),
    "429 in words of money": Case(429, openai(PLAN, None, None), "RateLimited"),
    "groq": Case(429, openai(GROQ, "rate_limit_exceeded", "tokens"), "RateLimited", True, 1.2),
    "groq a day": Case(
        429,
        openai(
            "On tokens per day (TPD): Limit 100, Used 99, Requested 2. Try again in 22m46.5s.", "rate_limit_exceeded"
        ),
        "RateLimited",
        True,
        1366.5,
    ),
    "gemini a minute": Case(429, GEMINI, "RateLimited", True, 2.0),
    "gemini in an array": Case(429, [GEMINI], "RateLimited", True, 2.0),
    "gemini a day": Case(429, google(429, PLAN, "RESOURCE_EXHAUSTED", quota(DAY)), "QuotaExhausted", True),
    "gemini a day with RetryInfo": Case(
        429, google(429, PLAN, "RESOURCE_EXHAUSTED", quota(DAY), retry_info("26s")), "RateLimited", False, 26.0
    ),
    "gemini RetryInfo as an object": Case(
        429, google(429, PLAN, "RESOURCE_EXHAUSTED", retry_info({"seconds": 3})), "RateLimited", False, 3.0
    ),
    "gemini both without RetryInfo": Case(
        429, google(429, PLAN, "RESOURCE_EXHAUSTED", quota(MINUTE, DAY)), "RateLimited", True
    ),
    "gemini through litellm's proxy": Case(
        429,
        openai(f"litellm.RateLimitError: GeminiException - {json.dumps(GEMINI, indent=2)}", "429", "throttling_error"),
        "RateLimited",
        True,
        2.0,
    ),
    "gemini a day through a proxy": Case(
        429,
        openai(
            "litellm.RateLimitError: GeminiException - " + json.dumps(google(429, PLAN, "X", quota(DAY))), "429", None
        ),
        "QuotaExhausted",
        True,
    ),
    "gemini as bytes through a proxy": Case(
        429,
        openai(f"AnthropicException - b'{json.dumps(GEMINI)}'. Received Model Group=m", "429"),
        "RateLimited",
        True,
        2.0,
    ),
    "gemini as a repr through a proxy": Case(
        429, {"detail": f"Error code: 429 - {GEMINI!r}"}, "RateLimited", True, 2.0
    ),
    "quota through openrouter": Case(
        429,
        openai(
            "Provider returned error",
            metadata={"raw": json.dumps(openai(PLAN, "insufficient_quota")), "provider_name": "OpenAI"},
        ),
        "QuotaExhausted",
        True,
    ),
    "openrouter rate": Case(
        429,
        openai(
            "Provider returned error", metadata={"raw": "m is rate-limited upstream. Retry shortly, or add credits"}
        ),
        "RateLimited",
    ),
    "429 with a header and words of money": Case(
        429, openai("Your quota is used up; see billing"), "RateLimited", False, 4.0, {"Retry-After": "4"}
    ),
    "cerebras a minute": Case(
        429, openai("Tokens per minute limit exceeded", "token_quota_exceeded", "too_many_tokens_error"), "RateLimited"
    ),
    "dashscope allocation": Case(
        429, {"code": "Throttling.AllocationQuota", "message": "Allocated quota exceeded"}, "RateLimited", True
    ),
    "modelark trial": Case(429, openai("Free trial is used up", "QuotaExceeded"), "QuotaExhausted", True),
    "429 as text": Case(429, b"slow down, try again in 20 seconds", "RateLimited", False, 20.0),
    "429 as html": Case(429, b"<html><h1>billing: 429</h1></html>", "RateLimited"),
    "429 empty": Case(429, b"", "RateLimited"),
    "429 an error of a string": Case(429, {"error": "Model is overloaded"}, "RateLimited"),
    "openai flex": Case(429, openai("Resource unavailable", "resource_unavailable"), "RateLimited"),
    "403 of a rate": Case(
        403, google(403, "Exceeded", "PERMISSION_DENIED", reason("rateLimitExceeded")), "RateLimited", True
    ),
    "400 of requests in flight": Case(400, {"error": "too many concurrent requests"}, "RateLimited"),
    "400 of a rate": Case(400, {"error": "Rate limit exceeded, retry in 3s"}, "RateLimited", False, 3.0),
    "bedrock": Case(429, {"message": "Too many tokens, please wait before trying again."}, "RateLimited"),
    "bedrock's header": Case(
        400, {"message": "Too many"}, "RateLimited", True, None, {"x-amzn-ErrorType": "ThrottlingException:http://a.b"}
    ),
    # One request that is larger than a window.
    "413 over the limit": Case(
        413,
        openai(
            "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000",
            "rate_limit_exceeded",
        ),
        "ContextTooLong",
    ),
    "429 over the limit": Case(
        429,
        openai("Request too large on tokens per min (TPM): Limit 30000, Requested 45,000.", "rate_limit_exceeded"),
        "ContextTooLong",
    ),
    "429 over the limit, reworded": Case(
        429, {"error": "requested 9,000 tokens; your limit is 6,000"}, "ContextTooLong"
    ),
    "429 within the limit": Case(429, {"error": "requested 900 tokens; your limit is 6,000"}, "RateLimited"),
    "413": Case(413, b"", "ContextTooLong"),
    "413 html": Case(413, b"<html><h1>413 Request Entity Too Large</h1></html>", "ContextTooLong"),
    # One generation that failed.
    "groq tool": Case(
        400, openai("Failed to call a function.", "tool_use_failed", failed_generation="<f>"), "GenerationFailed", True
    ),
    "groq json": Case(400, openai("Failed to validate JSON.", "json_validate_failed"), "GenerationFailed", True),
    "groq parse": Case(400, openai("Parsing failed.", "output_parse_failed"), "GenerationFailed", True),
    "only the field": Case(422, {"detail": {"failed_generation": "{"}, "message": "no"}, "GenerationFailed", True),
    "only words": Case(400, {"error": "The model generated an invalid tool call"}, "GenerationFailed"),
    "words of another": Case(400, {"error": "tool call validation failed: attempted to call 'x'"}, "GenerationFailed"),
    "in a proxy's string": Case(
        400,
        openai(f"litellm.BadRequestError: GroqException - {json.dumps(openai('no', 'tool_use_failed'))}", "400"),
        "GenerationFailed",
        True,
    ),
    # One text that a policy refuses.
    "azure filter": Case(
        400,
        openai("Filtered", "content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
        "ContentFiltered",
        True,
    ),
    "azure inner only": Case(
        400, openai("no", None, innererror={"code": "ResponsibleAIPolicyViolation"}), "ContentFiltered", True
    ),
    "openai prompt": Case(400, openai("Invalid prompt: it was flagged", "invalid_prompt"), "ContentFiltered", True),
    "openrouter flagged": Case(
        403,
        openai("Your input was flagged", None, None, metadata={"reasons": ["violence"], "flagged_input": "How to"}),
        "ContentFiltered",
        True,
    ),
    "flagged quoting a code": Case(
        403,
        openai("no", None, None, metadata={"flagged_input": json.dumps(openai(PLAN, "insufficient_quota"))}),
        "ContentFiltered",
        True,
    ),
    "a message quoting a code": Case(
        400, openai(f"Invalid value: {json.dumps(openai('no', 'insufficient_quota'))}", "invalid_value"), "BadRequest"
    ),
    "quota in a stream's event": Case(
        429, b"data: " + as_bytes(openai(PLAN, "insufficient_quota")), "QuotaExhausted", True
    ),
    "quota behind a status": Case(
        429, {"error": f"got status: 429. {json.dumps(openai(PLAN, 'insufficient_quota'))}"}, "QuotaExhausted", True
    ),
    "dashscope": Case(400, {"code": "DataInspectionFailed", "message": "Input may be"}, "ContentFiltered", True),
    "modelark": Case(400, openai("no", "SensitiveContentDetected.Violence", "BadRequest"), "ContentFiltered", True),
    "zai": Case(400, openai("no", "1301", None), "ContentFiltered", True),
    "deepseek": Case(400, openai("Content Exists Risk", "invalid_request_error"), "ContentFiltered"),
    "xai policy": Case(
        403,
        {
            "code": "The caller does not have permission",
            "error": "Content violates usage guidelines. Team: t, API key ID: k",
        },
        "ContentFiltered",
    ),
    "safety system": Case(400, {"error": "Your request was rejected by our safety system"}, "ContentFiltered"),
    "needs moderation": Case(403, {"error": "m requires moderation; your input was flagged"}, "ContentFiltered"),
    "422 harmful": Case(422, {"detail": "The prompt may have harmful content"}, "ContentFiltered"),
    # A key, an account or a model that does not work, and what may be a firewall.
    "openai key": Case(401, openai("Incorrect API key provided", "invalid_api_key"), "AuthRefused", True),
    "anthropic key": Case(401, anthropic("authentication_error", "invalid x-api-key"), "AuthRefused", True),
    "anthropic permission": Case(403, anthropic("permission_error", "no"), "AuthRefused", True),
    "gemini key": Case(
        400, google(400, "API key not valid.", "INVALID_ARGUMENT", reason("API_KEY_INVALID")), "AuthRefused", True
    ),
    "gemini key in words": Case(400, google(400, "API key not valid.", "INVALID_ARGUMENT"), "AuthRefused"),
    "gemini key in an array": Case(
        400, [google(400, "API key expired.", "X", reason("API_KEY_INVALID"))], "AuthRefused", True
    ),
    "401": Case(401, b"", "AuthRefused"),
    "403": Case(403, b"", "AuthRefused"),
    "403 html": Case(
        403, b"<html><body>Request blocked. Security policy violation: content</body></html>", "AuthRefused"
    ),
    "403 text": Case(403, b"Your request was blocked by the network's security policy", "AuthRefused"),
    "403 google": Case(403, google(403, "Permission denied", "PERMISSION_DENIED"), "AuthRefused"),
    "403 of an account": Case(403, {"error": "This account has been flagged for unusual activity"}, "AuthRefused"),
    "403 of a key": Case(403, google(403, "Your API key was reported as leaked.", "PERMISSION_DENIED"), "AuthRefused"),
    "403 of a country": Case(403, openai("no", "unsupported_country_region_territory"), "AuthRefused", True),
    "404": Case(404, b"404 page not found", "ModelNotFound"),
    "openai model": Case(404, openai("The model `gpt-9.1` does not exist", "model_not_found"), "ModelNotFound", True),
    "anthropic model": Case(404, anthropic("not_found_error", "model: claude-9"), "ModelNotFound"),
    "azure deployment": Case(404, openai("no", "DeploymentNotFound", None), "ModelNotFound", True),
    "groq model": Case(400, openai("no", "model_decommissioned"), "ModelNotFound", True),
    "model in words": Case(400, {"error": "The model `gpt-9.1` does not exist"}, "ModelNotFound"),
    "xai model": Case(
        400, {"code": "Client specified an invalid argument", "error": "Model not found: x"}, "ModelNotFound"
    ),
    # A request that is wrong.
    "unsupported parameter": Case(
        400,
        openai("Unsupported parameter: 'temperature'", "unsupported_parameter", param="temperature"),
        "BadRequest",
        True,
    ),
    "unsupported value": Case(
        400, openai("'temperature' does not support 0.2", "unsupported_value", param="temperature"), "BadRequest", True
    ),
    "a schema": Case(
        400, openai("Invalid schema for response_format 'x'", None, param="response_format"), "BadRequest"
    ),
    "no such field": Case(400, {"error": "tool 'x' does not exist"}, "BadRequest"),
    "max_tokens": Case(400, {"error": "max_tokens must be <= 4096"}, "BadRequest"),
    "max_tokens, openai": Case(
        400,
        openai("max_tokens is too large: 32768. This model supports at most 16384 completion tokens.", "invalid_value"),
        "BadRequest",
    ),
    "max_tokens, anthropic": Case(
        400,
        anthropic("invalid_request_error", "max_tokens: 100000 > 64000, the maximum allowed number of output tokens"),
        "BadRequest",
    ),
    "max_tokens, cohere": Case(400, {"message": "too many tokens: max tokens must be at most 4096"}, "BadRequest"),
    "max_tokens, bedrock": Case(
        400, {"message": "The maximum tokens you requested exceeds the limit of 4096"}, "BadRequest"
    ),
    "maximum value": Case(400, {"error": "8192 is over the maximum value for max_tokens"}, "BadRequest"),
    "invalid input": Case(400, {"error": "input is not valid"}, "BadRequest"),
    "validation": Case(400, {"error": "Input validation error: `temperature` exceeds 2"}, "BadRequest"),
    "pydantic": Case(
        422,
        {
            "detail": [
                {
                    "type": "less_than_equal",
                    "loc": ["body", "max_tokens"],
                    "msg": "Input should be less than or equal to 4096",
                    "input": {"messages": [{"content": json.dumps(openai("x", "insufficient_quota"))}]},
                }
            ]
        },
        "BadRequest",
    ),
    "an image": Case(400, {"error": "image too large: the input exceeds 5 MB"}, "BadRequest"),
    "a user's name": Case(400, openai("Invalid 'user': string too long", "string_above_max_length"), "BadRequest"),
    "a tool's description": Case(400, openai("Invalid 'tools[0].function.description': string too long"), "BadRequest"),
    "too many tools": Case(400, openai("Your request exceeds the maximum number of tools (128)"), "BadRequest"),
    "headers": Case(400, b"<html><h1>400 Request Header Or Cookie Too Large</h1></html>", "BadRequest"),
    "422": Case(422, {"detail": "no"}, "BadRequest"),
    "405": Case(405, b"", "BadRequest"),
    # What passes.
    "408": Case(408, b"", "CallTimedOut"),
    "409": Case(409, b"", "ServerError"),
    "424 tgi": Case(424, {"error": "Request failed during generation: x", "error_type": "generation"}, "ServerError"),
    "425": Case(425, b"", "ServerError"),
    "498 groq": Case(498, openai("Flex is at capacity", "capacity_exceeded"), "ServerError", True),
    "499": Case(499, b"", "ServerError"),
    "500": Case(500, b"", "ServerError"),
    "500 of a queue": Case(500, openai("Input queue exceeded its size limit", None, "server_error"), "ServerError"),
    "503 of tokens": Case(503, openai("Too many tokens in the queue, server busy", None, "x"), "ServerError"),
    "502 of a buffer": Case(502, b"upstream: input buffer exceeded size limit", "ServerError"),
    "529 of a request": Case(529, openai("The request is too large for us right now", None, "x"), "ServerError"),
    "503 llama.cpp": Case(503, openai("Loading model", None, "unavailable_error"), "ServerError"),
    "529": Case(529, anthropic("overloaded_error", "Overloaded"), "ServerError"),
    "599": Case(599, b"<html>", "ServerError"),
    "400 overloaded": Case(400, {"error": "The model is overloaded"}, "ServerError"),
    "400 overloaded, coded": Case(400, openai("no", None, "overloaded_error"), "ServerError", True),
    "404 loading": Case(404, {"error": "Model is currently loading"}, "ServerError"),
    "500 with words of money": Case(500, openai(PLAN, "insufficient_quota"), "ServerError"),
    # Not what it says it is.
    "hostile nesting": Case(400, b"[" * 100_000, "BadRequest"),
    "hostile nesting in a string": Case(400, openai("x - " + '{"a":' * 20_000), "BadRequest"),
    "cut off": Case(429, as_bytes(openai("m", "insufficient_quota"))[:-2], "QuotaExhausted", True),
    "not UTF-8": Case(400, b'{"error":{"code":"content_filter","message":"\xff\xfe"}}', "ContentFiltered", True),
    "a redirect": Case(302, b"elsewhere", "BadRequest"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal_has_one_meaning(case: Case) -> None:
    """Class, whether a code says it, status, and the time to wait."""
    error = failure(case.status, as_bytes(case.body), case.headers)
    said = (type(error).__name__, error.is_coded, error.http_status, error.retry_after_s)
    assert said == (case.kind, case.is_coded, case.status, case.retry_after_s)


TOO_LONG = {
    "fit": "the request does not fit into the context of this model",
    "at most": "this model supports at most 8192 tokens of context",
    "openai": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "openai 2": "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "openai 3": "Invalid 'messages[1].content': string too long. Expected a string with maximum length 10485760.",
    "openai 4": "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
    "vllm": "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
    "vllm 2": "'max_tokens' is too large: 2000. This model's maximum context length is 4096 and your request has 2104.",
    "llama.cpp": "request (15174 tokens) exceeds the available context size (1024 tokens), try increasing it",
    "sglang": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "xai": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "gemini": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    "vertex": "Request contains 35000 tokens, which exceeds the limit of 32768",
    "gemini 2": "Your prompt (or context) is too large to be processed in time.",
    "lm studio": "Trying to keep the first 5000 tokens, but the model is loaded with context length of only 4096",
    "lm studio 2": "The number of tokens to keep from the initial prompt is greater than the context length",
    "mistral": "Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "anthropic": "prompt is too long: 200001 tokens > 200000 maximum",
    "anthropic 2": "input length and `max_tokens` exceed context limit: 198157 + 21333 > 200000",
    "cohere": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.",
    "tgi": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    "tgi 2": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    "bedrock": "Input is too long for requested model.",
    "together": "Input token count + max_tokens must be less than the context length of the model being queried.",
    "copilot": "prompt token count of 51808 exceeds the limit of 12288",
    "cerebras": "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
    "dashscope": "Range of input length should be [1, 98304]",
    "minimax": "invalid params, context window exceeds limit",
    "kimi": "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
    "kimi 2": "The length of tokens in the request is too long",
    "zai": "Prompt exceeds max length",
    "ollama": "the input length exceeds the context length",
    "nlp cloud": "Input text length should not exceed 1024 tokens",
    "poolside": "Input length 9000 exceeds the maximum allowed input length of 8192 tokens.",
    "ds4": "Prompt has 9000 tokens, but the configured context size is 8192 tokens",
    "zhipu": "Input too long",
    "conversation": "Conversation length exceeded. Please start a new session",
    "n_ctx": "n_keep: 9000 >= n_ctx: 8192, so it does not fit; max is n_ctx",
    "in chinese": "输入长度超过限制",
}


@pytest.mark.parametrize("status", [400, 403, 413, 422, 500])
@pytest.mark.parametrize("text", TOO_LONG.values(), ids=TOO_LONG)
def test_a_prompt_that_is_too_long_is_known_in_every_wording(text: str, status: int) -> None:
    """As an object, as a string, and passed on by a proxy."""
    proxied = openai(f"litellm.BadRequestError: XException - {json.dumps(openai(text))}", str(status))
    kinds = [type(failure(status, as_bytes(body), {})).__name__ for body in (openai(text), {"error": text}, proxied)]
    assert kinds == ["ContextTooLong"] * 3


@pytest.mark.parametrize("text", ["stop sequence exceeds maximum length", "prompt cache limit exceeded"])
def test_other_fields_that_are_too_long_are_not_the_prompt(text: str) -> None:
    """Shortening the prompt would not help."""
    assert [type(failure(status, as_bytes(openai(text)), {})).__name__ for status in (400, 500)] == [
        "BadRequest",
        "ServerError",
    ]


@pytest.mark.parametrize(
    "code",
    [
        *("context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded", "ContextTooLong"),
        *("context_window_exceeded", "prompt_too_long", "request_too_large", "tokens_limit_reached", "1261"),
    ],
)
def test_a_prompt_that_is_too_long_is_known_by_its_code(code: str) -> None:
    """Whatever the words, also in an error of the server's."""
    errors = [failure(status, as_bytes(openai("no", code, None)), {}) for status in (400, 413, 500)]
    assert [(type(error).__name__, error.is_coded) for error in errors] == [("ContextTooLong", True)] * 3


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("This model's maximum context length is 8192 tokens, your prompt has 9000", "ContextTooLong"),
        ("prompt is too long", "ContextTooLong"),
        ("This request would exceed your organization's rate limit of 40,000 input tokens per minute", "RateLimited"),
        ("Token limit exceeded", "RateLimited"),
        ("Input tokens per day exceeded for the free plan", "RateLimited"),
    ],
)
def test_a_429_is_about_the_prompt_only_where_it_cannot_be_about_a_rate(text: str, kind: str) -> None:
    """A limit of tokens in a window of time has the same words."""
    assert type(failure(429, as_bytes(openai(text)), {})).__name__ == kind


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            openai("Your account org-e664b<ak-9> request reached max organization concurrency: 2, try again after 1 s"),
            (True, 2),
            id="kimi",
        ),
        pytest.param(openai("Too many concurrent requests"), (True, None), id="no number"),
        pytest.param(openai("Too many concurrent requests. Limit: 1 concurrent requests"), (True, 1), id="limit"),
        pytest.param(openai("only 3 concurrent requests are allowed on your plan"), (True, 3), id="only"),
        pytest.param(openai("current concurrency: 9, limit: 4"), (True, 4), id="two numbers"),
        pytest.param(openai("10 parallel requests at most"), (True, 10), id="parallel"),
        pytest.param({"detail": "Max parallel request limit reached"}, (True, None), id="litellm's proxy"),
        pytest.param(openai("You may have 5 in-flight requests"), (True, 5), id="in flight"),
        pytest.param(openai("limited to 3 requests at the same time"), (True, 3), id="at the same time"),
        pytest.param({"error": "Rate limit: max 2 concurrent requests, retry after 1s"}, (True, 2), id="with a wait"),
        pytest.param(openai("no", "too_many_concurrent_requests"), (True, None), id="by its code"),
        pytest.param(openai("Please reduce your frequency", "1302", None), (True, None), id="zai"),
        pytest.param(openai("30 requests per minute; lower your concurrency"), (False, None), id="a rate"),
        pytest.param(openai(GROQ, "rate_limit_exceeded"), (False, None), id="groq"),
    ],
)
def test_a_limit_of_requests_in_flight_is_no_rate(body: Any, expected: tuple[bool, int | None]) -> None:
    """With the number, where it is said."""
    error = failure(429, as_bytes(body), {})
    assert isinstance(error, RateLimited)
    assert (error.is_concurrency, error.at_once) == expected


def test_the_parameter_is_kept() -> None:
    """As the provider writes it."""
    body = openai("Unsupported value", "unsupported_value", param="tools[0].Type", status="BAD_REQUEST", http_code=400)
    error = failure(400, as_bytes(body), {})
    assert error.param == "tools[0].Type"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(openai("Slow down"), "HTTP 400: Slow down", id="openai"),
        pytest.param([openai("Slow down")], "HTTP 400: Slow down", id="an array"),
        pytest.param({"error": "Slow down"}, "HTTP 400: Slow down", id="a string"),
        pytest.param({"code": "x", "error": "Slow down"}, "HTTP 400: Slow down", id="xai"),
        pytest.param({"error": "Bad Request", "message": "Slow down"}, "HTTP 400: Slow down", id="spring"),
        pytest.param({"detail": [{"loc": ["a"], "msg": "Slow down"}]}, "HTTP 400: Slow down", id="fastapi"),
        pytest.param(
            openai("Provider returned error", metadata={"raw": json.dumps(openai("Slow down"))}),
            "HTTP 400: Provider returned error: Slow down",
            id="openrouter",
        ),
        pytest.param(b"slow\n  down", "HTTP 400: slow down", id="text"),
        pytest.param(b"", "HTTP 400: no explanation", id="nothing"),
        pytest.param({"error": {}}, 'HTTP 400: {"error": {}}', id="an empty error"),
    ],
)
def test_the_message_is_what_the_provider_says_to_people(body: Any, message: str) -> None:
    """In whatever field."""
    assert str(failure(400, as_bytes(body), {})) == message


def test_a_failed_generation_is_kept_for_its_row() -> None:
    """In the row's error record, without keys, as an answer that could not be used is; it is retried."""
    body = openai("Failed to call a function.", "tool_use_failed", failed_generation="<f sk-proj-abcdefgh12345678>")
    error = failure(400, as_bytes(body), {})
    assert isinstance(error, GenerationFailed)
    record = describe_failure(error, RowContext())
    assert (record.category, record.type, record.retryable, record.raw) == (
        "output_invalid",
        "GenerationFailed",
        True,
        "<f [redacted]>",
    )
    assert likely_cause(record).startswith("its server cannot read what the model writes")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param({"code": 402, "message": "x"}, 402, id="a number"),
        pytest.param({"code": "502"}, 502, id="a number as text"),
        pytest.param({"status": 503, "code": "x"}, 503, id="a status"),
        pytest.param({"error": {"code": 429}}, 429, id="one level down"),
        pytest.param({"code": "rate_limit_exceeded"}, 429, id="a rate"),
        pytest.param({"type": "insufficient_quota"}, 402, id="an empty account"),
        pytest.param({"type": "overloaded_error"}, 503, id="overloaded"),
        pytest.param({"code": "context_length_exceeded"}, 400, id="context"),
        pytest.param({"code": "invalid_api_key"}, 401, id="a key"),
        pytest.param({"code": "model_not_found"}, 404, id="a model"),
        pytest.param({"message": "prompt is too long"}, 400, id="words of a context"),
        pytest.param("Rate limit exceeded", 429, id="words of a rate"),
        pytest.param("quota", 429, id="words of a quota"),
        pytest.param("upstream timed out", 504, id="words of time"),
        pytest.param({"code": 20012, "message": "x"}, None, id="a number of its own"),
        pytest.param({"code": True}, None, id="a bool"),
        pytest.param([1], None, id="an array"),
        pytest.param(None, None, id="nothing"),
        pytest.param("HTTP 429 from upstream", 429, id="a status in words"),
    ],
)
def test_an_error_inside_a_200_stands_for_a_status(error: Any, status: int | None) -> None:
    """By its number, its code, or its words; None where none of them says."""
    assert embedded_status(error) == status


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after": "1m30s"}, 90.0, id="as Go writes it"),
        pytest.param({"retry-after": "500ms"}, 0.5, id="milliseconds"),
        pytest.param({"retry-after": " 20 s "}, 20.0, id="with blanks"),
        pytest.param({"retry-after": "604800"}, 604_800.0, id="a week"),
        pytest.param({"retry-after": "604801"}, None, id="more than a week"),
        pytest.param({"retry-after": "1790000000"}, None, id="a time in seconds"),
        pytest.param({"retry-after-ms": "-1", "retry-after": "4"}, 4.0, id="negative milliseconds"),
        pytest.param({"retry-after": formatdate(time() + 30 * 86_400, usegmt=True)}, None, id="a date in a month"),
        pytest.param({"retry-after": ""}, None, id="empty"),
    ],
)
def test_a_header_asks_to_wait_in_many_forms(headers: dict[str, str], seconds: float | None) -> None:
    """What is nonsense counts as not asked."""
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("please try again in 1.2s. need more?", 1.2),
        ("try again in 1m30s", 90.0),
        ("retry after 58 seconds.", 58.0),
        ("please retry in 45.578569677s.", 45.578569677),
        ("please wait 20 seconds before the next request", 20.0),
        ("the limit resets in 2 hours and 5 minutes", 7_500.0),
        ("retrying in 250 ms", 0.25),
        ("try again in a moment", None),
        ("try again in 3 months", None),
        ("wait for 9 days", None),
        ("try again in 5 requests", None),
        ("limit 20 seconds", None),
    ],
)
def test_words_ask_to_wait_as_well(words: str, seconds: float | None) -> None:
    """A number with a unit, after a word of waiting."""
    assert wait_in(words) == pytest.approx(seconds)


def test_the_header_comes_before_the_body_in_any_case() -> None:
    """And a time since 1970 in the body is a time to wait, as OpenRouter passes it on."""
    told = {"error": {"message": "try again in 9s", "metadata": {"headers": {"X-RateLimit-Reset": "9"}}}}
    assert failure(429, as_bytes(told), {"RETRY-AFTER": "3"}).retry_after_s == 3.0
    later = {"error": {"message": "x", "metadata": {"headers": {"X-RateLimit-Reset": f"{(time() + 50) * 1000:.0f}"}}}}
    assert failure(429, as_bytes(later), {}).retry_after_s == pytest.approx(50, abs=5)


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
def test_a_reset_as_a_time_since_1970_counts_from_now(unit: int) -> None:
    """In the headers of limits, where OpenRouter has milliseconds; a reset within the minute is one of a minute."""
    at = f"{(time() + 30) * unit:.0f}"
    limits = rate_headers.read({"x-ratelimit-limit-requests": "20", "x-ratelimit-reset-requests": at})
    assert limits is not None
    assert limits.requests_per_min == 20
    assert limits.reset_requests_s == pytest.approx(30, abs=5)


KEY = "sk-proj-abcdefgh12345678"
WORDS = st.sampled_from(
    [
        *("insufficient_quota", "rate_limit_exceeded", "context_length_exceeded", "invalid_api_key", KEY, f"key {KEY}"),
        *(
            GROQ,
            PLAN,
            "prompt is too long",
            "try again in 1m30s",
            '{"error": {"code": 429}}',
            "x - {'code': 'y'}",
            "[{",
        ),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | WORDS
NAMES = st.sampled_from(
    [
        *(
            "error",
            "message",
            "code",
            "type",
            "status",
            "details",
            "raw",
            "metadata",
            "param",
            "retryDelay",
            "retry_after",
        ),
        *("failed_generation", "flagged_input", "seconds", "headers", "quotaId", ""),
    ]
)
BODIES = st.recursive(SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(NAMES, part, max_size=4))
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "retry-after-ms", "x-ratelimit-limit-requests", "X-Amzn-ErrorType"]),
    st.text(max_size=20) | st.integers().map(str),
)


@given(
    st.integers(0, 1000),
    st.binary(max_size=200) | BODIES.map(lambda body: json.dumps(body).encode()) | WORDS.map(str.encode),
    st.integers(0, 400),
    HEADERS,
)
def test_whatever_is_replied_is_an_error(status: int, body: bytes, cut: int, headers: dict[str, str]) -> None:
    """Never another exception, also for half a body; a possible time to wait; and no key in what is kept."""
    for part in (body, body[:cut]):
        error = failure(status, part, headers)
        assert isinstance(error, CallError)
        assert error.retry_after_s is None or 0 <= error.retry_after_s <= 604_800
        kept = (str(error), error.param, error.raw)
        assert [text for text in kept if text and KEY in text] == []


@given(BODIES)
def test_whatever_is_inside_a_200_has_the_status_of_an_error_or_none(error: Any) -> None:
    """Also what is no error at all."""
    status = embedded_status(error)
    assert status is None or 400 <= status < 600
