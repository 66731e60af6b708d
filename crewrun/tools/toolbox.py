"""`Toolbox`: an agent's tools during a run, offered to the model and called by name with the arguments that it wrote.

A toolbox is created once for each list of tools, since the schemas take time. A call goes

    use → _use_or_fail → _use_by_name → [_use_with_hooks →] _use_within_limit → _use_recorded → _call
    → tool_call.call_tool

A failed call is text for the model. It is recorded for people to look at, but not replayed: when the row resumes, the
tool is called again. A result is recorded and replayed, unless the tool called models, whose answers are recorded
anyway. Errors that no model can fix end the row: ToolFailed, CallError and TaskTimedOut, what a hook raises, and a
journal that cannot be written.
"""

import re
import time
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from functools import partial
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
from crewrun.row_events import Failure, Span, ToolUse
from crewrun.tools.base import BaseTool
from crewrun.tools.deferred import DeferredTools
from crewrun.tools.pictures import as_recorded, of_record
from crewrun.tools.schema import json_schema
from crewrun.tools.shared_calls import SharedCall, SharedCalls, check_shared, current_shared_calls, shared_call
from crewrun.tools.tool_call import ToolResult, call_tool, failed_result, failure_of
from crewrun.tools.tool_failure import (
    ToolExecutionFailedError,
    ToolFailure,
    ToolFailurePolicy,
    ToolFailureReason,
    ToolFailureRecord,
)
from crewrun.tools.written_arguments import read_arguments

# OpenAI's limit for the name of a function: https://platform.openai.com/docs/api-reference/chat/create
MAX_NAME_CHARS = 64
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


