"""`Rates`: what a token of each kind costs, and `Band`s of them by the size of a prompt.

How they stand in litellm's table is in `price_entry`; what a call costs by them, in `prices`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars for one token of each kind; what a model has no price of its own for is sold at the price of plain
    prompt or completion tokens.
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
        """The most that a token of the prompt can cost."""
        return max(float(getattr(self, name)) for name in _OF_PROMPT)

    @property
    def dearest_completion(self) -> float:
        """The most that a token of the completion can cost."""
        return max(float(getattr(self, name)) for name in _OF_COMPLETION)


_OF_COMPLETION = frozenset({"completion", "reasoning", "completion_audio", "completion_image", "completion_video"})
_OF_PROMPT = frozenset(field.name for field in fields(Rates)) - _OF_COMPLETION


class Band(NamedTuple):
    """The rates of prompts of `from_tokens` tokens and more, up to the next band."""

    from_tokens: int
    rates: Rates


# The bands of a tier, the first from 0 on, ascending.
Schedule = tuple[Band, ...]


def band_of(schedule: Schedule, prompt_tokens: int) -> Band:
    """The band of a prompt of `prompt_tokens`."""
    for band in reversed(schedule):
        if prompt_tokens >= band.from_tokens:
            return band
    return schedule[0]


def times(rates: Rates, factor: float) -> Rates:
    """`rates`, all times `factor`."""
    return Rates(*(getattr(rates, field.name) * factor for field in fields(Rates)))


def scaled(found: Mapping[str, Schedule], factor: float) -> dict[str, Schedule]:
    """All rates of `found` times `factor`."""
    return {
        tier: tuple(Band(band.from_tokens, times(band.rates, factor)) for band in schedule)
        for tier, schedule in found.items()
    }


class Ceiling(NamedTuple):
    """The most that a token can cost, of a prompt of `from_tokens` tokens and more and of its answer."""

    from_tokens: int
    prompt: float
    completion: float


def ceilings(found: Iterable[Schedule]) -> tuple[Ceiling, ...]:
    """The ceilings over all of `found`, of the largest prompts first; a smaller prompt's price is in those of larger
    ones, since a prompt may turn out smaller than thought.
    """
    prompt = completion = 0.0
    made: list[Ceiling] = []
    for band in sorted((band for schedule in found for band in schedule), key=lambda band: band.from_tokens):
        prompt = max(prompt, band.rates.dearest_prompt)
        completion = max(completion, band.rates.dearest_completion)
        made.append(Ceiling(band.from_tokens, prompt, completion))
    return tuple(reversed(made))
