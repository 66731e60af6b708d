"""One call of a tool: `call_tool` runs the user's function and turns its result into text for the model.

A failure of the call is text for the model too, which may do better next time. Errors that no model can fix end the
row.
"""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from crewrun.aio.concurrency import call
from crewrun.aio.time_limit import time_limit
from crewrun.errors import CallError, OutputFailed, RunStopped, TaskTimedOut, ToolFailed
from crewrun.failed_tools import FAILED_PREFIX
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact
from crewrun.tools.base import BaseTool
from crewrun.tools.pictures import pictures_of, within_bound
from crewrun.tools.tool_failure import ToolFailure, ToolFailureReason, declared_failure

# Of an exception's message: about 500 tokens, which go into every later turn of the task.
_SHOWN_ERROR_CHARS = 2000


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of one call, as text for the model. With `is_answer` it is the agent's final answer, with `is_shared`
    that of an equal call, with `is_replayed` that of an earlier session. `pictures` are data URLs.
    """

    text: str
    is_answer: bool = False
    failure: ToolFailure | None = None
    is_shared: bool = False
    is_replayed: bool = False
    pictures: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the text describes a failure."""
        return self.failure is not None


async def call_tool(tool: BaseTool, values: Mapping[str, Any]) -> ToolResult:
    """Call `tool` with `values`, within its time limit. An exception of the tool becomes a failed result.

    Raises ToolFailed, CallError, TaskTimedOut, OutputFailed and RunStopped if the tool does: they end the row.
    """
    text = failure = None
    pictures: tuple[str, ...] = ()
    try:
        with nullcontext() if tool.timeout_s is None else time_limit(tool.timeout_s):
            # A partial, since a parameter of the tool may have the same name as one of `call`.
            value = await call(partial(tool.function, **values))
            failure, pictures = declared_failure(value), pictures_of(value)
            text = _text(value) if failure is None else failure.as_agent_message()
    except (ToolFailed, CallError, TaskTimedOut, OutputFailed, RunStopped):
        raise
    except ToolFailure as reported:
        failure, text = reported, reported.as_agent_message()
    except Exception as failed:  # the model reads any exception of the user's code, as in CrewAI
        failure = failure_of(failed)
        return ToolResult(f"{FAILED_PREFIX}{failure.message}", failure=failure)
    if text is None:
        text = f"The tool gave no result within {tool.timeout_s:g} seconds."
        return failed_result(text, ToolFailureReason.TIMEOUT)
    if len(text) > tool.max_result_chars:
        left_out = len(text) - tool.max_result_chars
        text = f"{text[: tool.max_result_chars]}\n[… {left_out:,} more characters left out]"
    pictures, left_out = within_bound(pictures)
    if left_out:
        text += f"\n[… {left_out} picture{'s' * (left_out > 1)} left out: more than 16 MiB]"
    is_answer = tool.result_as_answer and failure is None
    return ToolResult(text, is_answer=is_answer, failure=failure, pictures=pictures)


def failed_result(text: str, reason: ToolFailureReason) -> ToolResult:
    """The result of a call that failed; `text` says why."""
    return ToolResult(text, failure=ToolFailure(text, reason))


def failure_of(failed: Exception) -> ToolFailure:
    """An exception of a tool as a ToolFailure, with secrets redacted from the message."""
    kind = type(failed).__name__
    message = redact(str(failed)[:LONGEST_QUOTATION])[:_SHOWN_ERROR_CHARS]
    return ToolFailure(f"{kind}: {message}" if message else kind, ToolFailureReason.EXCEPTION, kind)


def _text(result: Any) -> str:
    """A tool's result as text for the model: text as it is, data as JSON, anything else as its `str()`."""
    if isinstance(result, str):
        return result
    if isinstance(result, BaseModel):
        return result.model_dump_json()
    if isinstance(result, bytes):
        return result.decode("utf-8", "replace")
    try:
        return json.dumps(result, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(result)
