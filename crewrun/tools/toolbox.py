"""An agent's tools as a run uses them: told to the model, found by name, called with what the model wrote.

A toolbox is made once for each list of tools, so no call pays for schemas. What goes wrong with a call is text for the
model, which may do better next time. What no model can help with ends the row: ToolFailed, what a coworker fails with,
CallError and TaskTimedOut, what a hook raises, and a journal that cannot be written.

What a tool gave is recorded for the row, and not asked of it again when the row is continued. Nor is what came from
models that the tool called, whose answers are recorded themselves. That a call failed is recorded to be looked at: the
tool is called again.
"""

import ast
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
from pydantic import BaseModel, ValidationError

from crewrun.aio.concurrency import call
from crewrun.errors import (
    CallError,
    DefinitionError,
    NotRecorded,
    OutputFailed,
    RunStopped,
    TaskTimedOut,
    ToolFailed,
    suggest,
)
from crewrun.failed_tools import TOLD, FailedCall
from crewrun.fingerprint import fingerprint
from crewrun.hooks.dispatch import has_hooks
from crewrun.llm.replies.json_values import decode_written, unfenced
from crewrun.llm.request_identity import tool_identity
from crewrun.messages import ToolSpec
from crewrun.recorder import Recorder
from crewrun.redaction.redactor import LONGEST_QUOTATION, learn, redact
from crewrun.redaction.values import secrets_in
from crewrun.row_context import RowContext, new_row_context, use_row_context
from crewrun.tools.base import BaseTool
from crewrun.tools.schema import json_schema, values_of
from crewrun.tools.tool_failure import (
    ToolExecutionFailedError,
    ToolFailure,
    ToolFailurePolicy,
    ToolFailureReason,
    ToolFailureRecord,
    declared_failure,
)

_MAX_NAME_CHARS = 64
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")
_SHOWN_ERROR_CHARS = 2000
_JSON = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of one call: the text for the model. `is_answer` says that it is the agent's answer."""

    text: str
    is_answer: bool = False
    failure: ToolFailure | None = None

    @property
    def failed(self) -> bool:
        """Whether the text tells a failure."""
        return self.failure is not None


