"""`cause_of`: the failed model call behind an exception that another library or the user's code raised.

CrewAI's own calls bypass crewrun. Their failures arrive wrapped in several exceptions; one of these is the provider
client's, with a status or a telling class.
"""

from crewrun.errors import CallError, CallTimedOut, CrewrunError, NetworkError, ServerError
from crewrun.llm.transports.error_classes import kind_by_class
from crewrun.llm.transports.foreign_reply import error_of_reply, links_of
from crewrun.loading.user_code import crewai_place_of

# Packages of model clients.
_CLIENTS = frozenset(
    {
        *("openai", "anthropic", "litellm", "groq", "mistralai", "cohere", "ollama", "google", "together", "cerebras"),
        *("fireworks", "huggingface_hub", "botocore", "azure", "ibm_watsonx_ai", "httpx", "httpcore"),
    }
)
_SERVER = frozenset({"InternalServerError", "ServiceUnavailableError", "BadGatewayError", "OverloadedError"})


def cause_of(failed: BaseException) -> CrewrunError | None:
    """Our error for the call behind `failed`; None if there is no sign of a failed call."""
    links = list(links_of(failed))
    own = next((link for link in links if isinstance(link, CrewrunError)), None)
    if own is not None:
        return own
    calls = [link for link in links if _package(link) in _CLIENTS]
    # litellm assigns a status to anything it wraps; the inner client's is more reliable.
    for link in sorted(calls, key=lambda one: _package(one) == "litellm"):
        if (error := error_of_reply(link)) is not None:
            return error
    kind = next((kind for link in calls if (kind := kind_by_class(link))), None)
    if kind is None and any(type(link).__name__ in _SERVER for link in calls):
        kind = ServerError
    if kind is None:
        kind = NetworkError if any(type(link).__name__ == "APIConnectionError" for link in calls) else _built_in(links)
    return None if kind is None else kind(str(failed))


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _built_in(links: list[BaseException]) -> type[CallError] | None:
    """The class for Python's own timeout and connection errors, if CrewAI raised them."""
    for link in links:
        if crewai_place_of(link) is not None:
            if isinstance(link, TimeoutError):
                return CallTimedOut
            if isinstance(link, ConnectionError):
                return NetworkError
    return None
