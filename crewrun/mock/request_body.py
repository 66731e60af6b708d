"""Reads the body of any request to the mock, and says which requests are the same."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

# How an answer is delivered and paid for, not what it is an answer to.
_DELIVERY = frozenset({"service_tier", "stream", "stream_options"})
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
    """8 bytes of a hash of what is asked: the same for a call at another tier, as a stream, or as a line of a job."""
    if not _DELIVERY.isdisjoint(request):
        request = {name: value for name, value in request.items() if name not in _DELIVERY}
    return body_digest(_ENCODER.encode(request).encode())


def body_digest(body: bytes) -> int:
    """8 bytes of a hash of a body."""
    return int.from_bytes(blake2b(body, digest_size=8).digest())
