"""The attributes of spans, by the OpenTelemetry conventions for generative AI, version 0.1.0, and crewrun's own.

The conventions are still in development and rename things between versions, so the names are written out here, and
this version is pinned. https://github.com/open-telemetry/semantic-conventions-genai/tree/v0.1.0/docs/gen-ai

Nothing here quotes a prompt, an answer, a tool's arguments or a row's inputs: agents and tasks are named as the crew's
files name them. `contents` has the texts, for those who ask for them.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from crewrun.messages import ChatRequest, Completion, Endpoint
from crewrun.monitoring.otlp import OF_EVENT, Value, attribute, constant
from crewrun.redaction.redactor import redact
from crewrun.row import Outcome, Row
from crewrun.row_events import AgentAtWork, Answer, Failure, Retry, RowEvent, ToolUse, Waited

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai/0.1.0"
# The conventions' names of providers; others keep ours.
_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}
# Parameters of a request that are numbers, under the names that providers and the conventions have for them.
_PARAMETERS: Mapping[str, tuple[str, type]] = {
    "temperature": ("gen_ai.request.temperature", float),
    "top_p": ("gen_ai.request.top_p", float),
    "max_tokens": ("gen_ai.request.max_tokens", int),
    "max_completion_tokens": ("gen_ai.request.max_tokens", int),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", float),
    "presence_penalty": ("gen_ai.request.presence_penalty", float),
    "seed": ("gen_ai.request.seed", int),
}
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_LONGEST_NAME: Final = 128  # of a tool that a model has made up
LONGEST_ERROR: Final = 1000


def name_of(event: RowEvent, target: str) -> str:
    """A span's name, of which there are few: nothing of a row is in it. `target` is what the row runs, if it began."""
    match event.kind:
        case "call":
            return f"{_operation(event.subject)} {event.subject.endpoint.model}"  # type: ignore[union-attr]  # a ChatRequest
        case "agent":
            return f"invoke_agent {_role(event.subject)}"
        case "tool":
            return f"execute_tool {event.name}" if _is_known(event.subject) else "execute_tool"
        case "row" | "crew" | "flow":
            return f"invoke_workflow {target}" if target else "invoke_workflow"
    return f"{event.kind} {event.name}"


class SpanAttributes:
    """Makes the attributes of a run's spans. What all calls of an endpoint have is encoded once."""

    def __init__(self) -> None:
        self._endpoints: WeakKeyDictionary[Endpoint, bytes] = WeakKeyDictionary()

    def of(self, event: RowEvent, target: str) -> bytes:
        """The attributes of a span at its end. `target` is the name of what the row runs."""
        match event.kind:
            case "call":
                attributes = self._of_request(event.subject) + _of_answer(event.result)
            case "agent":
                attributes = _OF_AGENT + constant("gen_ai.agent.name", _role(event.subject))
            case "tool":
                attributes = _of_tool(event)
            case "row":
                attributes = _of_workflow(target) + _of_row(event.row, event.result)
            case "crew" | "flow":
                attributes = _of_workflow(target)
            case _:
                attributes = constant(f"crewrun.{event.kind}.name", event.name)
        return attributes if event.failure is None else attributes + _of_failure(event.failure)

    def _of_request(self, request: Any) -> bytes:
        encoded = self._endpoints.get(request.endpoint)
        if encoded is None:
            encoded = self._endpoints[request.endpoint] = _of_endpoint(request)
        return encoded


def of_retry(retry: Retry, *, has_message: bool) -> bytes:
    """The attributes of the event of an attempt that failed, and is followed by another. Its message may quote."""
    error = retry.error
    attributes = _on_event("error.type", str(error.category)) + _on_event("crewrun.retry.delay", float(retry.delay_s))
    if error.http_status is not None:
        attributes += _on_event("http.response.status_code", error.http_status)
    if has_message:
        attributes += _on_event("exception.message", redact(str(error))[:LONGEST_ERROR])
    return attributes


def of_wait(waited: Waited) -> bytes:
    """The attributes of the event of a wait, at its end."""
    return _on_event("crewrun.wait.reason", str(waited.reason)) + _on_event("crewrun.wait.duration", waited.seconds)


def finish_reason(completion: Completion) -> str:
    """Why the model stopped, in OpenAI's words; a word that crewrun does not know as it came."""
    if completion.finish_reason is not None:
        return completion.finish_reason[:_LONGEST_NAME]
    return "length" if completion.truncated else "tool_calls" if completion.tool_calls else "stop"


def _of_workflow(target: str) -> bytes:
    name = constant("gen_ai.agent.name", target) if target else b""
    return constant("gen_ai.operation.name", "invoke_workflow") + name