class Toolbox:
    """Tools under the names that models see."""

    def __init__(self, tools: Iterable[BaseTool]) -> None:
        """A second tool of one name gets a number. Raises DefinitionError when one has no schema."""
        self.tools: dict[str, BaseTool] = {}
        self._versions: dict[BaseTool, str] = {}
        specs = []
        for tool in tools:
            if any(tool is known for known in self.tools.values()):
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
            if (known := wire_name(written)) in self.tools:
                return known
        return None

    @property
    def problems(self) -> list[str]:
        """What keeps tools from working, as far as that is known before they are called; not keys that they lack."""
        known = [tool for tool in self.tools.values() if not tool.missing_variables]
        return [f"tool {tool.name!r}: {tool.problem}" for tool in known if tool.problem]

    async def use(
        self,
        name: str,
        arguments: str,
        used: dict[BaseTool, int],
        row_context: RowContext,
        *,
        replay_only: bool = False,
    ) -> ToolResult:
        """Call the tool that the model named with the arguments that it wrote, or give again what it gave before.

        `used` counts the calls of each tool of this task. Raises ToolFailed, CallError and TaskTimedOut when the
        tool does, OutputFailed when the result cannot be recorded, NotRecorded when nothing but records may be used.
        """
        began = time.monotonic()
        try:
            result = await self._use(name, arguments, used, row_context, replay_only=replay_only)
        except ToolFailed as failed:
            failure = ToolFailure(_told(failed), ToolFailureReason.EXCEPTION, type(failed).__name__)
            await self._note(name, arguments, ToolResult(failure.message, failure=failure), row_context, began)
            raise
        if result.failed:
            result = replace(result, text=redact(result.text))  # also where the tool worded the error
            await self._note(name, arguments, result, row_context, began)
            self._raise_if_so_told(name, arguments, result, row_context)
        return result

    def _raise_if_so_told(self, name: str, arguments: str, result: ToolResult, row_context: RowContext) -> None:
        tool = self.tools.get(wire_name(name))
        if tool is None or tool.tool_failure_policy is not ToolFailurePolicy.RAISE or result.failure is None:
            return
        raise ToolExecutionFailedError(
            ToolFailureRecord(
                tool_name=tool.name,
                failure=result.failure,
                tool_args=arguments,
                task_name=row_context.task_path or None,
            )
        )

    async def _note(self, name: str, arguments: str, result: ToolResult, row_context: RowContext, began: float) -> None:
        """Count a failed call and record it. Raises OutputFailed when it cannot be recorded."""
        tool, failure = self.tools.get(wire_name(name)), result.failure
        if failure is None:
            return
        called = tool.name if tool is not None else name
        row_context.add_failed_call(
            FailedCall(row_context.task_path, called, failure.reason, result.text, arguments, failure)
        )
        if row_context.recorder is not None:
            identity = tool_identity(self._version(tool) if tool is not None else "", wire_name(name), arguments)
            await row_context.recorder.record_tool_failure(
                row_context.task_path, identity, called, failure.reason, result.text, time.monotonic() - began
            )

    async def _use(
        self, name: str, arguments: str, used: dict[BaseTool, int], row_context: RowContext, *, replay_only: bool
    ) -> ToolResult:
        tool = self.tools.get(wire_name(name))
        if tool is None:
            known = list(self.tools)
            near = suggest(name, known)
            text = f"There is no tool {name!r}{near}. The tools are: {', '.join(known)}."
            return _failed(text, ToolFailureReason.UNKNOWN_TOOL)
        try:
            values = _validated(tool, arguments)
        except ValueError as wrong:
            return _failed(f"The arguments do not fit: {wrong}", ToolFailureReason.INVALID_INPUT)
        if not has_hooks():
            return await self._use_valid(tool, name, arguments, values, used, row_context, replay_only=replay_only)
        from crewrun.tools.hooked_tool import HookedTool  # few runs have hooks

        hooks = HookedTool(tool, wire_name(name), values)
        refused = await hooks.before()
        if refused is not None:
            return ToolResult(await hooks.after(refused))
        arguments, values = hooks.arguments(arguments), hooks.values
        result = await self._use_valid(tool, name, arguments, values, used, row_context, replay_only=replay_only)
        return replace(result, text=await hooks.after(result.text))

    async def _use_valid(
        self,
        tool: BaseTool,
        name: str,
        arguments: str,
        values: dict[str, Any],
        used: dict[BaseTool, int],
        row_context: RowContext,
        *,
        replay_only: bool,
    ) -> ToolResult:
        """Call `tool` with `values`, by which `arguments` are its identity, unless what it gave is on record."""
        if tool.max_usage_count is not None:
            if used.get(tool, 0) >= tool.max_usage_count:
                times = "once" if tool.max_usage_count == 1 else f"{tool.max_usage_count} times"
                text = f"{name} may be used {times}, and was. Go on without it."
                return _failed(text, ToolFailureReason.USAGE_LIMIT)
            used[tool] = used.get(tool, 0) + 1
        recorder = row_context.recorder
        if recorder is None or not tool.replay:
            if replay_only and not tool.calls_models:
                raise NotRecorded(f"what tool {name!r} gave is not in the journal (--replay)")
            return await _call(tool, values)
        identity = tool_identity(self._version(tool), wire_name(name), arguments)
        recorded = recorder.replay_tool(row_context.task_path, identity)
        if recorded is not None:
            return ToolResult(recorded, is_answer=tool.result_as_answer)
        if replay_only:
            raise NotRecorded(f"what tool {name!r} gave is not in the journal (--replay)")
        return await _recorded(tool, values, row_context.task_path, identity, recorder)

    def _version(self, tool: BaseTool) -> str:
        """What a tool is, code and settings: another one may give other results."""
        version = self._versions.get(tool)
        if version is None:
            version = self._versions[tool] = fingerprint(tool)
        return version


NO_TOOLS = Toolbox(())


def wire_name(name: str) -> str:
    """`name` as providers take it: letters, digits, `_` and `-`, 64 at most; case and blanks make no difference."""
    return _NOT_IN_NAMES.sub("_", name.strip()).strip("_").lower()[:_MAX_NAME_CHARS] or "tool"


async def _recorded(
    tool: BaseTool, values: Mapping[str, Any], task: str, identity: bytes, recorder: Recorder
) -> ToolResult:
    """Call the tool and record what it gave."""
    began = time.monotonic()
    inner = new_row_context()
    with use_row_context(inner):
        result = await _call(tool, values)
    if not result.failed and not inner.usage.attempts:
        await recorder.record_tool(task, identity, tool.name, result.text, time.monotonic() - began)
    return result


