"""Rounds the counts in a reply's usage: litellm rejects a reply with a fractional count, although it was billed."""

import json
import re
from typing import Any

# The fields in which providers put their counts, and the names of counts: `prompt_tokens`, `totalTokenCount`.
_USAGES = ("usage", "usageMetadata")
_COUNT = re.compile(r".*token.*", re.IGNORECASE)
_NUMBER = re.compile(r"\s*\d{1,11}(?:\.\d{1,11})?\s*", re.ASCII)


def with_whole_counts(body: bytes) -> bytes:
    """`body` with whole numbers for all counts of its usage and without null counts; unchanged if it needs neither."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(reply, dict):
        return body
    usages = {name: reply[name] for name in _USAGES if name in reply}
    whole = {name: _whole(name, usage) or {} for name, usage in usages.items()}
    if json.dumps(whole) == json.dumps(usages):  # not ==, since 12.0 == 12
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
