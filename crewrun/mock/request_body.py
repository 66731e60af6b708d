"""`read_request`: parses the body of any request to the mock, a JSON object with a model."""

import json
from typing import Any


def read_request(body: bytes) -> dict[str, Any]:
    """The request in `body`; its `model` is a non-empty text. Raises ValueError with what OpenAI would refuse."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise ValueError("the body is not a JSON object")
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise ValueError("you must provide a model parameter")
    return request
