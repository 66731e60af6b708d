"""Writes what a request says to the provider's prompt cache, in the format of OpenAI's chat completions.

litellm makes Anthropic's and Bedrock's forms of it.
"""

from collections.abc import Mapping
from typing import Any, Final

from crewrun.messages import CacheHints, CacheMarks, MarkedTurn

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
    if hints.marked_turn:
        _mark_turn(fields["messages"], hints.marked_turn)


def _mark(fields: dict[str, Any], marks: CacheMarks) -> None:
    """Put a breakpoint behind the system turns or, without any, behind the tools."""
    messages = fields["messages"]
    count = 0
    while count < len(messages) and messages[count]["role"] in _SYSTEM:
        count += 1
    if count:
        messages[count - 1] = _marked(messages[count - 1], marks)
    elif marks == "anthropic" and fields.get("tools"):
        *others, last = fields["tools"]
        fields["tools"] = [*others, {**last, **_BREAKPOINTS[marks]}]


def _mark_turn(messages: list[dict[str, Any]], turn: MarkedTurn) -> None:
    """Put a breakpoint of Anthropic's behind a turn; that of a tool's result is not in its content."""
    at = len(messages) - 1
    if turn == "previous":
        at = max(i for i, message in enumerate(messages) if message["role"] == "assistant") - 1
    message = messages[at]
    is_result = message["role"] == "tool"
    messages[at] = {**message, **_BREAKPOINTS["anthropic"]} if is_result else _marked(message, "anthropic")


def _marked(message: dict[str, Any], marks: CacheMarks) -> dict[str, Any]:
    """`message` with a breakpoint behind its last part, if it has any."""
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    if not parts:
        return message
    parts[-1] = {**parts[-1], **_BREAKPOINTS[marks]}
    return {**message, "content": parts}
