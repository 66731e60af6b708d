"""What every wire's replies have in common: HTTP replies, refusals, tokens, pieces of a stream."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from crewrun.llm.offline_model.fake_model import FakeAnswer
from crewrun.mock.chat import Chat
from crewrun.mock.faults import Fault

JSON = "application/json"
EVENTS = "text/event-stream"
JSON_LINES = "application/jsonl"

# OpenAI's rule of thumb: https://help.openai.com/en/articles/4936856
CHARS_PER_TOKEN = 4
# Enough that a sentence arrives in several pieces.
_PIECE_CHARS = 16


class Serial(NamedTuple):
    """Which reply it is: the mock's `number`th request, which came at `created` in Unix seconds."""

    number: int
    created: int


class Usage(NamedTuple):
    """The tokens of a request and its answer. Those read from the prompt cache and written to it, `hour_tokens` of
    these for an hour, are part of the prompt; `has_cache` says that the prompt is long enough for one.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    hour_tokens: int = 0
    has_cache: bool = False


NO_USAGE = Usage()
_NO_HEADERS: Mapping[str, str] = {}


class MockReply(NamedTuple):
    """An HTTP reply. `answer` is set if a provider would charge for it; `cut` breaks the connection instead.

    A reply with `pieces` is sent piece by piece, with `pause_s` of the mock's clock before each but the first; then
    `cut` breaks it in the middle.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = _NO_HEADERS
    answer: FakeAnswer | None = None
    usage: Usage = NO_USAGE
    cut: bool = False
    content_type: str = JSON
    pieces: Sequence[bytes] = ()
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no answer, which each provider words in its own form.

    `reason` is one of `fault`, `rate`, `quota` and `no capacity`, or OpenAI's `code`, empty for none.
    """

    status: int
    message: str
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal_for(fault: Fault, headers: Mapping[str, str]) -> Refusal:
    """The refusal for a fault that has a status."""
    if fault.kind == "quota":
        return Refusal(
            429, "You exceeded your current quota, please check your plan and billing details.", "quota", headers
        )
    if fault.kind == "capacity":
        message = "There is no capacity for this service tier now. Try again later, or with another tier."
        return Refusal(fault.status, message, "no capacity", headers)
    if fault.kind == "once":
        headers = {**headers, "retry-after": "0"}
    return Refusal(fault.status, f"{fault.name} asked the mock for this {fault.status}", "fault", headers)


def json_reply(value: Any, status: int = 200) -> MockReply:
    """`value` as JSON."""
    return MockReply(status, json.dumps(value).encode())


def count_prompt(chat: Chat) -> int:
    """The tokens of the request."""
    return _tokens(chat.chars)


def count_completion(answer: FakeAnswer) -> int:
    """The tokens of the answer."""
    return _tokens(len(answer.text) + sum(len(call.name + call.arguments) for call in answer.calls))


def half(answer: FakeAnswer) -> FakeAnswer:
    """The answer, cut in the middle of its text, or of the last call's arguments."""
    if not answer.calls:
        return FakeAnswer(answer.text[: len(answer.text) // 2])
    *whole, last = answer.calls
    return FakeAnswer(answer.text, (*whole, replace(last, arguments=last.arguments[: len(last.arguments) // 2])))


def pieces(text: str) -> Iterator[str]:
    """`text` in the pieces in which a stream sends it."""
    return (text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS))


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """A server-sent event: https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    prefix = f"event: {name}\n" if name else ""
    return f"{prefix}data: {json.dumps(data)}\n\n".encode()


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)
