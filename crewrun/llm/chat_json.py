"""OpenAI's chat completions as JSON: a request's parts on their way out, and the answer in a reply's body.

https://platform.openai.com/docs/api-reference/chat/object
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from crewrun.errors import CallError, ContentFiltered, OutputInvalid, ServerError
from crewrun.llm.http_errors import embedded_status, failure
from crewrun.messages import Completion, Message, RateLimits, ReplySchema, ToolCall, ToolSpec, Usage


def read_completion(body: bytes, limits: RateLimits | None = None) -> Completion:
    """The answer in an OpenAI chat completion, whose headers said `limits`.

    Raises ServerError when the body is no completion, ContentFiltered for a refusal, OutputInvalid for an empty answer.
    https://platform.openai.com/docs/api-reference/chat/object
    """
    try:
        reply = _parse(body)
        if "choices" not in reply and reply.get("error"):
            # OpenRouter and others report a failed upstream inside a 200.
            raise failure(embedded_status(reply["error"]), body, {})
        choice = reply["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        refusal = message.get("refusal")
        tool_calls = read_tool_calls(message)
        counts = reply.get("usage")
        usage = read_usage(counts if isinstance(counts, dict) else {})
        finish = choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        start = " ".join(body[:200].decode("utf-8", "replace").split())
        raise ServerError(f"the reply is not a chat completion: {start!r}", http_status=200) from None
    return finished(text, usage, finish, refusal, tool_calls, limits)


def read_tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """The tools that an OpenAI message asks for, also in the older form of one `function_call`.

    Raises ValueError for calls without a name. Some servers leave the id out, or give arguments as an object.
    """
    calls = message.get("tool_calls")
    if not calls:
        older = message.get("function_call")
        calls = [{"function": older}] if older else []
    read = []
    for i, call in enumerate(calls):
        function = call["function"]
        name, arguments = function["name"], function.get("arguments")
        if not isinstance(name, str):
            raise ValueError("a tool call without a name")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        # Sent back as it is, an empty text would be refused for not being JSON.
        read.append(ToolCall(str(call.get("id") or f"call_{i}"), name, text if text.strip() else "{}"))
    return tuple(read)


def message_on_wire(message: Message) -> dict[str, Any]:
    """`message` as OpenAI's chat completions have it."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def tool_on_wire(spec: ToolSpec) -> dict[str, Any]:
    """`spec` as OpenAI's chat completions have it."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return {"type": "function", "function": function}


def schema_on_wire(schema: ReplySchema) -> dict[str, Any]:
    """`schema` as a `response_format`."""
    return {
        "type": "json_schema",
        "json_schema": {"name": schema.name, "schema": schema.schema, "strict": schema.strict},
    }


def _parse(body: bytes) -> Any:
    try:
        return from_json(body)  # three times as fast as the standard library's
    except ValueError:
        return json.loads(body)  # takes what some servers send: half an emoji, for instance


def _text(content: Any) -> Any:
    """Some servers answer in content parts."""
    if not isinstance(content, list):
        return content
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


def finished(
    text: Any,
    usage: Usage,
    finish_reason: Any,
    refusal: Any = None,
    tool_calls: tuple[ToolCall, ...] = (),
    limits: RateLimits | None = None,
) -> Completion:
    """A completion, or the error for an answer that is none. What was used is kept in the error's `usage`."""
    if finish_reason == "content_filter" or (refusal and not text):
        raise _spent(ContentFiltered(f"the model declined: {refusal or text or 'content filter'}"), usage)
    if tool_calls:
        return Completion(text if isinstance(text, str) else "", usage, finish_reason == "length", tool_calls, limits)
    if not isinstance(text, str) or not text.strip():
        why = (
            "it reached max_tokens before the first word; raise max_tokens"
            if finish_reason == "length"
            else f"finish_reason {finish_reason!r}"
        )
        raise _spent(OutputInvalid(f"the model's reply is empty: {why}", http_status=200), usage)
    return Completion(text, usage, finish_reason == "length", (), limits)


def _spent(error: CallError, usage: Usage) -> CallError:
    error.usage = usage
    return error


# Digits of a count; what is longer is none.
_LONGEST_COUNT = 12


def read_usage(usage: dict[str, Any]) -> Usage:
    """Token counts out of an OpenAI usage object; what is missing, negative or no number counts as 0, and a part
    as the whole at most.
    """
    prompt_tokens, completion_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_prompt_tokens=min(prompt_tokens, _count(usage.get("prompt_tokens_details"), "cached_tokens")),
        completion_tokens=completion_tokens,
        reasoning_tokens=min(completion_tokens, _count(usage.get("completion_tokens_details"), "reasoning_tokens")),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _LONGEST_COUNT:
        value = int(value)
    return value if type(value) is int and value > 0 else 0
