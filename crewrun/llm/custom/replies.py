"""What a model of the user's own returns, read as a completion: a text, an instance of a pydantic class, or tool calls.

Tool calls are lists as CrewAI takes them: OpenAI's, of the chat completions and of the Responses API, Anthropic's,
Bedrock's and Gemini's, as objects or as mappings.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from crewrun.messages import Completion, ToolCall, Usage

_IDS = ("call_id", "id", "toolUseId")
# Marks a text that was an instance, so that a replay makes it one again.
IS_INSTANCE = '{"is_instance":true}'


def read_reply(reply: Any, usage: Usage) -> Completion:
    """`reply` as a completion. An empty one is no answer, as with every model.

    Raises TypeError for bytes, a generator and objects that have no text.
    """
    if reply is None or isinstance(reply, str):
        return Completion(reply or "", usage)
    if isinstance(reply, BaseModel) and not _has_text(reply):
        return Completion(reply.model_dump_json(), usage, carried=IS_INSTANCE)
    if isinstance(reply, list) and reply:
        calls = [_read_call(one, position) for position, one in enumerate(reply)]
        if all(call is not None for call in calls):
            return Completion("", usage, tool_calls=tuple(call for call in calls if call is not None))
    return _read_message(reply, usage)


def _read_message(reply: Any, usage: Usage) -> Completion:
    """A message, such as OpenAI's and LangChain's; anything else is its text, as with CrewAI."""
    content, calls = _get(reply, "content"), _get(reply, "tool_calls")
    if isinstance(calls, list) and calls:
        read = [_read_call(one, position) for position, one in enumerate(calls)]
        if all(call is not None for call in read):
            text = content if isinstance(content, str) else ""
            return Completion(text, usage, tool_calls=tuple(call for call in read if call is not None))
    if isinstance(content, str) and (not isinstance(reply, Mapping) or "role" in reply):
        return Completion(content, usage)
    if isinstance(reply, bytes | Iterator | AsyncIterator) or _has_no_words(type(reply)):
        raise TypeError(f"it returned {type(reply).__name__}, which is no answer; a call returns the whole text as str")
    return Completion(str(reply), usage)


def _has_no_words(kind: Any) -> bool:
    """Whether objects of a class are written as `<… object at 0x…>`."""
    return kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__


def _has_text(reply: Any) -> bool:
    """Whether it is a message of some client's, which are pydantic's too."""
    return hasattr(reply, "content") and (hasattr(reply, "tool_calls") or hasattr(reply, "role"))


def _read_call(call: Any, position: int) -> ToolCall | None:
    function = _get(call, "function") or _get(call, "function_call")
    source = call if function is None else function
    name = _get(source, "name")
    arguments = next((v for key in ("arguments", "input", "args") if (v := _get(source, key)) is not None), None)
    if not isinstance(name, str) or (function is None and arguments is None):
        return None
    call_id = next((one for key in _IDS if isinstance(one := _get(call, key), str) and one), f"call_{position + 1}")
    return ToolCall(call_id, name, arguments if isinstance(arguments, str) else _json(arguments or {}))


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _json(value: Any) -> str:
    plain = value if isinstance(value, dict | list) else dict(value)
    return json.dumps(plain, default=str)
