"""Refusals in OpenAI's form.

https://platform.openai.com/docs/guides/error-codes
"""

import json

from crewrun.mock.replies import MockReply, Refusal

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def openai_refusal(refusal: Refusal) -> MockReply:
    """The reply for `refusal`; its `type` is the usual one for the status unless the reason has one of its own."""
    status, code, kind = refusal.status, None, None
    match refusal.reason:
        case "quota":
            code = kind = "insufficient_quota"
        case "no capacity":
            code = kind = "resource_unavailable" if status == 429 else "capacity_exceeded"
        case "rate" | "fault":
            code = _CODES.get(status)
        case reason:
            code = reason or None
    kind = kind or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": refusal.message, "type": kind, "param": None, "code": code}
    return MockReply(status, json.dumps({"error": error}).encode(), refusal.headers)
