"""The offline model: built in, deterministic, free, and obviously not a real model.

If a request has tools, it calls the first one once per conversation; if it has a schema, it answers with JSON that
validates. `offline?latency=0.2&jitter=0.1&fail=0.05&tools=0` sets the seconds per call, their spread, the share of
calls that fail, and whether it calls tools. The same request always gets the same answer, wait and failure, so a run
can be repeated exactly. `llm.offline_model` makes the answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar
from urllib.parse import parse_qsl

import anyio
import anyio.lowlevel

from crewrun.errors import BadRequest, UsageError, suggest
from crewrun.llm.offline_model.directives import PromptDirectives
from crewrun.llm.offline_model.fake_model import FakeModel, Question, Turn
from crewrun.llm.offline_model.words import excerpt, observed
from crewrun.messages import ChatRequest, Completion, Usage

_EXCERPT_CHARS = 160  # of the prompt in an answer: two lines of a terminal
_CHARS_PER_TOKEN = 4  # OpenAI's rule of thumb for English, https://platform.openai.com/tokenizer
# Directives in the prompt are for the mock; here an option says whether tools are called.
_ASKS, _ASKS_FOR_NOTHING = PromptDirectives(), PromptDirectives(no_tools=True)


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
        model = _OfflineModel(digest.hex()[:8], request.messages[-1].shown)
        text, calls = model.answer(_question(request, asks=bool(options.tools)))
        chars = len(text) + sum(len(call.arguments) for call in calls)
        usage = Usage(
            prompt_tokens=len(prompt) // _CHARS_PER_TOKEN + 1, completion_tokens=chars // _CHARS_PER_TOKEN + 1
        )
        return Completion(text, usage, tool_calls=calls)

    async def aclose(self) -> None:
        """Nothing to close."""

    def _read_options(self, request: ChatRequest) -> OfflineOptions:
        query = request.endpoint.params.get("options", "")
        if query not in self._options:
            self._options[query] = OfflineOptions.parse(query)
        return self._options[query]


class _OfflineModel(FakeModel):
    """Quotes the last message, and says that no model was called."""

    def __init__(self, mark: str, last: str) -> None:
        self._mark = mark
        self._last = last

    def prompt(self, question: Question, *, in_words: bool) -> str:
        """The last message, of any role."""
        return self._last

    def quote(self, prompt: str) -> str:
        """Its beginning."""
        return excerpt(prompt, _EXCERPT_CHARS)

    def text(self, prompt: str, results: Sequence[str]) -> str:
        """The last message, which may be a tool's result."""
        return f"[offline {self._mark}: no model was called] {self.quote(observed(prompt) or prompt)}"

    def call_id(self, number: int, position: int) -> str:
        """The same each time, since there is only one call in a conversation."""
        return "call_offline"


def _question(request: ChatRequest, *, asks: bool) -> Question:
    """`request` in the fake model's terms; with `asks` it may call tools."""
    messages = request.messages
    return Question(
        turns=[Turn(message.role, message.content) for message in messages],
        tools=request.tools,
        results=[message.content for message in messages if message.role == "tool"] if request.tools else (),
        schema=request.schema.schema if request.schema else None,
        directives=_ASKS if asks else _ASKS_FOR_NOTHING,
    )
