"""Refusals in Anthropic's form: https://docs.anthropic.com/en/api/errors."""

import json
from typing import Any

from crewrun.mock.replies import MockReply, Refusal

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_refusal(refusal: Refusal) -> MockReply:
    """The reply for `refusal`. An account without credit is a 400, and no capacity a 529."""
    status, message = refusal.status, refusal.message
    if refusal.reason == "quota":
        status, message = 400, "Your credit balance is too low to access the Anthropic API."
    elif refusal.reason == "no capacity":
        status, message = 529, "Overloaded"
    return MockReply(status, json.dumps(error_body(status, message)).encode(), refusal.headers)


def error_body(status: int, message: str) -> dict[str, Any]:
    """The body of an error, which results of batch jobs have too."""
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"}
