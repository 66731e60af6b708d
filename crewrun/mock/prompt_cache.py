"""`PromptCache`: which beginnings of prompts the mock has answered before, as the providers' prompt caches have them.

There are three kinds. OpenAI's models before gpt-5.6 cache every prompt by themselves, in steps; its later ones and
Anthropic's cache what ends at a breakpoint. A beginning is cached once its request has been answered, so requests that
are under way at once do not find each other's. https://developers.openai.com/api/docs/guides/prompt-caching,
https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from crewrun.llm.prices.lookup import entry_of
from crewrun.messages import Endpoint
from crewrun.mock.clock import MockClock
from crewrun.mock.replies import CHARS_PER_TOKEN, Usage

_MINUTES_5_S: Final = 300.0
_MINUTES_30_S: Final = 1800.0
_HOUR_S: Final = 3600.0
_LEAST_TOKENS: Final = 1024  # unless the price table says otherwise
_STEP_TOKENS: Final = 128
# No model has a smaller minimum, so shorter prompts are not looked at.
_LEAST_CHARS: Final = 512 * CHARS_PER_TOKEN
# Anthropic looks this many blocks back from a breakpoint for what another one has written.
_LOOKBACK_BLOCKS: Final = 20
_MOST_MARKS: Final = 4
# Beginnings that are kept before expired ones are thrown away.
_MOST_ENTRIES: Final = 100_000


class Block(NamedTuple):
    """A part of a prompt in the order in which caches see it, and for how many seconds a breakpoint at its end wants it
    cached; None without one.
    """

    text: str
    life_s: float | None = None


class Beginning(NamedTuple):
    """The beginning of a prompt: a hash of it, its tokens, and how long it is to be cached."""

    digest: bytes
    tokens: int
    life_s: float


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What a prompt reads from the cache and writes to it, in tokens; `hour_tokens` of those written are for an hour.

    `beginnings` are what is cached once the prompt is answered. Without `counts` the prompt is too short for caches.
    """

    cached_tokens: int = 0
    written_tokens: int = 0
    hour_tokens: int = 0
    counts: bool = False
    beginnings: Sequence[Beginning] = field(default=())


NO_USE: Final = CacheUse()


