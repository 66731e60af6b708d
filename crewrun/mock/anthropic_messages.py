"""Anthropic's messages: reads a request, refuses what Anthropic would refuse, and writes the answer.

https://docs.anthropic.com/en/api/messages, https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crewrun.llm.offline_model.fake_model import FakeAnswer, Turn
from crewrun.messages import ToolCall, ToolSpec
from crewrun.mock.anthropic_errors import anthropic_refusal
from crewrun.mock.chat import Chat, named_tier
from crewrun.mock.prompt_cache import Block, anthropic_life_s, check_marks
from crewrun.mock.replies import Serial, Usage, event, pieces


class AnthropicMessages:
    """The wire of `/v1/messages`."""

    provider = "anthropic"
    refusal = staticmethod(anthropic_refusal)

    def read(self, request: dict[str, Any]) -> Chat:
        """The request as a chat. Raises ValueError with what Anthropic, or the mock, would refuse."""
        max_tokens = request.get("max_tokens")
        if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
            raise ValueError("max_tokens: Field required, a whole number from 1")
        chat = read_prompt(request)
        check_marks(list(self.blocks(request)))
        return chat

    def blocks(self, request: dict[str, Any]) -> Iterator[Block]:
        """See `Wire.blocks`: the tools come first, then the system turn."""
        for tool in request.get("tools") or ():
            plain = {name: value for name, value in tool.items() if name != "cache_control"}
            yield Block(json.dumps(plain), anthropic_life_s(tool))
        for content in (request.get("system"), *(message.get("content") for message in request["messages"])):
            if isinstance(content, str):
                yield Block(content)
            for part in _parts(content):
                yield Block(_cached_text(part), anthropic_life_s(part))

    def completion(
        self, chat: Chat, serial: Serial, answer: FakeAnswer, usage: Usage, *, cut_off: bool
    ) -> dict[str, Any]:
        """`answer` as a message."""
        blocks: list[dict[str, Any]] = []
        if answer.text or not answer.calls:
            blocks.append({"type": "text", "text": answer.text})
        blocks += (_tool_use(call) for call in answer.calls)
        return {
            "id": f"msg_mock_{serial.number}",
            "type": "message",
            "role": "assistant",
            "model": chat.model,
            "content": blocks,
            "stop_reason": "max_tokens" if cut_off else "tool_use" if answer.calls else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.written_tokens,
                "cache_creation_input_tokens": usage.written_tokens,
                "cache_read_input_tokens": usage.cached_tokens,
                **({"cache_creation": _lifetimes(usage)} if usage.has_cache else {}),
                "output_tokens": usage.completion_tokens,
                "service_tier": chat.tier or "standard",
            },
        }

    def events(self, chat: Chat, body: dict[str, Any]) -> Iterator[bytes]:
        """The message `body` in pieces."""
        usage = body["usage"]
        begin = {**body, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        yield _event("message_start", message=begin)
        yield _event("ping")
        for index, block in enumerate(body["content"]):
            is_text = block["type"] == "text"
            empty = {**block, "text": ""} if is_text else {**block, "input": {}}
            yield _event("content_block_start", index=index, content_block=empty)
            for piece in pieces(block["text"] if is_text else json.dumps(block["input"])):
                delta = {"type": "text_delta", "text": piece}
                if not is_text:
                    delta = {"type": "input_json_delta", "partial_json": piece}
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        end = {"stop_reason": body["stop_reason"], "stop_sequence": None}
        yield _event("message_delta", delta=end, usage={"output_tokens": usage["output_tokens"]})
        yield _event("message_stop")


def read_prompt(request: Mapping[str, Any]) -> Chat:
    """What a request asks, whether it is to be answered or only counted. Raises ValueError."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise ValueError("messages: at least one message is required")
    _check_results(messages)
    turns = [Turn("system", text)] if (text := _text(request.get("system"))) else []
    for i, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant", "system"):
            raise ValueError(f"messages.{i}.role: Input should be 'user' or 'assistant'")
        turns += _turns(message)
    tools = _tools(request.get("tools"))
    wants_json, schema = _output_format(request)
    chars = sum(len(turn.text) for turn in turns) + sum(
        len(json.dumps(part)) for part in (request.get("tools"), *_tool_uses(messages)) if part
    )
    choice, stream = _choice(request.get("tool_choice"), tools), bool(request.get("stream"))
    return Chat(
        request["model"], tuple(turns), tools, choice, wants_json, schema, chars, named_tier(dict(request)), stream
    )


