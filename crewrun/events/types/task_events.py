"""A task starts, and is completed or fails."""

from typing import Any, Literal

from crewrun.events.base_events import BaseEvent

# `type` is a field of events.
ErrorClass = type[BaseException]


class TaskStartedEvent(BaseEvent):
    """`task` begins, with the earlier outputs that are its `context` as one text."""

    type: Literal["task_started"] = "task_started"
    context: str | None = None
    task: Any = None


class TaskCompletedEvent(BaseEvent):
    """`task` has its `output`, a TaskOutput, after guardrails and callbacks."""

    type: Literal["task_completed"] = "task_completed"
    output: Any = None
    task: Any = None


class TaskFailedEvent(BaseEvent):
    """`task` has failed with an exception of the class `error_type`, or was cancelled."""

    type: Literal["task_failed"] = "task_failed"
    error: str
    error_type: ErrorClass | None = None
    task: Any = None
