"""`FlowRun`: one kickoff of a flow. The methods run concurrently here."""

import warnings
from collections.abc import Coroutine, Mapping
from enum import Enum
from inspect import isawaitable, iscoroutine
from typing import Any

import anyio
from anyio.abc import TaskGroup
from pydantic_core import PydanticSerializationError, to_json

from crewrun.aio.concurrency import call as invoke
from crewrun.crew.kickoff import TRIGGER_PAYLOAD
from crewrun.crew.output import AgentOutput
from crewrun.errors import CrewrunWarning, InputInvalid
from crewrun.flow.faults import unknown_label
from crewrun.flow.graph import FlowGraph, Method
from crewrun.flow.saving import Saver
from crewrun.flow.schedule import MethodCall, Schedule
from crewrun.flow.store import EndedCall, Saved, load_result
from crewrun.row import TaskRecord
from crewrun.row_context import RowContext, use_row_context
from crewrun.row_events import MethodOfRow, observed


class FlowRun:
    """Runs the methods of `flow`, an object of the class that `graph` describes; their results go into `outputs`."""

    def __init__(
        self,
        flow: object,
        graph: FlowGraph,
        schedule: Schedule,
        row_context: RowContext,
        saver: Saver | None,
        outputs: list[Any],
    ) -> None:
        self._flow = flow
        self._graph = graph
        self._schedule = schedule
        self._row_context = row_context
        self._saver = saver
        self._outputs = outputs
        self._open = 0  # calls that are running or about to
        self._failures: list[Exception] = []
        self._inputs: Mapping[str, Any] = {}
        self._group: TaskGroup

    async def run(self, inputs: Mapping[str, Any], saved: Saved | None = None) -> Any:
        """Run to the end, resuming from `saved`, and return the result of the method that ended last.

        `inputs` have the payload that a start may take. An exception of a method cancels the others and is raised as it
        is. Raises InputInvalid, before the first call, if a start needs a payload and gets none.
        """
        self._inputs = inputs
        calls = self._schedule.begin() if saved is None else self._resume(saved)
        for call in calls:
            self._payload_for(call.method)
        self._open = len(calls)
        async with anyio.create_task_group() as self._group:
            for call in calls:
                self._group.start_soon(self._follow, call)
        if self._failures:
            raise self._failures[0]
        if self._saver is not None:
            await self._saver.close()
        return self._outputs[-1] if self._outputs else None

    def _resume(self, saved: Saved) -> list[MethodCall]:
        """The calls that were open when `saved` was written.

        Calls are replayed up to the first one whose result was not stored, or that the class no longer makes; that one
        and all after it run again.
        """
        waiting = {call.number: call for call in self._schedule.begin()}
        done: list[EndedCall] = []
        for ended in saved.calls:
            call = waiting.get(ended.number)
            if call is None or call.method.name != ended.method:
                break
            try:
                result = self._result_of(call.method, ended)
            except ValueError:
                break
            del waiting[ended.number]
            self._outputs.append(result)
            done.append(ended)
            waiting.update((following.number, following) for following in self._schedule.ended(call, result))
        if self._saver is not None and len(done) < len(saved.calls):
            self._saver.keep_only(done)
        return list(waiting.values())

    def _result_of(self, method: Method, ended: EndedCall) -> Any:
        if ended.result is not None:
            return load_result(ended.result)
        if method.is_router or any(listener.takes_result for listener in self._graph.listeners.get(method.name, ())):
            raise ValueError(f"the result of {method.name} was not stored")
        return None

    async def _follow(self, first: MethodCall) -> None:
        """Run a call, then the first of the calls that follow it, and so on; a new task runs each other one."""
        call: MethodCall | None = first
        try:
            while call is not None:
                result = await self._perform_observed(call)
                following = self._schedule.ended(call, result)
                self._open += len(following) - 1
                if self._saver is not None:
                    await self._saver.ended(call, result, is_last=not self._open)
                for other in following[1:]:
                    self._group.start_soon(self._follow, other)
                call = following[0] if following else None
        except Exception as failed:
            self._failures.append(failed)
            self._group.cancel_scope.cancel()

    def _perform_observed(self, call: MethodCall) -> Coroutine[Any, Any, Any]:
        name, emitter = call.method.name, self._row_context.emitter
        work = self._perform(call)
        return work if emitter is None else observed(emitter.span("method", name, MethodOfRow(self._flow, name)), work)

    async def _perform(self, call: MethodCall) -> Any:
        method = call.method
        row_context = self._row_context.for_method(method.name)
        try:
            with use_row_context(row_context):
                results = [call.result] if method.takes_result else []
                result = await invoke(getattr(self._flow, method.name), *results, **self._payload_for(method))
                if iscoroutine(result):  # the method lacks an `await`; CrewAI awaits it too
                    result = await invoke(lambda coroutine=result: coroutine)
            result = self._checked(method, result)
        except BaseException:  # includes cancellation: the method in which the row's time ran out
            self._row_context.fail_in(method.name)
            raise
        self._outputs.append(result)
        self._row_context.add_task(
            TaskRecord(
                method.name,
                "",
                _text(result),
                row_context.usage.calls,
                row_context.usage.tokens,
                truncated=row_context.usage.truncated > 0,
                tool_failures=row_context.tool_failures,
                finish_reason=row_context.usage.finish_reason,
            )
        )
        return result

    def _payload_for(self, method: Method) -> dict[str, Any]:
        """The trigger's payload as a keyword argument, for a start that takes it; like CrewAI, never None by choice."""
        if not method.takes_payload:
            return {}
        if method.needs_payload and TRIGGER_PAYLOAD not in self._inputs:
            raise InputInvalid(f"missing input {TRIGGER_PAYLOAD!r}, needed by {self._graph.called(method)}")
        payload = self._inputs.get(TRIGGER_PAYLOAD)
        return {} if payload is None and not method.needs_payload else {TRIGGER_PAYLOAD: payload}

    def _checked(self, method: Method, result: Any) -> Any:
        """The result; for a router that returns an enum, its value. Raises TypeError for an awaitable."""
        called = self._graph.called(method)
        if isawaitable(result) and not isinstance(result, AgentOutput):
            close = getattr(result, "close", None) or getattr(result, "cancel", None)
            if close is not None:
                close()  # else Python warns later that it was never awaited
            raise TypeError(f"{called} returned {type(result).__name__} instead of a result: an `await` is missing")
        if not method.is_router or result is None:
            return result
        result = result.value if isinstance(result, Enum) else result
        if problem := unknown_label(self._graph, method, str(result)):
            warnings.warn(problem, CrewrunWarning, stacklevel=2)
        return result


def _text(result: Any) -> str:
    """A result as the text of a row's task."""
    if result is None:
        return ""
    raw = getattr(result, "raw", result)
    if isinstance(raw, str):
        return raw
    try:
        return to_json(result, fallback=str, inf_nan_mode="null").decode()
    except (PydanticSerializationError, ValueError, RecursionError):
        return str(result)
