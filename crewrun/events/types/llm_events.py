"""A model is called, and answers or fails. Retries are part of the call."""

from enum import Enum
from typing import Any, Literal

from crewrun.events.base_events import BaseEvent


class LLMCallType(Enum):
    """Whether the model asked for tools."""

    TOOL_CALL = "tool_call"
    LLM_CALL = "llm_call"


class LLMEventBase(BaseEvent):
    """Something happened to the call `call_id` of `model`, whose name has no provider in front, as with CrewAI."""

    from_task: Any = None
    from_agent: Any = None
    model: str | None = None
    call_id: str = ""


class LLMCallStartedEvent(LLMEventBase):
    """A call begins. `messages` and `tools` are in the format of OpenAI's chat completions."""

    type: Literal["llm_call_started"] = "llm_call_started"
    messages: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    callbacks: list[Any] | None = None
    available_functions: dict[str, Any] | None = None
    temperature: Any = None
    top_p: Any = None
    max_tokens: Any = None
    stream: bool | None = None
    seed: Any = None
    stop_sequences: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    n: Any = None


class LLMCallCompletedEvent(LLMEventBase):
    """A call was answered: `response` is the text, or the tool calls in the format of OpenAI's chat completions.

    `usage` has `prompt_tokens`, `completion_tokens`, `total_tokens`, `cached_prompt_tokens` and `reasoning_tokens`,
    `cost_usd` the price. With `is_replayed` an earlier session of the run has paid for the answer, with `from_cache`
    another run.
    """

    type: Literal["llm_call_completed"] = "llm_call_completed"
    messages: str | list[dict[str, Any]] | None = None
    response: Any = None
    call_type: LLMCallType = LLMCallType.LLM_CALL
    usage: dict[str, Any] | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    cost_usd: float | None = None
    is_replayed: bool = False
    from_cache: bool = False


class LLMCallFailedEvent(LLMEventBase):
    """A call has failed for good, or was cancelled."""

    type: Literal["llm_call_failed"] = "llm_call_failed"
    error: str
