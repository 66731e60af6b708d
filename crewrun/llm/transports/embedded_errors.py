"""Errors inside a reply with a 2xx status, as gateways send them when the provider behind them failed.

`http_errors` interprets them as if the code inside were the HTTP status.
"""

from collections.abc import Mapping
from typing import Any, Final

from crewrun.errors import CallError, ServerError
from crewrun.llm.transports.http_errors import embedded_status, failure_in, named_status
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact

_SHOWN_CHARS: Final = 1000  # of an error's text: whole messages fit, and a row's error record stays readable
_FINE: Final = frozenset({0, 200, "0", "200", "success", "ok"})


def embedded_failure(reply: Any, headers: Mapping[str, str]) -> CallError | None:
    """The error that a parsed reply reports next to its choices, instead of them, or in the first one; else None."""
    if not isinstance(reply, dict):
        return None
    choice = _first_choice(reply)
    if choice is not None and not (choice.get("error") or reply.get("error")) and choice.get("message"):
        return None  # as in nearly every reply
    has_message = choice is not None and isinstance(choice.get("message"), dict)
    if (error := _error_in(reply)) is None and choice is not None:
        error = _error_in(choice)
    if error is None:
        if has_message or embedded_status(reply) is None:
            return None
        error = reply  # `{"object": "error", "message": "…", "code": 429}`
    if has_message and isinstance(error, dict) and _is_fine(error):
        return None
    status = embedded_status(error)
    if status is None and not has_message:
        status = named_status(reply)  # next to the error
    if status is None:
        return ServerError(f"the reply reports an error: {_message(error)}", http_status=200)
    return failure_in(status, error, headers)


def _first_choice(reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _error_in(holder: Mapping[str, Any]) -> Any:
    """The error in `holder`, None if it is missing or empty."""
    error = holder.get("error")
    if not error:
        errors = holder.get("errors")
        error = errors[0] if isinstance(errors, list) and errors else None
    if isinstance(error, dict):
        return error if any(error.values()) else None
    return error or None


def _is_fine(error: Mapping[str, Any]) -> bool:
    code = error.get("code")
    return isinstance(code, int | str) and code in _FINE


def _message(error: Any) -> str:
    if isinstance(error, dict):
        text = next((error[name] for name in ("message", "detail", "msg", "type") if error.get(name)), error)
        return redact(str(text)[:LONGEST_QUOTATION])[:_SHOWN_CHARS]
    return redact(str(error)[:LONGEST_QUOTATION])[:_SHOWN_CHARS]
