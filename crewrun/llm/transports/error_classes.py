"""What the class of another library's exception says about a call of a model: `kind_by_class`."""

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

# What a class of litellm, httpx or a cloud's SDK says about a failure, by name: the names hold across litellm's
# versions, and nothing needs importing. Looked up along the class's ancestors, so ContextWindowExceededError is not the
# BadRequestError that it derives from. Missing on purpose: APIConnectionError, InternalServerError and APIError, which
# litellm puts around anything. They say nothing, so the cause within is asked, and else it is a ServerError.
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
    """The class of ours for what `error` is called; None when its name says nothing."""
    return next((BY_CLASS[c.__name__] for c in type(error).__mro__ if c.__name__ in BY_CLASS), None)
