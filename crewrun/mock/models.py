"""The mock's models: it answers for any name, and lists one."""

from typing import Any

from crewrun.mock.endpoint import MockRequest
from crewrun.mock.replies import MockReply, json_reply

_NAME = "mock"


async def list_models(request: MockRequest) -> MockReply:
    """GET /v1/models."""
    if _is_anthropic(request):
        page = {"first_id": _NAME, "last_id": _NAME, "has_more": False}
        return json_reply({"data": [_anthropic_model(_NAME)], **page})
    return json_reply({"object": "list", "data": [_openai_model(_NAME)]})


async def one_model(request: MockRequest) -> MockReply:
    """GET /v1/models/NAME: any name is a model."""
    return json_reply(_anthropic_model(request.id) if _is_anthropic(request) else _openai_model(request.id))


def _is_anthropic(request: MockRequest) -> bool:
    """Both providers have this path; Anthropic's clients always name a version of its API."""
    return "anthropic-version" in request.headers


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "crewrun-mock"}


def _anthropic_model(name: str) -> dict[str, Any]:
    return {"id": name, "type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
