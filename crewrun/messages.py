"""What goes to a model and what comes back, in no provider's dialect.

Frozen values: they are shared by rows, transports and, later, the journal. How they look on the wire is each
transport's affair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Lane = Literal["direct", "litellm", "offline"]


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


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    An assistant's turn may ask for tools; each is answered by a turn of role `tool` with that call's id. `carried` is a
    JSON object of what else came with an assistant's turn and goes back with it as it came, such as Anthropic's
    `thinking_blocks` and DeepSeek's `reasoning_content`; empty for nothing.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    carried: str = ""


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

    `model` is the name that the provider knows; `base_url` ends without a slash and is None where the lane knows
    the address itself. `params` are request fields beside the messages, such as temperature, `tool_params` those that
    go with tools only, and `extra_body` what litellm is to put over the body. `query` is added to the address.
    `reply_schema` is for replies to requests that have no schema of their own.

    `written_params` and `written_url` are what records say in place of `params` and `base_url`, without the values of
    variables that may be secrets; None where they are the same. `secrets` are the values that variables put anywhere.
    With `drops_params` a parameter that the server names as unsupported is left out from then on.
    """

    lane: Lane
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
    tool_params: Mapping[str, Any] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    written_params: Mapping[str, Any] | None = None
    written_url: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    drops_params: bool = False

    @property
    def name(self) -> str:
        """How rows and summaries name the model: `openai/gpt-4.1-mini`, `offline`."""
        return self.model if self.lane == "offline" else f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call as the crew asks for it, without those of its endpoint's parameters that are to be `left_out`."""

    endpoint: Endpoint
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    schema: ReplySchema | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the provider counted them. Cached and reasoning tokens are parts of prompt and completion.

    `estimated_calls` are those whose provider counted nothing, or nonsense: their tokens are estimates.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_calls: int = 0

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
