"""The provider's rate limits in the headers of a reply.

Dialects: OpenAI's, which Azure, Groq and most others speak
(https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers), the same with suffix `-minute` (Cerebras,
https://inference-docs.cerebras.ai/support/rate-limits), Anthropic's (https://docs.anthropic.com/en/api/rate-limits) and
the IETF draft (https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/). `Retry-After` is read in
`retry_after`; `rate_limiter` decides what follows from all this.
"""

import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from crewrun.messages import RateLimits

# More than any account has: a larger number is not a limit.
_MOST = 10**12
_MINUTE_S = 60.0
_LONGEST_CHARS = 100
# A limit per minute resets within a minute, plus some for a slow reply and a clock that is off. A longer reset is that
# of another kind of limit, which is only noticed when it refuses.
LONGEST_RESET_S = 75.0
_SPAN = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d*\.?\d+)s)?(?:(\d*\.?\d+)ms)?(?:\d*\.?\d+[uµn]s)?", re.ASCII
)
_SPAN_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
# A larger number is not a duration but a time: seconds since 1970 or, a thousand times as large, milliseconds.
_EPOCH_S = 1e9
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{0,12})?", re.ASCII)
_POLICY = re.compile(r"(\d{1,15})\s*;(?:[^,]*;)?\s*w=(\d{1,9})", re.ASCII)
# For requests and for tokens: the names of the limit, of what remains and of the reset.
_OPENAI, _OPENAI_MINUTE = (
    [
        tuple(f"x-ratelimit-{part}-{what}{suffix}" for part in ("limit", "remaining", "reset"))
        for what in ("requests", "tokens")
    ]
    for suffix in ("", "-minute")
)
_ANTHROPIC = [
    tuple(f"anthropic-ratelimit-{what}-{part}" for part in ("limit", "remaining", "reset"))
    for what in ("requests", "tokens", "input-tokens", "output-tokens")
]


