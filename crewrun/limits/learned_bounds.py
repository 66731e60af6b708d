"""`LearnedBounds`: how far a provider counts beyond what bounds a call, so that a budget holds it back from then on.

A prompt has at most one token for each of its bytes, unless the provider adds one of its own. An answer has at most
max_tokens, unless the provider bills reasoning besides.
"""

from collections import deque
from typing import NamedTuple

# As many of the latest calls tell. One row's document behind an address is forgotten after as many others.
_CALLS = 200


class LearnedBounds(NamedTuple):
    """Of one model: the most tokens that a prompt had beyond its bound, and by what factor an answer passed its own."""

    extra_prompt_tokens: int = 0
    answer_factor: float = 1.0


NOTHING_LEARNED = LearnedBounds()


class Learning:
    """Learns the bounds of one model from its latest calls. `bounds` is what they came to."""

    def __init__(self, before: LearnedBounds) -> None:
        """`before` is what an earlier session learned."""
        self.bounds = before
        self._calls: deque[LearnedBounds] = deque([before] if before != NOTHING_LEARNED else (), _CALLS)

    def see(self, beyond: LearnedBounds) -> None:
        """A call was counted so far beyond its bounds, or within them."""
        if beyond == NOTHING_LEARNED and self.bounds == NOTHING_LEARNED:
            return
        self._calls.append(beyond)
        self.bounds = LearnedBounds(
            max(call.extra_prompt_tokens for call in self._calls), max(call.answer_factor for call in self._calls)
        )
