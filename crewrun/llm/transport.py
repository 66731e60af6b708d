"""The way out to a provider: the protocol that every transport keeps, and what a failed reply means.

`crewrun.testing.check_transport` holds any implementation against the contract written here.
"""

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic_core import from_json

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    OutputInvalid,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from crewrun.llm import rate_headers
from crewrun.messages import ChatRequest, Completion, Message, RateLimits, ReplySchema, ToolCall, ToolSpec, Usage


class Transport(Protocol):
    """Sends one request to one provider, once."""

    async def send(self, request: ChatRequest) -> Completion:
        """Send `request` and return the model's answer.

        One call is one attempt on the wire: no retries, no time limit of its own. Raises a CallError of the class that
        `failure` and `errors.py` give for every way in which it can fail, nothing else. Cancellation ends it at once
        and leaves the transport usable. Any number of sends may run at once.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. No send is running and none follows."""
        ...


# Words that providers put into `code`, `type` or the message of a refusal; checked in this order.
_BY_WORD: tuple[tuple[tuple[str, ...], type[CallError]], ...] = (
    (("api key not valid", "api_key_invalid", "invalid_api_key", "incorrect api key"), AuthRefused),
    (("insufficient_quota", "exceeded your current quota", "billing", "credit balance"), QuotaExhausted),
    (
        (
            "context_length_exceeded",
            "maximum context length",
            "context window",
            "prompt is too long",
            "too many tokens",
        ),
        ContextTooLong,
    ),
    (("content_filter", "content_policy", "content management policy"), ContentFiltered),
    (("model_not_found", "does not exist", "unknown model"), ModelNotFound),
)
_BY_STATUS: Mapping[int, type[CallError]] = {
    401: AuthRefused,
    402: QuotaExhausted,
    403: AuthRefused,
    404: ModelNotFound,
    408: CallTimedOut,
    409: ServerError,
    413: ContextTooLong,
    429: RateLimited,
}
# Which statuses the words above may overrule. A 429 can only be an empty account, whatever it says of tokens.
_REFUSALS = frozenset({400, 403, 404, 413, 422})


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> CallError:
    """The error for a reply with a status that is not 2xx. The only place where a status gets a meaning."""
    detail, words = _explain(body)
    kind = _BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequest)
    if status in _REFUSALS or status == 429:
        lowered = words.lower()
        told = next((k for marks, k in _BY_WORD if any(m in lowered for m in marks)), kind)
        kind = told if status != 429 or told is QuotaExhausted else kind
    error = kind(f"HTTP {status}: {detail}", http_status=status, retry_after_s=retry_after(headers))
    error.limits = rate_headers.read(headers)
    return error


