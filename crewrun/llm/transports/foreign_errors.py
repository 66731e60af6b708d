"""What an exception of somebody else's client says of a model call: its HTTP status, or what its class is called.

Nothing is imported for that: names and attributes hold for the clients of providers, httpx, requests, litellm, google's
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

    It is not looked for beyond a call of crewrun's own.
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
