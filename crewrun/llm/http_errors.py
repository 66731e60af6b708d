"""What a refused reply means: from status, body and headers to a CallError, for both lanes.

The only place where a status, a provider's code or its words get a meaning.
"""

import email.utils
import json
import time
from collections.abc import Mapping

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from crewrun.llm import rate_headers

# Words that providers put into `code`, `type` or the message of a refusal; checked in this order.
_BY_WORD: tuple[tuple[tuple[str, ...], type[CallError]], ...] = (
    (("api key not valid", "api_key_invalid", "invalid_api_key", "incorrect api key"), AuthRefused),
    (("insufficient_quota", "exceeded your current quota", "billing", "credit balance"), QuotaExhausted),
    (
        (
            "context_length_exceeded",
            "maximum context length",
            "context window",
            "prompt is too long",
            "too many tokens",
        ),
        ContextTooLong,
    ),
    (("content_filter", "content_policy", "content management policy"), ContentFiltered),
    (("model_not_found", "does not exist", "unknown model"), ModelNotFound),
)
_BY_STATUS: Mapping[int, type[CallError]] = {
    401: AuthRefused,
    402: QuotaExhausted,
    403: AuthRefused,
    404: ModelNotFound,
    408: CallTimedOut,
    409: ServerError,
    413: ContextTooLong,
    429: RateLimited,
}
# Which statuses the words above may overrule. A 429 can only be an empty account, whatever it says of tokens.
_REFUSALS = frozenset({400, 403, 404, 413, 422})


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> CallError:
    """The error for a reply with a status that is not 2xx. The only place where a status gets a meaning."""
    detail, words = _explain(body)
    kind = _BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequest)
    if status in _REFUSALS or status == 429:
        lowered = words.lower()
        told = next((k for marks, k in _BY_WORD if any(m in lowered for m in marks)), kind)
        kind = told if status != 429 or told is QuotaExhausted else kind
    error = kind(f"HTTP {status}: {detail}", http_status=status, retry_after_s=retry_after(headers))
    error.limits = rate_headers.read(headers)
    return error


def _explain(body: bytes) -> tuple[str, str]:
    """What the body says to a person, and the text in which to look for the provider's code words."""
    text = body[:4000].decode("utf-8", "replace").strip()
    try:
        error = json.loads(body)
        error = error.get("error", error) if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        return (" ".join(text[:300].split()) or "no explanation"), text
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or text[:300]
        return str(message)[:1000], f"{error.get('code')} {error.get('type')} {message}"
    return str(error)[:1000], str(error)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long the provider asks to wait, in seconds: `retry-after-ms`, or `Retry-After` as a number or an HTTP date.

    RFC 9110 §10.2.3; the milliseconds are OpenAI's and Azure's. Something unreadable counts as not asked.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        # A date is wall-clock time, so it is the one thing here that is compared with the wall clock.
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    """`text` as a finite number from 0 on, else None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
