"""Estimates what providers' prompt caches will have of a run's prompts, from the requests of a sample of its rows.

It is an expectation: a provider promises no hit. `llm/prompt_cache` says which calls share a prefix, and arranges them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from crewrun.limits.estimates import BYTES_PER_TOKEN
from crewrun.llm.gateway import Gateway
from crewrun.llm.prices.price import BATCH, Price
from crewrun.llm.prompt_cache.prefix import PrefixFinder, described_bytes, system_turns
from crewrun.llm.prompt_cache.rules import CacheRules, rules_of
from crewrun.messages import ChatRequest, Usage

# The steps in which prompts are cached where there are no breakpoints, as at OpenAI.
_STEP_TOKENS = 128


class CacheEstimate(NamedTuple):
    """Prompt tokens that come from caches, their share of all, and what that saves in US dollars; None if a price is
    unknown.
    """

    cached_prompt_tokens: float
    share: float
    saved_usd: float | None

    def to_json(self) -> dict[str, Any]:
        """As `plan --json` has it."""
        return {
            "cached_prompt_tokens": round(self.cached_prompt_tokens),
            "share": round(self.share, 4),
            "saved_usd": None if self.saved_usd is None else round(self.saved_usd, 6),
        }


class _Hits(NamedTuple):
    """The tokens that calls of one prefix find cached, and what that saves."""

    tokens: float
    saved_usd: float | None


@dataclass(slots=True)
class _Prefix:
    """The sampled calls of one prefix: in how many rows, how many, their prompts' tokens, the text that all have."""

    rules: CacheRules
    price: Price | None
    text: str
    described_bytes: int
    rows: int = 0
    calls: float = 0.0
    prompt_tokens: float = 0.0
    latest_row: int = -1

    @property
    def tokens(self) -> int:
        """The tokens that the cache can have of it."""
        tokens = (self.described_bytes + len(self.text.encode("utf-8", "replace"))) // BYTES_PER_TOKEN
        return tokens if self.rules.marks else tokens // _STEP_TOKENS * _STEP_TOKENS


class CacheEstimator:
    """Takes the calls of sampled rows, one row after the other."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._finder = PrefixFinder()
        self._prefixes: dict[bytes, _Prefix] = {}
        self._row = 0

    def begin_row(self) -> None:
        """What is added from here on is of another row."""
        self._row += 1

    def add(self, request: ChatRequest, calls: float, prompt_tokens: float) -> None:
        """Take `calls` of a row that begin as `request` does, each with `prompt_tokens` in its prompt.

        Lines of batch jobs are not counted: the provider runs them side by side.
        """
        endpoint = request.endpoint
        price = self._gateway.price(endpoint)
        rules = rules_of(endpoint, price, self._gateway.options.prompt_cache)
        if rules is None or endpoint.tier == BATCH or (digest := self._finder.find(request, rules)) is None:
            return
        messages = system_turns(request.messages) if rules.marks else request.messages
        text = "\0".join([message.content for message in messages])
        prefix = self._prefixes.get(digest)
        if prefix is None:
            described = described_bytes(request.tools, request.schema)
            prefix = self._prefixes[digest] = _Prefix(rules, price, text, described)
        elif prefix.text != text:
            prefix.text = _common(prefix.text, text)
        prefix.rows += prefix.latest_row != self._row
        prefix.latest_row = self._row
        prefix.calls += calls
        prefix.prompt_tokens += calls * prompt_tokens

    def estimate(self, each: float, prompt_tokens: float) -> CacheEstimate | None:
        """The estimate for a run with that many `prompt_tokens`, in which each sampled row stands for `each` rows;
        None if nothing will be cached.
        """
        hits = [one for prefix in self._prefixes.values() if (one := _hits(prefix, each)) is not None]
        if not hits or not prompt_tokens:
            return None
        saved = [one.saved_usd for one in hits if one.saved_usd is not None]
        tokens = min(prompt_tokens, sum(one.tokens for one in hits))
        return CacheEstimate(tokens, tokens / prompt_tokens, sum(saved) if len(saved) == len(hits) else None)


def _hits(prefix: _Prefix, each: float) -> _Hits | None:
    """What the calls of one prefix find. One that only one row of several has is that row's own, and so are others."""
    is_shared = prefix.rows > 1 or each == 1
    times, all_calls = (1.0, prefix.calls * each) if is_shared else (each, prefix.calls)
    # With breakpoints the first call says nothing and the second one writes; else the first one does both.
    before = 2 if prefix.rules.marks else 1
    hits = max(0.0, all_calls - before) * times
    if hits <= 0 or prefix.tokens <= 0:
        return None
    cached = hits * prefix.tokens
    if prefix.price is None:
        return _Hits(cached, None)
    tokens = round(prefix.prompt_tokens / prefix.calls)
    part = min(tokens, prefix.tokens)
    plain_usd = prefix.price.cost(Usage(tokens))
    saved_usd = hits * (plain_usd - prefix.price.cost(Usage(tokens, part)))
    written_usd = prefix.price.cost(Usage(tokens, cache_write_prompt_tokens=part)) - plain_usd
    return _Hits(cached, saved_usd - times * written_usd if prefix.rules.marks else saved_usd)


def _common(one: str, two: str) -> str:
    """The beginning that both have, by bisection: comparing slices is faster than comparing characters."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == two[:middle]:
            low = middle
        else:
            high = middle - 1
    return one[:low]
