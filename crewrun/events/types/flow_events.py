"""A flow and its methods start, and are done or fail."""

from collections.abc import Mapping
from typing import Any

from crewrun.events.base_events import BaseEvent


class FlowEvent(BaseEvent):
    """Something happened to a kickoff of the flow `flow_name`, the name of its class unless it has another."""

    type: str = ""
    flow_name: str


class FlowStartedEvent(FlowEvent):
    """A flow begins with `inputs`."""

    type: str = "flow_started"
    inputs: Mapping[Any, Any] | None = None  # copied by pydantic, so that handlers may change it


class FlowFinishedEvent(FlowEvent):
    """A flow has its `result`; `state` is a copy of its state then."""

    type: str = "flow_finished"
    result: Any = None
    state: Any = None


class MethodExecutionStartedEvent(FlowEvent):
    """A method is about to be called; `state` is a copy of the flow's state then."""

    type: str = "method_execution_started"
    method_name: str
    state: Any = None
    params: dict[str, Any] | None = None


class MethodExecutionFinishedEvent(FlowEvent):
    """A method has returned `result`; `state` is a copy of the flow's state then."""

    type: str = "method_execution_finished"
    method_name: str
    result: Any = None
    state: Any = None


class MethodExecutionFailedEvent(FlowEvent):
    """A method has raised `error`, or was cancelled."""

    type: str = "method_execution_failed"
    method_name: str
    error: Any
