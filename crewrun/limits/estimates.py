"""Tokens of a call before and without its provider's count: estimates for limits, bounds for budgets."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from crewrun.messages import ChatRequest, Completion, Endpoint, Message, Usage, UsageDetails

# English text; other languages and code have fewer bytes per token: https://platform.openai.com/tokenizer
BYTES_PER_TOKEN = 4
# The tokens that a chat template adds around a message and around a tool. OpenAI's adds 3 to a message, others more.
# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
_PER_MESSAGE = 8
_PER_TOOL = 64
# The tokens of a part that is not text, by its type: usually, and at most. The size of its base64 says nothing of that.
# Images: Claude's largest, and eight tiles of gpt-4o-mini at 5,667 with a base of 2,833.
# https://docs.anthropic.com/en/docs/build-with-claude/vision https://platform.openai.com/docs/guides/images-vision
# Files: ten pages, and the hundred that providers take, of 3,000 each.
# https://docs.anthropic.com/en/docs/build-with-claude/pdf-support
# Audio and video: one minute, and 25 or 20, at Gemini's 32 and 300 a second.
# https://ai.google.dev/gemini-api/docs/tokens
_OF_A_FILE = (30_000, 300_000)
_OF_A_PART = {"image_url": (1_600, 48_169), "input_audio": (1_920, 48_000), "video_url": (18_000, 360_000)}
# The parameters by which a request bounds its answer. Those of single servers are no bound, as others ignore them.
_LIMITS = ("max_tokens", "max_completion_tokens")
# What a budget holds back for an answer without a bound until it has seen some: about 1,500 words, more than most have.
GUESSED_TOKENS = 2_048
_NO_PARTS_OF_PROMPT: Mapping[str, Any] = dict.fromkeys(
    (
        *("cache_write_1h_tokens", "cache_write_12h_tokens", "cached_audio_tokens", "cached_image_tokens"),
        *("prompt_audio_tokens", "prompt_image_tokens", "prompt_video_tokens"),
    ),
    0,
)
_NO_PARTS_OF_ANSWER: Mapping[str, Any] = dict.fromkeys(
    ("completion_audio_tokens", "completion_image_tokens", "completion_video_tokens"), 0
)


def fewest_tokens(request: ChatRequest, bytes_per_token: int = BYTES_PER_TOKEN) -> int:
    """The tokens of a prompt at `bytes_per_token`; with 1 it is the most that they can be.

    An image or a file counts what such a part usually takes or, with 1, the most.
    """
    size = sum([len(message.content) for message in request.messages])
    tokens = size // bytes_per_token + _PER_MESSAGE * len(request.messages)
    if bytes_per_token == 1:
        tokens += sum([_bytes(message.content) for message in request.messages]) - size
        calls = [call for message in request.messages for call in message.tool_calls]
        tokens += sum([_bytes(call.name) + _bytes(call.arguments) + len(call.carried) for call in calls])
        tokens += sum([len(message.carried) for message in request.messages])
    if in_parts := [message for message in request.messages if message.parts]:
        tokens += _tokens_of_parts(in_parts, is_most=bytes_per_token == 1)
    size_of = _bytes if bytes_per_token == 1 else len
    if request.tools:
        sizes = [size_of(str(tool.parameters)) + size_of(tool.description) for tool in request.tools]
        tokens += sum(sizes) // bytes_per_token + _PER_TOOL * len(request.tools)
    if request.schema is not None:
        tokens += size_of(str(request.schema.schema)) // bytes_per_token
    return tokens


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _tokens_of_parts(messages: Iterable[Message], *, is_most: bool) -> int:
    kinds = [str(part.wire.get("type")) for message in messages for part in message.parts if part.text is None]
    return sum(_OF_A_PART.get(kind, _OF_A_FILE)[is_most] for kind in kinds)


def most_tokens(endpoint: Endpoint) -> int | None:
    """The most tokens that an answer can have by the request's parameters; None if they do not bound it.

    Of two limits the larger one counts, since servers differ in which of them they obey.
    """
    fields = endpoint.fields
    dropped = fields.get("additional_drop_params") or ()
    limits = [_whole(fields.get(name)) for name in _LIMITS if name not in dropped]
    return max(limits) * max(1, _whole(fields.get("n"))) if any(limits) else None


def _whole(value: object) -> int:
    """A number that a parameter gives, also as a text; 0 for none."""
    if isinstance(value, str) and value.strip().isdecimal() and value.isascii():
        value = int(value)
    return value if isinstance(value, int) and value > 0 else 0


def most_answer_tokens(completion: Completion) -> int:
    """The most tokens that the visible part of an answer can have taken: one for each byte."""
    texts = [completion.text, completion.reasoning, *(c.name + c.arguments for c in completion.tool_calls)]
    return sum(map(_bytes, texts))


def believable(completion: Completion, request: ChatRequest) -> Completion:
    """`completion`, with estimates of the tokens that its provider did not count."""
    usage = completion.usage
    is_prompt_counted = usage.prompt_tokens > 0
    has_answer = completion.text or completion.tool_calls or completion.reasoning
    is_answer_counted = usage.completion_tokens > 0 or not has_answer
    if is_prompt_counted and is_answer_counted:
        return completion
    return replace(completion, usage=_estimated(completion, request, is_prompt_counted, is_answer_counted))


def _estimated(completion: Completion, request: ChatRequest, is_prompt_counted: bool, is_answer_counted: bool) -> Usage:
    usage = replace(completion.usage, estimated_calls=1)
    details = usage.details or UsageDetails()
    if not is_prompt_counted:  # then the parts of the prompt were not counted either
        usage = replace(
            usage, prompt_tokens=fewest_tokens(request), cached_prompt_tokens=0, cache_write_prompt_tokens=0
        )
        details = replace(details, **_NO_PARTS_OF_PROMPT)
    if not is_answer_counted:
        usage = replace(usage, completion_tokens=_answer_tokens(completion), reasoning_tokens=0)
        details = replace(details, **_NO_PARTS_OF_ANSWER)
    return replace(usage, details=details) if usage.details is not None else usage


def _answer_tokens(completion: Completion) -> int:
    size = len(completion.text) + sum(len(call.arguments) + len(call.name) for call in completion.tool_calls)
    return max(1, (size + len(completion.reasoning)) // BYTES_PER_TOKEN)
