"""The offline model `offline`: built in, deterministic, free, and obviously not a real model.

If a request has tools, it calls the first one once per conversation; if it has a schema, it answers with JSON that
fits. `offline?latency=0.2&jitter=0.1&fail=0.05&tools=0` sets the seconds per call, their spread, the share of calls
that fail, and whether it calls tools. The same request always gets the same answer, wait and failure, so a trial run
can be repeated exactly.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import anyio
import anyio.lowlevel

from crewrun.errors import BadRequest, UsageError, suggest
from crewrun.llm.offline_model.values import example
from crewrun.llm.offline_model.words import action, described_schema, described_tools, excerpt, final_answer, observed
from crewrun.messages import ChatRequest, Completion, ToolCall, ToolSpec, Usage

_EXCERPT_CHARS = 160  # of the prompt in an answer: two lines of a terminal
_CHARS_PER_TOKEN = 4  # OpenAI's rule of thumb for English, https://platform.openai.com/tokenizer


@dataclass(frozen=True, slots=True)
class OfflineOptions:
    """The options after `offline?`. With `tools=0` the model never calls a tool."""

    latency: float = 0.0
    jitter: float = 0.0
    fail: float = 0.0
    tools: float = 1.0

    NAMES: ClassVar = ("latency", "jitter", "fail", "tools")

    @classmethod
    def parse(cls, query: str) -> "OfflineOptions":
        """The options in `latency=0.2&fail=0.05`. Raises UsageError for an unknown or impossible one."""
        values: dict[str, float] = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name not in cls.NAMES:
                raise UsageError(
                    f"model offline: no option {name!r}{suggest(name, cls.NAMES)}; options are {', '.join(cls.NAMES)}"
                )
            try:
                values[name] = float(text)
            except ValueError:
                raise UsageError(f"model offline: {name}={text!r} is not a number") from None
            if wrong := _out_of_range(name, values[name]):
                raise UsageError(f"model offline: {name}={text} must be {wrong}")
        return cls(**values)


def _out_of_range(name: str, value: float) -> str | None:
    """What `value` should be, None if it is in range."""
    if name == "tools":
        return None if value in (0, 1) else "0 or 1"
    if name == "fail":
        return None if 0 <= value <= 1 else "between 0 and 1"
    return None if 0 <= value <= 86_400 else "a number of seconds from 0"


class OfflineTransport:
    """Makes up answers from the request itself."""

    def __init__(self) -> None:
        self._options: dict[str, OfflineOptions] = {}

    async def send(self, request: ChatRequest) -> Completion:
        """Make up an answer; see `Transport.send`."""
        options = self._read_options(request)
        prompt = "\n".join(message.shown for message in request.messages)
        data = [part.digest for message in request.messages for part in message.parts]
        digest = blake2b(b"".join([prompt.encode("utf-8", "surrogatepass"), *data]), digest_size=12).digest()
        chance, spread = (int.from_bytes(part) / 2**48 for part in (digest[:6], digest[6:]))
        if wait_s := options.latency + options.jitter * spread:
            await anyio.sleep(wait_s)
        else:
            await anyio.lowlevel.checkpoint()
        if chance < options.fail:
            raise BadRequest(f"offline model: this call fails, as fail={options.fail:g} asks for")
        text, calls = _reply(request, digest.hex()[:8], asks=bool(options.tools))
        output = text + "".join(call.arguments for call in calls)
        usage = Usage(
            prompt_tokens=len(prompt) // _CHARS_PER_TOKEN + 1, completion_tokens=len(output) // _CHARS_PER_TOKEN + 1
        )
        return Completion(text, usage, tool_calls=calls)

    async def aclose(self) -> None:
        """Nothing to close."""

    def _read_options(self, request: ChatRequest) -> OfflineOptions:
        query = request.endpoint.params.get("options", "")
        if query not in self._options:
            self._options[query] = OfflineOptions.parse(query)
        return self._options[query]


def _reply(request: ChatRequest, mark: str, *, asks: bool) -> tuple[str, tuple[ToolCall, ...]]:
    """The text of the answer and the tools that it calls."""
    messages = request.messages
    last = messages[-1].shown
    if request.tools and asks and not any(message.role == "tool" for message in messages):
        tool = request.tools[0]
        return "", (ToolCall("call_offline", tool.name, _arguments(tool, last)),)
    tools = () if request.tools else _described_tools(request)
    results = [observed(message.content) for message in messages if message.role == "user"] if tools else []
    if tools and asks and not any(result is not None for result in results):
        return action(tools[0].name, _arguments(tools[0], last)), ()
    text = f"[offline {mark}: no model was called] {excerpt(observed(last) or last, _EXCERPT_CHARS)}"
    schema = request.schema.schema if request.schema else _described_schema(request)
    if schema is not None:
        text = json.dumps(example(dict(schema), text), ensure_ascii=False)
    return final_answer(text) if tools else text, ()


def _arguments(tool: ToolSpec, prompt: str) -> str:
    return json.dumps(example(dict(tool.parameters), excerpt(prompt, _EXCERPT_CHARS)), ensure_ascii=False)


def _described_tools(request: ChatRequest) -> tuple[ToolSpec, ...]:
    """The tools described in the first message: the system prompt, or the user's message without one."""
    return described_tools(request.messages[0].content)


def _described_schema(request: ChatRequest) -> Mapping[str, Any] | None:
    users = (message.content for message in reversed(request.messages) if message.role == "user")
    return next((schema for text in users if (schema := described_schema(text)) is not None), None)
