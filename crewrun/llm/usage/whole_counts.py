"""Counts of a reply's usage as whole numbers: over one that is not, litellm gives up a reply that was billed."""

import json
import re
from typing import Any

# Where providers have their counts, and how they name each: `prompt_tokens`, `totalTokenCount`, `tokenCount`.
_USAGES = ("usage", "usageMetadata")
_COUNT = re.compile(r".*token.*", re.IGNORECASE)
_NUMBER = re.compile(r"\s*\d{1,11}(?:\.\d{1,11})?\s*", re.ASCII)


def with_whole_counts(body: bytes) -> bytes:
    """`body` with every count of its usage as a whole number, without those that are null; the same if all are."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(reply, dict):
        return body
    usages = {name: reply[name] for name in _USAGES if name in reply}
    whole = {name: _whole(name, usage) or {} for name, usage in usages.items()}
    if json.dumps(whole) == json.dumps(usages):  # not ==, to which 12.0 is 12
        return body
    return json.dumps(reply | whole).encode()


def _whole(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(key, each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_whole(name, each) for each in value]
    if not _COUNT.fullmatch(name):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    return round(value) if isinstance(value, float) and abs(value) < 1e18 else value
