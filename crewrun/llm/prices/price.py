"""`Price`: what calls of one model cost.

Prices come from the table that litellm ships (`table`, `lookup`, `entry`), or from the user.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import prod
from typing import Any, Final, NamedTuple

from crewrun.llm.prices.batch_schedule import has_discount
from crewrun.llm.prices.entry import flat, is_priced_by_tokens, schedules
from crewrun.llm.prices.lookup import entry_of
from crewrun.llm.prices.off_peak import OffPeak, read_windows
from crewrun.llm.prices.rates import Band, Ceiling, Rates, Schedule, band_of, ceilings, scaled
from crewrun.llm.prices.regions import uplift
from crewrun.llm.usage.details import TIERS
from crewrun.messages import Endpoint, Usage, UsageDetails

STANDARD: Final = "standard"
BATCH: Final = "batch"
_NO_SURCHARGES: Mapping[str, float] = {}
# Models that search on every call: https://docs.perplexity.ai/getting-started/pricing, OpenAI's search models.
_SEARCHING: Final = re.compile(r"search|sonar|\bpplx")


class Most(NamedTuple):
    """The most that a call's prompt and its answer can cost, in US dollars."""

    prompt_usd: float
    answer_usd: float


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens of a model cost, by service tier and prompt size.

    `schedules` always has the tier `standard`, which is used for tiers that have no prices of their own. `tier` is the
    one that requests ask for, empty if they leave it to the provider. `surcharges` are factors by the region or speed
    that a reply names.
    """

    schedules: Mapping[str, Schedule]
    tier: str = ""
    off_peak: OffPeak | None = None
    surcharges: Mapping[str, float] = field(default_factory=dict)
    _ceilings: tuple[Ceiling, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # What is asked for in a batch job is served in it. Any other tier may be served at the standard one.
        others = self.schedules.keys() - {BATCH}
        names = {BATCH} if self.tier == BATCH else {STANDARD, self.tier} if self.tier else others
        bands = ceilings(self.schedules[name] for name in names if name in self.schedules)
        object.__setattr__(self, "_ceilings", bands)  # computed once, since every call under a budget needs them

    def cost(self, usage: Usage, *, tier: str = "", at: datetime | None = None) -> float:
        """The price of one call's `usage` in US dollars, at `tier` if given, else at the tier that the reply names,
        else at the one that the request asked for. `at` is the time of the call, by default now.
        """
        details = usage.details
        bands = self._bands(tier or (details.service_tier if details is not None else "") or self.tier, at)
        rates = (bands[0] if len(bands) == 1 else band_of(bands, usage.prompt_tokens)).rates
        cached, written, reasoning = usage.cached_prompt_tokens, usage.cache_write_prompt_tokens, usage.reasoning_tokens
        cost_usd = (
            max(0, usage.prompt_tokens - cached - written) * rates.prompt
            + (usage.completion_tokens - reasoning) * rates.completion
        )
        if cached or written or reasoning:
            cost_usd += cached * rates.cached_prompt + written * rates.cache_write + reasoning * rates.reasoning
        if details is None:
            return cost_usd
        return (cost_usd + _difference_usd(details, cached, rates)) * self._surcharge(details)

    def most(self, prompt_tokens: int, answer_tokens: int) -> Most:
        """The most that a call with at most these numbers of tokens can cost.

        That holds whichever tokens are cached, written to the cache or audio, and whichever tier serves the call: the
        one that requests ask for or the standard one or, if they ask for none, any that the model has. Lines of batch
        jobs are served in them.
        """
        dearest = next(one for one in self._ceilings if prompt_tokens >= one.from_tokens)
        factor = prod(max(1.0, each) for each in self.surcharges.values()) if self.surcharges else 1.0
        return Most(prompt_tokens * dearest.prompt * factor, answer_tokens * dearest.completion * factor)

    @property
    def is_cheaper_cached(self) -> bool:
        """Whether prompt tokens cost less if they are read from the provider's cache."""
        bands = self._bands(self.tier, None)
        return any(band.rates.cached_prompt < band.rates.prompt for band in bands)

    def _bands(self, tier: str, at: datetime | None) -> Schedule:
        by_tier = self.schedules
        if self.off_peak is not None and self.off_peak.is_open(at or datetime.now(UTC)):
            by_tier = self.off_peak.schedules
        return by_tier.get(tier) or by_tier[STANDARD]

    def _surcharge(self, details: UsageDetails) -> float:
        if not self.surcharges:
            return 1.0
        return self.surcharges.get(details.region, 1.0) * self.surcharges.get(details.speed, 1.0)


