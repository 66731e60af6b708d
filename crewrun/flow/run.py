"""`FlowRun`: one kickoff of a flow. Methods run side by side here, and nowhere else."""

import warnings
from collections.abc import Mapping
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
from crewrun.flow.schedule import Call, Schedule
from crewrun.flow.store import EndedCall, Saved, load_result
from crewrun.row import TaskRecord
from crewrun.row_context import RowContext, use_row_context


class FlowRun:
    """Runs the methods of `flow`, one object of the class that `graph` is about. `outputs` are their results."""

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
        self._open = 0  # calls that have begun or will
        self._failures: list[Exception] = []
        self._inputs: Mapping[str, Any] = {}
        self._group: TaskGroup

    async def go(self, inputs: Mapping[str, Any], saved: Saved | None = None) -> Any:
        """Run to the end, after what `saved` has done already; the result of the method that ended last.

        `inputs` have the payload that a start may take. What a method raises cancels the others and is raised as it is.
        Raises InputInvalid, before the first call, when a start needs a payload and there is none.
        """
        self._inputs = inputs
        calls = self._schedule.begin() if saved is None else self._take_up(saved)
        for one in calls:
            self._payload_for(one.method)
        self._open = len(calls)
        async with anyio.create_task_group() as self._group:
            for one in calls:
                self._group.start_soon(self._follow, one)
        if self._failures:
            raise self._failures[0]
        if self._saver is not None:
            await self._saver.close()
        return self._outputs[-1] if self._outputs else None

    def _take_up(self, saved: Saved) -> list[Call]:
        """The calls that were open when `saved` was written.

        From the first one whose result was not kept, or that the class does not make any more, all begin again.
        """
        waiting = {one.number: one for one in self._schedule.begin()}
        done: list[EndedCall] = []
        for ended in saved.calls:
            one = waiting.get(ended.number)
            if one is None or one.method.name != ended.method:
                break
            try:
                result = self._result_of(one.method, ended)
            except ValueError:
                break
            del waiting[ended.number]
            self._outputs.append(result)
            done.append(ended)
            waiting.update((following.number, following) for following in self._schedule.ended(one, result))
        if self._saver is not None and len(done) < len(saved.calls):
            self._saver.begin_with(done)
        return list(waiting.values())

    def _result_of(self, method: Method, ended: EndedCall) -> Any:
        if ended.result is not None:
            return load_result(ended.result)
        if method.is_router or any(one.takes_result for one in self._graph.listeners.get(method.name, ())):
            raise ValueError(f"the result of {method.name} was not kept")
        return None

    async def _follow(self, first: Call) -> None:
        """Run a call and then the first of those that it leads to; the others go their own ways beside it."""
        one: Call | None = first
        try:
            while one is not None:
                result = await self._perform(one)
                following = self._schedule.ended(one, result)
                self._open += len(following) - 1
                if self._saver is not None:
                    await self._saver.ended(one, result, is_last=not self._open)
                for other in following[1:]:
                    self._group.start_soon(self._follow, other)
                one = following[0] if following else None
        except Exception as failed:
            self._failures.append(failed)
            self._group.cancel_scope.cancel()

    async def _perform(self, one: Call) -> Any:
        method = one.method
        row_context = self._row_context.for_method(method.name)
        try:
            with use_row_context(row_context):
                results = [one.result] if method.takes_result else []
                result = await invoke(getattr(self._flow, method.name), *results, **self._payload_for(method))
                if iscoroutine(result):  # an `await` is missing in the method; CrewAI makes up for it
                    result = await invoke(lambda coroutine=result: coroutine)
            result = self._checked(method, result)
        except BaseException:  # a cancelled method is where a row's time ran out
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
        """What set the kickoff off, for a start that takes it: CrewAI gives it by this name, and no None."""
        if not method.takes_payload:
            return {}
        if method.needs_payload and TRIGGER_PAYLOAD not in self._inputs:
            raise InputInvalid(f"missing input {TRIGGER_PAYLOAD!r}, needed by {self._graph.called(method)}")
        payload = self._inputs.get(TRIGGER_PAYLOAD)
        return {} if payload is None and not method.needs_payload else {TRIGGER_PAYLOAD: payload}

    def _checked(self, method: Method, result: Any) -> Any:
        """The result, of an enum in a router its value. Raises TypeError for what no method may return."""
        called = self._graph.called(method)
        if isawaitable(result) and not isinstance(result, AgentOutput):
            close = getattr(result, "close", None) or getattr(result, "cancel", None)
            if close is not None:
                close()  # else Python warns of it, somewhere else
            raise TypeError(f"{called} returned {type(result).__name__} instead of a result: an `await` is missing")
        if not method.is_router or result is None:
            return result
        result = result.value if isinstance(result, Enum) else result
        if problem := unknown_label(self._graph, method, str(result)):
            warnings.warn(problem, CrewrunWarning, stacklevel=2)
        return result


def _text(result: Any) -> str:
    """A result as a row's task has it."""
    if result is None:
        return ""
    raw = getattr(result, "raw", result)
    if isinstance(raw, str):
        return raw
    try:
        return to_json(result, fallback=str, inf_nan_mode="null").decode()
    except (PydanticSerializationError, ValueError, RecursionError):
        return str(result)
