"""A crew starts, and is completed or fails."""

from collections.abc import Mapping
from typing import Any, Literal

from crewrun.events.base_events import BaseEvent


class CrewBaseEvent(BaseEvent):
    """Something happened to a kickoff of `crew`; one without a name is called `crew`."""

    crew_name: str | None = None
    crew: Any = None


class CrewKickoffStartedEvent(CrewBaseEvent):
    """A kickoff begins with `inputs`, as the caller gave them."""

    type: Literal["crew_kickoff_started"] = "crew_kickoff_started"
    inputs: Mapping[Any, Any] | None = None  # copied by pydantic, so that handlers may change it


class CrewKickoffCompletedEvent(CrewBaseEvent):
    """A kickoff has its `output`, a CrewOutput."""

    type: Literal["crew_kickoff_completed"] = "crew_kickoff_completed"
    output: Any = None
    total_tokens: int = 0


class CrewKickoffFailedEvent(CrewBaseEvent):
    """A kickoff has failed, or was cancelled."""

    type: Literal["crew_kickoff_failed"] = "crew_kickoff_failed"
    error: str