class Toolbox:
    """Tools by the names that models see. `deferred` stand for more, which an agent adds when it works."""

    def __init__(self, tools: Iterable[BaseTool]) -> None:
        """A second tool with the same name gets a number. Raises DefinitionError if one has no schema."""
        self.tools: dict[str, BaseTool] = {}
        self.deferred: tuple[DeferredTools, ...] = ()
        self._versions: dict[BaseTool, str] = {}
        specs = []
        for tool in tools:
            if isinstance(tool, DeferredTools):
                self.deferred = (*self.deferred, tool)
                continue
            if any(tool is other for other in self.tools.values()):
                continue
            name = wire_name(tool.name)
            number = 2
            while name in self.tools:
                name, number = f"{wire_name(tool.name)[: MAX_NAME_CHARS - 4]}_{number}", number + 1
            learn(secrets_in({"tool": tool}))
            if not tool.description.strip():
                raise DefinitionError(f"tool {tool.name!r} has no description; the model is told what it does by that")
            check_shared(tool)
            self.tools[name] = tool
            specs.append(ToolSpec(name, tool.description, json_schema(tool.arguments, f"tool {tool.name!r}")))
        self.specs = tuple(specs)

    def __bool__(self) -> bool:
        return bool(self.tools or self.deferred)

    @property
    def entries(self) -> list[BaseTool]:
        """All that another toolbox needs to have the same tools."""
        return [*self.tools.values(), *self.deferred]

    def resolve(self, name: str) -> str | None:
        """The name here of the tool that a model means by `name`, or None. `functions.search` means `search`."""
        for spelling in (name, name.rpartition(".")[2]):
            if (wire := wire_name(spelling)) in self.tools:
                return wire
        return None

    @property
    def problems(self) -> list[str]:
        """What prevents tools from working, as far as it can be seen before a call; missing keys are left out."""
        tools = [tool for tool in self.tools.values() if not tool.missing_variables]
        return [f"tool {tool.name!r}: {tool.problem}" for tool in tools if tool.problem]

    def use(
        self,
        name: str,
        arguments: str,
        used: dict[BaseTool, int],
        row_context: RowContext,
        *,
        replay_only: bool = False,
    ) -> Coroutine[Any, Any, ToolResult]:
        """Call a tool by the name and with the arguments that the model wrote, or replay its recorded result.

        `used` counts the calls of each tool in this task. Raises ToolFailed, CallError and TaskTimedOut if the tool
        does, OutputFailed if the result cannot be recorded, NotRecorded if it would have to call the tool in spite of
        `replay_only`.
        """
        work = self._use_or_fail(name, arguments, used, row_context, replay_only=replay_only)
        if (emitter := row_context.emitter) is None:
            return work
        return _observed(emitter.span("tool", name, ToolUse(self.tools.get(wire_name(name)), name, arguments)), work)

    async def _use_or_fail(
        self, name: str, arguments: str, used: dict[BaseTool, int], row_context: RowContext, *, replay_only: bool
    ) -> ToolResult:
        """The result, a failure recorded; one that ends the row is raised."""
        began = time.monotonic()
        try:
            result = await self._use_by_name(name, arguments, used, row_context, replay_only=replay_only)
        except ToolFailed as failed:
            failure = failure_of(failed)
            await self._record_failure(name, arguments, failure.message, failure, row_context, began)
            raise
        if (reported := result.failure) is not None:
            result = replace(result, text=redact(result.text))  # the tool's own text may contain secrets
            await self._record_failure(name, arguments, result.text, reported, row_context, began)
            self._raise_if_required(name, arguments, reported, row_context)
        return result

    def _raise_if_required(self, name: str, arguments: str, failure: ToolFailure, row_context: RowContext) -> None:
        """Raise ToolExecutionFailedError, which ends the row, if the tool's policy says so."""
        tool = self.tools.get(wire_name(name))
        if tool is None or tool.tool_failure_policy is not ToolFailurePolicy.RAISE:
            return
        task_name = row_context.task_path or None
        raise ToolExecutionFailedError(
            ToolFailureRecord(tool_name=tool.name, failure=failure, tool_args=arguments, task_name=task_name)
        )

    async def _record_failure(
        self, name: str, arguments: str, text: str, failure: ToolFailure, row_context: RowContext, began: float
    ) -> None:
        """Count a failed call and record it. Raises OutputFailed if it cannot be recorded."""
        tool, task = self.tools.get(wire_name(name)), row_context.task_path
        tool_name = tool.name if tool is not None else name
        row_context.add_failed_call(FailedCall(task, tool_name, failure.reason, text, arguments, failure))
        if row_context.recorder is not None:
            identity = tool_identity(self._version(tool) if tool is not None else "", wire_name(name), arguments)
            duration_s = time.monotonic() - began
            await row_context.recorder.record_tool_failure(task, identity, tool_name, failure.reason, text, duration_s)

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
        use = _Use(tool, name, arguments, values, used, row_context, replay_only)
        return await (self._use_with_hooks(use) if has_hooks() else self._use_within_limit(use))

    async def _use_with_hooks(self, use: "_Use") -> ToolResult:
        from crewrun.tools.hooked_tool import HookedTool  # imported here, since few runs have hooks

        hooks = HookedTool(use.tool, wire_name(use.name), use.values)
        refusal = await hooks.before()
        if refusal is not None:
            return ToolResult(await hooks.after(refusal))
        result = await self._use_within_limit(
            use._replace(arguments=hooks.arguments(use.arguments), values=hooks.values)
        )
        return replace(result, text=await hooks.after(result.text))

    async def _use_within_limit(self, use: "_Use") -> ToolResult:
        """Count the call, and refuse it if the task has used the tool `max_usage_count` times."""
        tool, used = use.tool, use.used
        if tool.max_usage_count is not None:
            if used.get(tool, 0) >= tool.max_usage_count:
                times = "once" if tool.max_usage_count == 1 else f"{tool.max_usage_count} times"
                text = f"{use.name} may be used {times}, and was. Go on without it."
                return failed_result(text, ToolFailureReason.USAGE_LIMIT)
            used[tool] = used.get(tool, 0) + 1
        return await self._use_recorded(use)

    async def _use_recorded(self, use: "_Use") -> ToolResult:
        """Replay the result if it is recorded, else call the tool and record its result."""
        tool, recorder, task = use.tool, use.row_context.recorder, use.row_context.task_path
        if recorder is None or not tool.replay:
            if use.replay_only and not tool.calls_models:
                raise NotRecorded(f"what tool {use.name!r} gave is not in the journal (--replay)")
            return await self._call(use)
        identity = tool_identity(self._version(tool), wire_name(use.name), use.arguments)
        recorded = recorder.replay_tool(task, identity)
        if recorded is not None:
            text, pictures = of_record(recorded)
            replay = ToolResult(text, is_answer=tool.result_as_answer, is_replayed=True, pictures=pictures)
            if (shared := _shared_calls(tool)) is not None:
                shared.offer(use.shared_call, replay)
            return replay
        if use.replay_only:
            raise NotRecorded(f"what tool {use.name!r} gave is not in the journal (--replay)")
        began = time.monotonic()
        inner = new_row_context()
        with use_row_context(inner):
            result = await self._call(use)
        if not result.failed and not inner.usage.attempts:  # a model that the tool called has its own record
            recorded = as_recorded(result.text, result.pictures)
            await recorder.record_tool(task, identity, tool.name, recorded, time.monotonic() - began)
        return result

    async def _call(self, use: "_Use") -> ToolResult:
        """Call the tool, or share the result of an equal call in this run."""
        make = partial(call_tool, use.tool, use.values)
        if (shared := _shared_calls(use.tool)) is None:
            return await make()
        result = await shared.result(use.shared_call, make, id(use.row_context.recorder))
        use.row_context.usage.add_shared_tool_call(int(result.is_shared))
        return result

    def _version(self, tool: BaseTool) -> str:
        """The fingerprint of a tool's code and settings, since a changed tool may give other results."""
        version = self._versions.get(tool)
        if version is None:
            version = self._versions[tool] = fingerprint(tool)
        return version


async def _observed(span: Span, work: Coroutine[Any, Any, ToolResult]) -> ToolResult:
    """Use a tool as the part `span` of its row, which has failed too if the model is told of a failure."""
    with span:
        span.result = result = await work
        if (failure := result.failure) is not None:
            span.failure = Failure("tool", str(failure.reason), redact(failure.message))
        return result


class _Use(NamedTuple):
    """One use of a tool: `name` and `arguments` as the model wrote them, `values` the parsed arguments."""

    tool: BaseTool
    name: str
    arguments: str
    values: dict[str, Any]
    used: dict[BaseTool, int]
    row_context: RowContext
    replay_only: bool

    @property
    def shared_call(self) -> SharedCall:
        """What this has in common with equal calls of other rows."""
        return shared_call(self.tool, self.values, self.arguments)


def _shared_calls(tool: BaseTool) -> SharedCalls | None:
    """Where calls of `tool` are shared, None where each is made. A field of a user's own may be named `share` too."""
    return current_shared_calls.get() if tool.share is True else None


NO_TOOLS = Toolbox(())


def wire_name(name: str, most: int | None = MAX_NAME_CHARS) -> str:
    """`name` as providers accept it: letters, digits, `_` and `-`, at most 64; in lower case and without blanks."""
    return _NOT_IN_NAMES.sub("_", name.strip()).strip("_").lower()[:most] or "tool"
