"""What every lane to a provider is held to, with `crewrun mock` as the provider: one case for each of its faults."""

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    ModelNotFound,
    NetworkError,
    OutputInvalid,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from crewrun.messages import ChatRequest, Endpoint, Message
from crewrun.testing import TransportCase

_EXPECTED: list[tuple[str, type[CallError] | None, int | None]] = [
    ("hello", None, None),
    ("FAIL-LENGTH", None, None),
    ("FAIL-400", BadRequest, 400),
    ("FAIL-401", AuthRefused, 401),
    ("FAIL-404", ModelNotFound, 404),
    ("FAIL-429", RateLimited, 429),
    ("FAIL-QUOTA", QuotaExhausted, 429),
    ("FAIL-500", ServerError, 500),
    ("FAIL-409", ServerError, 409),
    ("FAIL-503", ServerError, 503),
    ("FAIL-CUT", NetworkError, None),
    ("FAIL-EMPTY", OutputInvalid, 200),
]


def request(endpoint: Endpoint, prompt: str) -> ChatRequest:
    """A request with `prompt` as the user's turn."""
    return ChatRequest(endpoint, (Message("system", "You are a clerk."), Message("user", prompt)))


def mock_cases(endpoint: Endpoint) -> list[TransportCase]:
    """The cases against `endpoint`, which leads to a mock."""
    return [TransportCase(word, request(endpoint, word), kind, status) for word, kind, status in _EXPECTED]
