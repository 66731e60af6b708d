"""`ToolFailure`: how a tool reports that a call has failed, with CrewAI's names and import path.

Every failed call of a tool becomes one, whether the tool returns or raises it or the toolbox creates it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crewrun.errors import ToolFailed
from crewrun.failed_tools import FailedCall


class ToolFailureReason(StrEnum):
    """The kind of failure. `TIMEOUT` is crewrun's own; the others are CrewAI's."""

    TOOL_REPORTED = "tool_reported"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    INVALID_INPUT = "invalid_input"
    UNKNOWN_TOOL = "unknown_tool"
    USAGE_LIMIT = "usage_limit"


class ToolFailure(Exception):
    """A failed call. If a tool returns or raises it, the model reads its text instead of a result.

    `code` is a name of the failure for programs, `details` has anything else about it.
    """

    def __init__(
        self,
        message: str,
        reason: ToolFailureReason | str = ToolFailureReason.TOOL_REPORTED,
        code: str | None = None,
        retryable: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = str(message)
        self.reason = str(reason)
        self.code = code
        self.retryable = retryable
        self.details = dict(details or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToolFailure) and self.to_json() == other.to_json()

    __hash__ = Exception.__hash__

    def as_agent_message(self) -> str:
        """The text for the model."""
        return f"{self.message} (code: {self.code})" if self.code else self.message

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        names = ("message", "reason", "code", "retryable", "details")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Lets pydantic serialise outputs that contain failures."""
        serialization = core_schema.plain_serializer_function_ser_schema(cls.to_json)
        return core_schema.is_instance_schema(cls, serialization=serialization)


class ToolFailureRecord(BaseModel):
    """A failed call in an output's list. `tool_args` are the arguments as the model wrote them."""

    model_config = ConfigDict(frozen=True)

    tool_name: str
    failure: ToolFailure
    tool_args: str | None = None
    agent_role: str | None = None
    task_name: str | None = None

    @property
    def message(self) -> str:
        """What went wrong."""
        return self.failure.message

    def summary(self) -> str:
        """The record in one line."""
        during = f" in task {self.task_name!r}" if self.task_name else ""
        return f"tool {self.tool_name!r} failed{during}: {self.failure.as_agent_message()}"


class ToolFailurePolicy(StrEnum):
    """What a failed call of a tool does: with `RAISE` it fails the row. Every failure is recorded."""

    IGNORE = "ignore"
    WARN = "warn"
    RAISE = "raise"


class ToolExecutionFailedError(ToolFailed):
    """A call has failed of a tool whose `tool_failure_policy` is `raise`."""

    def __init__(self, record: ToolFailureRecord) -> None:
        super().__init__(record.summary())
        self.record = record


def declared_failure(result: Any) -> ToolFailure | None:
    """The failure that a tool returned, None for a result. CrewAI's own class counts too."""
    if isinstance(result, ToolFailure):
        return result
    kind = type(result)
    if kind.__name__ != "ToolFailure" or not kind.__module__.startswith("crewai."):
        return None
    reason = getattr(result.reason, "value", result.reason)
    return ToolFailure(result.message, reason, result.code, result.retryable, result.details)


def records_of(calls: list[FailedCall], role: str, task: str | None) -> list[ToolFailureRecord]:
    """Failed calls as records for the output of `task`."""
    return [
        ToolFailureRecord(
            tool_name=call.tool, failure=call.failure, tool_args=call.arguments, agent_role=role, task_name=task
        )
        for call in calls
    ]
