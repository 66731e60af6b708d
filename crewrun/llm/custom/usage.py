"""The usage of one call of a model of the user's own, counted while it runs, apart from that of other rows.

CrewAI's models add to a counter of the object that all rows share. `Counts` is that counter, and what is added to it
also goes to the call that the code runs for.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from crewrun.messages import Usage

_NAMES: Final = (
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "successful_requests",
    "cached_prompt_tokens",
    "reasoning_tokens",
    "cache_creation_tokens",
)
# Under which names providers count: OpenAI, Gemini, Anthropic.
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt_tokens": ("prompt_tokens", "prompt_token_count", "input_tokens"),
    "completion_tokens": ("completion_tokens", "candidates_token_count", "output_tokens"),
    "cached_prompt_tokens": ("cached_prompt_tokens", "cached_tokens", "cache_read_input_tokens"),
    "reasoning_tokens": ("reasoning_tokens", "thoughts_token_count"),
    "cache_creation_tokens": ("cache_creation_tokens", "cache_creation_input_tokens"),
}

# What the current call has counted so far; threads that it starts through `call` see the same object.
current_counts: ContextVar[dict[str, int] | None] = ContextVar("crewrun_custom_counts", default=None)


class Counts(dict[str, int]):
    """The counter of one object. What is added to an entry is added to the current call as well."""

    def __init__(self, initial: Mapping[str, int] | None = None) -> None:
        super().__init__(dict.fromkeys(_NAMES, 0) | dict(initial or {}))

    def __setitem__(self, name: str, value: int) -> None:
        counts = current_counts.get()
        if counts is not None and isinstance(value, int):
            counts[name] = counts.get(name, 0) + max(0, value - self.get(name, 0))
        super().__setitem__(name, value)


def add_usage(counts: dict[str, int], reported: Mapping[str, Any]) -> None:
    """Add the usage that a provider reports for one call."""
    if not isinstance(reported, Mapping):
        return
    added = {name: next((n for n in map(_count, map(reported.get, names)) if n), 0) for name, names in _ALIASES.items()}
    if isinstance(details := reported.get("prompt_tokens_details"), Mapping):
        added["cached_prompt_tokens"] = added["cached_prompt_tokens"] or _count(details.get("cached_tokens"))
    added["total_tokens"] = _count(reported.get("total_tokens")) or added["prompt_tokens"] + added["completion_tokens"]
    added["successful_requests"] = 1
    for name, n in added.items():
        counts[name] = counts.get(name, 0) + n


def usage_of(counts: Mapping[str, int]) -> Usage:
    """The usage that a call has counted, zero if it has not."""
    prompt = counts.get("prompt_tokens", 0)
    completion = counts.get("completion_tokens", 0)
    return Usage(
        prompt_tokens=prompt,
        cached_prompt_tokens=min(prompt, counts.get("cached_prompt_tokens", 0)),
        completion_tokens=completion,
        reasoning_tokens=min(completion, counts.get("reasoning_tokens", 0)),
        cache_write_prompt_tokens=min(prompt, counts.get("cache_creation_tokens", 0)),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
