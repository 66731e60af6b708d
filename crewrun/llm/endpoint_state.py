"""`EndpointState`: what every call of one endpoint needs: its limiter, its price, and the usual size of its answers."""

from typing import NamedTuple

from crewrun.limits.estimates import GUESSED_TOKENS, fewest_tokens, most_answer_tokens, most_tokens
from crewrun.limits.limiter import Limiter
from crewrun.limits.permit import CallPrice
from crewrun.llm.prices.price import Price, tier_of
from crewrun.llm.prompt_cache.rules import CacheRules
from crewrun.messages import ChatRequest, Completion, Endpoint, Usage
from crewrun.tier_use import STANDARD
from crewrun.usage import UsageCounter

# The expected tokens of an answer before there is one. The moving average below replaces it within some 16 answers.
_USUAL_TOKENS = 300


class Billed(NamedTuple):
    """What an attempt cost in US dollars, None if its price is unknown; `tier` and `saved_usd` as in `Spent`."""

    cost_usd: float | None
    tier: str = ""
    saved_usd: float = 0.0


class EndpointState:
    """The state of an endpoint. `answer_tokens` is what an answer is expected to take, and `cache_rules` are those of
    its provider's prompt cache, None if there is nothing to do for it.
    """

    __slots__ = (
        "_is_in_place",
        "_most_tokens",
        "_name",
        "_price",
        "_tier",
        "_wants_less",
        "answer_tokens",
        "cache_rules",
        "limiter",
    )

    def __init__(
        self, endpoint: Endpoint, limiter: Limiter, price: Price | None, cache_rules: CacheRules | None = None
    ) -> None:
        self._name = endpoint.name
        self._price = price
        self._tier = tier_of(endpoint)
        self._wants_less = bool(endpoint.tier)  # a cheaper tier, here or before the call came here
        self._is_in_place = endpoint.tier == STANDARD
        self._most_tokens = most_tokens(endpoint)
        self.limiter = limiter
        self.cache_rules = cache_rules
        self.answer_tokens = _USUAL_TOKENS

    def bill(self, usage: Usage, counter: UsageCounter) -> Billed:
        """Add what an attempt took to `counter`, and return what it costs.

        A cost stated in the reply is used if there is no published price and none of the user's.
        """
        price, details = self._price, usage.details
        if price is not None:
            cost_usd: float | None = price.cost(usage)
        else:
            cost_usd = details.cost_usd if details is not None else None
        counter.add_bill(self._name, usage, cost_usd)
        # A moving average in whole tokens: at most 15 below what answers steadily take, never above it.
        self.answer_tokens += (usage.completion_tokens - self.answer_tokens) // 16
        tier = (details.service_tier if details is not None else "") or self._tier
        if not tier or tier == STANDARD:
            return Billed(cost_usd, STANDARD if self._wants_less else "")
        saved_usd = price.cost(usage, tier=STANDARD) - (cost_usd or 0.0) if price is not None else 0.0
        return Billed(cost_usd, tier, saved_usd)

    def expected(self, request: ChatRequest) -> int:
        """The tokens that an attempt is expected to take."""
        return fewest_tokens(request) + self.answer_tokens

    def most(self, request: ChatRequest, task: str) -> CallPrice | None:
        """The most that an attempt can cost; None if the price is unknown."""
        if self._price is None:
            return None
        prompt_tokens = fewest_tokens(request, bytes_per_token=1)
        counted = max(1, prompt_tokens + self.limiter.bounds.extra_prompt_tokens)  # its size decides the prices
        answer_tokens = self._most_tokens or GUESSED_TOKENS
        most = self._price.most(counted, answer_tokens)
        # What flex answers cost says nothing of those that go at the standard tier in its place.
        return CallPrice(
            (self._name, task, STANDARD) if self._is_in_place else (self._name, task),
            prompt_tokens,
            most.prompt_usd / counted,
            answer_tokens,
            most.answer_usd / answer_tokens,
            self._most_tokens is not None,
        )

    def most_of(self, answer: Completion, price: CallPrice) -> float:
        """The most that an attempt without max_tokens and without counts can have cost in US dollars, by the visible
        part of its answer.
        """
        if self._price is None:
            return price.usd
        answer_usd = self._price.most(price.prompt_tokens, most_answer_tokens(answer)).answer_usd
        return price.prompt_usd() + answer_usd
