"""Gemini's `generateContent`: reads a request, refuses what Gemini would refuse, and writes the answer.

The model is in the path; the caller has put it into the request, as `model`. Names are in camel case or in
snake case: https://ai.google.dev/api/generate-content
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from crewrun.llm.offline_model.fake_model import FakeAnswer, Turn
from crewrun.messages import ToolCall, ToolSpec
from crewrun.mock.chat import Chat, named_tier
from crewrun.mock.gemini_errors import gemini_refusal
from crewrun.mock.prompt_cache import Block
from crewrun.mock.replies import Serial, Usage, event, pieces

_MODES: Final = {"AUTO": "auto", "NONE": "none", "ANY": "required", "VALIDATED": "auto"}


class GeminiContent:
    """The wire of `/v1beta/models/MODEL:generateContent`."""

    provider = "gemini"
    refusal = staticmethod(gemini_refusal)

    def read(self, request: dict[str, Any]) -> Chat:
        """The request as a chat. Raises ValueError with what Gemini, or the mock, would refuse."""
        contents = request.get("contents")
        if not isinstance(contents, list) or not contents or not all(isinstance(turn, dict) for turn in contents):
            raise ValueError("contents: at least one content is required")
        system = "\n".join(_texts(field(request, "systemInstruction")))
        turns = [Turn("system", system)] if system else []
        for turn in contents:
            turns += _turns(turn)
        tools = _tools(request.get("tools"))
        wants_json, schema = _output_format(field(request, "generationConfig"))
        chars = sum(len(turn.text) for turn in turns) + (len(json.dumps(request["tools"])) if tools else 0)
        return Chat(
            request["model"],
            tuple(turns),
            tools,
            _choice(field(request, "toolConfig"), tools),
            wants_json,
            schema,
            chars,
            named_tier(request),
            bool(request.get("stream")),
        )

    def blocks(self, request: dict[str, Any]) -> Iterator[Block]:
        """See `Wire.blocks`."""
        if request.get("tools"):
            yield Block(json.dumps(request["tools"]))
        for content in (field(request, "systemInstruction"), *request["contents"]):
            for text in _texts(content):
                yield Block(text)

    def completion(
        self, chat: Chat, serial: Serial, answer: FakeAnswer, usage: Usage, *, cut_off: bool
    ) -> dict[str, Any]:
        """`answer` as a GenerateContentResponse."""
        parts: list[dict[str, Any]] = []
        if answer.text or not answer.calls:
            parts.append({"text": answer.text})
        parts += ({"functionCall": _call(call)} for call in answer.calls)
        cached = {"cachedContentTokenCount": usage.cached_tokens} if usage.cached_tokens else {}
        return {
            "candidates": [
                {
                    "content": {"role": "model", "parts": parts},
                    "finishReason": "MAX_TOKENS" if cut_off else "STOP",
                    "index": 0,
                }
            ],
            "usageMetadata": {
                "promptTokenCount": usage.prompt_tokens,
                "candidatesTokenCount": usage.completion_tokens,
                "totalTokenCount": usage.prompt_tokens + usage.completion_tokens,
                **cached,
            },
            "modelVersion": chat.model,
            "responseId": f"mock-{serial.number}",
        }

    def events(self, chat: Chat, body: dict[str, Any]) -> Iterator[bytes]:
        """The response `body` in pieces; the last one has its usage and calls."""
        candidate = body["candidates"][0]
        texts = [part["text"] for part in candidate["content"]["parts"] if "text" in part]
        for piece in pieces("".join(texts)):
            content = {"role": "model", "parts": [{"text": piece}]}
            yield event({**body, "candidates": [{"content": content, "index": 0}]})
        calls = [part for part in candidate["content"]["parts"] if "text" not in part]
        yield event({**body, "candidates": [{**candidate, "content": {"role": "model", "parts": calls}}]})


def field(fields: Any, name: str) -> Any:
    """The value under a name in camel case, or the same in snake case."""
    if not isinstance(fields, Mapping):
        return None
    return fields.get(name, fields.get(re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()))


def _call(call: ToolCall) -> dict[str, Any]:
    """The call; arguments that are no JSON object, which this wire cannot carry, are left out."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    return {"name": call.name, "args": arguments if isinstance(arguments, dict) else {}}


def _parts(content: Any) -> Sequence[Mapping[str, Any]]:
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else ()


def _texts(content: Any) -> list[str]:
    return [part["text"] for part in _parts(content) if isinstance(part.get("text"), str)]


def _turns(content: Mapping[str, Any]) -> Iterator[Turn]:
    """A content as turns: its text, then the results of functions in it, which are turns of their own elsewhere."""
    if content.get("role", "user") not in ("user", "model", "function"):
        raise ValueError("contents: Please use a valid role: user, model.")
    results = [result for part in _parts(content) if (result := field(part, "functionResponse"))]
    text = "\n".join(_texts(content))
    if text or not results:
        yield Turn("assistant" if content.get("role") == "model" else "user", text)
    for result in results:
        response = result.get("response") if isinstance(result, dict) else None
        plain = response.get("content", response.get("output")) if isinstance(response, dict) else None
        yield Turn("tool", plain if isinstance(plain, str) else json.dumps(response))


def _tools(offered: Any) -> tuple[ToolSpec, ...]:
    if not isinstance(offered, list):
        return ()
    tools = []
    for entry in offered:
        functions = field(entry, "functionDeclarations")
        for function in functions if isinstance(functions, list) else ():
            name = function.get("name") if isinstance(function, dict) else None
            if not isinstance(name, str) or not name:
                raise ValueError("tools: a function declaration needs a name")
            schema = field(function, "parametersJsonSchema") or _plain(function.get("parameters")) or {}
            tools.append(ToolSpec(name, str(function.get("description", "")), schema))
    return tuple(tools)


def _choice(config: Any, tools: tuple[ToolSpec, ...]) -> str:
    calling = field(config, "functionCallingConfig")
    mode, names = field(calling, "mode"), field(calling, "allowedFunctionNames")
    if isinstance(names, list) and len(names) == 1 and names[0] in [tool.name for tool in tools]:
        return str(names[0])
    return _MODES.get(mode, "auto") if tools and isinstance(mode, str) else "auto"


def _output_format(config: Any) -> tuple[bool, Any]:
    """Whether the request asks for JSON, and the schema of it."""
    schema = field(config, "responseJsonSchema") or _plain(field(config, "responseSchema"))
    return field(config, "responseMimeType") == "application/json", schema if isinstance(schema, dict) else None


def _plain(schema: Any) -> Any:
    """A schema in OpenAPI's words, whose types have capitals, in JSON Schema's."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else _plain(value)
        for key, value in schema.items()
    }