def _lifetimes(usage: Usage) -> dict[str, int]:
    """The tokens that were written to the cache, by how long they stay in it."""
    return {
        "ephemeral_5m_input_tokens": usage.written_tokens - usage.hour_tokens,
        "ephemeral_1h_input_tokens": usage.hour_tokens,
    }


def _cached_text(part: Mapping[str, Any]) -> str:
    """A block as the cache has it: its text, that of a tool's result, or a call."""
    if part.get("type") == "text":
        return str(part.get("text") or "")
    if part.get("type") == "tool_result":
        return _text(part.get("content"))
    return json.dumps({name: value for name, value in part.items() if name != "cache_control"})


def _event(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, kind)


def _tool_use(call: ToolCall) -> dict[str, Any]:
    """The call; arguments that are no JSON object, which this wire cannot carry, are left out."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _turns(message: Mapping[str, Any]) -> Iterator[Turn]:
    """A message as turns: its text, then the results of tools in it, which are turns of their own elsewhere."""
    content = message.get("content")
    text = _text(content)
    results = [part for part in _parts(content) if part.get("type") == "tool_result"]
    if text or not results:
        yield Turn(str(message["role"]), text)
    for result in results:
        yield Turn("tool", _text(result.get("content")))


def _parts(content: Any) -> Sequence[Mapping[str, Any]]:
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else ()


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in _parts(content) if part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))


def _tool_uses(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        yield from (part for part in _parts(message.get("content")) if part.get("type") == "tool_use")


def _check_results(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError unless each tool_use has its result in the next message, and each result belongs to one."""
    open_calls: set[str] = set()
    for i, message in enumerate(messages):
        parts = _parts(message.get("content"))
        results = [str(part.get("tool_use_id")) for part in parts if part.get("type") == "tool_result"]
        if unexpected := [result for result in results if result not in open_calls]:
            raise ValueError(f"messages.{i}: unexpected `tool_use_id` found in `tool_result` blocks: {unexpected[0]}")
        if missing := open_calls.difference(results):
            raise ValueError(
                f"messages.{i - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                + ", ".join(sorted(missing))
            )
        open_calls = {str(part.get("id")) for part in parts if part.get("type") == "tool_use"}
    if open_calls:
        raise ValueError("messages: the last message has `tool_use` blocks without results")


def _tools(offered: Any) -> tuple[ToolSpec, ...]:
    if offered is None:
        return ()
    if not isinstance(offered, list):
        raise ValueError("tools: Input should be a valid list")
    tools = []
    for i, tool in enumerate(offered):
        name, schema = (tool.get("name"), tool.get("input_schema")) if isinstance(tool, dict) else (None, None)
        if not isinstance(name, str) or not name or not isinstance(schema, dict) or schema.get("type") != "object":
            raise ValueError(f"tools.{i}: a name and an input_schema of type 'object' are required")
        tools.append(ToolSpec(name, str(tool.get("description", "")), schema))
    return tuple(tools)


def _choice(choice: Any, tools: tuple[ToolSpec, ...]) -> str:
    kind = choice.get("type") if isinstance(choice, dict) else None
    if choice is None or kind in ("auto", "none"):
        return str(kind or "auto")
    if kind == "any" and tools:
        return "required"
    if kind == "tool" and choice.get("name") in [tool.name for tool in tools]:
        return str(choice["name"])
    raise ValueError("tool_choice: must be of type auto, any, none, or tool with the name of one of the tools")


def _output_format(request: Mapping[str, Any]) -> tuple[bool, Any]:
    """Whether the request asks for JSON, and the schema of it."""
    config = request.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else request.get("output_format")
    if wanted is None:
        return False, None
    if (
        not isinstance(wanted, dict)
        or wanted.get("type") != "json_schema"
        or not isinstance(wanted.get("schema"), dict)
    ):
        raise ValueError("output_config.format: must be of type json_schema with a schema")
    return True, wanted["schema"]
