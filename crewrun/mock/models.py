"""The mock's models: it answers for any name, and lists one."""

from crewrun.mock.endpoint import MockRequest
from crewrun.mock.replies import MockReply, json_reply

_NAME = "mock"


async def list_models(request: MockRequest) -> MockReply:
    """GET /v1/models."""
    return json_reply({"object": "list", "data": [_openai_model(_NAME)]})


async def one_model(request: MockRequest) -> MockReply:
    """GET /v1/models/NAME: any name is a model."""
    return json_reply(_openai_model(request.id))


def _openai_model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "crewrun-mock"}
