"""The texts of spans, for --log-prompts: prompts, answers, arguments and results, without secrets.

They are JSON in the form of the conventions' schemas (gen-ai-input-messages.json and those next to it), as attributes.
"""

import json
from collections.abc import Iterable
from typing import Any

from crewrun.messages import Completion, Message, ToolCall
from crewrun.monitoring.otlp import attribute
from crewrun.monitoring.span_attributes import finish_reason
from crewrun.redaction.redactor import redact
from crewrun.row_events import Answer, RowEvent, ToolUse


def contents_of(event: RowEvent, longest: int | None) -> bytes:
    """The texts of a span as attributes, each cut to `longest` characters; None for all of it."""
    if event.kind == "call":
        request: Any = event.subject
        texts = _of_messages(request.messages)
        if isinstance(event.result, Answer):
            texts["gen_ai.output.messages"] = _json([_turn_of(event.result.completion)])
    elif event.kind == "tool" and isinstance(event.subject, ToolUse):
        texts = {"gen_ai.tool.call.arguments": redact(event.subject.arguments)}
        if event.result is not None:
            texts["gen_ai.tool.call.result"] = redact(event.result.text)
    else:
        return b""
    return b"".join(attribute(key, text[:longest]) for key, text in texts.items())


def _of_messages(messages: Iterable[Message]) -> dict[str, str]:
    instructions = [_text(message.shown) for message in messages if message.role in ("system", "developer")]
    turns = [_turn(message) for message in messages if message.role not in ("system", "developer")]
    texts = {"gen_ai.system_instructions": _json(instructions)} if instructions else {}
    return {**texts, "gen_ai.input.messages": _json(turns)}


def _turn(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        part = {"type": "tool_call_response", "id": message.tool_call_id, "response": redact(message.shown)}
        return {"role": "tool", "parts": [part]}
    return {"role": message.role, "parts": _parts(message.shown, message.tool_calls)}


def _turn_of(completion: Completion) -> dict[str, Any]:
    parts = _parts(completion.text, completion.tool_calls)
    return {"role": "assistant", "parts": parts, "finish_reason": finish_reason(completion)}


def _parts(text: str, calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    called = [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": redact(call.arguments)} for call in calls
    ]
    return [_text(text), *called] if text or not called else called


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": redact(text)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
