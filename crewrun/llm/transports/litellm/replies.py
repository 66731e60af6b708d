"""The answer in a litellm ModelResponse, which has the shape of an OpenAI completion for every provider."""

from collections.abc import Mapping
from typing import Any

from crewrun.limits import rate_headers
from crewrun.llm.replies.finish_reasons import End, read_end
from crewrun.llm.transports.chat_json import finished, read_message, with_usage
from crewrun.llm.transports.embedded_errors import embedded_failure
from crewrun.llm.transports.litellm.wire import WireReply
from crewrun.llm.usage.counts import read_usage, usage_of
from crewrun.messages import Completion, RateLimits, Usage


def read_response(response: Any, reply: WireReply) -> Completion:
    """The answer in `response`, with what `reply` tells besides. Raises CallError for an error inside a 2xx."""
    body = reply.parsed()
    usage = _usage(response, body, reply.headers)
    if b'"error"' in reply.body and (failed := embedded_failure(body, reply.headers)) is not None:
        raise with_usage(failed, usage)
    choice = response.choices[0]
    is_openai = isinstance(body, dict) and isinstance(body.get("choices"), list)
    message = read_message(choice.message.model_dump(), _finish_reason(choice, body), has_made_arguments=not is_openai)
    return finished(message, usage, _limits(response))


def _usage(response: Any, body: Any, headers: Mapping[str, str]) -> Usage:
    """The provider's counts if they are in OpenAI's form, since litellm drops some of those; else litellm's."""
    if isinstance(body, dict) and isinstance(body.get("choices"), list) and isinstance(body.get("usage"), dict):
        return usage_of(body, headers)
    counts = response.usage.model_dump() if getattr(response, "usage", None) else {}
    return read_usage(counts, _tier(response), headers)


def _tier(response: Any) -> Any:
    """The service tier that a reply names, as OpenAI and Bedrock do; for Gemini its traffic type."""
    if tier := getattr(response, "service_tier", None):
        return tier
    hidden = getattr(response, "_hidden_params", None)
    fields = hidden.get("provider_specific_fields") if isinstance(hidden, dict) else None
    return fields.get("traffic_type") if isinstance(fields, dict) else None


def _finish_reason(choice: Any, body: Any) -> str | None:
    """The provider's own finish reason, or litellm's where that says more.

    litellm translates each into one of OpenAI's, and unknown ones into "stop".
    """
    hidden = getattr(choice, "provider_specific_fields", None)
    native = (hidden.get("native_finish_reason") if isinstance(hidden, Mapping) else None) or _native_reason(body)
    mapped: str | None = choice.finish_reason
    if not isinstance(native, str) or (read_end(native) is End.UNKNOWN and read_end(mapped) is not End.DONE):
        return mapped
    return native


def _native_reason(body: Any) -> Any:
    """The finish reason in a reply of Anthropic, Gemini, Bedrock or Cohere."""
    if not isinstance(body, dict):
        return None
    first: Any = next((v[0] for v in (body.get("choices"), body.get("candidates")) if isinstance(v, list) and v), {})
    for holder in (first, body):
        for name in ("finish_reason", "finishReason", "stop_reason", "stopReason"):
            if isinstance(holder, dict) and isinstance(word := holder.get(name), str):
                return word
    return None


def _limits(response: Any) -> RateLimits | None:
    """The rate limits in the provider's headers. litellm keeps those, some under its own names."""
    hidden = getattr(response, "_hidden_params", None)
    headers = hidden.get("additional_headers") if isinstance(hidden, dict) else None
    if not isinstance(headers, Mapping):
        return None
    return rate_headers.read({str(name).lower().removeprefix("llm_provider-"): str(headers[name]) for name in headers})
