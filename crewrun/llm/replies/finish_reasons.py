"""How a reply ended, according to its `finish_reason`: the one table of the values that providers use.

Providers use any case, and values that they do not document, so a value that is not in the table is searched for
telling parts. Without any, it is UNKNOWN.
"""

from collections.abc import Mapping
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final


class End(Enum):
    """How a reply ended: complete, at max_tokens, by the provider's policy, or by a failure on its side."""

    DONE = auto()
    TRUNCATED = auto()
    FILTERED = auto()
    FAILED = auto()
    UNKNOWN = auto()


# OpenAI and compatible servers, Anthropic's stop_reason, Gemini's finishReason, Bedrock's stopReason, Cohere.
_WORDS: Final[Mapping[str, End]] = {
    **dict.fromkeys(("", "null", "none", "stop", "eos", "eos_token", "end_turn", "stop_sequence"), End.DONE),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call", "complete"), End.DONE),
    **dict.fromkeys(("length", "max_tokens", "model_length", "max_output_tokens", "max_length"), End.TRUNCATED),
    **dict.fromkeys(("token_limit", "model_context_window_exceeded"), End.TRUNCATED),
    **dict.fromkeys(("content_filter", "safety", "sensitive", "recitation", "prohibited_content"), End.FILTERED),
    **dict.fromkeys(("blocklist", "spii", "refusal", "guardrail_intervened", "error_toxic"), End.FILTERED),
    **dict.fromkeys(("error", "server_error", "abort", "cancelled", "load", "unload", "overloaded"), End.FAILED),
    **dict.fromkeys(("network_error", "insufficient_system_resource", "timeout", "time_limit"), End.FAILED),
    **dict.fromkeys(("malformed_function_call", "malformed_response"), End.FAILED),
}
# Telling parts, in order of precedence.
_PARTS: Final[tuple[tuple[tuple[str, ...], End], ...]] = (
    (("filter", "safety", "moderat", "policy", "prohibited", "guardrail", "refus", "flagged"), End.FILTERED),
    (("error", "fail", "abort", "cancel", "overload", "timeout", "timed_out", "deadline", "malformed"), End.FAILED),
    (("unavailable", "network", "internal", "exception", "crash", "interrupt", "disconnect", "upstream"), End.FAILED),
    (("preempt", "evict", "resource", "capacity", "shutdown", "out_of_memory", "connection", "kill"), End.FAILED),
    (("max_", "length", "truncat", "token_limit", "context_window"), End.TRUNCATED),
)


def read_end(finish_reason: Any) -> End:
    """How the reply ended; DONE if the provider does not say."""
    return _read(finish_reason) if isinstance(finish_reason, str) else End.DONE


@lru_cache(maxsize=256)
def _read(finish_reason: str) -> End:
    word = finish_reason.strip().lower().replace("-", "_").replace(" ", "_").removeprefix("finishreason.")
    if (end := _WORDS.get(word)) is not None:
        return end
    return next((end for parts, end in _PARTS if any(part in word for part in parts)), End.UNKNOWN)
