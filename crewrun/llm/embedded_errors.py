"""Errors inside a reply whose HTTP status is 2xx: gateways answer so when the provider behind them failed.

What they mean is read in `http_errors`, as if the code inside were the HTTP status.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from crewrun.errors import CallError, ServerError
from crewrun.llm.http_errors import failure

_SHOWN_CHARS: Final = 1000
# Where an error has its code, the most exact first.
_CODES: Final = ("code", "status_code", "http_status", "status", "error_code", "type")
_FINE: Final = frozenset({0, 200, "0", "200", "success", "ok"})
# Parts of codes in words, in the order in which they count, and the statuses that they stand for.
_WORDS: Final[tuple[tuple[tuple[str, ...], int], ...]] = (
    (("insufficient_quota", "rate_limit", "ratelimit", "too_many_requests", "throttl", "resource_exhausted"), 429),
    (("quota",), 429),
    (("payment_required", "insufficient_credit", "insufficient_balance", "insufficient_funds", "billing"), 402),
    (("invalid_api_key", "api_key_invalid", "authentication", "unauthorized", "unauthenticated"), 401),
    (("permission", "forbidden", "access_denied"), 403),
    (("not_found", "no_such_model", "unknown_model"), 404),
    (("context_length", "content_filter", "content_policy", "moderation", "invalid_request", "bad_request"), 400),
    (("invalid_argument", "failed_precondition", "unsupported"), 400),
    (("overloaded", "unavailable", "capacity"), 503),
    (("timeout", "timed_out", "deadline_exceeded", "gateway"), 504),
    (("server_error", "internal", "api_error", "upstream"), 500),
)
_IN_TEXT = re.compile(r"(?:\b(?:code|status|http|error)\b\W{0,3}|^\W{0,2})([45]\d\d)\b", re.IGNORECASE)


def embedded_failure(reply: Any, headers: Mapping[str, str]) -> CallError | None:
    """The error that a parsed reply reports beside or in place of its choices, or in the first one; None for none."""
    if not isinstance(reply, dict):
        return None
    choice = _first_choice(reply)
    if choice is not None and not (choice.get("error") or reply.get("error")) and choice.get("message"):
        return None  # what nearly all are
    has_message = choice is not None and isinstance(choice.get("message"), dict)
    if (error := _error_in(reply)) is None and choice is not None:
        error = _error_in(choice)
    if error is None:
        if has_message or _status(reply) is None:
            return None
        error = reply  # `{"object": "error", "message": "…", "code": 429}`
    if has_message and isinstance(error, dict) and _is_fine(error):
        return None
    status = _status(error) if has_message or error is reply else _status(error, _without_error(reply))
    if status is None:
        return ServerError(f"the reply reports an error: {_message(error)}", http_status=200)
    return failure(status, json.dumps({"error": error}).encode(), headers)


def _first_choice(reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _error_in(holder: Mapping[str, Any]) -> Any:
    """What stands there as an error, None for nothing: an empty one is none."""
    error = holder.get("error")
    if not error:
        errors = holder.get("errors")
        error = errors[0] if isinstance(errors, list) and errors else None
    if isinstance(error, dict):
        return error if any(error.values()) else None
    return error or None


def _without_error(reply: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reply.items() if name != "error"}


def _is_fine(error: Mapping[str, Any]) -> bool:
    code = error.get("code")
    return isinstance(code, int | str) and code in _FINE


def _status(*places: Any) -> int | None:
    """The HTTP status that an error stands for, None when it does not say: a number first, then words."""
    found = [code for place in places for code in _codes(place)]
    numbers = (_number(code) for code in found)
    words = (_in_words(code) for code in found if isinstance(code, str))
    return next((status for status in (*numbers, *words) if status is not None), None)


def _codes(place: Any) -> list[Any]:
    """What may be a code, the most exact first."""
    if not isinstance(place, dict):
        found = _IN_TEXT.search(str(place))
        return [found[1] if found else None, str(place)]
    inner = place.get("error")
    return [*(place.get(name) for name in _CODES), *(_codes(inner) if isinstance(inner, dict) else ())]


def _number(code: Any) -> int | None:
    if isinstance(code, str) and code.strip().isascii() and code.strip().isdigit() and len(code) < 6:
        code = int(code)
    if isinstance(code, float) and code.is_integer():
        code = int(code)
    return code if type(code) is int and 400 <= code < 600 else None


def _in_words(code: str) -> int | None:
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code).lower().replace("-", "_").replace(" ", "_")
    return next((status for parts, status in _WORDS if any(part in word for part in parts)), None)


def _message(error: Any) -> str:
    if isinstance(error, dict):
        found = next((error[name] for name in ("message", "detail", "msg", "type") if error.get(name)), error)
        return str(found)[:_SHOWN_CHARS]
    return str(error)[:_SHOWN_CHARS]
