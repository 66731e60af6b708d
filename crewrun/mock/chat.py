"""`Chat`: a chat request as the mock understands it. `read_chat` refuses what OpenAI would refuse.

https://platform.openai.com/docs/api-reference/chat/create
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crewrun.llm.offline_model.fake_model import Turn
from crewrun.messages import ToolSpec
from crewrun.mock.request_body import read_request

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SYSTEM = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Chat:
    """A valid request.

    `choice` is `auto`, `none`, `required` or the name of the tool that must be called. `wants_json` is set for every
    response_format except text; then `schema` is its schema, if any. `chars` is the length of all its text. `tier` is
    the service tier that it names, or None.
    """

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[ToolSpec, ...]
    choice: str
    wants_json: bool
    schema: Any
    chars: int
    tier: str | None = None

    @property
    def steering(self) -> list[str]:
        """The texts of all turns but system turns: words in them steer the mock."""
        return [turn.text for turn in self.turns if turn.role not in _SYSTEM]

    @property
    def users(self) -> list[str]:
        """The texts of the user's turns."""
        return [turn.text for turn in self.turns if turn.role == "user"]

    @property
    def results(self) -> list[str]:
        """The results of tools since the user's last turn."""
        last_user = max((i for i, turn in enumerate(self.turns) if turn.role == "user"), default=-1)
        return [turn.text for turn in self.turns[last_user + 1 :] if turn.role == "tool"]


def read_chat(body: bytes) -> Chat:
    """The request in `body`. Raises ValueError with what OpenAI, or the mock, would refuse."""
    request = read_request(body)
    model, messages = request["model"], request.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise ValueError("messages must be a list of at least one message")
    if request.get("stream"):
        raise ValueError("stream is not supported by the mock")
    turns = tuple(_turn(message) for message in messages)
    _check_results(messages)
    tools = _tools(request.get("tools"))
    wants_json, schema = _response_format(request.get("response_format"))
    chars = sum(len(turn.text) for turn in turns)
    chars += sum(
        len(json.dumps(part)) for part in (request.get("tools"), *(m.get("tool_calls") for m in messages)) if part
    )
    tier = request.get("service_tier")
    tier = tier if isinstance(tier, str) and tier != "auto" else None
    return Chat(model, turns, tools, _choice(request.get("tool_choice"), tools), wants_json, schema, chars, tier)


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