def _difference_usd(details: UsageDetails, cached: int, rates: Rates) -> float:
    """The extra cost of audio, images, video and longer-lived caches over the same number of plain tokens."""
    cached_rate = rates.explicit_cached_prompt if details.is_explicit_cache else rates.cached_prompt
    return (
        cached * (cached_rate - rates.cached_prompt)
        + details.cache_write_1h_tokens * (rates.cache_write_1h - rates.cache_write)
        + details.cache_write_12h_tokens * (rates.cache_write_12h - rates.cache_write)
        + details.prompt_audio_tokens * (rates.prompt_audio - rates.prompt)
        + details.prompt_image_tokens * (rates.prompt_image - rates.prompt)
        + details.prompt_video_tokens * (rates.prompt_video - rates.prompt)
        + details.cached_audio_tokens * (rates.cached_audio - cached_rate)
        + details.cached_image_tokens * (rates.cached_image - cached_rate)
        + details.completion_audio_tokens * (rates.completion_audio - rates.completion)
        + details.completion_image_tokens * (rates.completion_image - rates.completion)
        + details.completion_video_tokens * (rates.completion_video - rates.completion)
    )


def flat_price(prompt: float, completion: float, cached: float | None = None, written: float | None = None) -> Price:
    """A price set by the user, in US dollars per token, for every tier and prompt size.

    Without prices for cached tokens and cache writes, these cost as much as other prompt tokens.
    """
    return Price({STANDARD: (Band(0, flat(prompt, completion, cached, written)),)})


FREE = flat_price(0.0, 0.0)


def find_price(endpoint: Endpoint) -> Price | None:
    """The price of `endpoint`'s model, None if there is no published one or the model is not billed by tokens."""
    if endpoint.transport_name == "offline":
        return FREE
    if endpoint.transport_name == "custom" and endpoint.base_model is None:
        return None  # the user chose the name, whatever it looks like
    entry = entry_of(endpoint)
    if entry is None or not is_priced_by_tokens(entry) or _has_search_fee(endpoint, entry):
        return None
    try:
        price = _read(entry, uplift(entry, endpoint), tier_of(endpoint))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None  # the table of another version of litellm, in another format
    model = (endpoint.base_model or endpoint.model).removeprefix(f"{endpoint.provider}/")
    if has_discount(endpoint.provider, model):
        return price
    return replace(price, schedules={**price.schedules, BATCH: price.schedules[STANDARD]})


def _has_search_fee(endpoint: Endpoint, entry: Mapping[str, Any]) -> bool:
    """Whether each call of the model runs a search that is charged in addition to its tokens."""
    return bool(entry.get("search_context_cost_per_query") and _SEARCHING.search(endpoint.base_model or endpoint.model))


def _read(entry: Mapping[str, Any], factor: float, tier: str) -> Price:
    block, off_peak = entry.get("off_peak_pricing"), None
    if isinstance(block, Mapping) and (windows := read_windows(block)):
        off_peak = OffPeak(windows, scaled(schedules(entry, block), factor))
    surcharges = entry.get("provider_specific_entry") or _NO_SURCHARGES
    return Price(scaled(schedules(entry), factor), tier, off_peak, surcharges)


def tier_of(endpoint: Endpoint) -> str:
    """The service tier that calls of `endpoint` go at, by its name in schedules; empty if the provider decides."""
    return BATCH if endpoint.tier == BATCH else requested_tier(endpoint.fields)


def requested_tier(params: Mapping[str, Any]) -> str:
    """The service tier that a request asks for, by its name in schedules; empty if it leaves that to the provider."""
    named = params.get("service_tier")
    return TIERS.get(named.strip().lower(), "") if isinstance(named, str) else ""
