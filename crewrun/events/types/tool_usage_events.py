"""A tool is used, and gives a result or fails."""

from datetime import datetime
from typing import Any, Literal

from crewrun.events.base_events import BaseEvent


class ToolUsageEvent(BaseEvent):
    """Something happened to a use of `tool_name`. `tool_args` are the model's arguments, a text if they are no JSON
    object; `tool_class` is the name of the tool's class.
    """

    agent_key: str | None = None
    tool_name: str
    tool_args: dict[str, Any] | str
    tool_class: str | None = None
    run_attempts: int = 0
    delegations: int | None = None
    agent: Any = None
    from_task: Any = None
    from_agent: Any = None


class ToolUsageStartedEvent(ToolUsageEvent):
    """A tool is about to be used."""

    type: Literal["tool_usage_started"] = "tool_usage_started"


class ToolUsageFinishedEvent(ToolUsageEvent):
    """A tool has given `output`, the text that the model reads. `failure` is the ToolFailure that the tool reported.

    `from_cache` says that the tool was not called: an equal call was, or (`is_replayed`) an earlier session did.
    """

    type: Literal["tool_usage_finished"] = "tool_usage_finished"
    started_at: datetime
    finished_at: datetime
    from_cache: bool = False
    output: Any = None
    failure: Any = None
    is_replayed: bool = False


class ToolUsageErrorEvent(ToolUsageEvent):
    """A tool has raised an exception, or took too long, or was not called."""

    type: Literal["tool_usage_error"] = "tool_usage_error"
    error: Any


class ToolFailureDetectedEvent(ToolUsageEvent):
    """A tool has returned a ToolFailure, `failure`."""

    type: Literal["tool_failure_detected"] = "tool_failure_detected"
    failure: Any
    policy: Any = None


class ToolValidateInputErrorEvent(ToolUsageEvent):
    """The model's arguments do not fit the tool."""

    type: Literal["tool_validate_input_error"] = "tool_validate_input_error"
    error: Any


class ToolSelectionErrorEvent(ToolUsageEvent):
    """The model has asked for a tool that its agent does not have."""

    type: Literal["tool_selection_error"] = "tool_selection_error"
    error: Any
