"""`Rates`: what a token of each kind costs, and `Band`s of rates by prompt size.

`entry` reads them from litellm's table; `price` computes what a call costs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per token of each kind. Kinds that the model has no price for cost as much as plain prompt or
    completion tokens.
    """

    prompt: float
    cached_prompt: float
    completion: float
    cache_write: float
    cache_write_1h: float
    cache_write_12h: float
    reasoning: float
    explicit_cached_prompt: float
    prompt_audio: float
    prompt_image: float
    prompt_video: float
    cached_audio: float
    cached_image: float
    completion_audio: float
    completion_image: float
    completion_video: float

    @property
    def dearest_prompt(self) -> float:
        """The most that a prompt token can cost."""
        return max(float(getattr(self, name)) for name in _OF_PROMPT)

    @property
    def dearest_completion(self) -> float:
        """The most that a completion token can cost."""
        return max(float(getattr(self, name)) for name in _OF_COMPLETION)


_OF_COMPLETION = frozenset({"completion", "reasoning", "completion_audio", "completion_image", "completion_video"})
_OF_PROMPT = frozenset(field.name for field in fields(Rates)) - _OF_COMPLETION


class Band(NamedTuple):
    """The rates for prompts of at least `from_tokens` tokens, up to the next band."""

    from_tokens: int
    rates: Rates


# The bands of a tier, ascending; the first starts at 0.
Schedule = tuple[Band, ...]


def band_of(schedule: Schedule, prompt_tokens: int) -> Band:
    """The band for a prompt of `prompt_tokens`."""
    for band in reversed(schedule):
        if prompt_tokens >= band.from_tokens:
            return band
    return schedule[0]


def times(rates: Rates, factor: float) -> Rates:
    """All `rates` multiplied by `factor`."""
    return Rates(*(getattr(rates, field.name) * factor for field in fields(Rates)))


def scaled(schedules: Mapping[str, Schedule], factor: float) -> dict[str, Schedule]:
    """`schedules` with all rates multiplied by `factor`."""
    return {
        tier: tuple(Band(band.from_tokens, times(band.rates, factor)) for band in schedule)
        for tier, schedule in schedules.items()
    }


class Ceiling(NamedTuple):
    """The most that a token of a prompt of at least `from_tokens` tokens, and of its answer, can cost."""

    from_tokens: int
    prompt: float
    completion: float


def ceilings(schedules: Iterable[Schedule]) -> tuple[Ceiling, ...]:
    """The ceilings over all `schedules`, largest prompts first. Each covers the prices of smaller prompts as well,
    since a prompt may turn out smaller than estimated.
    """
    prompt = completion = 0.0
    result: list[Ceiling] = []
    for band in sorted((band for schedule in schedules for band in schedule), key=lambda band: band.from_tokens):
        prompt = max(prompt, band.rates.dearest_prompt)
        completion = max(completion, band.rates.dearest_completion)
        result.append(Ceiling(band.from_tokens, prompt, completion))
    return tuple(reversed(result))
