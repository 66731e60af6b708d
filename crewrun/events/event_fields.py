"""Which of CrewAI's events an event of a row is: its class, its source, and the fields that only this class has.

`translation` adds those that all events have. `KINDS` says which kinds of row events each class is made from.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from crewrun.events.base_events import BaseEvent
from crewrun.events.types.agent_events import (
    AgentExecutionCompletedEvent,
    AgentExecutionErrorEvent,
    AgentExecutionStartedEvent,
    LiteAgentExecutionCompletedEvent,
    LiteAgentExecutionErrorEvent,
    LiteAgentExecutionStartedEvent,
)
from crewrun.events.types.crew_events import CrewKickoffCompletedEvent, CrewKickoffFailedEvent, CrewKickoffStartedEvent
from crewrun.events.types.flow_events import (
    FlowFinishedEvent,
    FlowStartedEvent,
    MethodExecutionFailedEvent,
    MethodExecutionFinishedEvent,
    MethodExecutionStartedEvent,
)
from crewrun.events.types.llm_events import (
    LLMCallCompletedEvent,
    LLMCallFailedEvent,
    LLMCallStartedEvent,
    LLMCallType,
)
from crewrun.events.types.task_events import TaskCompletedEvent, TaskFailedEvent, TaskStartedEvent
from crewrun.events.types.tool_usage_events import (
    ToolFailureDetectedEvent,
    ToolSelectionErrorEvent,
    ToolUsageErrorEvent,
    ToolUsageFinishedEvent,
    ToolUsageStartedEvent,
    ToolValidateInputErrorEvent,
)
from crewrun.llm.transports.chat_json import message_on_wire, tool_on_wire
from crewrun.messages import ChatRequest, Completion, Message, Usage
from crewrun.row_events import AgentAtWork, Answer, Failure, MethodOfRow, RowEvent, TargetRun, TaskOfRow, ToolUse

_IN_TASK = ("agent", "task")
KINDS: Mapping[type[BaseEvent], tuple[str, ...]] = {
    **dict.fromkeys((CrewKickoffStartedEvent, CrewKickoffCompletedEvent, CrewKickoffFailedEvent), ("crew",)),
    **dict.fromkeys((TaskStartedEvent, TaskCompletedEvent, TaskFailedEvent), ("task",)),
    **dict.fromkeys((AgentExecutionStartedEvent, AgentExecutionCompletedEvent, AgentExecutionErrorEvent), _IN_TASK),
    **dict.fromkeys(
        (LiteAgentExecutionStartedEvent, LiteAgentExecutionCompletedEvent, LiteAgentExecutionErrorEvent), _IN_TASK
    ),
    **dict.fromkeys((LLMCallStartedEvent, LLMCallCompletedEvent, LLMCallFailedEvent), ("call", "tool", *_IN_TASK)),
    **dict.fromkeys((ToolUsageStartedEvent, ToolUsageFinishedEvent, ToolUsageErrorEvent), ("tool", *_IN_TASK)),
    **dict.fromkeys((ToolFailureDetectedEvent, ToolSelectionErrorEvent), ("tool", *_IN_TASK)),
    ToolValidateInputErrorEvent: ("tool", *_IN_TASK),
    **dict.fromkeys((FlowStartedEvent, FlowFinishedEvent), ("flow",)),
    **dict.fromkeys(
        (MethodExecutionStartedEvent, MethodExecutionFinishedEvent, MethodExecutionFailedEvent), ("method",)
    ),
}
# Parameters of a request that LLMCallStartedEvent has, and their names there.
_PARAMETERS = {
    **{name: name for name in ("temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")},
    "n": "n",
    "stop": "stop_sequences",
    "max_completion_tokens": "max_tokens",
}
# Each process has ids of its own.
_IDS = uuid4().int


class Part(NamedTuple):
    """A part of a row that has started: its first event, the task and the agent that it belongs to, and the role of
    the agent.
    """

    event: RowEvent
    task: Any = None
    agent: Any = None
    role: str | None = None


class Happened(NamedTuple):
    """What the functions below make events from."""

    event: RowEvent
    part: Part
    state: Any

    @property
    def error(self) -> str:
        """Why the part failed."""
        return _text_of(self.event.failure)


# Which class an event has, its source, and the fields that are not common to all.
_Made = Iterator[tuple[type[BaseEvent], Any, dict[str, Any]]]


def _crew(happened: Happened) -> _Made:
    event, run = happened.event, happened.event.subject
    assert isinstance(run, TargetRun)  # noqa: S101  (what the kind says)
    crew, fields = run.target, {"crew": run.target, "crew_name": event.name}
    if event.phase == "started":
        yield CrewKickoffStartedEvent, crew, {**fields, "inputs": run.inputs}
    elif event.phase == "completed":
        tokens = event.result.token_usage.total_tokens if event.result.token_usage else 0
        yield CrewKickoffCompletedEvent, crew, {**fields, "output": event.result, "total_tokens": tokens}
    else:
        yield CrewKickoffFailedEvent, crew, {**fields, "error": happened.error}


def _task(happened: Happened) -> _Made:
    event, task = happened.event, happened.part.task
    assert isinstance(event.subject, TaskOfRow)  # noqa: S101
    if event.phase == "started":
        yield TaskStartedEvent, task, {"task": task, "context": event.subject.context}
    elif event.phase == "completed":
        yield TaskCompletedEvent, task, {"task": task, "output": event.result}
    else:
        error = event.failure.error if event.failure is not None else None
        kind = None if error is None else type(error)
        yield TaskFailedEvent, task, {"task": task, "error": happened.error, "error_type": kind}


def _agent(happened: Happened) -> _Made:
    event, task, agent = happened.event, happened.part.task, happened.part.agent
    work = event.subject
    assert isinstance(work, AgentAtWork)  # noqa: S101
    if task is None:
        yield from _lite_agent(happened, work)
        return
    fields = {"agent": agent, "task": task}
    if event.phase == "started":
        tools = [tool for tool in agent.tools if tool is not None]
        yield AgentExecutionStartedEvent, agent, {**fields, "tools": tools, "task_prompt": work.prompt}
    elif event.phase == "completed":
        yield AgentExecutionCompletedEvent, agent, {**fields, "output": event.result.text}
    else:
        yield AgentExecutionErrorEvent, agent, {**fields, "error": happened.error}


def _lite_agent(happened: Happened, work: AgentAtWork) -> _Made:
    event, agent = happened.event, happened.part.agent
    names = ("role", "goal", "backstory", "verbose")
    info = {"id": agent.id, **{name: getattr(agent, name, None) for name in names}}
    if event.phase == "started":
        messages = [{"role": "user", "content": work.prompt}]
        yield (
            LiteAgentExecutionStartedEvent,
            agent,
            {"agent_info": info, "tools": list(agent.tools), "messages": messages},
        )
    elif event.phase == "completed":
        yield LiteAgentExecutionCompletedEvent, agent, {"agent_info": info, "output": event.result.text}
    else:
        yield LiteAgentExecutionErrorEvent, agent, {"agent_info": info, "error": happened.error}


def _call(happened: Happened) -> _Made:
    event, request, agent = happened.event, happened.event.subject, happened.part.agent
    assert isinstance(request, ChatRequest)  # noqa: S101
    endpoint = request.endpoint
    if endpoint.transport_name == "embeddings":
        return
    source = getattr(agent, "llm", None)
    fields: dict[str, Any] = {"model": endpoint.model, "call_id": id_of(event.span, 0)}
    if event.phase == "failed":
        yield LLMCallFailedEvent, source, {**fields, "error": happened.error}
        return
    fields["messages"] = [message_on_wire(message) for message in request.messages]
    if event.phase == "started":
        parameters = {_PARAMETERS[name]: value for name, value in endpoint.fields.items() if name in _PARAMETERS}
        tools = [tool_on_wire(tool) for tool in request.tools] or None
        yield LLMCallStartedEvent, source, {**fields, **parameters, "tools": tools, "stream": False}
        return
    answer = event.result
    assert isinstance(answer, Answer)  # noqa: S101
    completion = answer.completion
    fields |= {
        "response": _response(completion),
        "call_type": LLMCallType.TOOL_CALL if completion.tool_calls else LLMCallType.LLM_CALL,
        "usage": _usage(completion.usage),
        "finish_reason": _finish_reason(completion),
        "cost_usd": answer.spent.cost_usd,
        "is_replayed": answer.source == "journal",
        "from_cache": answer.source == "cache",
    }
    yield LLMCallCompletedEvent, source, fields


def _tool(happened: Happened) -> _Made:
    event, use, result = happened.event, happened.event.subject, happened.event.result
    assert isinstance(use, ToolUse)  # noqa: S101
    kind = None if use.tool is None else type(use.tool).__name__
    fields = {"tool_name": use.name, "tool_args": _arguments(use.arguments), "tool_class": kind}
    fields |= {"agent": happened.part.agent}
    if event.phase == "started":
        yield ToolUsageStartedEvent, use.tool, fields
        return
    failure = None if result is None else result.failure
    reason = "" if event.failure is None else event.failure.type
    if event.phase == "completed" or (failure is not None and reason == "tool_reported"):
        times = {"started_at": time_of(happened.part.event.time_ns), "finished_at": time_of(event.time_ns)}
        is_other = result.is_shared or result.is_replayed
        answer = {"output": result.text, "failure": failure, "from_cache": is_other, "is_replayed": result.is_replayed}
        yield ToolUsageFinishedEvent, use.tool, {**fields, **times, **answer}
        if failure is not None:
            policy = getattr(use.tool, "tool_failure_policy", None)
            yield ToolFailureDetectedEvent, use.tool, {**fields, "failure": failure, "policy": policy}
        return
    if reason == "unknown_tool":
        yield ToolSelectionErrorEvent, use.tool, {**fields, "error": happened.error}
    elif reason == "invalid_input":
        yield ToolValidateInputErrorEvent, use.tool, {**fields, "error": happened.error}
    yield ToolUsageErrorEvent, use.tool, {**fields, "error": happened.error}


def _flow(happened: Happened) -> _Made:
    event, run = happened.event, happened.event.subject
    assert isinstance(run, TargetRun)  # noqa: S101
    if event.phase == "started":
        yield FlowStartedEvent, run.target, {"flow_name": event.name, "inputs": run.inputs}
    elif event.phase == "completed":  # CrewAI has no event of a flow that fails, only one of its method
        fields = {"flow_name": event.name, "result": event.result, "state": happened.state}
        yield FlowFinishedEvent, run.target, fields


def _method(happened: Happened) -> _Made:
    event, method = happened.event, happened.event.subject
    assert isinstance(method, MethodOfRow)  # noqa: S101
    flow = method.flow
    fields = {"flow_name": getattr(flow, "name", None) or type(flow).__name__, "method_name": method.name}
    if event.phase == "started":
        yield MethodExecutionStartedEvent, flow, {**fields, "state": happened.state}
    elif event.phase == "completed":
        yield MethodExecutionFinishedEvent, flow, {**fields, "state": happened.state, "result": event.result}
    else:
        error = None if event.failure is None else event.failure.error or RuntimeError(happened.error)
        yield MethodExecutionFailedEvent, flow, {**fields, "error": error}


def _row(happened: Happened) -> _Made:
    return iter(())  # CrewAI has no rows


MAKERS: Mapping[str, Callable[[Happened], _Made]] = {
    "row": _row,
    "crew": _crew,
    "task": _task,
    "agent": _agent,
    "call": _call,
    "tool": _tool,
    "flow": _flow,
    "method": _method,
}


def _response(completion: Completion) -> Any:
    if not completion.tool_calls:
        return completion.text
    return message_on_wire(Message("assistant", "", completion.tool_calls))["tool_calls"]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cached_prompt_tokens": usage.cached_prompt_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _finish_reason(completion: Completion) -> str:
    if completion.truncated:
        return "length"
    return "tool_calls" if completion.tool_calls else completion.finish_reason or "stop"


def _arguments(text: str) -> dict[str, Any] | str:
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return values if isinstance(values, dict) else text


def _text_of(failure: Failure | None) -> str:
    if failure is None:
        return ""
    return failure.message or failure.type


def id_of(span: int, number: int) -> str:
    """The id of an event: of the start of a part with 0, else of the event of that number in its row."""
    return str(UUID(int=_IDS ^ (span << 24 | number)))


def time_of(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)
