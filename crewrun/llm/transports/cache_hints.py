"""Writes what a request says to the provider's prompt cache, in the format of OpenAI's chat completions.

litellm makes Anthropic's and Bedrock's forms of it.
"""

from collections.abc import Mapping
from typing import Any, Final

from crewrun.messages import CacheHints, CacheMarks

KEY: Final = "prompt_cache_key"
_OPTIONS: Final = "prompt_cache_options"
_BREAKPOINTS: Final[Mapping[CacheMarks, Mapping[str, Any]]] = {
    "anthropic": {"cache_control": {"type": "ephemeral"}},
    "openai": {"prompt_cache_breakpoint": {"mode": "explicit"}},
}
_SYSTEM: Final = ("system", "developer")


def add_hints(fields: dict[str, Any], hints: CacheHints) -> None:
    """Add `hints` to the fields of a request."""
    if hints.key:
        fields[KEY] = hints.key
    if hints.is_explicit:
        fields[_OPTIONS] = {"mode": "explicit"}
    if hints.marks:
        _mark(fields, hints.marks)


def _mark(fields: dict[str, Any], marks: CacheMarks) -> None:
    """Put a breakpoint behind the system turns or, where there are none, behind the tools."""
    messages = fields["messages"]
    count = 0
    while count < len(messages) and messages[count]["role"] in _SYSTEM:
        count += 1
    if count:
        content = messages[count - 1]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        if parts:
            parts[-1] = {**parts[-1], **_BREAKPOINTS[marks]}
            messages[count - 1] = {**messages[count - 1], "content": parts}
    elif marks == "anthropic" and fields.get("tools"):
        *others, last = fields["tools"]
        fields["tools"] = [*others, {**last, **_BREAKPOINTS[marks]}]
