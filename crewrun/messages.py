"""What goes to a model and what comes back, in no provider's dialect.

Frozen values: they are shared by rows, transports and, later, the journal. How they look on the wire is each
transport's affair; only a `Part` is kept as OpenAI's chat completions have it, which every provider's client takes.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]
TransportName = Literal["direct", "litellm", "offline", "custom", "embeddings"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asks for. `arguments` is the JSON text as the model wrote it, valid or not.

    `carried` is a JSON object of what else came with the call and goes back with it, such as Gemini's thought
    signatures; empty for nothing.
    """

    id: str
    name: str
    arguments: str
    carried: str = ""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Part:
    """One part of a message's content. Made by `Part.of`.

    `wire` is a JSON object of OpenAI's chat completions, `{"type": "image_url", "image_url": {"url": …}}`, and `digest`
    16 bytes over it. `text` is that of a text part, None of any other; `label` stands for the others where people read.
    https://platform.openai.com/docs/api-reference/chat/create
    """

    wire: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    digest: bytes = field(repr=False)
    label: str
    text: str | None = None

    @classmethod
    def of(cls, wire: Mapping[str, Any], label: str = "", text: str | None = None) -> "Part":
        """The part that `wire` is. Raises TypeError or ValueError for what JSON cannot have."""
        canonical = json.dumps(wire, sort_keys=True, separators=(",", ":")).encode()
        return cls(wire, blake2b(canonical, digest_size=16).digest(), label, text)

    @classmethod
    def of_text(cls, text: str) -> "Part":
        """A text part."""
        return cls.of({"type": "text", "text": text}, text=text)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `content` is its text. `parts`, where there are any, are all of its content in order, and `content` is what of them
    is text; see `in_parts`. An assistant's turn may ask for tools; each is answered by a turn of role `tool` with that
    call's id. `carried` is a JSON object of what else belongs to the turn and goes with it as it came, such as
    Anthropic's `thinking_blocks`, DeepSeek's `reasoning_content` and the `name` of who speaks; empty for nothing.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    carried: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def shown(self) -> str:
        """The content for people and logs: labels stand for images and files."""
        if not self.parts:
            return self.content
        return "\n".join(f"[{part.label}]" if part.text is None else part.text for part in self.parts)


def in_parts(parts: Iterable[Part]) -> dict[str, Any]:
    """`content` and `parts` of a message that these parts are."""
    kept = tuple(parts)
    return {"content": "\n".join(part.text for part in kept if part.text is not None), "parts": kept}


def as_parts(message: Message) -> tuple[Part, ...]:
    """The content of any message in parts."""
    return message.parts or ((Part.of_text(message.content),) if message.content else ())


def with_text(message: Message, text: str) -> Message:
    """`message` with `text` behind its content, after a blank line or as a part of its own."""
    if message.parts:
        return replace(message, **in_parts((*message.parts, Part.of_text(text))))
    return replace(message, content=f"{message.content}\n\n{text}")


@dataclass(frozen=True, slots=True, eq=False)
class ToolSpec:
    """A tool as the model is told of it. `parameters` is the JSON Schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ReplySchema:
    """The JSON Schema that a reply must follow. `strict` says that it keeps to what OpenAI's strict mode takes.

    `original` is what a strict one was made from, as it was declared; see `relaxed`.
    """

    name: str
    schema: Mapping[str, Any]
    strict: bool = False
    original: "ReplySchema | None" = None


def relaxed(schema: ReplySchema) -> ReplySchema:
    """`schema` for an endpoint that does not take the strict form: as it was declared, the same object each time."""
    return schema.original or schema


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Endpoint:
    """One model at one address, resolved from an `LLM` and the environment. Compared by identity.

    `model` is the name that the provider knows; `base_url` ends without a slash and is None where the transport knows
    the address itself. `params` are request fields beside the messages, such as temperature, `tool_params` those that
    go with tools only, and `extra_body` what litellm is to put over the body. `query` is added to the address.
    `reply_schema` is for replies to requests that have no schema of their own. `base_model` is the model behind a name
    of the user's own, such as that of a deployment: only its price depends on it.

    `written_params` and `written_url` are what records say in place of `params` and `base_url`, without the values of
    variables that may be secrets; None where they are the same. `secrets` are the values that variables put anywhere.
    With `drops_params` a parameter that the server names as unsupported is left out from then on.

    `custom` is the user's object that answers in the transport of that name, and `context_tokens` what it says a prompt
    may
    have.
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

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of a request's body beside messages, tools and schema, wherever they are put there."""
        return {**self.params, **self.extra_body} if self.extra_body else self.params

    @property
    def name(self) -> str:
        """How rows and summaries name the model: `openai/gpt-4.1-mini`, `offline`."""
        return self.model if self.transport_name == "offline" else f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call as the crew asks for it, without those of its endpoint's parameters that are to be `left_out`."""

    endpoint: Endpoint
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    schema: ReplySchema | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageDetails:
    """What of one call's usage only its price depends on; it is not summed.

    Counts are parts of the call's counts, each token in one of them at most: of what was written to the cache, what is
    kept for an hour and for twelve; of the rest of the prompt, what is sound, picture and film; of what the cache gave,
    sound and pictures; of the completion, sound, pictures and film. `is_explicit_cache` says that the cache was asked
    for, not found by the provider. `service_tier`, `region` and `speed` are how the provider says that it served the
    call, empty where it does not; `cost_usd` is the price that it, or a gateway, states itself.
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
    """Tokens, as the provider counted them. Cached and written tokens are parts of the prompt, reasoning tokens of the
    completion.

    `estimated_calls` are those whose provider left out a count, or counted nonsense: their tokens are estimates.
    `cache_write_prompt_tokens` were written to the provider's cache, which some sell dearer than plain input.
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
    """What a provider says of its limits per minute: what they are, what is left, and in how many seconds all is again.

    None is what was not said, or cannot be.
    """

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_s: float | None = None
    reset_tokens_s: float | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One model's answer: a text, tools that it asks for, or both.

    `truncated` says that it stopped at max_tokens, not at its end; `limits` is what the reply's headers said of the
    provider's rate limits. `reasoning` is what the model thought before it answered, no part of the answer; `carried`
    goes back with the turn, as `Message.carried`. `finish_reason` is the provider's word for how the reply ended where
    that word is unknown, else None.
    """

    text: str
    usage: Usage
    truncated: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    limits: RateLimits | None = field(default=None, compare=False, repr=False)
    reasoning: str = ""
    carried: str = ""
    finish_reason: str | None = None
