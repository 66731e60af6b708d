"""Token counts out of a reply: every provider's spelling of them as one `Usage`.

What a count costs is in `prices`; what stands in for counts that a provider leaves out is in `estimate`.
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from crewrun.messages import Usage, UsageDetails

# No model takes so many: a count beyond is a slip of the server.
MOST_TOKENS = 50_000_000
# A count in a string; what is longer is none.
_COUNT = re.compile(r"\s*(\d{1,11})(?:\.\d{1,11})?\s*", re.ASCII)
# How replies and requests name the tier, as the price table does. "scale" is capacity that was paid for beforehand, and
# OpenAI shows its calls at the standard price: https://platform.openai.com/docs/api-reference/chat/object
TIERS: Mapping[str, str] = {
    **dict.fromkeys(
        ("default", "standard", "standard_only", "on_demand", "provisioned_throughput", "scale"), "standard"
    ),
    **dict.fromkeys(("priority", "fast", "on_demand_priority"), "priority"),
    **dict.fromkeys(("flex", "on_demand_flex"), "flex"),
    **{tier: tier for tier in ("balanced", "ultrafast", "batch")},
}
# Keys of a usage that has prompt, completion and total alone, and of OpenAI's own.
_PLAIN = 3
_OPENAI_PROMPT = frozenset({"cached_tokens", "audio_tokens"})
_OPENAI = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_NOTHING: Mapping[str, Any] = {}
_COST_HEADER = "x-litellm-response-cost"
_TIER_HEADER = "x-gemini-service-tier"


def usage_of(reply: Any, headers: Mapping[str, str] = _NOTHING) -> Usage:
    """The usage in a parsed chat completion, also of one that failed, whose response had `headers`."""
    if not isinstance(reply, dict):
        return Usage()
    counts = reply.get("usage")
    return read_usage(counts if isinstance(counts, dict) else _NOTHING, reply.get("service_tier"), headers)


def read_usage(counts: Mapping[str, Any], service_tier: Any = None, headers: Mapping[str, str] = _NOTHING) -> Usage:
    """Token counts out of a usage object in the shape of OpenAI's chat completions, its Responses or Anthropic's.

    `service_tier` is what the reply says outside of it. What is missing, negative or no number counts as 0, a part as
    the whole at most. Where the total is larger than prompt and completion together, the rest is output: xAI and
    Gemini's OpenAI address leave reasoning out of the completion (https://docs.x.ai/docs/guides/reasoning).
    """
    prompt = _count(counts, "prompt_tokens") or _count(counts, "input_tokens")
    completion = _count(counts, "completion_tokens") or _count(counts, "output_tokens")
    total = _count(counts, "total_tokens")
    tier = _tier(service_tier) or _tier(counts.get("service_tier")) or _tier(headers.get(_TIER_HEADER))
    cost_usd = _stated_cost_usd(counts, headers)
    if len(counts) <= _PLAIN and total == prompt + completion:  # most servers say no more
        return Usage(
            prompt, 0, completion, 0, 0, 0, _served_at(tier, cost_usd) if tier or cost_usd is not None else None
        )
    of_prompt = _details(counts, "prompt_tokens_details", "input_tokens_details")
    of_completion = _details(counts, "completion_tokens_details", "output_tokens_details")
    if counts.keys() <= _OPENAI and of_prompt.keys() <= _OPENAI_PROMPT:  # as OpenAI itself has it
        cached, written, kept, searched = _count(of_prompt, "cached_tokens"), 0, _NOTHING, 0
    else:
        prompt += _beside(counts, prompt, completion)
        cached, (written, kept) = _cached(counts, of_prompt), _written(counts, of_prompt)
        searched = _count(of_prompt, "tool_use_tokens")
    prompt, completion = _reconciled(prompt, completion, total, searched)
    cached = min(prompt, cached)
    written = min(prompt - cached, written)
    reasoning = _count(of_completion, "reasoning_tokens") or _count(counts, "reasoning_tokens")
    details = None
    if kept or _is_special(counts, of_prompt, of_completion):
        details = _read_details(counts, tier, cost_usd, (prompt, cached, written), completion, kept)
    elif tier or cost_usd is not None:
        details = _served_at(tier, cost_usd)
    return Usage(prompt, cached, completion, min(completion, reasoning), 0, written, details)


def _reconciled(prompt: int, completion: int, total: int, searched: int) -> tuple[int, int]:
    """Prompt and completion, with what the total has beyond them: output, or the prompt where that was not counted.

    Gemini's total also has what its own search read, `searched`: it is neither billed nor in the prompt that litellm
    makes of its counts.
    """
    rest = total - prompt - completion
    if rest <= 0 or total >= MOST_TOKENS:
        return prompt, completion
    rest -= searched if searched <= rest else 0
    if prompt:
        return prompt, completion + rest
    return (rest, completion) if completion else (prompt, completion)


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    if type(value) is int:
        return value if value > 0 else 0
    if isinstance(value, str) and _COUNT.fullmatch(value):
        value = float(value)
    return round(value) if isinstance(value, float) and 0 < value < 10 * MOST_TOKENS else 0


def _details(counts: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(value := counts.get(name), dict):
            return value
    return _NOTHING


def _beside(counts: Mapping[str, Any], prompt: int, completion: int) -> int:
    """Tokens that Anthropic's cache read and wrote, where they are not in the prompt's count.

    In its own shape they never are (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching); in OpenAI's
    they are, unless they are more than the prompt, or the total counts them again.
    """
    parts = _count(counts, "cache_read_input_tokens") + _count(counts, "cache_creation_input_tokens")
    if not parts:
        return 0
    is_own_shape = "prompt_tokens" not in counts and "input_tokens_details" not in counts
    is_outside = parts > prompt or prompt + completion + parts == _count(counts, "total_tokens")
    return parts if is_own_shape or is_outside else 0


def _cached(counts: Mapping[str, Any], details: Mapping[str, Any]) -> int:
    """Prompt tokens that the provider's cache gave: OpenAI's, DeepSeek's, Anthropic's and Moonshot's spelling."""
    return (
        _count(details, "cached_tokens")
        or _count(counts, "prompt_cache_hit_tokens")
        or _count(counts, "cache_read_input_tokens")
        or _count(counts, "cached_tokens")
        or _count(details, "cache_read_input_tokens")
    )


