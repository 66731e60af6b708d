"""`ToolFailure`: how a tool says that a call did not do what was asked. CrewAI's names, at CrewAI's path.

Every failed call of a tool becomes one, whether the tool notices it, and returns or raises it, or the toolbox does.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crewrun.errors import ToolFailed
from crewrun.failed_tools import FailedCall


class ToolFailureReason(StrEnum):
    """What kind of failure it was. `TIMEOUT` is crewrun's own; the rest are CrewAI's words."""

    TOOL_REPORTED = "tool_reported"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    INVALID_INPUT = "invalid_input"
    UNKNOWN_TOOL = "unknown_tool"
    USAGE_LIMIT = "usage_limit"


class ToolFailure(Exception):
    """A failed call. Returned or raised by a tool, its text is what the model reads in place of a result.

    `code` names the fault for programs, `details` is what else is known of it.
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
        """What the model reads."""
        return f"{self.message} (code: {self.code})" if self.code else self.message

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        names = ("message", "reason", "code", "retryable", "details")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Lets outputs that have failures in them be dumped."""
        written = core_schema.plain_serializer_function_ser_schema(cls.to_json)
        return core_schema.is_instance_schema(cls, serialization=written)


class ToolFailureRecord(BaseModel):
    """A failed call as outputs list it: `tool_args` are the arguments as the model wrote them."""

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
    """A call failed of a tool whose `tool_failure_policy` is `raise`."""

    def __init__(self, record: ToolFailureRecord) -> None:
        super().__init__(record.summary())
        self.record = record


def declared_failure(result: Any) -> ToolFailure | None:
    """The failure that a tool returned, None for a result. CrewAI's own class counts, where that is installed."""
    if isinstance(result, ToolFailure):
        return result
    kind = type(result)
    if kind.__name__ != "ToolFailure" or not kind.__module__.startswith("crewai."):
        return None
    reason = getattr(result.reason, "value", result.reason)
    return ToolFailure(result.message, reason, result.code, result.retryable, result.details)


def records_of(calls: list[FailedCall], role: str, task: str | None) -> list[ToolFailureRecord]:
    """Failed calls as the output of `task` lists them."""
    return [
        ToolFailureRecord(
            tool_name=call.tool, failure=call.failure, tool_args=call.arguments, agent_role=role, task_name=task
        )
        for call in calls
    ]
