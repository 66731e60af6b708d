"""Reads an entry of litellm's price table: the rates of its model by service tier and prompt size.

The meaning of the keys is documented nowhere except in litellm's own calculator; a test compares the two. `lookup`
finds a model's entry.
https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/llm_cost_calc/utils.py
"""

import re
from collections.abc import Sequence
from typing import Final

from crewrun.llm.prices import keys
from crewrun.llm.prices.batch_schedule import batch_schedule
from crewrun.llm.prices.keys import Entry, bounds, first, number
from crewrun.llm.prices.rates import Band, Rates, Schedule

# Service tiers, and the suffixes of their keys in the table.
_SUFFIXES: Final = {
    "standard": "",
    **{tier: f"_{tier}" for tier in ("flex", "balanced", "priority", "ultrafast")},
}
# https://docs.fireworks.ai/guides/prompt-caching: half the input price, unless a model has its own price.
_FIREWORKS_CACHED: Final = 0.5
# Units other than tokens that models are billed by.
_OTHER_UNIT: Final = re.compile(r"(?:input_|output_)?cost_per_(?:second|character|query|request|image|page|pixel)")


def flat(prompt: float, completion: float, cached: float | None = None, written: float | None = None) -> Rates:
    """The rates of a model with these prices only."""
    return _rates(_Prices({keys.INPUT: prompt, keys.OUTPUT: completion, keys.READ: cached, keys.WRITE: written}, ""))


def is_priced_by_tokens(entry: Entry) -> bool:
    """Whether tokens alone determine what calls cost. Token prices of 0 do not count if other units have a price."""
    if entry.get("tiered_pricing"):
        return True
    prompt, completion = number(entry.get(keys.INPUT)), number(entry.get(keys.OUTPUT))
    if prompt is None or entry.get("input_cost_per_request"):
        return False
    if completion is None:
        return entry.get("mode") not in ("chat", "completion")
    return bool(prompt or completion) or not any(number(v) and _OTHER_UNIT.fullmatch(k) for k, v in entry.items())


def schedules(entry: Entry, off_peak: Entry | None = None) -> dict[str, Schedule]:
    """The bands of every service tier that `entry` has prices for; `standard` and `batch` are always included.

    `off_peak` are prices that replace the entry's own. Raises ValueError, or some other error, for an entry that does
    not have the table's format.
    """
    entry = _with_cached(entry)
    off_peak = off_peak or {}
    if entry.get("tiered_pricing"):
        standard = _ranges(entry, off_peak)
        return {"standard": standard, "batch": batch_schedule(entry, standard)}
    by_tier = {
        tier: _schedule(entry, suffix, off_peak)
        for tier, suffix in _SUFFIXES.items()
        if not suffix or any(name.endswith(suffix) for name in entry)
    }
    by_tier["batch"] = batch_schedule(entry, by_tier["standard"])
    return by_tier


class _Prices:
    """Prices by name for one tier and prompt size, each with a fallback if it is missing."""

    def __init__(self, entry: Entry, suffix: str, above: Sequence[str] = (), off_peak: Entry | None = None) -> None:
        self._entry = entry
        self._suffix = suffix
        self._above = above  # `_above_200k_tokens`, the smallest first
        self._off_peak = off_peak or {}

    def own(self, name: str) -> float | None:
        """The tier's price, else the standard one."""
        value = number(self._entry.get(name + self._suffix))
        return number(self._entry.get(name)) if value is None else value

    def banded(self, name: str) -> float | None:
        """The off-peak price, else the one at the largest threshold that has one."""
        if (value := number(self._off_peak.get(name))) is not None:
            return value
        price = self.own(name)
        for above in self._above:
            larger = self.own(name + above)
            price = price if larger is None else larger
        return price

    def long_lived(self, name: str) -> float | None:
        """The price of a longer-lived cache write. A threshold counts only if the tier has a price of its own there."""
        key = name + self._suffix
        for above in self._above:
            larger = name + above + self._suffix
            key = larger if self._entry.get(larger) is not None else key
        value = number(self._entry.get(key))
        return number(self._entry.get(name)) if value is None else value

    def medium(self, name: str, *, is_banded: bool = False) -> float | None:
        """The price of audio, images or video in a prompt."""
        for above in reversed(self._above) if is_banded else ():
            if (larger := self.own(name + above)) is not None:
                return larger
        return self.own(name)

    def reasoning(self, completion: float) -> float:
        """The price of reasoning: the tier's own, else the tier's completion price, else the standard one."""
        if (value := number(self._off_peak.get(keys.REASONING))) is not None:
            return value
        of_tier = number(self._entry.get(keys.REASONING + self._suffix))
        if of_tier is None and self._suffix and self._entry.get(keys.OUTPUT + self._suffix) is not None:
            return completion
        return first(self.own(keys.REASONING), completion)


