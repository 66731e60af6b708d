"""`BaseEvent`: what all events of CrewAI's bus have, also those of the user's own."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

# Objects of the crew: in JSON their names stand for them, since a crew has keys, functions and other crews in it.
_OBJECTS = {"crew": "name", "agent": "role", "task": "name", "from_agent": "role", "from_task": "name", "tool": "name"}


class BaseEvent(BaseModel):
    """An event. The ids are CrewAI's: `parent_event_id` is the start of what it happened in, `started_event_id` the
    start of what ends with it, `previous_event_id` the one before it in its row.

    `row_id` is the id of the row that it happened in, None outside of a run.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    type: str
    source_fingerprint: str | None = None
    source_type: str | None = None
    fingerprint_metadata: dict[str, Any] | None = None
    task_id: str | None = None
    task_name: str | None = None
    agent_id: str | None = None
    agent_role: str | None = None
    event_id: str = Field(default_factory=lambda: str(uuid4()))
    parent_event_id: str | None = None
    previous_event_id: str | None = None
    triggered_by_event_id: str | None = None
    started_event_id: str | None = None
    emission_sequence: int | None = None
    row_id: str | None = None

    def to_json(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """The fields as JSON values, without those in `exclude`. A crew, an agent, a task or a tool is its name, and
        anything else that is no JSON its `str()`.
        """
        values = {name: value for name, value in dict(self).items() if name not in (exclude or ())}
        for name, of_it in _OBJECTS.items():
            if values.get(name) is not None:
                values[name] = str(getattr(values[name], of_it, None) or "")
        if values.get("tools"):
            values["tools"] = _names(values["tools"])
        plain: dict[str, Any] = to_jsonable_python(values, fallback=str, serialize_unknown=True)
        return plain


def _names(tools: Any) -> list[Any]:
    return [tool if isinstance(tool, dict | str) else str(getattr(tool, "name", tool)) for tool in tools]
