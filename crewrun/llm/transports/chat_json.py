"""OpenAI's chat completions as JSON: writes the parts of a request, and reads the answer in a reply's body.

https://platform.openai.com/docs/api-reference/chat/object
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from crewrun.errors import CallError, ContentFiltered, OutputInvalid, ServerError
from crewrun.llm.replies.answer import no_answer, tool_call_id
from crewrun.llm.replies.finish_reasons import End, read_end
from crewrun.llm.transports.bodies import BodyRefused, refuse_too_many_values
from crewrun.llm.transports.embedded_errors import embedded_failure
from crewrun.llm.usage.counts import usage_of
from crewrun.messages import Completion, Message, RateLimits, ReplySchema, ToolCall, ToolSpec, Usage
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact

# The field in which litellm and its proxy put what a provider's format has in addition to OpenAI's.
_LITELLM = "provider_specific_fields"
# Fields of an assistant's turn with tool calls that are sent back with it. Without them DeepSeek, Gemini and others
# reject the next turn or reason less well. https://api-docs.deepseek.com/guides/thinking_mode,
# https://openrouter.ai/docs/use-cases/reasoning-tokens, https://ai.google.dev/gemini-api/docs/thought-signatures
_CARRIED = (
    *("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "extra_content"),
    _LITELLM,
)
# Fields with reasoning, as a text and as a list of parts.
_IN_WORDS = ("reasoning_content", "reasoning", "thinking")
_IN_PARTS = ("thinking_blocks", "reasoning_details")
_REASONING = frozenset((*_IN_WORDS, *_IN_PARTS))
_OF_A_CALL = frozenset({"id", "type", "index", "function"})
_OF_A_FUNCTION = frozenset({"name", "arguments"})
# How much is quoted of an unknown finish reason, which may be anything, and considered of a body that is no completion;
# more than that is cut after redaction anyway.
_WORD_CHARS = 100
_MOST_BYTES_SHOWN = 4_000
# OpenRouter sends comment lines of server-sent events, such as `: OPENROUTER PROCESSING`, while it waits for a model.
_COMMENTS = re.compile(rb"\A(?:\s*:[^\n]*\n)+")
# Types of content parts that are not part of the answer.
_THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning_text", "thought"})


def read_completion(
    body: bytes, limits: RateLimits | None = None, headers: Mapping[str, str] | None = None
) -> Completion:
    """The answer in an OpenAI chat completion. `limits` are the rate limits from its headers.

    Raises ServerError if the body is not a completion or the server failed, ContentFiltered for a refusal,
    OutputInvalid for an answer that max_tokens cut to nothing, EmptyReply for an empty one, and the matching CallError
    for an error inside the body. https://platform.openai.com/docs/api-reference/chat/object
    """
    try:
        refuse_too_many_values(body)
        reply = _parse(body)
        if isinstance(reply, list) and len(reply) == 1:
            reply = reply[0]  # an error of Gemini's OpenAI endpoint
        headers = headers or {}
        if (error := embedded_failure(reply, headers)) is not None:
            raise with_usage(error, usage_of(reply, headers))
        choice = reply["choices"][0]
        raw = read_message(choice["message"], choice.get("finish_reason"))
        return finished(raw, usage_of(reply, headers), limits)
    except BodyRefused as refused:
        raise ServerError(str(refused), http_status=200) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        start = " ".join(redact(body[:_MOST_BYTES_SHOWN].decode("utf-8", "replace"))[:200].split())
        raise ServerError(f"the reply is not a chat completion: {start!r}", http_status=200) from None


class RawMessage(NamedTuple):
    """A message as received; `text` may be anything. `cut_call` says that a tool call was cut off."""

    text: Any
    finish_reason: Any
    refusal: Any = None
    tool_calls: tuple[ToolCall, ...] = ()
    cut_call: bool = False
    reasoning: str = ""
    carried: str = ""


def read_message(message: Mapping[str, Any], finish_reason: Any, *, has_made_arguments: bool = False) -> RawMessage:
    """Read an OpenAI message. Raises ValueError, or some other error, for anything else.

    `has_made_arguments` says that the arguments' text is not the model's own, so that it is valid JSON even in a call
    that was cut off.
    """
    text, reasoning = _text(message.get("content")), _reasoning(message)
    calls = _calls(message)
    if not calls:
        return RawMessage(text, finish_reason, message.get("refusal"), reasoning=reasoning)
    whole_calls = calls
    if read_end(finish_reason) in (End.TRUNCATED, End.UNKNOWN):
        last = len(calls) - 1
        whole_calls = [call for i, call in enumerate(calls) if not _is_cut(call, i == last, has_made_arguments)]
    tool_calls = tuple(_read_call(call, i) for i, call in enumerate(whole_calls))
    carried = _carried(message) if tool_calls else ""
    return RawMessage(
        text, finish_reason, message.get("refusal"), tool_calls, len(tool_calls) < len(calls), reasoning, carried
    )


def finished(raw: RawMessage, usage: Usage, limits: RateLimits | None = None) -> Completion:
    """The completion for a message. Raises an error, with `usage` set, if there is no usable answer in it.

    A tool call that max_tokens cut off is left out: the model repeats it once it sees the results of the others. If
    there are no others, the turn has no answer, and its text does not count as one.
    """
    end = read_end(raw.finish_reason)
    text = raw.text if isinstance(raw.text, str) else ""
    if end is End.FAILED or (end is End.UNKNOWN and raw.cut_call):
        why = f"the reply ended with finish_reason {raw.finish_reason!r}"
        raise with_usage(ServerError(f"{why}: the model's server failed", http_status=200), usage)
    refusal = raw.refusal if isinstance(raw.refusal, str) else ""
    if end is End.FILTERED or refusal.strip():
        why = refusal or redact(text[:LONGEST_QUOTATION])[:300] or "content filter"
        raise with_usage(ContentFiltered(f"the model declined: {why}"), usage)
    if raw.cut_call and not raw.tool_calls:
        raise with_usage(
            OutputInvalid("the reply was cut off in a call of a tool; raise max_tokens", http_status=200), usage
        )
    completion = Completion(
        text,
        usage,
        end is End.TRUNCATED,
        raw.tool_calls,
        limits,
        raw.reasoning,
        raw.carried,
        redact(str(raw.finish_reason)[:LONGEST_QUOTATION]).strip()[:_WORD_CHARS] if end is End.UNKNOWN else None,
    )
    if not (raw.tool_calls or text.strip()):
        raise no_answer(completion, raw.finish_reason)
    return completion


def _calls(message: Mapping[str, Any]) -> list[Any]:
    """The tool calls in a message, also in the older form of a single `function_call`."""
    calls = message.get("tool_calls")
    if not calls:
        older = message.get("function_call")
        return [{"function": older}] if older else []
    return list(calls)


def _is_cut(call: Any, is_last: bool, has_made_arguments: bool) -> bool:
    """Whether a call's arguments are incomplete. Those of the last call may be missing altogether."""
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if has_made_arguments or not isinstance(arguments, str):
        return is_last and (has_made_arguments or not arguments)
    if not arguments.strip():
        return is_last
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return True
    return False


