"""Refusals in Google's form: https://ai.google.dev/gemini-api/docs/troubleshooting#error-codes."""

import json
from collections.abc import Mapping
from typing import Any, Final

from crewrun.mock.replies import MockReply, Refusal

# By status: gRPC's name, and its number.
_CODES: Final[Mapping[int, tuple[str, int]]] = {
    400: ("INVALID_ARGUMENT", 3),
    401: ("UNAUTHENTICATED", 16),
    403: ("PERMISSION_DENIED", 7),
    404: ("NOT_FOUND", 5),
    429: ("RESOURCE_EXHAUSTED", 8),
    500: ("INTERNAL", 13),
    503: ("UNAVAILABLE", 14),
    504: ("DEADLINE_EXCEEDED", 4),
}


def gemini_refusal(refusal: Refusal) -> MockReply:
    """The reply for `refusal`. No capacity is a 503."""
    status = 503 if refusal.reason == "no capacity" else refusal.status
    name = _CODES.get(status, ("UNKNOWN", 2))[0]
    body = {"error": {"code": status, "message": refusal.message, "status": name}}
    return MockReply(status, json.dumps(body).encode(), refusal.headers)


def line_error(reply: MockReply) -> dict[str, Any]:
    """The error of a line of a batch job, whose code is gRPC's."""
    try:
        message = json.loads(reply.body)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        message = "Internal error encountered."
    return {"code": _CODES.get(reply.status, ("UNKNOWN", 2))[1], "message": message}