async def _call(tool: BaseTool, values: Mapping[str, Any]) -> ToolResult:
    text = failure = None
    try:
        with anyio.move_on_after(tool.timeout_s):
            # Bound here, since a parameter of the tool may have the name of one of `call`.
            given = await call(partial(tool.function, **values))
            failure = declared_failure(given)
            text = _text(given) if failure is None else failure.as_agent_message()
    except (ToolFailed, CallError, TaskTimedOut, OutputFailed, RunStopped):
        raise
    except ToolFailure as reported:
        failure, text = reported, reported.as_agent_message()
    except Exception as failed:  # whatever the user's code raises, the model is told, as CrewAI does
        told = _told(failed)
        failure = ToolFailure(told, ToolFailureReason.EXCEPTION, type(failed).__name__)
        return ToolResult(f"{TOLD}{told}", failure=failure)
    if text is None:
        text = f"The tool gave no result within {tool.timeout_s:g} seconds."
        return _failed(text, ToolFailureReason.TIMEOUT)
    if len(text) > tool.max_result_chars:
        left_out = len(text) - tool.max_result_chars
        text = f"{text[: tool.max_result_chars]}\n[… {left_out:,} more characters left out]"
    return ToolResult(text, is_answer=tool.result_as_answer and failure is None, failure=failure)


def _failed(text: str, reason: ToolFailureReason) -> ToolResult:
    """What comes of a call that failed for what `text` says."""
    return ToolResult(text, failure=ToolFailure(text, reason))


def _told(failed: Exception) -> str:
    message = redact(str(failed)[:LONGEST_QUOTATION])[:_SHOWN_ERROR_CHARS]
    return f"{type(failed).__name__}: {message}" if message else type(failed).__name__


def _text(result: Any) -> str:
    """A tool's result as the model reads it: text as it is, data as JSON, everything else as Python writes it."""
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


def _validated(tool: BaseTool, arguments: str) -> dict[str, Any]:
    """The keyword arguments for `tool`. Raises ValueError that says what is wrong with them.

    What does not fit is decoded once more: models encode the arguments twice, or one of them.
    """
    expected = tool.arguments
    parsed = _parsed(arguments, expected)
    if isinstance(parsed, str):
        parsed = _parsed(parsed, expected)
    if not isinstance(parsed, dict):
        raise ValueError(f"they must be a JSON object, not {type(parsed).__name__}")
    try:
        try:
            instance = expected.model_validate(parsed)
        except ValidationError as invalid:
            decoded = _decoded_once_more(parsed, invalid)
            if decoded is None:
                raise
            instance = expected.model_validate(decoded)
        return values_of(instance, as_objects=tool.takes_objects)
    except ValidationError as invalid:
        faults = "; ".join(f"{_place(e['loc'])}{e['msg']}" for e in invalid.errors(include_url=False))
        names = ", ".join(field.alias or name for name, field in expected.model_fields.items()) or "none"
        raise ValueError(f"{faults}. The arguments are: {names}.") from None


def _decoded_once_more(parsed: dict[str, Any], invalid: ValidationError) -> dict[str, Any] | None:
    """`parsed` with the arguments at fault decoded that are JSON in a text; None without any."""
    faulty = {fault["loc"][0] for fault in invalid.errors(include_url=False, include_input=False) if fault["loc"]}
    decoded = dict(parsed)
    for name in faulty:
        text = parsed.get(str(name))
        if isinstance(text, str) and text.lstrip().startswith(("{", "[", "```")):
            try:
                decoded[str(name)] = decode_written(text)
            except (ValueError, RecursionError):
                continue
    return decoded if decoded != parsed else None


def _parsed(arguments: str, expected: type[BaseModel]) -> Any:
    text = unfenced(arguments)
    if not text:
        return {}
    try:
        # Of an object only itself: models go on with a thought or the next action after it.
        return _JSON.raw_decode(text)[0] if text.startswith("{") else _JSON.decode(text)
    except (ValueError, RecursionError) as wrong:
        problem = wrong
    if text.startswith("{"):
        try:
            # What a model writes that has read more Python than JSON.
            return ast.literal_eval(text[: text.rfind("}") + 1])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"they are not JSON: {problem}") from None
    # Said without braces, for a tool that wants one value: models of the text protocol do so.
    fields = [field.alias or name for name, field in expected.model_fields.items() if field.is_required()]
    if len(fields) == 1:
        return {fields[0]: text.strip("\"'")}
    raise ValueError(f"they are not JSON: {problem}")


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