class PromptCache:
    """What is cached until when, for all models."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self._until_s: dict[bytes, float] = {}

    def look_up(self, provider: str, chars: int, request: Mapping[str, Any], blocks: Iterator[Block]) -> CacheUse:
        """How a request of `chars` characters uses the cache of its model. What it reads stays for longer."""
        if chars < _LEAST_CHARS:
            return NO_USE
        model = _model(provider, request["model"])
        # Requests with different keys go to different machines.
        seed = f"{provider} {request['model']} {request.get('prompt_cache_key')}".encode("utf-8", "replace")
        if provider == "openai" and not model.has_breakpoints:
            return self._look_up_steps(model, seed, list(blocks))
        marked = _with_implicit(list(blocks), request) if provider == "openai" else list(blocks)
        return self._look_up_marks(model, seed, marked, lookback=None if provider == "openai" else _LOOKBACK_BLOCKS)

    def answered(self, use: CacheUse) -> None:
        """A request was answered: its beginnings are cached from now on."""
        now_s = self._clock.monotonic_s
        for beginning in use.beginnings:
            self._until_s[beginning.digest] = now_s + beginning.life_s
        if len(self._until_s) > _MOST_ENTRIES:
            self._until_s = {digest: until for digest, until in self._until_s.items() if until > now_s}

    def _look_up_steps(self, model: "_Model", seed: bytes, blocks: list[Block]) -> CacheUse:
        beginnings = list(_steps(seed, "\n".join(block.text for block in blocks), model.least_tokens))
        cached = max((beginning.tokens for beginning in beginnings if self._has(beginning)), default=0)
        return CacheUse(cached, counts=bool(beginnings), beginnings=beginnings)

    def _look_up_marks(self, model: "_Model", seed: bytes, blocks: list[Block], *, lookback: int | None) -> CacheUse:
        ends = list(_ends(seed, blocks))
        marks = [
            (i, ends[i]._replace(life_s=block.life_s))
            for i, block in enumerate(blocks)
            if block.life_s is not None and ends[i].tokens >= model.least_tokens
        ]
        if not marks:
            return NO_USE
        cached = 0
        for i, mark in marks:
            for end in ends[0 if lookback is None else max(0, i - lookback) : i + 1]:
                if end.tokens > cached and self._has(end._replace(life_s=mark.life_s)):
                    cached = end.tokens
        written = max(0, max(mark.tokens for _, mark in marks) - cached)
        hour = max((mark.tokens for _, mark in marks if mark.life_s == _HOUR_S), default=0)
        return CacheUse(cached, written, min(written, max(0, hour - cached)), True, [mark for _, mark in marks])

    def _has(self, beginning: Beginning) -> bool:
        """Whether it is cached; if so, it is for as long again."""
        now_s = self._clock.monotonic_s
        if self._until_s.get(beginning.digest, 0.0) <= now_s:
            return False
        self._until_s[beginning.digest] = max(self._until_s[beginning.digest], now_s + beginning.life_s)
        return True


def with_cache(usage: Usage, use: CacheUse) -> Usage:
    """`usage`, with what of its prompt was read from the cache and written to it."""
    if not use.counts:
        return usage
    cached = min(use.cached_tokens, usage.prompt_tokens)
    written = min(use.written_tokens, usage.prompt_tokens - cached)
    return usage._replace(
        cached_tokens=cached, written_tokens=written, hour_tokens=min(use.hour_tokens, written), has_cache=True
    )


class _Model(NamedTuple):
    """How a model caches. `least_tokens` is the shortest beginning."""

    least_tokens: int
    has_breakpoints: bool


@lru_cache(maxsize=256)
def _model(provider: str, model: str) -> _Model:
    entry = entry_of(Endpoint("direct", provider, model)) or {}
    return _Model(
        int(entry.get("prompt_cache_min_tokens") or _LEAST_TOKENS), bool(entry.get("supports_prompt_cache_breakpoint"))
    )


def _with_implicit(blocks: list[Block], request: Mapping[str, Any]) -> list[Block]:
    """`blocks` with the breakpoint that OpenAI puts behind the latest message unless the request says `explicit`."""
    options = request.get("prompt_cache_options")
    if blocks and not (isinstance(options, dict) and options.get("mode") == "explicit"):
        blocks[-1] = blocks[-1]._replace(life_s=_MINUTES_30_S)
    return blocks


def _steps(seed: bytes, text: str, least_tokens: int) -> Iterator[Beginning]:
    """The beginnings of a prompt that is cached in steps."""
    digest, start = blake2b(seed, digest_size=12), 0
    for tokens in range(least_tokens, len(text) // CHARS_PER_TOKEN + 1, _STEP_TOKENS):
        end = tokens * CHARS_PER_TOKEN
        digest.update(text[start:end].encode("utf-8", "replace"))
        start = end
        yield Beginning(digest.digest(), tokens, _MINUTES_5_S)


def _ends(seed: bytes, blocks: Sequence[Block]) -> Iterator[Beginning]:
    """The beginnings of a prompt that end with a block."""
    digest, chars = blake2b(seed, digest_size=12), 0
    for block in blocks:
        digest.update(b"\0" + block.text.encode("utf-8", "replace"))
        chars += len(block.text)
        yield Beginning(digest.digest(), chars // CHARS_PER_TOKEN, 0.0)


def anthropic_life_s(block: Mapping[str, Any]) -> float | None:
    """For how long a block of Anthropic's wire asks to be cached, None if it does not."""
    control = block.get("cache_control")
    if not isinstance(control, dict):
        return None
    return _HOUR_S if control.get("ttl") == "1h" else _MINUTES_5_S


def openai_life_s(part: Mapping[str, Any]) -> float | None:
    """For how long a part of OpenAI's wire asks to be cached, None if it does not."""
    return _MINUTES_30_S if isinstance(part.get("prompt_cache_breakpoint"), dict) else None


def check_marks(blocks: Sequence[Block]) -> None:
    """Raise ValueError, as Anthropic refuses it, if there are more breakpoints than four."""
    marks = sum(block.life_s is not None for block in blocks)
    if marks > _MOST_MARKS:
        raise ValueError(f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {marks}.")