def _rates(prices: _Prices) -> Rates:
    prompt, completion = prices.banded(keys.INPUT), prices.banded(keys.OUTPUT) or prices.own(keys.IMAGE_OUT)
    if prompt is None:
        raise ValueError("no price for prompt tokens")
    completion = completion or 0.0
    cached, written = first(prices.banded(keys.READ), prompt), first(prices.banded(keys.WRITE), prompt)
    return Rates(
        prompt=prompt,
        cached_prompt=cached,
        completion=completion,
        cache_write=written,
        cache_write_1h=first(prices.long_lived(keys.WRITE_1H), written),
        cache_write_12h=first(prices.long_lived(keys.WRITE_12H), written),
        reasoning=prices.reasoning(completion),
        explicit_cached_prompt=first(prices.own(keys.READ_EXPLICIT), cached),
        prompt_audio=first(prices.medium(keys.AUDIO, is_banded=True), prompt),
        prompt_image=first(prices.medium(keys.IMAGE), prompt),
        prompt_video=first(prices.medium(keys.VIDEO), prompt),
        cached_audio=first(prices.own(keys.READ_AUDIO), cached),
        cached_image=first(prices.own(keys.READ_IMAGE), cached),
        completion_audio=first(prices.own(keys.AUDIO_OUT), completion),
        completion_image=first(prices.own(keys.IMAGE_OUT), completion),
        completion_video=first(prices.own(keys.VIDEO_OUT), completion),
    )


def _schedule(entry: Entry, suffix: str, off_peak: Entry) -> Schedule:
    bands = bounds(entry, suffix)
    return tuple(Band(start, _rates(_Prices(entry, suffix, above, off_peak))) for start, above in bands)


def _ranges(entry: Entry, off_peak: Entry) -> Schedule:
    """The bands of a model with a table of prices by prompt size. The prompt's size decides the price of all tokens.

    https://help.aliyun.com/zh/model-studio/billing-for-model-studio
    """
    media = {key: value for key, value in entry.items() if "audio" in key or "image" in key or "video" in key}
    of_model = {key: entry[key] for key in (keys.OUTPUT, keys.REASONING) if key in entry}
    bands: list[Band] = []
    for row in sorted(entry["tiered_pricing"], key=lambda row: float(row["range"][0])):
        own = row if keys.OUTPUT in row else of_model | row
        start = int(float(row["range"][0])) + 1 if bands else 0
        bands.append(Band(start, _rates(_Prices(media | own, "", (), off_peak))))
    return tuple(bands)


def _with_cached(entry: Entry) -> Entry:
    """`entry` with a price for cached tokens that is under another key, or that its provider has for every model."""
    if entry.get(keys.READ) is not None:
        return entry
    if (hit := number(entry.get(keys.READ_HIT))) is not None:
        return {**entry, keys.READ: hit}
    prompt = number(entry.get(keys.INPUT))
    if entry.get("litellm_provider") == "fireworks_ai" and prompt is not None:
        return {**entry, keys.READ: prompt * _FIREWORKS_CACHED}
    return entry
