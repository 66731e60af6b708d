"""Reads the body of any request to the mock, and says which requests are the same."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

# How an answer is delivered and paid for, not what it is an answer to.
_DELIVERY = frozenset({"service_tier", "stream", "stream_options", "prompt_cache_key", "prompt_cache_options"})
_MARKS = frozenset({"cache_control", "prompt_cache_breakpoint"})
# Made once: `json.dumps` with arguments makes one for each call, which takes as long as the encoding.
_ENCODER = json.JSONEncoder(sort_keys=True, check_circular=False)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises ValueError for anything else."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise ValueError("the body is not a JSON object")
    return request


def check_model(request: Mapping[str, Any]) -> None:
    """Raise ValueError unless the request's model is a non-empty text."""
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise ValueError("you must provide a model parameter")


def request_digest(request: Mapping[str, Any]) -> int:
    """8 bytes of a hash of what is asked: the same for a call at another tier, as a stream, or as a line of a job, and
    whatever of it is to be cached.
    """
    if not _DELIVERY.isdisjoint(request):
        request = {name: value for name, value in request.items() if name not in _DELIVERY}
    text = _ENCODER.encode(request)
    if any(f'"{mark}":' in text for mark in _MARKS):
        text = _ENCODER.encode(_unmarked(request))
    return body_digest(text.encode())


def _unmarked(value: Any) -> Any:
    """`value` without breakpoints of caches; a list that a content is only to have one is a text again."""
    if isinstance(value, list):
        return [_unmarked(each) for each in value]
    if not isinstance(value, dict):
        return value
    fields = {name: _unmarked(inner) for name, inner in value.items() if name not in _MARKS}
    content = value.get("content")
    if isinstance(content, list) and len(content) == 1 and _is_marked_text(content[0]):
        fields["content"] = content[0]["text"]
    return fields


def _is_marked_text(part: Any) -> bool:
    return isinstance(part, dict) and not _MARKS.isdisjoint(part) and part.keys() - _MARKS == {"type", "text"}


def body_digest(body: bytes) -> int:
    """8 bytes of a hash of a body."""
    return int.from_bytes(blake2b(body, digest_size=8).digest())
