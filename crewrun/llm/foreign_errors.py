"""What an exception of somebody else's client says of a model call: its HTTP status, or what its class is called.

Nothing is imported for that: names and attributes hold for the clients of providers, httpx, requests, litellm, google's
libraries and botocore.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crewrun.errors import (
    AuthRefused,
    CallError,
    CallTimedOut,
    ContentFiltered,
    ContextTooLong,
    NetworkError,
    RateLimited,
    ServerError,
)
from crewrun.llm.http_errors import failure
from crewrun.redaction import LONGEST_QUOTATION, redact

_LONGEST_TEXT: Final = 500
# By the class's name, or that of a class it derives from; asked where there is no status.
_BY_CLASS: Final[Mapping[str, type[CallError]]] = {
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentFiltered,
    "AuthenticationError": AuthRefused,
    "NoCredentialsError": AuthRefused,
    "RateLimitError": RateLimited,
    "TooManyRequests": RateLimited,
    "ResourceExhausted": RateLimited,
    "ThrottlingException": RateLimited,
    "ServiceUnavailable": ServerError,
    "InternalServerError": ServerError,
    "APITimeoutError": CallTimedOut,
    "Timeout": CallTimedOut,
    "TimeoutException": CallTimedOut,
    "TimeoutError": CallTimedOut,
    "ReadTimeoutError": CallTimedOut,
    "ConnectTimeoutError": CallTimedOut,
    "APIConnectionError": NetworkError,
    "TransportError": NetworkError,
    "ConnectionError": NetworkError,
    "EndpointConnectionError": NetworkError,
    "ClientConnectionError": NetworkError,
    "URLError": NetworkError,
}


def call_error_of(failed: BaseException) -> CallError | None:
    """The CallError that `failed`, or what it was raised from, stands for; None when nothing tells.

    Attributes are read by their names: `status_code` of the exception or of its `response`, whose body and headers say
    more.
    """
    chain = list(_chain(failed))
    for link in chain:
        status = _status(link)
        if status is not None:
            return failure(status, _body(link), _headers(link))
    for link in chain:
        kind = next((_BY_CLASS[part.__name__] for part in type(link).__mro__ if part.__name__ in _BY_CLASS), None)
        if kind is not None:
            return kind(f"{type(link).__name__}: {redact(str(link)[:LONGEST_QUOTATION])[:_LONGEST_TEXT]}")
    return None


def _chain(failed: BaseException | None) -> Iterator[BaseException]:
    """`failed` and what it was raised from, outermost first; not beyond a call of crewrun's own."""
    seen: set[int] = set()
    while failed is not None and id(failed) not in seen and not isinstance(failed, CallError):
        seen.add(id(failed))
        yield failed
        failed = failed.__cause__ or (None if failed.__suppress_context__ else failed.__context__)


def _status(link: BaseException) -> int | None:
    response = getattr(link, "response", None)
    found = [getattr(link, name, None) for name in ("status_code", "status", "code", "http_status")]
    found.append(getattr(response, "status_code", None))
    if isinstance(response, Mapping):  # botocore
        found.append((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    return next((s for s in found if isinstance(s, int) and not isinstance(s, bool) and 400 <= s < 600), None)


def _body(link: BaseException) -> bytes:
    """The refused reply's body, else what the exception says."""
    response = getattr(link, "response", None)
    try:
        content: Any = getattr(response, "content", None)
    except Exception:  # httpx, of a reply that was not read
        content = None
    if isinstance(content, bytes) and content:
        return content
    return str(link)[:LONGEST_QUOTATION].encode("utf-8", "replace")


def _headers(link: BaseException) -> dict[str, str]:
    response = getattr(link, "response", None)
    headers = getattr(response, "headers", None) or getattr(link, "headers", None)
    try:
        return {str(name): str(value) for name, value in dict(headers or {}).items()}
    except (TypeError, ValueError):
        return {}
