"""Requests to models and their replies, independent of any provider's format.

These are frozen values, shared by rows, transports and the journal. Each transport decides what goes over the wire,
except that a `Part` is stored in the format of OpenAI's chat completions, which every provider's client accepts.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]
TransportName = Literal["direct", "litellm", "offline", "custom", "embeddings"]
# The service tiers that a run, an agent or an LLM can ask for.
Tier = Literal["standard", "flex", "batch"]
# For which models calls are arranged for the provider's prompt cache.
PromptCacheUse = Literal["auto", "always", "never"]
# The forms of breakpoints in prompts; empty for none.
CacheMarks = Literal["", "anthropic", "openai"]
MarkedTurn = Literal["", "latest", "previous"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call requested by the model. `arguments` is the JSON text as the model wrote it, valid or not.

    `carried` is a JSON object of whatever else came with the call and must go back with it, such as Gemini's thought
    signatures; empty if there is nothing.
    """

    id: str
    name: str
    arguments: str
    carried: str = ""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Part:
    """One part of a message's content. Made by `Part.of`.

    `wire` is a JSON object of OpenAI's chat completions, `{"type": "image_url", "image_url": {"url": …}}`, and `digest`
    a hash of it, 16 bytes. `text` is the text of a text part, else None; `label` represents any other part in logs.
    https://platform.openai.com/docs/api-reference/chat/create
    """

    wire: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    digest: bytes = field(repr=False)
    label: str
    text: str | None = None

    @classmethod
    def of(cls, wire: Mapping[str, Any], label: str = "", text: str | None = None) -> "Part":
        """Make a part from its JSON object. Raises TypeError or ValueError for what JSON cannot represent."""
        canonical = json.dumps(wire, sort_keys=True, separators=(",", ":")).encode()
        return cls(wire, blake2b(canonical, digest_size=16).digest(), label, text)

    @classmethod
    def of_text(cls, text: str) -> "Part":
        """A text part."""
        return cls.of({"type": "text", "text": text}, text=text)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `content` is its text. `parts`, if there are any, are all of its content in order, and `content` is then the text
    among them; see `in_parts`. An assistant's turn may call tools; each call is answered by a turn of role `tool` with
    that call's id. `carried` is a JSON object of whatever else belongs to the turn and is sent back unchanged, such as
    Anthropic's `thinking_blocks`, DeepSeek's `reasoning_content` and the speaker's `name`; empty if there is nothing.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    carried: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def shown(self) -> str:
        """The content for people and logs, with labels in place of images and files."""
        if not self.parts:
            return self.content
        return "\n".join(f"[{part.label}]" if part.text is None else part.text for part in self.parts)


def in_parts(parts: Iterable[Part]) -> dict[str, Any]:
    """The `content` and `parts` fields of a message that consists of `parts`."""
    all_parts = tuple(parts)
    return {"content": "\n".join(part.text for part in all_parts if part.text is not None), "parts": all_parts}


def as_parts(message: Message) -> tuple[Part, ...]:
    """The content of any message as parts."""
    return message.parts or ((Part.of_text(message.content),) if message.content else ())


def with_text(message: Message, text: str) -> Message:
    """`message` with `text` appended to its content, after a blank line or as a part of its own."""
    if message.parts:
        return replace(message, **in_parts((*message.parts, Part.of_text(text))))
    return replace(message, content=f"{message.content}\n\n{text}")


