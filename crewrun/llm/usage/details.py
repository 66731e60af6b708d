"""The details of a usage that only the price depends on: `UsageDetails`, and how providers name tiers and state costs.

`counts` reads the counts themselves.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from crewrun.llm.usage.numbers import count, details_of
from crewrun.messages import UsageDetails

# A tier's name in replies and requests, and in the price table. Prepaid capacity, OpenAI's scale tier, is priced as the
# standard one: https://platform.openai.com/docs/api-reference/chat/object
TIERS: Mapping[str, str] = {
    **dict.fromkeys(("default", "standard", "standard_only", "on_demand"), "standard"),
    **dict.fromkeys(("scale", "reserved", "provisioned_throughput"), "standard"),
    **dict.fromkeys(("priority", "fast", "on_demand_priority"), "priority"),
    **dict.fromkeys(("flex", "on_demand_flex"), "flex"),
    **{tier: tier for tier in ("balanced", "ultrafast", "batch")},
}
_COST_HEADER = "x-litellm-response-cost"
_MOST_USD = 10_000.0  # more than this for one call must be a mistake of the server


def is_special(counts: Mapping[str, Any], prompt: Mapping[str, Any], completion: Mapping[str, Any]) -> bool:
    """Whether a usage has anything but text, or names a region or a speed."""
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
    """The details that only the price depends on. Each part is at most what the others leave of the whole.

    `in_prompt` are the prompt's tokens, and those of them read from and written to the cache; `lifetimes` says how long
    they are cached. `answer` are the completion's tokens without reasoning.
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
    """The audio, image and video tokens in `whole`; `audio` and `image` of those in `details` are counted elsewhere."""
    spoken = min(whole, max(0, count(details, "audio_tokens") - audio))
    drawn = min(whole - spoken, max(0, count(details, "image_tokens") - image))
    return spoken, drawn, min(whole - spoken - drawn, count(details, "video_tokens"))


def tier_of(value: Any) -> str:
    """The tier that a reply or a request names, by the price table's name; empty if it has no price there."""
    return TIERS.get(_word(value), "") if value else ""


def _word(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


# There are only five tiers, so a million replies share a few records.
@lru_cache(maxsize=64)
def served_at(tier: str, cost_usd: float | None) -> UsageDetails:
    """The details of a call that has no other details."""
    return UsageDetails(service_tier=tier, cost_usd=cost_usd)


def stated_cost_usd(counts: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """The call's cost in US dollars as stated by a LiteLLM proxy's header, OpenRouter, Perplexity or DeepInfra.

    If the user brings a key (BYOK), OpenRouter bills its fee and the model's provider the rest, and the reply has both:
    https://openrouter.ai/docs/use-cases/usage-accounting. If the reply does not say whose key it was, an upstream cost
    above the fee is added.
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
