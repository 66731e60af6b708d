"""`LearnedBounds`: how far a provider counts beyond the bounds of a call, so that a budget holds that back as well.

A prompt has at most one token for each of its bytes, unless the provider adds a prompt of its own. An answer has at
most max_tokens, unless the provider bills reasoning on top.
"""

from collections import deque
from typing import NamedTuple

# Bounds are those of this many latest calls, so that one row's large document behind a URL does not count forever.
_CALLS = 200


class LearnedBounds(NamedTuple):
    """For one model: the most tokens of a prompt beyond its bound, and the largest factor by which an answer exceeded
    its own.
    """

    extra_prompt_tokens: int = 0
    answer_factor: float = 1.0


NOTHING_LEARNED = LearnedBounds()


class Learning:
    """Learns the `bounds` of one model from its latest calls."""

    def __init__(self, before: LearnedBounds) -> None:
        """`before` is what earlier sessions learned."""
        self.bounds = before
        self._calls: deque[LearnedBounds] = deque([before] if before != NOTHING_LEARNED else (), _CALLS)

    def see(self, beyond: LearnedBounds) -> None:
        """Take into account how far one call was counted beyond its bounds, if at all."""
        if beyond == NOTHING_LEARNED and self.bounds == NOTHING_LEARNED:
            return
        self._calls.append(beyond)
        self.bounds = LearnedBounds(
            max(call.extra_prompt_tokens for call in self._calls), max(call.answer_factor for call in self._calls)
        )
