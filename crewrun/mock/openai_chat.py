"""OpenAI's chat completions: reads a request, refuses what OpenAI would refuse, and writes the answer.

https://platform.openai.com/docs/api-reference/chat/create
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crewrun.llm.offline_model.fake_model import FakeAnswer, Turn
from crewrun.llm.transports.chat_json import message_on_wire
from crewrun.messages import Message, ToolSpec
from crewrun.mock.chat import Chat, named_tier
from crewrun.mock.openai_errors import openai_refusal
from crewrun.mock.prompt_cache import Block, openai_life_s
from crewrun.mock.replies import Serial, Usage, event, pieces

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class OpenAIChat:
    """The wire of `/v1/chat/completions`, at whatever provider."""

    refusal = staticmethod(openai_refusal)

    def __init__(self, provider: str = "openai") -> None:
        self.provider = provider

    def read(self, request: dict[str, Any]) -> Chat:
        """The request as a chat. Raises ValueError with what OpenAI, or the mock, would refuse."""
        return _read(request)

    def blocks(self, request: dict[str, Any]) -> Iterator[Block]:
        """See `Wire.blocks`."""
        for described in (request.get("tools"), request.get("response_format")):
            if described:
                yield Block(json.dumps(described))
        for message in request["messages"]:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict):
                    yield Block(_text([part]), openai_life_s(part))
            yield Block(_text(content) if isinstance(content, str) else json.dumps(message.get("tool_calls")))

    def completion(
        self, chat: Chat, serial: Serial, answer: FakeAnswer, usage: Usage, *, cut_off: bool
    ) -> dict[str, Any]:
        """`answer` as a chat completion."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.calls:
            message |= message_on_wire(Message("assistant", answer.text, answer.calls))
        finish_reason = "length" if cut_off else "tool_calls" if answer.calls else "stop"
        body = {
            "id": f"chatcmpl-mock-{serial.number}",
            "object": "chat.completion",
            "created": serial.created,
            "model": chat.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
                **({"prompt_tokens_details": _cache_details(usage)} if usage.has_cache else {}),
            },
        }
        if chat.tier is not None:
            body["service_tier"] = chat.tier
        return body

    def events(self, chat: Chat, body: dict[str, Any]) -> Iterator[bytes]:
        """The completion `body` in pieces: https://platform.openai.com/docs/api-reference/chat-streaming."""
        choice = body["choices"][0]
        head = {**body, "object": "chat.completion.chunk"}
        head.pop("usage")
        last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
        deltas = ({"index": 0, "delta": delta, "finish_reason": None} for delta in _deltas(choice["message"]))
        for one in (*deltas, last):
            yield event({**head, "choices": [one], **({"usage": None} if chat.stream_usage else {})})
        if chat.stream_usage:
            yield event({**head, "choices": [], "usage": body["usage"]})
        yield b"data: [DONE]\n\n"


def _cache_details(usage: Usage) -> dict[str, int]:
    """What of the prompt is from the cache; models without a price for writes do not say what they wrote."""
    written = {"cache_write_tokens": usage.written_tokens} if usage.written_tokens else {}
    return {"cached_tokens": usage.cached_tokens, "audio_tokens": 0, **written}


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "" if message["content"] is not None else None}
    for piece in pieces(message["content"] or ""):
        yield {"content": piece}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]}
        for piece in pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _read(request: dict[str, Any]) -> Chat:
    model, messages = request["model"], request.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise ValueError("messages must be a list of at least one message")
    turns = tuple(_turn(message) for message in messages)
    _check_results(messages)
    tools = _tools(request.get("tools"))
    wants_json, schema = _response_format(request.get("response_format"))
    chars = sum(len(turn.text) for turn in turns)
    chars += sum(
        len(json.dumps(part)) for part in (request.get("tools"), *(m.get("tool_calls") for m in messages)) if part
    )
    choice = _choice(request.get("tool_choice"), tools)
    chat = Chat(model, turns, tools, choice, wants_json, schema, chars, named_tier(request))
    if not request.get("stream"):
        return chat
    options = request.get("stream_options")
    return chat._replace(stream=True, stream_usage=isinstance(options, dict) and bool(options.get("include_usage")))


def _turn(message: Mapping[str, Any]) -> Turn:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(
        isinstance(call, dict) and isinstance(call.get("id"), str) for call in calls
    ):
        raise ValueError("tool_calls must be a list of calls with an id")
    return Turn(str(message.get("role")), _text(message.get("content")))


def _text(content: Any) -> str:
    """A message's text; its content may be a list: `[{"type": "text", "text": ...}, {"type": "image_url", ...}]`."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _check_results(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError unless each tool call has its result right after it, and each result belongs to a call."""
    open_calls: list[str] = []
    for message in messages:
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise ValueError(
                    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
                )
            open_calls.remove(message["tool_call_id"])
            continue
        _check_answered(open_calls)
        open_calls = [call["id"] for call in message.get("tool_calls") or []]
    _check_answered(open_calls)


def _check_answered(open_calls: list[str]) -> None:
    if open_calls:
        raise ValueError(
            "an assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'; without one: {', '.join(open_calls)}"
        )


def _tools(offered: Any) -> tuple[ToolSpec, ...]:
    if offered is None:
        return ()
    if not isinstance(offered, list) or not offered:
        raise ValueError("tools must be a list of at least one tool")
    tools = []
    for i, tool in enumerate(offered):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict):
            raise ValueError(f"tools[{i}] must be of type 'function' and have a function")
        name, parameters = function.get("name"), function.get("parameters", {})
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            raise ValueError(f"tools[{i}].function.name must match '^[a-zA-Z0-9_-]{{1,64}}$'")
        if not isinstance(parameters, dict) or (parameters and parameters.get("type") != "object"):
            raise ValueError(f"tools[{i}].function.parameters must be a JSON Schema of type 'object'")
        tools.append(ToolSpec(name, str(function.get("description", "")), parameters))
    return tuple(tools)


def _choice(choice: Any, tools: tuple[ToolSpec, ...]) -> str:
    if choice is None:
        return "auto"
    if not tools:
        raise ValueError("tool_choice is only allowed when tools are specified")
    if choice in ("auto", "none", "required"):
        return str(choice)
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name not in [tool.name for tool in tools]:
        raise ValueError("tool_choice must be 'none', 'auto', 'required' or a function that tools has")
    return str(name)


def _response_format(response_format: Any) -> tuple[bool, Any]:
    """Whether the request asks for JSON, and the schema of it."""
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if response_format is None or kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    json_schema = response_format.get("json_schema") if kind == "json_schema" else None
    if (
        not isinstance(json_schema, dict)
        or not isinstance(json_schema.get("name"), str)
        or not isinstance(json_schema.get("schema"), dict)
    ):
        raise ValueError("response_format must be of type text, json_object, or json_schema with a name and a schema")
    return True, json_schema["schema"]
