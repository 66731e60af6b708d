"""What an entry of litellm's price table says: the rates of its model by service tier and prompt size.

What the keys mean is written down nowhere but in litellm's own calculator, and a test holds both against each other.
Which entry is a model's is in `price_lookup`.
https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/llm_cost_calc/utils.py
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crewrun.llm.rates import Band, Rates, Schedule, band_of, times

Entry = Mapping[str, Any]


# A service tier, and how keys of the table end for it.
_SUFFIXES: Final = {
    "standard": "",
    **{tier: f"_{tier}" for tier in ("flex", "balanced", "priority", "ultrafast")},
}
_BATCH: Final = "_batches"
_INPUT, _OUTPUT = "input_cost_per_token", "output_cost_per_token"
_READ, _WRITE = "cache_read_input_token_cost", "cache_creation_input_token_cost"
_WRITE_1H, _WRITE_12H = f"{_WRITE}_above_1hr", f"{_WRITE}_above_12hr"
_READ_EXPLICIT, _READ_HIT = "explicit_cache_read_input_token_cost", "input_cost_per_token_cache_hit"
_REASONING = "output_cost_per_reasoning_token"
_AUDIO, _IMAGE, _VIDEO = (f"input_cost_per_{medium}_token" for medium in ("audio", "image", "video"))
_AUDIO_OUT, _IMAGE_OUT, _VIDEO_OUT = (f"output_cost_per_{medium}_token" for medium in ("audio", "image", "video"))
_READ_AUDIO, _READ_IMAGE = "cache_read_input_audio_token_cost", "cache_read_input_image_token_cost"
_BANDED: Final = (_INPUT, _OUTPUT, _READ, _WRITE, _WRITE_1H, _WRITE_12H)
_ABOVE: Final = re.compile(r"(.+)_above_(\d+)(k?)_tokens(_[a-z]+)?")
# xAI's larger prompts begin at their threshold, the others' behind it: https://docs.x.ai/docs/models
_INCLUSIVE: Final = frozenset({"xai"})
# https://docs.fireworks.ai/guides/prompt-caching: half of the input price where a model has no price of its own.
_FIREWORKS_CACHED: Final = 0.5
# https://platform.openai.com/docs/guides/batch, https://docs.anthropic.com/en/docs/build-with-claude/batch-processing
_BATCH_SHARE: Final = 0.5
# Units that a model is sold by, beside tokens.
_OTHER_UNIT: Final = re.compile(r"(?:input_|output_)?cost_per_(?:second|character|query|request|image|page|pixel)")


def flat(prompt: float, completion: float, cached: float | None = None, written: float | None = None) -> Rates:
    """The rates of a model that has these prices alone."""
    return _rates(_Prices({_INPUT: prompt, _OUTPUT: completion, _READ: cached, _WRITE: written}, ""))


def is_priced_by_tokens(entry: Entry) -> bool:
    """Whether `entry` says what calls cost by their tokens alone; nothing, where other units have a price, does not."""
    if entry.get("tiered_pricing"):
        return True
    prompt, completion = _number(entry.get(_INPUT)), _number(entry.get(_OUTPUT))
    if prompt is None or entry.get("input_cost_per_request"):
        return False
    if completion is None:
        return entry.get("mode") not in ("chat", "completion")
    return bool(prompt or completion) or not any(_number(v) and _OTHER_UNIT.fullmatch(k) for k, v in entry.items())


def schedules(entry: Entry, off_peak: Entry | None = None) -> dict[str, Schedule]:
    """The bands of every service tier that `entry` has prices for, `standard` and `batch` always.

    `off_peak` are prices that replace the entry's own. Raises ValueError for an entry without prices.
    """
    entry = _with_cached(entry)
    off_peak = off_peak or {}
    if entry.get("tiered_pricing"):
        standard = _ranges(entry, off_peak)
        return {"standard": standard, "batch": _halved(standard)}
    found = {
        tier: _schedule(entry, suffix, off_peak)
        for tier, suffix in _SUFFIXES.items()
        if not suffix or any(name.endswith(suffix) for name in entry)
    }
    has_batch = any(name.endswith(_BATCH) for name in entry)
    found["batch"] = _batch_schedule(entry, found["standard"]) if has_batch else _halved(found["standard"])
    return found


class _Prices:
    """Prices by name, of a tier and of prompts above some thresholds, each with what stands in where there is none."""

    def __init__(self, entry: Entry, suffix: str, above: Sequence[str] = (), off_peak: Entry | None = None) -> None:
        self._entry = entry
        self._suffix = suffix
        self._above = above  # `_above_200k_tokens`, the smallest first
        self._off_peak = off_peak or {}

    def own(self, name: str) -> float | None:
        """The price of the tier, else the standard one."""
        value = _number(self._entry.get(name + self._suffix))
        return _number(self._entry.get(name)) if value is None else value

    def banded(self, name: str) -> float | None:
        """The price of the largest threshold that has one, by day or night."""
        if (value := _number(self._off_peak.get(name))) is not None:
            return value
        found = self.own(name)
        for above in self._above:
            larger = self.own(name + above)
            found = found if larger is None else larger
        return found

    def kept(self, name: str) -> float | None:
        """The price of writing to the cache for longer: of a threshold only where the tier has its own there."""
        key = name + self._suffix
        for above in self._above:
            larger = name + above + self._suffix
            key = larger if self._entry.get(larger) is not None else key
        value = _number(self._entry.get(key))
        return _number(self._entry.get(name)) if value is None else value

    def medium(self, name: str, *, is_banded: bool = False) -> float | None:
        """The price of sound, pictures or film in a prompt."""
        if is_banded:
            for above in reversed(self._above):
                if (
                    self._entry.get(name + above) is not None
                    or self._entry.get(name + above + self._suffix) is not None
                ):
                    return self.own(name + above)
        return self.own(name)

    def reasoning(self, completion: float) -> float:
        """The price of reasoning: the tier's own, else the tier's completion, else the standard one."""
        if (value := _number(self._off_peak.get(_REASONING))) is not None:
            return value
        of_tier = _number(self._entry.get(_REASONING + self._suffix))
        if of_tier is None and self._suffix and self._entry.get(_OUTPUT + self._suffix) is not None:
            return completion
        return _or(self.own(_REASONING), completion)


def _rates(prices: _Prices) -> Rates:
    prompt, completion = prices.banded(_INPUT), prices.banded(_OUTPUT) or prices.own(_IMAGE_OUT)
    if prompt is None:
        raise ValueError("no price of a prompt token")
    completion = completion or 0.0
    cached, written = _or(prices.banded(_READ), prompt), _or(prices.banded(_WRITE), prompt)
    return Rates(
        prompt=prompt,
        cached_prompt=cached,
        completion=completion,
        cache_write=written,
        cache_write_1h=_or(prices.kept(_WRITE_1H), written),
        cache_write_12h=_or(prices.kept(_WRITE_12H), written),
        reasoning=prices.reasoning(completion),
        explicit_cached_prompt=_or(prices.own(_READ_EXPLICIT), cached),
        prompt_audio=_or(prices.medium(_AUDIO, is_banded=True), prompt),
        prompt_image=_or(prices.medium(_IMAGE), prompt),
        prompt_video=_or(prices.medium(_VIDEO), prompt),
        cached_audio=_or(prices.own(_READ_AUDIO), cached),
        cached_image=_or(prices.own(_READ_IMAGE), cached),
        completion_audio=_or(prices.own(_AUDIO_OUT), completion),
        completion_image=_or(prices.own(_IMAGE_OUT), completion),
        completion_video=_or(prices.own(_VIDEO_OUT), completion),
    )


def _schedule(entry: Entry, suffix: str, off_peak: Entry) -> Schedule:
    bands = _bounds(entry, suffix)
    return tuple(Band(start, _rates(_Prices(entry, suffix, above, off_peak))) for start, above in bands)


def _bounds(entry: Entry, suffix: str) -> list[tuple[int, list[str]]]:
    """The prompt sizes at which a tier's bands begin, with the spelling of all thresholds that they are above."""
    found: list[tuple[int, list[str]]] = [(0, [])]
    is_behind = entry.get("litellm_provider") not in _INCLUSIVE
    for tokens, spellings in _thresholds(entry, suffix).items():
        found.append((tokens + is_behind, found[-1][1] + spellings))
    return found


