"""OpenAI's responses: reads a request, refuses what the mock cannot do, and writes the answer.

https://platform.openai.com/docs/api-reference/responses
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crewrun.llm.offline_model.fake_model import FakeAnswer, Turn
from crewrun.messages import ToolSpec
from crewrun.mock.chat import Chat, named_tier
from crewrun.mock.openai_errors import openai_refusal
from crewrun.mock.prompt_cache import Block, openai_life_s
from crewrun.mock.replies import Serial, Usage, event, pieces

# What needs the provider's memory of earlier responses.
_STATEFUL = ("previous_response_id", "conversation", "background", "prompt")


class OpenAIResponses:
    """The wire of `/v1/responses`."""

    provider = "openai"
    refusal = staticmethod(openai_refusal)

    def read(self, request: dict[str, Any]) -> Chat:
        """The request as a chat. Raises ValueError with what OpenAI, or the mock, would refuse."""
        if stateful := [name for name in _STATEFUL if request.get(name)]:
            raise ValueError(f"{stateful[0]} is not supported by the mock, which stores no responses")
        turns = tuple(_turns(request))
        if all(turn.role == "system" for turn in turns):
            raise ValueError("input must have at least one message")
        tools = _tools(request.get("tools"))
        wants_json, schema = _text_format(request.get("text"))
        chars = sum(len(turn.text) for turn in turns) + sum(
            len(json.dumps(part)) for part in (request.get("tools"), *_calls(request.get("input"))) if part
        )
        choice, stream = _choice(request.get("tool_choice"), tools), bool(request.get("stream"))
        return Chat(request["model"], turns, tools, choice, wants_json, schema, chars, named_tier(request), stream)

    def blocks(self, request: dict[str, Any]) -> Iterator[Block]:
        """See `Wire.blocks`."""
        for described in (request.get("tools"), request.get("text")):
            if described:
                yield Block(json.dumps(described))
        items = request.get("input")
        for text in (request.get("instructions"), items):
            if isinstance(text, str):
                yield Block(text)
        for item in items if isinstance(items, list) else ():
            content = item.get("content", item.get("output"))
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict):
                    yield Block(_text([part]), openai_life_s(part))
            yield Block(_text(content) if isinstance(content, str) else str(item.get("arguments") or ""))

    def completion(
        self, chat: Chat, serial: Serial, answer: FakeAnswer, usage: Usage, *, cut_off: bool
    ) -> dict[str, Any]:
        """`answer` as a response."""
        return {
            "id": f"resp_mock_{serial.number}",
            "object": "response",
            "created_at": serial.created,
            "status": "incomplete" if cut_off else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut_off else None,
            "instructions": None,
            "metadata": {},
            "model": chat.model,
            "output": _output(serial, answer, "incomplete" if cut_off else "completed"),
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "service_tier": chat.tier or "default",
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {
                    "cached_tokens": usage.cached_tokens,
                    "cache_write_tokens": usage.written_tokens,
                },
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            },
        }

    def events(self, chat: Chat, body: dict[str, Any]) -> Iterator[bytes]:
        """The response `body` in pieces: https://platform.openai.com/docs/api-reference/responses-streaming."""
        for number, (kind, fields) in enumerate(_events(body)):
            yield event({"type": kind, "sequence_number": number, **fields}, kind)


def _output(serial: Serial, answer: FakeAnswer, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.text or not answer.calls:
        content = [{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}]
        item = {"type": "message", "id": f"msg_mock_{serial.number}", "role": "assistant", "status": status}
        items.append({**item, "content": content})
    items += (
        {
            "type": "function_call",
            "id": f"fc_mock_{serial.number}_{i}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": status,
        }
        for i, call in enumerate(answer.calls)
    )
    return items


def _events(body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    begin = {**body, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    yield "response.created", {"response": begin}
    yield "response.in_progress", {"response": begin}
    for index, item in enumerate(body["output"]):
        yield from _item_events(item, {"output_index": index})
    yield f"response.{body['status']}", {"response": body}


def _item_events(item: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    is_message = item["type"] == "message"
    empty = {**item, "status": "in_progress", **({"content": []} if is_message else {"arguments": ""})}
    yield "response.output_item.added", {**place, "item": empty}
    place = {**place, "item_id": item["id"]}
    if is_message:
        yield from _text_events(item["content"][0], {**place, "content_index": 0})
    else:
        for piece in pieces(item["arguments"]):
            yield "response.function_call_arguments.delta", {**place, "delta": piece}
        end = {**place, "name": item["name"], "arguments": item["arguments"]}
        yield "response.function_call_arguments.done", end
    yield "response.output_item.done", {"output_index": place["output_index"], "item": item}


def _text_events(part: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**place, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**place, "part": part}


def _turns(request: Mapping[str, Any]) -> Iterator[Turn]:
    if isinstance(instructions := request.get("instructions"), str):
        yield Turn("system", instructions)
    items = request.get("input")
    if isinstance(items, str) and items:
        yield Turn("user", items)
        return
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise ValueError("input must be a text, or a list of at least one item")
    open_calls: list[Any] = []
    for item in items:
        match item.get("type", "message"):
            case "message":
                yield Turn(str(item.get("role")), _text(item.get("content")))
            case "function_call":
                open_calls.append(item.get("call_id"))
                yield Turn("assistant", "")
            case "function_call_output":
                if item.get("call_id") not in open_calls:
                    raise ValueError(f"No tool call found for function call output with call_id {item.get('call_id')}.")
                open_calls.remove(item["call_id"])
                yield Turn("tool", _text(item.get("output")))
    if open_calls:
        raise ValueError(f"No tool output found for function call {open_calls[0]}.")


def _text(content: Any) -> str:
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _calls(items: Any) -> Sequence[Any]:
    return [item for item in items if item.get("type") == "function_call"] if isinstance(items, list) else ()


def _tools(offered: Any) -> tuple[ToolSpec, ...]:
    if offered is None:
        return ()
    if not isinstance(offered, list):
        raise ValueError("tools must be a list")
    tools = []
    for i, tool in enumerate(offered):
        if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("name"), str):
            raise ValueError(f"tools[{i}] must be of type 'function' with a name: the mock has no tools of its own")
        parameters = tool.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise ValueError(f"tools[{i}].parameters must be a JSON Schema of type 'object'")
        tools.append(ToolSpec(tool["name"], str(tool.get("description") or ""), parameters))
    return tuple(tools)


def _choice(choice: Any, tools: tuple[ToolSpec, ...]) -> str:
    if choice is None or choice in ("auto", "none"):
        return str(choice or "auto")
    if choice == "required" and tools:
        return "required"
    name = choice.get("name") if isinstance(choice, dict) else None
    if name not in [tool.name for tool in tools]:
        raise ValueError("tool_choice must be 'none', 'auto', 'required' or a function that tools has")
    return str(name)


def _text_format(text: Any) -> tuple[bool, Any]:
    """Whether the request asks for JSON, and the schema of it."""
    wanted = text.get("format") if isinstance(text, dict) else None
    kind = wanted.get("type") if isinstance(wanted, dict) else "text"
    if not isinstance(wanted, dict) or kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    if kind != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise ValueError("text.format must be of type text, json_object, or json_schema with a schema")
    return True, wanted["schema"]
