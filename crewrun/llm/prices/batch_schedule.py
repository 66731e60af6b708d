"""What batch jobs cost by an entry of litellm's price table: half, if the entry has no batch prices and the provider
does not say otherwise.

`entry` reads the prices of ordinary calls.
https://platform.openai.com/docs/guides/batch, https://docs.anthropic.com/en/docs/build-with-claude/batch-processing
"""

from collections.abc import Mapping, Sequence
from typing import Final

from crewrun.llm.prices import keys
from crewrun.llm.prices.keys import Entry, bounds, first, number
from crewrun.llm.prices.rates import Band, Rates, Schedule, band_of, times

# The discount on the pages above.
_SHARE: Final = 0.5
# Where only some models have it: https://docs.together.ai/docs/inference/batch/overview#discounted-models, "models not
# listed run at standard rates".
_DISCOUNTED: Final[Mapping[str, frozenset[str]]] = {
    "together_ai": frozenset({"meta-llama/Llama-3.3-70B-Instruct-Turbo"}),
}


def has_discount(provider: str, model: str) -> bool:
    """Whether batch jobs of a model cost less than live calls, as far as is known."""
    return model in _DISCOUNTED.get(provider, (model,))


def batch_schedule(entry: Entry, standard: Schedule) -> Schedule:
    """The bands for batch jobs of a model whose ordinary calls have the bands `standard`."""
    if not any(name.endswith(keys.BATCH) for name in entry):
        return tuple(Band(band.from_tokens, times(band.rates, _SHARE)) for band in standard)
    return tuple(
        Band(start, _rates(_BatchPrices(entry, above), band_of(standard, start).rates))
        for start, above in bounds(entry, keys.BATCH)
    )


class _BatchPrices:
    """Batch prices by name."""

    def __init__(self, entry: Entry, above: Sequence[str]) -> None:
        self._entry = entry
        self._above = above

    def get(self, name: str) -> float | None:
        """The price at the largest threshold that has one, else the one for prompts of any size."""
        spellings = [name + above + keys.BATCH for above in reversed(self._above)] + [name + keys.BATCH]
        return next((value for key in spellings if (value := number(self._entry.get(key))) is not None), None)


def _rates(prices: _BatchPrices, standard: Rates) -> Rates:
    half = times(standard, _SHARE)
    prompt = prices.get(keys.INPUT)
    if prompt is None:
        return half
    completion = first(prices.get(keys.OUTPUT), half.completion)
    cached = first(prices.get(keys.READ), min(prompt, standard.cached_prompt))
    written = first(prices.get(keys.WRITE), prompt)
    has_audio, has_image, has_video = (
        rate != standard.prompt for rate in (standard.prompt_audio, standard.prompt_image, standard.prompt_video)
    )
    return Rates(
        prompt=prompt,
        cached_prompt=cached,
        completion=completion,
        cache_write=written,
        cache_write_1h=first(prices.get(keys.WRITE_1H), written),
        cache_write_12h=first(prices.get(keys.WRITE_12H), written),
        reasoning=completion if standard.reasoning == standard.completion else half.reasoning,
        explicit_cached_prompt=min(cached, standard.explicit_cached_prompt),
        prompt_audio=first(prices.get(keys.AUDIO), half.prompt_audio if has_audio else prompt),
        prompt_image=first(prices.get(keys.IMAGE), half.prompt_image if has_image else prompt),
        prompt_video=first(prices.get(keys.VIDEO), half.prompt_video if has_video else prompt),
        cached_audio=first(prices.get(keys.READ_AUDIO), cached),
        cached_image=first(prices.get(keys.READ_IMAGE), cached),
        completion_audio=half.completion_audio,
        completion_image=first(prices.get(keys.IMAGE_OUT), half.completion_image),
        completion_video=half.completion_video,
    )
