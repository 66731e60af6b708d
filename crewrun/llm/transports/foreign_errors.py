"""What an exception from another client says about a model call, by its HTTP status or the name of its class.

This needs no imports: the names and attributes are those of the providers' clients, httpx, requests, litellm, Google's
libraries and botocore.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Final

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
from crewrun.llm.transports.foreign_reply import error_of_reply, links_of
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact

_LONGEST_TEXT: Final = 500  # of the exception's message; clients put whole requests into it
# By the name of the class or of one of its bases; used if there is no status.
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
    """The CallError that `failed`, or an exception that it was raised from, stands for; None if none can be told.

    The search ends at a CallError, which belongs to a call of crewrun's own.
    """
    chain = list(takewhile(lambda link: not isinstance(link, CallError), links_of(failed)))
    for link in chain:
        if (error := error_of_reply(link)) is not None:
            return error
    for link in chain:
        kind = next((_BY_CLASS[part.__name__] for part in type(link).__mro__ if part.__name__ in _BY_CLASS), None)
        if kind is not None:
            return kind(f"{type(link).__name__}: {redact(str(link)[:LONGEST_QUOTATION])[:_LONGEST_TEXT]}")
    return None