def _read_call(call: Any, position: int) -> ToolCall:
    """One tool call. Raises ValueError without a name. Some servers leave out the id or send arguments as an object."""
    function = call["function"]
    name, arguments = function["name"], function.get("arguments")
    if not isinstance(name, str):
        raise ValueError("a tool call without a name")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    number = call.get("id")
    call_id = "" if number is None else str(number).strip()
    carried = {key: value for key, value in call.items() if key not in _OF_A_CALL and _is_something(value)}
    extra = {key: value for key, value in function.items() if key not in _OF_A_FUNCTION and _is_something(value)}
    if extra:
        carried["function"] = extra
    # An empty text would be rejected when it is sent back, since it is not JSON.
    return ToolCall(
        call_id or tool_call_id(position), name, text if text.strip() else "{}", _json(carried) if carried else ""
    )


def _reasoning(message: Mapping[str, Any]) -> str:
    """The model's reasoning, under whichever name the server uses."""
    content = message.get("content")
    if not isinstance(content, list) and _REASONING.isdisjoint(message):
        return ""
    for name in _IN_WORDS:
        if isinstance(value := message.get(name), str) and value.strip():
            return value
    for name in _IN_PARTS:
        if text := _thoughts(message.get(name)):
            return text
    return _thoughts([part for part in content if _is_thought(part)]) if isinstance(content, list) else ""


