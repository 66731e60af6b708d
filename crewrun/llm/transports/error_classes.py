"""What the class of another library's exception says about a failed model call: `kind_by_class`."""

from collections.abc import Mapping

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    NetworkError,
    OutputInvalid,
    QuotaExhausted,
    RateLimited,
)

# Exception classes of litellm, httpx and cloud SDKs by name: names are stable across litellm's versions, and nothing
# has to be imported. They are looked up along the MRO, so that ContextWindowExceededError does not count as the
# BadRequestError that it derives from. APIConnectionError, InternalServerError and APIError are missing on purpose:
# litellm wraps anything in them, so the cause inside decides, and if that says nothing it is a ServerError.
BY_CLASS: Mapping[str, type[CallError]] = {
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentFiltered,
    "PaymentRequiredError": QuotaExhausted,
    "AuthenticationError": AuthRefused,
    "PermissionDeniedError": AuthRefused,
    "NoCredentialsError": AuthRefused,  # botocore
    "PartialCredentialsError": AuthRefused,  # botocore
    "GoogleAuthError": AuthRefused,
    "NotFoundError": ModelNotFound,
    "BadRequestError": BadRequest,
    "UnprocessableEntityError": BadRequest,
    "UnsupportedProtocol": BadRequest,  # httpx: a base_url without http://
    "InvalidURL": BadRequest,
    "ImportError": BadRequest,  # a provider's SDK is not installed
    "RateLimitError": RateLimited,
    "Timeout": CallTimedOut,
    "APITimeoutError": CallTimedOut,
    "TimeoutException": CallTimedOut,
    "TransportError": NetworkError,
    "JSONSchemaValidationError": OutputInvalid,
}


def kind_by_class(error: BaseException) -> type[CallError] | None:
    """Our class for `error`, judged by the name of its class; None if that says nothing."""
    return next((BY_CLASS[c.__name__] for c in type(error).__mro__ if c.__name__ in BY_CLASS), None)