_OF_AGENT: Final = attribute("gen_ai.operation.name", "invoke_agent")
_OF_TOOL: Final = attribute("gen_ai.operation.name", "execute_tool") + attribute("gen_ai.tool.type", "function")
_IS_REPLAYED: Final = attribute("crewrun.replayed", True)
_IS_CACHED: Final = attribute("crewrun.cached", True)
_IS_SHARED: Final = attribute("crewrun.shared", True)


def _of_row(row: Row | None, outcome: Outcome | None) -> bytes:
    attributes = b""
    if row is not None:
        attributes = attribute("crewrun.row.id", row.id) + attribute("crewrun.row.line", row.line)
    if outcome is None:
        return attributes
    replayed = outcome.replayed
    attributes += attribute("crewrun.row.calls", outcome.calls - (replayed.calls if replayed else 0))
    if replayed is not None:
        attributes += attribute("crewrun.row.replayed_calls", replayed.calls)
    if outcome.cost_usd is not None:
        paid_usd = max(0.0, outcome.cost_usd - ((replayed.cost_usd or 0.0) if replayed else 0.0))
        attributes += attribute("crewrun.row.cost_usd", paid_usd)
    return attributes


def _of_endpoint(request: ChatRequest) -> bytes:
    endpoint = request.endpoint
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.provider.name": _PROVIDERS.get(endpoint.provider, endpoint.provider),
        "gen_ai.request.model": endpoint.model,
    }
    if endpoint.base_url:
        attributes |= _address(endpoint.base_url)
    for name, value in endpoint.fields.items():
        key, kind = _PARAMETERS.get(name, ("", str))
        if key and isinstance(value, int | float) and not isinstance(value, bool):
            attributes[key] = kind(value)
    return b"".join(attribute(key, value) for key, value in attributes.items())


def _address(url: str) -> dict[str, Value]:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return {}
    if not parts.hostname:
        return {}
    return (
        {"server.address": parts.hostname} if port is None else {"server.address": parts.hostname, "server.port": port}
    )


def _of_answer(answer: Answer | None) -> bytes:
    """What came back. An answer that was not paid for now has no usage: it would be counted a second time."""
    if answer is None:
        return b""
    reasons = _finish_reasons(finish_reason(answer.completion))
    if answer.source != "model":
        return reasons + (_IS_REPLAYED if answer.source == "journal" else _IS_CACHED)
    spent, usage = answer.spent, answer.spent.usage
    attributes = [
        reasons,
        constant("gen_ai.response.model", spent.model.partition("/")[2] or spent.model),
        attribute("gen_ai.usage.input_tokens", usage.prompt_tokens),
        attribute("gen_ai.usage.output_tokens", usage.completion_tokens),
    ]
    for key, tokens in (
        ("gen_ai.usage.cache_read.input_tokens", usage.cached_prompt_tokens),
        ("gen_ai.usage.cache_write.input_tokens", usage.cache_write_prompt_tokens),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
    ):
        if tokens:
            attributes.append(attribute(key, tokens))
    if spent.cost_usd is not None:
        attributes.append(attribute("crewrun.cost_usd", spent.cost_usd))
    if spent.attempts != 1:
        attributes.append(constant("crewrun.attempts", spent.attempts))
    if spent.tier:
        attributes.append(constant("crewrun.tier", spent.tier))
    return b"".join(attributes)


@lru_cache(maxsize=256)
def _finish_reasons(reason: str) -> bytes:
    return attribute("gen_ai.response.finish_reasons", [reason])


def _of_tool(event: RowEvent) -> bytes:
    name = event.name if _is_known(event.subject) else redact(event.name[:_LONGEST_NAME])
    attributes = _OF_TOOL + constant("gen_ai.tool.name", name)
    result = event.result
    if result is not None and result.is_replayed:
        attributes += _IS_REPLAYED
    if result is not None and result.is_shared:
        attributes += _IS_SHARED
    return attributes


def _of_failure(failure: Failure) -> bytes:
    attributes = constant("error.type", failure.category) + constant("crewrun.error", failure.type)
    status = getattr(failure.error, "http_status", None)
    return attributes if status is None else attributes + constant("http.response.status_code", status)


def _operation(request: Any) -> str:
    return "embeddings" if request.endpoint.transport_name == "embeddings" else "chat"


def _role(agent: Any) -> str:
    """The role as the crew's files have it, with placeholders in place of a row's inputs."""
    assert isinstance(agent, AgentAtWork)  # noqa: S101  (the subject of an agent's events)
    return str(getattr(agent.agent, "role", agent.role)).strip()


def _is_known(use: Any) -> bool:
    return isinstance(use, ToolUse) and use.tool is not None


def _on_event(key: str, value: Value) -> bytes:
    return attribute(key, value, OF_EVENT)