def _thoughts(parts: Any) -> str:
    if not isinstance(parts, list):
        return ""
    texts: list[str] = []
    for part in parts:
        values = [part.get(name) for name in ("thinking", "text", "summary")] if isinstance(part, dict) else []
        value = next((value for value in values if value), None)
        texts.append(value if isinstance(value, str) else _thoughts(value))
    return "\n".join(filter(None, texts))


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _THOUGHTS


def _is_something(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_something, value.values()))
    return value is not None and value not in ("", [])


def _carried(message: Mapping[str, Any]) -> str:
    carried = {name: message[name] for name in _CARRIED if _is_something(message.get(name))}
    if "thinking_blocks" in carried:
        carried.pop("reasoning_content", None)  # litellm repeats it in both
    if isinstance(more := carried.get(_LITELLM), dict):
        rest = {name: value for name, value in more.items() if name not in carried and _is_something(value)}
        carried = {**carried, _LITELLM: rest} if rest else {k: v for k, v in carried.items() if k != _LITELLM}
    return _json(carried) if carried else ""


def _json(value: Any) -> str:
    # ASCII, so that a lone surrogate can be stored in the journal.
    return json.dumps(value, separators=(",", ":"))


def message_on_wire(message: Message) -> dict[str, Any]:
    """`message` in the format of OpenAI's chat completions, including `carried`."""
    if message.parts or message.carried or message.tool_calls or message.role == "tool":
        return _whole_on_wire(message)
    return {"role": message.role, "content": message.content}


def _whole_on_wire(message: Message) -> dict[str, Any]:
    content: Any = [part.wire for part in message.parts] if message.parts else message.content
    turn = {"role": message.role, "content": content}
    if message.role == "tool":
        turn["tool_call_id"] = message.tool_call_id
    elif message.tool_calls:
        turn["content"] = content or None
        turn["tool_calls"] = [_call_on_wire(call) for call in message.tool_calls]
    if not message.carried:
        return turn
    if message.role == "assistant":
        turn["content"] = content or None  # `carried` may be all there is, such as a refusal
    return {**json.loads(message.carried), **turn}


def _call_on_wire(call: ToolCall) -> dict[str, Any]:
    function: dict[str, Any] = {"name": call.name, "arguments": call.arguments}
    if not call.carried:
        return {"id": call.id, "type": "function", "function": function}
    carried = json.loads(call.carried)
    return {**carried, "id": call.id, "type": "function", "function": {**carried.get("function", {}), **function}}


def tool_on_wire(spec: ToolSpec) -> dict[str, Any]:
    """`spec` in the format of OpenAI's chat completions."""
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
        # This accepts what some servers send: half an emoji, comments before the JSON.
        return json.loads(_COMMENTS.sub(b"", body))


def _text(content: Any) -> Any:
    """The content as text; some servers send it in parts."""
    if not isinstance(content, list):
        return content
    return "".join(_text_of(part.get("text")) for part in content if isinstance(part, dict) and not _is_thought(part))


def _text_of(text: Any) -> str:
    """A part's text, also in the format of OpenAI's Assistants, `{"value": …, "annotations": […]}`; also a number."""
    if isinstance(text, dict):
        text = text.get("value")
        return text if isinstance(text, str) else ""
    return str(text or "") if isinstance(text, str | int | float) else ""


def with_usage(error: CallError, usage: Usage) -> CallError:
    """`error` with the usage of an answer that was billed."""
    error.usage = usage
    return error