@dataclass(frozen=True, slots=True, eq=False)
class ToolSpec:
    """A tool as described to the model. `parameters` is the JSON Schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ReplySchema:
    """The JSON Schema that a reply must follow. `strict` says that it stays within what OpenAI's strict mode allows.

    `original` is the declared schema that a strict one was made from; see `relaxed`.
    """

    name: str
    schema: Mapping[str, Any]
    strict: bool = False
    original: "ReplySchema | None" = None


def relaxed(schema: ReplySchema) -> ReplySchema:
    """`schema` as it was declared, for endpoints that reject the strict form; the same object each time."""
    return schema.original or schema


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Endpoint:
    """One model at one address, resolved from an `LLM` and the environment. Compared by identity.

    `model` is the provider's name for the model. `base_url` has no trailing slash and is None if the transport knows
    the address itself. `params` are request fields other than the messages, such as temperature, `tool_params` are sent
    only with tools, and litellm merges `extra_body` over the body. `query` is added to the address. `reply_schema` is
    for replies to requests that have no schema of their own. `base_model` is the model behind a name that the user
    chose, such as a deployment's; only the price depends on it.

    `written_params` and `written_url` replace `params` and `base_url` in records, without values of variables that may
    be secrets; None if they are the same. `secrets` are all values taken from variables. With `drops_params`, a
    parameter that the server calls unsupported is left out from then on.

    `custom` is the user's object that the custom transport calls, and `context_tokens` the longest prompt that it
    declares.

    `tier` is the cheaper tier that requests go at, `flex` or `batch`; empty for any other. `standard` is then the same
    endpoint at the standard tier, whose own `tier` is `standard`, for calls that do not get what they asked for.
    """

    transport_name: TransportName
    provider: str
    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float | None = None
    reply_schema: ReplySchema | None = None
    takes_tools: bool = False
    takes_schema: bool = False
    base_model: str | None = None
    tool_params: Mapping[str, Any] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    written_params: Mapping[str, Any] | None = None
    written_url: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    drops_params: bool = False
    context_tokens: int | None = None
    custom: object = field(default=None, repr=False)
    tier: str = ""
    standard: "Endpoint | None" = field(default=None, repr=False)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of a request's body other than messages, tools and schema, from `params` and `extra_body`."""
        return {**self.params, **self.extra_body} if self.extra_body else self.params

    @property
    def name(self) -> str:
        """The model's name in rows and summaries: `openai/gpt-4.1-mini`, `offline`."""
        return self.model if self.transport_name == "offline" else f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class CacheHints:
    """What a request says to the provider's prompt cache; it decides the price of the answer, not the answer.

    `key` is OpenAI's `prompt_cache_key`, empty for none, and `marks` the form of the breakpoint at the end of tools and
    system turns. With `is_explicit`, nothing else is cached. `marked_turn` has a breakpoint of Anthropic's behind it
    too: the latest one, for the row's next turn, or the one before the model's latest, to read what it has written.
    """

    key: str = ""
    marks: CacheMarks = ""
    is_explicit: bool = False
    marked_turn: MarkedTurn = ""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call as the crew asks for it. The endpoint's parameters named in `left_out` are not sent."""

    endpoint: Endpoint
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    schema: ReplySchema | None = None
    left_out: tuple[str, ...] = ()
    cache_hints: CacheHints | None = None


@dataclass(frozen=True, slots=True)
class UsageDetails:
    """The parts of one call's usage that only its price depends on. They are not summed over calls.

    The counts break down the call's counts, and each token is in at most one of them: tokens written to the cache for
    one hour and for twelve; audio, image and video in the uncached prompt; audio and image read from the cache; audio,
    image and video in the completion. `is_explicit_cache` says that the request asked for caching, as opposed to the
    provider's automatic cache. `service_tier`, `region` and `speed` are how the provider says it served the call, empty
    if it does not; `cost_usd` is the price that the provider, or a gateway, states itself.
    """

    cache_write_1h_tokens: int = 0
    cache_write_12h_tokens: int = 0
    prompt_audio_tokens: int = 0
    prompt_image_tokens: int = 0
    prompt_video_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    completion_audio_tokens: int = 0
    completion_image_tokens: int = 0
    completion_video_tokens: int = 0
    is_explicit_cache: bool = False
    service_tier: str = ""
    region: str = ""
    speed: str = ""
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as counted by the provider. Cached and cache-written tokens are part of the prompt, reasoning tokens part
    of the completion.

    `estimated_calls` counts calls whose provider left out a count or sent nonsense: their tokens are estimates.
    `cache_write_prompt_tokens` were written to the provider's cache, for which some charge more than for plain input.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_calls: int = 0
    cache_write_prompt_tokens: int = 0
    details: UsageDetails | None = None

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated_calls + other.estimated_calls,
            self.cache_write_prompt_tokens + other.cache_write_prompt_tokens,
        )


@dataclass(frozen=True, slots=True)
class RateLimits:
    """A provider's per-minute limits as it reports them: the limits, what is left, and the seconds until they reset.

    None stands for a value that is missing or impossible.
    """

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_s: float | None = None
    reset_tokens_s: float | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer: text, tool calls, or both.

    `truncated` says that it was cut off at max_tokens. `limits` are the provider's rate limits according to the reply's
    headers. `reasoning` is what the model thought before it answered, not part of the answer; `carried` goes back with
    the turn, see `Message.carried`. `finish_reason` is the provider's finish reason if crewrun does not know it, else
    None.
    """

    text: str
    usage: Usage
    truncated: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    limits: RateLimits | None = field(default=None, compare=False, repr=False)
    reasoning: str = ""
    carried: str = ""
    finish_reason: str | None = None
