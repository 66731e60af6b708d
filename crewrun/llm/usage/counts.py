"""Token counts from a reply, in any provider's spelling, as one `Usage`.

`llm.prices` says what they cost; `limits.estimate` replaces counts that a provider leaves out.
"""

from collections.abc import Mapping
from typing import Any

from crewrun.llm.usage.details import is_special, read_details, served_at, stated_cost_usd, tier_of
from crewrun.llm.usage.numbers import NOTHING, count, details_of, is_left_out
from crewrun.messages import Usage

# The number of keys in a usage with prompt, completion and total only, and the keys of OpenAI's own usage.
_PLAIN = 3
_OPENAI_PROMPT = frozenset({"cached_tokens", "audio_tokens"})
_OPENAI = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_TIER_HEADER = "x-gemini-service-tier"


def usage_of(reply: Any, headers: Mapping[str, str] = NOTHING) -> Usage:
    """The usage in a parsed chat completion, successful or not, whose response had `headers`."""
    if not isinstance(reply, dict):
        return Usage()
    counts = reply.get("usage")
    return read_usage(counts if isinstance(counts, dict) else NOTHING, reply.get("service_tier"), headers)


def read_usage(counts: Mapping[str, Any], service_tier: Any = None, headers: Mapping[str, str] = NOTHING) -> Usage:
    """Token counts from a usage object in the format of OpenAI's chat completions, its Responses API or Anthropic.

    `service_tier` is the one that the reply names outside the usage object. A count that is missing, negative or not a
    number is 0, and a part never exceeds its whole. If the total exceeds prompt plus completion, the rest is output:
    xAI and Gemini's OpenAI endpoint leave reasoning out of the completion (https://docs.x.ai/docs/guides/reasoning).
    """
    prompt = count(counts, "prompt_tokens") or count(counts, "input_tokens")
    completion = count(counts, "completion_tokens") or count(counts, "output_tokens")
    total = count(counts, "total_tokens")
    tier = tier_of(service_tier) or tier_of(counts.get("service_tier")) or tier_of(headers.get(_TIER_HEADER))
    cost_usd = stated_cost_usd(counts, headers)
    if len(counts) <= _PLAIN and total == prompt + completion:  # as from most servers
        served = served_at(tier, cost_usd) if tier or cost_usd is not None else None
        left_out = not (prompt and completion) and is_left_out(counts, prompt, completion)
        return Usage(prompt, 0, completion, 0, int(left_out), 0, served)
    of_prompt = details_of(counts, "prompt_tokens_details", "input_tokens_details")
    of_completion = details_of(counts, "completion_tokens_details", "output_tokens_details")
    if counts.keys() <= _OPENAI and of_prompt.keys() <= _OPENAI_PROMPT:  # as from OpenAI itself
        cached, written, lifetimes, searched = count(of_prompt, "cached_tokens"), 0, NOTHING, 0
    else:
        prompt += _uncounted_cache(counts, prompt, completion)
        cached, (written, lifetimes) = _cached(counts, of_prompt), _written(counts, of_prompt)
        searched = count(of_prompt, "tool_use_tokens")
    prompt, completion = _reconciled(prompt, completion, total, searched)
    cached = min(prompt, cached)
    written = min(prompt - cached, written)
    reasoning = count(of_completion, "reasoning_tokens") or count(counts, "reasoning_tokens")
    reasoning = min(completion, reasoning)
    details = None
    if lifetimes or is_special(counts, of_prompt, of_completion):
        details = read_details(counts, tier, cost_usd, (prompt, cached, written), completion - reasoning, lifetimes)
    elif tier or cost_usd is not None:
        details = served_at(tier, cost_usd)
    left_out = not (prompt and completion) and is_left_out(counts, prompt, completion)
    return Usage(prompt, cached, completion, reasoning, int(left_out), written, details)


def _reconciled(prompt: int, completion: int, total: int, searched: int) -> tuple[int, int]:
    """Prompt and completion, including what the total has in excess of them: output, or the prompt if that is missing.

    Gemini's total also includes what its own search read, `searched`, which is not output.
    """
    rest = total - prompt - completion
    if rest <= 0:
        return prompt, completion
    rest -= searched if searched <= rest else 0
    if prompt:
        return prompt, completion + rest
    return (rest, completion) if completion else (prompt, completion)


def _uncounted_cache(counts: Mapping[str, Any], prompt: int, completion: int) -> int:
    """Tokens that Anthropic's cache read and wrote, if the prompt's count does not include them.

    In Anthropic's own format it never does (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching); in
    OpenAI's it does, unless they exceed the prompt or the total counts them separately.
    """
    parts = count(counts, "cache_read_input_tokens") + count(counts, "cache_creation_input_tokens")
    if not parts:
        return 0
    is_own_shape = "prompt_tokens" not in counts and "input_tokens_details" not in counts
    is_outside = parts > prompt or prompt + completion + parts == count(counts, "total_tokens")
    return parts if is_own_shape or is_outside else 0


def _cached(counts: Mapping[str, Any], details: Mapping[str, Any]) -> int:
    """Prompt tokens read from the provider's cache, in OpenAI's, DeepSeek's, Anthropic's or Moonshot's spelling."""
    return (
        count(details, "cached_tokens")
        or count(counts, "prompt_cache_hit_tokens")
        or count(counts, "cache_read_input_tokens")
        or count(counts, "cached_tokens")
        or count(details, "cache_read_input_tokens")
    )


def _written(counts: Mapping[str, Any], details: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Prompt tokens written to the cache, and how many of them for how long, in OpenRouter's and OpenAI's, litellm's,
    Anthropic's or Alibaba's spelling.
    """
    lifetimes = details_of(details, "cache_creation_token_details", "cache_creation")
    lifetimes = lifetimes or details_of(counts, "cache_creation")
    named = (
        count(details, "cache_write_tokens")
        or count(details, "cache_creation_tokens")
        or count(counts, "cache_creation_input_tokens")
        or count(details, "cache_creation_input_tokens")
        or count(counts, "cache_write_tokens")
    )
    return max(named, sum(count(lifetimes, name) for name in lifetimes)), lifetimes