def _written(counts: Mapping[str, Any], details: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Prompt tokens that were written to the cache, and how many of them for how long: OpenRouter's and OpenAI's
    spelling, litellm's, Anthropic's, Alibaba's.
    """
    kept = _details(details, "cache_creation_token_details", "cache_creation") or _details(counts, "cache_creation")
    named = (
        _count(details, "cache_write_tokens")
        or _count(details, "cache_creation_tokens")
        or _count(counts, "cache_creation_input_tokens")
        or _count(details, "cache_creation_input_tokens")
        or _count(counts, "cache_write_tokens")
    )
    return (max(named, sum(_count(kept, name) for name in kept)), kept) if kept else (named, kept)


def _is_special(counts: Mapping[str, Any], prompt: Mapping[str, Any], completion: Mapping[str, Any]) -> bool:
    """Whether a usage has more than text, or was served at more than a tier."""
    return bool(
        (prompt and (_has_media(prompt) or prompt.get("cache_type")))
        or (completion and _has_media(completion))
        or counts.get("inference_geo")
        or counts.get("speed")
    )


def _has_media(details: Mapping[str, Any]) -> bool:
    return bool(details.get("audio_tokens") or details.get("image_tokens") or details.get("video_tokens"))


def _read_details(
    counts: Mapping[str, Any],
    tier: str,
    cost_usd: float | None,
    in_prompt: tuple[int, int, int],
    completion: int,
    kept: Mapping[str, Any],
) -> UsageDetails:
    """What only the price depends on, each part at most what the others leave of the whole."""
    prompt, cached, written = in_prompt
    prompt_details = _details(counts, "prompt_tokens_details", "input_tokens_details")
    completion_details = _details(counts, "completion_tokens_details", "output_tokens_details")
    from_cache = _details(prompt_details, "cached_tokens_details")
    cached_audio, cached_image, _ = _shares(from_cache, cached)
    audio, image, video = _shares(prompt_details, prompt - cached - written, cached_audio, cached_image)
    spoken, drawn, filmed = _shares(completion_details, completion)
    hour = min(written, _count(kept, "ephemeral_1h_input_tokens"))
    return UsageDetails(
        cache_write_1h_tokens=hour,
        cache_write_12h_tokens=min(written - hour, _count(kept, "ephemeral_12h_input_tokens")),
        prompt_audio_tokens=audio,
        prompt_image_tokens=image,
        prompt_video_tokens=video,
        cached_audio_tokens=cached_audio,
        cached_image_tokens=cached_image,
        completion_audio_tokens=spoken,
        completion_image_tokens=drawn,
        completion_video_tokens=filmed,
        is_explicit_cache=prompt_details.get("cache_type") == "ephemeral",
        service_tier=tier,
        region=_word(counts.get("inference_geo")),
        speed=_word(counts.get("speed")),
        cost_usd=cost_usd,
    )


def _shares(details: Mapping[str, Any], whole: int, audio: int = 0, image: int = 0) -> tuple[int, int, int]:
    """Sound, pictures and film in `whole`; `audio` and `image` of what `details` count are elsewhere."""
    spoken = min(whole, max(0, _count(details, "audio_tokens") - audio))
    drawn = min(whole - spoken, max(0, _count(details, "image_tokens") - image))
    return spoken, drawn, min(whole - spoken - drawn, _count(details, "video_tokens"))


def _tier(value: Any) -> str:
    return TIERS.get(_word(value), "") if value else ""


def _word(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


# Of tiers there are five, and a record for each reply would be made a million times.
@lru_cache(maxsize=64)
def _served_at(tier: str, cost_usd: float | None) -> UsageDetails:
    return UsageDetails(service_tier=tier, cost_usd=cost_usd)


def _stated_cost_usd(counts: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """What the call cost in US dollars, as a LiteLLM proxy's header, OpenRouter, Perplexity or DeepInfra has it.

    With a key of one's own OpenRouter bills its fee and the model's provider the rest, which is said beside it:
    https://openrouter.ai/docs/use-cases/usage-accounting. Where nothing says whose key it was, a rest that is more than
    the fee is one.
    """
    if headers and (stated := _dollars(headers.get(_COST_HEADER))) is not None:
        return stated
    cost = counts.get("cost", counts.get("estimated_cost"))
    if cost is None:
        return None
    stated = _dollars(cost.get("total_cost") if isinstance(cost, dict) else cost)
    upstream = _dollars(_details(counts, "cost_details").get("upstream_inference_cost"))
    if stated is None or upstream is None or counts.get("is_byok") is False:
        return stated
    return stated + upstream if counts.get("is_byok") is True or upstream > stated else stated


def _dollars(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None