def _thresholds(entry: Entry, suffix: str) -> dict[int, list[str]]:
    """Prompt sizes in tokens, ascending, above which a tier has other prices, with how keys spell each of them."""
    found: dict[int, list[str]] = {}
    for name, value in entry.items():
        parts = _ABOVE.fullmatch(name)
        if parts is None or value is None or (parts[4] or "") not in ("", suffix):
            continue
        if parts[1] in _BANDED or parts[1] == _AUDIO:
            spelling = f"_above_{parts[2]}{parts[3]}_tokens"
            spellings = found.setdefault(int(parts[2]) * (1000 if parts[3] else 1), [])
            spellings += [] if spelling in spellings else [spelling]
    return dict(sorted(found.items()))


def _ranges(entry: Entry, off_peak: Entry) -> Schedule:
    """The bands of a model whose prices are in a table of prompt sizes: all of a call is at its prompt's price.

    https://help.aliyun.com/zh/model-studio/billing-for-model-studio
    """
    bands: list[Band] = []
    for each in sorted(entry["tiered_pricing"], key=lambda one: float(one["range"][0])):
        own = each if _OUTPUT in each else {**each, **{k: v for k, v in entry.items() if k in (_OUTPUT, _REASONING)}}
        start = int(float(each["range"][0]))
        media = {k: v for k, v in entry.items() if "audio" in k or "image" in k or "video" in k}
        bands.append(Band(start + 1 if bands else 0, _rates(_Prices({**media, **own}, "", (), off_peak))))
    return tuple(bands)


