"""How long a provider asks to wait: in a header, in a field of the body, or in its message.

Nonsensical values are ignored: negative numbers, and more than a week, which usually is a Unix time in a field for
seconds.
"""

import email.utils
import math
import re
import time
from collections.abc import Mapping

from crewrun.limits.rate_headers import span_s

_LONGEST_S = 7 * 86_400.0  # no provider has a limit for longer than a week
# Unix times have been above this since 2001; in milliseconds, above a thousand times this.
_EPOCH_S = 1e9
_UNITS_S = {"ms": 0.001, "milli": 0.001, "mi": 60.0, "m": 60.0, "s": 1.0, "h": 3_600.0, "d": 86_400.0}
_PART = (
    r"\d{1,9}(?:\.\d{1,12})?\s{0,2}"
    r"(?:milliseconds?|msecs?|ms|minutes?|mins?|m|seconds?|secs?|s|hours?|hrs?|h|days?|d)(?![a-z])"
)
_SPAN = re.compile(rf"(?:{_PART}(?:\s|,|and){{0,6}}){{1,4}}")
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|mi|m|s|h|d)")
# "Please try again in 1.2s", "retry after 20 seconds", "Please wait 1m30s", "the limit resets in 2 hours"
_ASKING = re.compile(
    r"\b(?:(?:again|retry(?:ing)?|wait|resets?|available)\b[^.\d]{0,30}?\b(?:in|after|for|within)|wait|retry-after)"
    r":? {1,2}"
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds in `retry-after-ms` or `Retry-After`, None if neither can be parsed.

    RFC 9110 §10.2.3 allows seconds or an HTTP date; fractions, `1m30s` and `500ms` have been seen too. OpenAI and Azure
    send the milliseconds. Names in `headers` must be in lower case, unless the mapping ignores case.
    """
    milliseconds = _plausible(number_of(headers.get("retry-after-ms")), 0.001)
    if milliseconds is not None:
        return milliseconds
    value = (headers.get("retry-after") or "").strip()
    seconds = number_of(value)
    if seconds is None:
        seconds = span_s(value.replace(" ", "")) if value else None
    return _plausible(_until_s(value) if seconds is None else seconds)


def wait_in(words: str) -> float | None:
    """The seconds in a sentence such as "Please try again in 1m30s", else None. `words` must be in lower case."""
    for asking in _ASKING.finditer(words):
        span = _SPAN.match(words, asking.end())
        if span is not None:
            return _plausible(_seconds(span[0]))
    return None


def wait_of(value: object, unit_s: float = 1.0) -> float | None:
    """The seconds in a field's value: a number, a duration in Google's format `"2s"` or `{"seconds": 2, "nanos": 5}`,
    or a Unix time in seconds or milliseconds.
    """
    if isinstance(value, Mapping):
        return _plausible(number_of(value.get("seconds")) or 0.0) if "seconds" in value else None
    number = number_of(value)
    if number is None:
        return _plausible(span_s(value)) if isinstance(value, str) else None
    if number >= _EPOCH_S:
        return _plausible(max(0.0, number / (1000 if number >= 1000 * _EPOCH_S else 1) - time.time()))
    return _plausible(number, unit_s)


def _plausible(number: float | None, unit_s: float = 1.0) -> float | None:
    """`number` in units of `unit_s`, converted to seconds; None if the value is nonsensical."""
    seconds = None if number is None else number * unit_s
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_S else None


def _seconds(span: str) -> float:
    return sum(float(number) * _UNITS_S[unit] for number, unit in _NUMBER_AND_UNIT.findall(span))


def number_of(value: object) -> float | None:
    """`value` as a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _until_s(date: str) -> float | None:
    """The seconds until an HTTP date, 0 for one in the past."""
    try:
        # A date is wall-clock time, so here, as an exception, the wall clock is used.
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return None
