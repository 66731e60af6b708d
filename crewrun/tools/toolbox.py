"""An agent's tools as a run uses them: offered to the model, found by name, called with the arguments that it wrote.

A toolbox is made once for each list of tools, so no call pays for schemas. A call goes

    use → _use_by_name → [_use_with_hooks →] _use_within_limit → _use_recorded → tool_call.call_tool

A failed call is text for the model, and recorded to be looked at: when the row is continued, the tool is called again.
A result is recorded and replayed, unless it came from models that the tool called: their answers are recorded.
What no model can help with ends the row: ToolFailed, CallError and TaskTimedOut, what a hook raises, and a journal that
cannot be written.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from crewrun.errors import DefinitionError, NotRecorded, ToolFailed, suggest
from crewrun.failed_tools import FailedCall
from crewrun.fingerprint import fingerprint
from crewrun.hooks.dispatch import has_hooks
from crewrun.llm.request_identity import tool_identity
from crewrun.messages import ToolSpec
from crewrun.redaction.redactor import learn, redact
from crewrun.redaction.values import secrets_in
from crewrun.row_context import RowContext, new_row_context, use_row_context
from crewrun.tools.base import BaseTool
from crewrun.tools.schema import json_schema
from crewrun.tools.tool_call import ToolResult, call_tool, failed_result, failure_of
from crewrun.tools.tool_failure import (
    ToolExecutionFailedError,
    ToolFailure,
    ToolFailurePolicy,
    ToolFailureReason,
    ToolFailureRecord,
)
from crewrun.tools.written_arguments import read_arguments

_MAX_NAME_CHARS = 64
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


class Toolbox:
    """Tools under the names that models see."""

    def __init__(self, tools: Iterable[BaseTool]) -> None:
        """A second tool of one name gets a number. Raises DefinitionError when one has no schema."""
        self.tools: dict[str, BaseTool] = {}
        self._versions: dict[BaseTool, str] = {}
        specs = []
        for tool in tools:
            if any(tool is other for other in self.tools.values()):
                continue
            name = wire_name(tool.name)
            number = 2
            while name in self.tools:
                name, number = f"{wire_name(tool.name)[: _MAX_NAME_CHARS - 4]}_{number}", number + 1
            learn(secrets_in({"tool": tool}))
            if not tool.description.strip():
                raise DefinitionError(f"tool {tool.name!r} has no description; the model is told what it does by that")
            self.tools[name] = tool
            specs.append(ToolSpec(name, tool.description, json_schema(tool.arguments, f"tool {tool.name!r}")))
        self.specs = tuple(specs)

    def __bool__(self) -> bool:
        return bool(self.tools)

    def resolve(self, name: str) -> str | None:
        """The tool that a model means by `name`, by its name here; None for none. `functions.search` is `search`."""
        for written in (name, name.rpartition(".")[2]):
            if (wire := wire_name(written)) in self.tools:
                return wire
        return None

    @property
    def problems(self) -> list[str]:
        """What keeps tools from working, as far as it shows before they are called; missing keys are left out."""
        tools = [tool for tool in self.tools.values() if not tool.missing_variables]
        return [f"tool {tool.name!r}: {tool.problem}" for tool in tools if tool.problem]

    async def use(
        self,
        name: str,
        arguments: str,
        used: dict[BaseTool, int],
        row_context: RowContext,
        *,
        replay_only: bool = False,
    ) -> ToolResult:
        """Call the tool that the model named with the arguments that it wrote, or replay its recorded result.

        `used` counts the calls of each tool of this task. Raises ToolFailed, CallError and TaskTimedOut when the
        tool does, OutputFailed when the result cannot be recorded, NotRecorded when only records may be used.
        """
        began = time.monotonic()
        try:
            result = await self._use_by_name(name, arguments, used, row_context, replay_only=replay_only)
        except ToolFailed as failed:
            failure = failure_of(failed)
            await self._note_failure(name, arguments, failure.message, failure, row_context, began)
            raise
        if (failed_with := result.failure) is not None:
            result = replace(result, text=redact(result.text))  # also where the tool worded the error
            await self._note_failure(name, arguments, result.text, failed_with, row_context, began)
            self._raise_if_required(name, arguments, failed_with, row_context)
        return result

    def _raise_if_required(self, name: str, arguments: str, failure: ToolFailure, row_context: RowContext) -> None:
        """End the row where the tool's policy says so."""
        tool = self.tools.get(wire_name(name))
        if tool is None or tool.tool_failure_policy is not ToolFailurePolicy.RAISE:
            return
        task_name = row_context.task_path or None
        raise ToolExecutionFailedError(
            ToolFailureRecord(tool_name=tool.name, failure=failure, tool_args=arguments, task_name=task_name)
        )

    async def _note_failure(
        self, name: str, arguments: str, text: str, failure: ToolFailure, row_context: RowContext, began: float
    ) -> None:
        """Count a failed call and record it. Raises OutputFailed when it cannot be recorded."""
        tool, task = self.tools.get(wire_name(name)), row_context.task_path
        called = tool.name if tool is not None else name
        row_context.add_failed_call(FailedCall(task, called, failure.reason, text, arguments, failure))
        if row_context.recorder is not None:
            identity = tool_identity(self._version(tool) if tool is not None else "", wire_name(name), arguments)
            duration_s = time.monotonic() - began
            await row_context.recorder.record_tool_failure(task, identity, called, failure.reason, text, duration_s)

    async def _use_by_name(
        self, name: str, arguments: str, used: dict[BaseTool, int], row_context: RowContext, *, replay_only: bool
    ) -> ToolResult:
        tool = self.tools.get(wire_name(name))
        if tool is None:
            names = list(self.tools)
            text = f"There is no tool {name!r}{suggest(name, names)}. The tools are: {', '.join(names)}."
            return failed_result(text, ToolFailureReason.UNKNOWN_TOOL)
        try:
            values = read_arguments(tool, arguments)
        except ValueError as wrong:
            return failed_result(f"The arguments do not fit: {wrong}", ToolFailureReason.INVALID_INPUT)
        one = _Use(tool, name, arguments, values, used, row_context, replay_only)
        return await (self._use_with_hooks(one) if has_hooks() else self._use_within_limit(one))

    async def _use_with_hooks(self, one: "_Use") -> ToolResult:
        from crewrun.tools.hooked_tool import HookedTool  # few runs have hooks

        hooks = HookedTool(one.tool, wire_name(one.name), one.values)
        refused = await hooks.before()
        if refused is not None:
            return ToolResult(await hooks.after(refused))
        result = await self._use_within_limit(
            one._replace(arguments=hooks.arguments(one.arguments), values=hooks.values)
        )
        return replace(result, text=await hooks.after(result.text))

    async def _use_within_limit(self, one: "_Use") -> ToolResult:
        """Count the call, and refuse it when the tool may not be used more often."""
        tool, used = one.tool, one.used
        if tool.max_usage_count is not None:
            if used.get(tool, 0) >= tool.max_usage_count:
                times = "once" if tool.max_usage_count == 1 else f"{tool.max_usage_count} times"
                text = f"{one.name} may be used {times}, and was. Go on without it."
                return failed_result(text, ToolFailureReason.USAGE_LIMIT)
            used[tool] = used.get(tool, 0) + 1
        return await self._use_recorded(one)

    async def _use_recorded(self, one: "_Use") -> ToolResult:
        """Replay the result if it is on record, else call the tool and record it."""
        tool, recorder, task = one.tool, one.row_context.recorder, one.row_context.task_path
        if recorder is None or not tool.replay:
            if one.replay_only and not tool.calls_models:
                raise NotRecorded(f"what tool {one.name!r} gave is not in the journal (--replay)")
            return await call_tool(tool, one.values)
        identity = tool_identity(self._version(tool), wire_name(one.name), one.arguments)
        recorded = recorder.replay_tool(task, identity)
        if recorded is not None:
            return ToolResult(recorded, is_answer=tool.result_as_answer)
        if one.replay_only:
            raise NotRecorded(f"what tool {one.name!r} gave is not in the journal (--replay)")
        began = time.monotonic()
        inner = new_row_context()
        with use_row_context(inner):
            result = await call_tool(tool, one.values)
        if not result.failed and not inner.usage.attempts:  # answers of models are recorded themselves
            await recorder.record_tool(task, identity, tool.name, result.text, time.monotonic() - began)
        return result

    def _version(self, tool: BaseTool) -> str:
        """What a tool is, code and settings: another one may give other results."""
        version = self._versions.get(tool)
        if version is None:
            version = self._versions[tool] = fingerprint(tool)
        return version


class _Use(NamedTuple):
    """One use of a tool: `name` and `arguments` as the model wrote them, `values` what the tool is called with."""

    tool: BaseTool
    name: str
    arguments: str
    values: dict[str, Any]
    used: dict[BaseTool, int]
    row_context: RowContext
    replay_only: bool


NO_TOOLS = Toolbox(())


def wire_name(name: str) -> str:
    """`name` as providers take it: letters, digits, `_` and `-`, 64 at most; case and blanks make no difference."""
    return _NOT_IN_NAMES.sub("_", name.strip()).strip("_").lower()[:_MAX_NAME_CHARS] or "tool"