class _Quota(NamedTuple):
    """One limit as the headers have it."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


_NO_QUOTA = _Quota()


def read(headers: Mapping[str, str]) -> RateLimits | None:
    """The limits in `headers`, whose names are in lower case or whose mapping ignores case. Else None."""
    # Looked up by name: most replies of most providers have none, and every call comes through here.
    if _has_any(headers, _OPENAI):
        quotas = _openai(headers, _OPENAI)
    elif _has_any(headers, _OPENAI_MINUTE):
        quotas = _openai(headers, _OPENAI_MINUTE)
    elif _has_any(headers, _ANTHROPIC):
        quotas = _anthropic(headers)
    elif "ratelimit-limit" in headers:
        quotas = _draft(headers), _NO_QUOTA
    else:
        return None
    requests, tokens = _possible(quotas[0]), _possible(quotas[1])
    if requests.reset_s is not None and requests.reset_s > LONGEST_RESET_S:
        # Groq's and OpenAI's free accounts limit requests per day.
        requests = _Quota(None, requests.remaining, requests.reset_s)
    if requests == tokens == _NO_QUOTA:
        return None
    return RateLimits(
        requests.limit, tokens.limit, requests.remaining, tokens.remaining, requests.reset_s, tokens.reset_s
    )


def glance(headers: Mapping[str, str]) -> RateLimits | None:
    """As `read`, at a tenth of its cost: what remains is returned only if that is nothing."""
    requests, tokens = headers.get("x-ratelimit-limit-requests"), headers.get("x-ratelimit-limit-tokens")
    if requests is None and tokens is None:
        return read(headers)
    if headers.get("x-ratelimit-remaining-requests") == "0" or headers.get("x-ratelimit-remaining-tokens") == "0":
        return read(headers)
    return _read_limits(requests, tokens, headers.get("x-ratelimit-reset-requests"))


@lru_cache(maxsize=4096)
def _read_limits(requests: str | None, tokens: str | None, reset: str | None) -> RateLimits | None:
    """Cached: limits are the same from reply to reply, and resets have few different values."""
    texts = {"limit-requests": requests, "limit-tokens": tokens, "reset-requests": reset}
    return read({f"x-ratelimit-{name}": text for name, text in texts.items() if text is not None})


def _has_any(headers: Mapping[str, str], names: Iterable[tuple[str, ...]]) -> bool:
    for limit, remaining, _ in names:  # noqa: SIM110  # half the time of any() over a generator
        if limit in headers or remaining in headers:
            return True
    return False


def _possible(quota: _Quota) -> _Quota:
    """`quota` without impossible values: a limit of 0, or more remaining than the limit."""
    limit, remaining = quota.limit, quota.remaining
    if limit is not None and not 0 < limit < _MOST:
        return _NO_QUOTA
    if remaining is not None and remaining > (_MOST if limit is None else limit):
        remaining = None
    return _Quota(limit, remaining, quota.reset_s)


def _openai(headers: Mapping[str, str], names: Iterable[tuple[str, ...]]) -> tuple[_Quota, _Quota]:
    requests, tokens = (
        _Quota(_count(headers.get(limit)), _count(headers.get(remaining)), span_s(headers.get(reset)))
        for limit, remaining, reset in names
    )
    return requests, tokens


def _anthropic(headers: Mapping[str, str]) -> tuple[_Quota, _Quota]:
    """Input and output tokens have separate limits; `tokens` is their sum, or a narrower limit of the workspace."""
    requests, tokens, inputs, outputs = (
        _Quota(_count(headers.get(limit)), _count(headers.get(remaining)), _until_s(headers.get(reset)))
        for limit, remaining, reset in _ANTHROPIC
    )
    if tokens.limit is None and inputs.limit and outputs.limit:
        tokens = _Quota(inputs.limit + outputs.limit)
    spent = next((quota for quota in (inputs, outputs) if quota.remaining == 0 and quota.limit), None)
    return requests, _Quota(tokens.limit, 0, spent.reset_s) if spent else tokens


def _draft(headers: Mapping[str, str]) -> _Quota:
    """`RateLimit-Limit: 100`, or `100, 100;w=60` where w is the window in seconds."""
    text = headers.get("ratelimit-limit", "")[:_LONGEST_CHARS]
    limit = _count(text.split(",", 1)[0].split(";", 1)[0].strip())
    policy = _POLICY.search(text)
    window_s = int(policy[2]) if policy else _MINUTE_S
    remaining = _count(headers.get("ratelimit-remaining"))
    reset_s = span_s(headers.get("ratelimit-reset"))
    if limit is None or not 0 < window_s <= _MINUTE_S or (reset_s or 0.0) > window_s + 1:
        return _Quota(None, remaining, reset_s)
    if remaining is not None and remaining > limit:
        remaining = None
    # A shorter window is scaled up to a minute; sent evenly, that many never come at once.
    return _Quota(int(limit * _MINUTE_S / window_s), remaining, reset_s)


def _count(text: str | None) -> int | None:
    """A number of at least 0; Azure has -1 for unknown values."""
    return int(float(text)) if text is not None and _NUMBER.fullmatch(text) else None


def span_s(text: str | None) -> float | None:
    """The seconds in `1s`, `6m0s`, `20ms`, `1h2m3.5s`, as Go writes durations, in a bare number of seconds, or until a
    time since 1970 in seconds or, as OpenRouter has it, in milliseconds.
    """
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number < _EPOCH_S:
            return number
        # It is a wall-clock time, so it is compared with the wall clock.
        return max(0.0, number / (1000 if number >= 1000 * _EPOCH_S else 1) - time.time())
    match = _SPAN.fullmatch(text) if 0 < len(text) <= _LONGEST_CHARS else None
    if match is None:
        return None
    return sum(float(part) * unit_s for part, unit_s in zip(match.groups(), _SPAN_S, strict=True) if part)


def _until_s(text: str | None) -> float | None:
    """The seconds until a time in RFC 3339, 0 for one in the past."""
    try:
        # A date is wall-clock time, so it is compared with the wall clock.
        return max(0.0, datetime.fromisoformat(text or "").timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return None
