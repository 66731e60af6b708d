"""An agent starts to work, and is done or fails: on a task, or asked directly (`LiteAgent…`)."""

from collections.abc import Sequence
from typing import Any, Literal

from crewrun.events.base_events import BaseEvent


class AgentExecutionStartedEvent(BaseEvent):
    """`agent` begins to work on `task`; both have the texts of the row."""

    type: Literal["agent_execution_started"] = "agent_execution_started"
    agent: Any = None
    task: Any = None
    tools: Sequence[Any] | None = None
    task_prompt: str = ""


class AgentExecutionCompletedEvent(BaseEvent):
    """`agent` has its answer, `output`."""

    type: Literal["agent_execution_completed"] = "agent_execution_completed"
    agent: Any = None
    task: Any = None
    output: str = ""


class AgentExecutionErrorEvent(BaseEvent):
    """`agent` has failed, or was cancelled."""

    type: Literal["agent_execution_error"] = "agent_execution_error"
    agent: Any = None
    task: Any = None
    error: str


class LiteAgentExecutionStartedEvent(BaseEvent):
    """An agent was asked directly. `agent_info` has its id, role, goal, backstory and verbose."""

    type: Literal["lite_agent_execution_started"] = "lite_agent_execution_started"
    agent_info: dict[str, Any]
    tools: Sequence[Any] | None = None
    messages: str | list[dict[str, Any]] = ""


class LiteAgentExecutionCompletedEvent(BaseEvent):
    """An agent that was asked directly has its answer, `output`."""

    type: Literal["lite_agent_execution_completed"] = "lite_agent_execution_completed"
    agent_info: dict[str, Any]
    output: str = ""


class LiteAgentExecutionErrorEvent(BaseEvent):
    """An agent that was asked directly has failed, or was cancelled."""

    type: Literal["lite_agent_execution_error"] = "lite_agent_execution_error"
    agent_info: dict[str, Any]
    error: str