def _explain(body: bytes) -> tuple[str, str]:
    """What the body says to a person, and the text in which to look for the provider's code words."""
    text = body[:4000].decode("utf-8", "replace").strip()
    try:
        error = json.loads(body)
        error = error.get("error", error) if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        return (" ".join(text[:300].split()) or "no explanation"), text
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or text[:300]
        return str(message)[:1000], f"{error.get('code')} {error.get('type')} {message}"
    return str(error)[:1000], str(error)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long the provider asks to wait, in seconds: `retry-after-ms`, or `Retry-After` as a number or an HTTP date.

    RFC 9110 §10.2.3; the milliseconds are OpenAI's and Azure's. Something unreadable counts as not asked.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        # A date is wall-clock time, so it is the one thing here that is compared with the wall clock.
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    """`text` as a finite number from 0 on, else None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def read_completion(body: bytes, limits: RateLimits | None = None) -> Completion:
    """The answer in an OpenAI chat completion, whose headers said `limits`.

    Raises ServerError when the body is no completion, ContentFiltered for a refusal, OutputInvalid for an empty answer.
    https://platform.openai.com/docs/api-reference/chat/object
    """
    try:
        reply = _parse(body)
        if "choices" not in reply and reply.get("error"):
            # OpenRouter and others report a failed upstream inside a 200.
            raise failure(_embedded_status(reply["error"]), body, {})
        choice = reply["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        refusal = message.get("refusal")
        tool_calls = read_tool_calls(message)
        counts = reply.get("usage")
        usage = read_usage(counts if isinstance(counts, dict) else {})
        finish = choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        start = " ".join(body[:200].decode("utf-8", "replace").split())
        raise ServerError(f"the reply is not a chat completion: {start!r}", http_status=200) from None
    return finished(text, usage, finish, refusal, tool_calls, limits)


def read_tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """The tools that an OpenAI message asks for, also in the older form of one `function_call`.

    Raises ValueError for calls without a name. Some servers leave the id out, or give arguments as an object.
    """
    calls = message.get("tool_calls")
    if not calls:
        older = message.get("function_call")
        calls = [{"function": older}] if older else []
    read = []
    for i, call in enumerate(calls):
        function = call["function"]
        name, arguments = function["name"], function.get("arguments")
        if not isinstance(name, str):
            raise ValueError("a tool call without a name")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        # Sent back as it is, an empty text would be refused for not being JSON.
        read.append(ToolCall(str(call.get("id") or f"call_{i}"), name, text if text.strip() else "{}"))
    return tuple(read)


def message_on_wire(message: Message) -> dict[str, Any]:
    """`message` as OpenAI's chat completions have it."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def tool_on_wire(spec: ToolSpec) -> dict[str, Any]:
    """`spec` as OpenAI's chat completions have it."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return {"type": "function", "function": function}


def schema_on_wire(schema: ReplySchema) -> dict[str, Any]:
    """`schema` as a `response_format`."""
    return {
        "type": "json_schema",
        "json_schema": {"name": schema.name, "schema": schema.schema, "strict": schema.strict},
    }


def _parse(body: bytes) -> Any:
    try:
        return from_json(body)  # three times as fast as the standard library's
    except ValueError:
        return json.loads(body)  # takes what some servers send: half an emoji, for instance


def _text(content: Any) -> Any:
    """Some servers answer in content parts."""
    if not isinstance(content, list):
        return content
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


def _embedded_status(error: Any) -> int:
    """The status that an error inside a 200 stands for."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return 429 if isinstance(code, str) and ("rate_limit" in code or "quota" in code) else 500


def finished(
    text: Any,
    usage: Usage,
    finish_reason: Any,
    refusal: Any = None,
    tool_calls: tuple[ToolCall, ...] = (),
    limits: RateLimits | None = None,
) -> Completion:
    """A completion, or the error for an answer that is none. What was used is kept in the error's `usage`."""
    if finish_reason == "content_filter" or (refusal and not text):
        raise _spent(ContentFiltered(f"the model declined: {refusal or text or 'content filter'}"), usage)
    if tool_calls:
        return Completion(text if isinstance(text, str) else "", usage, finish_reason == "length", tool_calls, limits)
    if not isinstance(text, str) or not text.strip():
        why = (
            "it reached max_tokens before the first word; raise max_tokens"
            if finish_reason == "length"
            else f"finish_reason {finish_reason!r}"
        )
        raise _spent(OutputInvalid(f"the model's reply is empty: {why}", http_status=200), usage)
    return Completion(text, usage, finish_reason == "length", (), limits)


def _spent(error: CallError, usage: Usage) -> CallError:
    error.usage = usage
    return error


# Digits of a count; what is longer is none.
_LONGEST_COUNT = 12


def read_usage(usage: dict[str, Any]) -> Usage:
    """Token counts out of an OpenAI usage object; what is missing, negative or no number counts as 0, and a part
    as the whole at most.
    """
    prompt_tokens, completion_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_prompt_tokens=min(prompt_tokens, _count(usage.get("prompt_tokens_details"), "cached_tokens")),
        completion_tokens=completion_tokens,
        reasoning_tokens=min(completion_tokens, _count(usage.get("completion_tokens_details"), "reasoning_tokens")),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _LONGEST_COUNT:
        value = int(value)
    return value if type(value) is int and value > 0 else 0