def _batch_schedule(entry: Entry, standard: Schedule) -> Schedule:
    """The bands of a batch job, whose prices the table has; what it lacks is half, or falls to the prompt's price."""
    return tuple(
        Band(start, _batch_rates(_BatchPrices(entry, above), band_of(standard, start).rates))
        for start, above in _bounds(entry, _BATCH)
    )


class _BatchPrices:
    """Prices of a batch job by name."""

    def __init__(self, entry: Entry, above: Sequence[str]) -> None:
        self._entry = entry
        self._above = above

    def get(self, name: str) -> float | None:
        """The price of the largest threshold that has one, else the one of any size."""
        keys = [name + above + _BATCH for above in reversed(self._above)] + [name + _BATCH]
        return next((value for key in keys if (value := _number(self._entry.get(key))) is not None), None)


def _batch_rates(prices: _BatchPrices, standard: Rates) -> Rates:
    half = times(standard, _BATCH_SHARE)
    prompt = prices.get(_INPUT)
    if prompt is None:
        return half
    completion = _or(prices.get(_OUTPUT), half.completion)
    cached = _or(prices.get(_READ), min(prompt, standard.cached_prompt))
    written = _or(prices.get(_WRITE), prompt)
    return Rates(
        prompt=prompt,
        cached_prompt=cached,
        completion=completion,
        cache_write=written,
        cache_write_1h=_or(prices.get(_WRITE_1H), written),
        cache_write_12h=_or(prices.get(_WRITE_12H), written),
        reasoning=completion if standard.reasoning == standard.completion else half.reasoning,
        explicit_cached_prompt=min(cached, standard.explicit_cached_prompt),
        prompt_audio=_or(prices.get(_AUDIO), prompt if standard.prompt_audio == standard.prompt else half.prompt_audio),
        prompt_image=_or(prices.get(_IMAGE), prompt if standard.prompt_image == standard.prompt else half.prompt_image),
        prompt_video=_or(prices.get(_VIDEO), prompt if standard.prompt_video == standard.prompt else half.prompt_video),
        cached_audio=_or(prices.get(_READ_AUDIO), cached),
        cached_image=_or(prices.get(_READ_IMAGE), cached),
        completion_audio=half.completion_audio,
        completion_image=_or(prices.get(_IMAGE_OUT), half.completion_image),
        completion_video=half.completion_video,
    )


def _halved(schedule: Schedule) -> Schedule:
    return tuple(Band(band.from_tokens, times(band.rates, _BATCH_SHARE)) for band in schedule)


def _with_cached(entry: Entry) -> Entry:
    """`entry` with the price of cached tokens that its provider has for every model, or spells otherwise."""
    if entry.get(_READ) is not None:
        return entry
    if (hit := _number(entry.get(_READ_HIT))) is not None:
        return {**entry, _READ: hit}
    prompt = _number(entry.get(_INPUT))
    if entry.get("litellm_provider") == "fireworks_ai" and prompt is not None:
        return {**entry, _READ: prompt * _FIREWORKS_CACHED}
    return entry


def _number(value: Any) -> float | None:
    """A price, which may be a text such as "3e-7"."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
