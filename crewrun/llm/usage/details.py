"""What of a usage only the price of its call depends on: `UsageDetails`, and how providers name tiers and state costs.

The counts themselves are read in `usage`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from crewrun.llm.usage.numbers import count, details_of
from crewrun.messages import UsageDetails

# How replies and requests name a tier, and how the price table does. Capacity that was paid for beforehand, OpenAI's
# scale tier, is priced as the standard one: https://platform.openai.com/docs/api-reference/chat/object
TIERS: Mapping[str, str] = {
    **dict.fromkeys(("default", "standard", "standard_only", "on_demand"), "standard"),
    **dict.fromkeys(("scale", "reserved", "provisioned_throughput"), "standard"),
    **dict.fromkeys(("priority", "fast", "on_demand_priority"), "priority"),
    **dict.fromkeys(("flex", "on_demand_flex"), "flex"),
    **{tier: tier for tier in ("balanced", "ultrafast", "batch")},
}
_COST_HEADER = "x-litellm-response-cost"
_MOST_USD = 10_000.0  # more for one call is a slip of whoever states it


def is_special(counts: Mapping[str, Any], prompt: Mapping[str, Any], completion: Mapping[str, Any]) -> bool:
    """Whether a usage has more than text, or was served at more than a tier."""
    return bool(
        (prompt and (_has_media(prompt) or prompt.get("cache_type")))
        or (completion and _has_media(completion))
        or counts.get("inference_geo")
        or counts.get("speed")
    )


def _has_media(details: Mapping[str, Any]) -> bool:
    return bool(details.get("audio_tokens") or details.get("image_tokens") or details.get("video_tokens"))


def read_details(
    counts: Mapping[str, Any],
    tier: str,
    cost_usd: float | None,
    in_prompt: tuple[int, int, int],
    answer: int,
    lifetimes: Mapping[str, Any],
) -> UsageDetails:
    """What only the price depends on, each part at most what the others leave of the whole.

    `in_prompt` are the tokens of the prompt, and of them those from the cache and into it, `lifetimes` says for how
    long; `answer` are those of the completion that are no reasoning.
    """
    prompt, cached, written = in_prompt
    prompt_details = details_of(counts, "prompt_tokens_details", "input_tokens_details")
    completion_details = details_of(counts, "completion_tokens_details", "output_tokens_details")
    from_cache = details_of(prompt_details, "cached_tokens_details")
    cached_audio, cached_image, _ = _shares(from_cache, cached)
    audio, image, video = _shares(prompt_details, prompt - cached - written, cached_audio, cached_image)
    spoken, drawn, filmed = _shares(completion_details, answer)
    hour = min(written, count(lifetimes, "ephemeral_1h_input_tokens"))
    return UsageDetails(
        cache_write_1h_tokens=hour,
        cache_write_12h_tokens=min(written - hour, count(lifetimes, "ephemeral_12h_input_tokens")),
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
    spoken = min(whole, max(0, count(details, "audio_tokens") - audio))
    drawn = min(whole - spoken, max(0, count(details, "image_tokens") - image))
    return spoken, drawn, min(whole - spoken - drawn, count(details, "video_tokens"))


def tier_of(value: Any) -> str:
    """The tier that a reply or a request names, in the price table's word; empty for no tier that has a price."""
    return TIERS.get(_word(value), "") if value else ""


def _word(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


# Of tiers there are five, and a record for each reply would be made a million times.
@lru_cache(maxsize=64)
def served_at(tier: str, cost_usd: float | None) -> UsageDetails:
    """The details of a call that has no others."""
    return UsageDetails(service_tier=tier, cost_usd=cost_usd)


def stated_cost_usd(counts: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """What the call cost in US dollars, as a LiteLLM proxy's header, OpenRouter, Perplexity or DeepInfra has it.

    With a key of one's own OpenRouter bills its fee and the model's provider the rest, and the reply has both:
    https://openrouter.ai/docs/use-cases/usage-accounting. Where nothing says whose key it was, a rest that is more than
    the fee is one.
    """
    if headers and (stated := _dollars(headers.get(_COST_HEADER))) is not None:
        return stated
    cost = counts.get("cost", counts.get("estimated_cost"))
    if cost is None:
        return None
    stated = _dollars(cost.get("total_cost") if isinstance(cost, dict) else cost)
    upstream = _dollars(details_of(counts, "cost_details").get("upstream_inference_cost"))
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
    return amount if 0 <= amount <= _MOST_USD else None
