"""`LearnedBounds`: how far a provider counts beyond what bounds a call, so that a budget holds it back from then on.

A prompt has at most one token for each of its bytes, unless the provider adds one of its own. An answer has at most
max_tokens, unless the provider bills reasoning besides.
"""

from typing import NamedTuple


class LearnedBounds(NamedTuple):
    """Of one model: the most tokens that a prompt had beyond its bound, and by what factor an answer passed its own."""

    extra_prompt_tokens: int = 0
    answer_factor: float = 1.0

    def widened(self, extra_prompt_tokens: int, answer_factor: float) -> "LearnedBounds":
        """With what another call showed."""
        return LearnedBounds(max(self.extra_prompt_tokens, extra_prompt_tokens), max(self.answer_factor, answer_factor))


NOTHING_LEARNED = LearnedBounds()
