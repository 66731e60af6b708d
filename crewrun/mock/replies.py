"""The mock's answers and refusals as bodies of HTTP replies.

https://platform.openai.com/docs/api-reference/chat/object, https://platform.openai.com/docs/guides/error-codes
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from crewrun.llm.offline_model.fake_model import FakeAnswer
from crewrun.llm.transports.chat_json import message_on_wire
from crewrun.messages import Message
from crewrun.mock.chat import Chat
from crewrun.mock.faults import Fault


@dataclass(frozen=True, slots=True)
class MockReply:
    """An HTTP reply. `answer` is set if a provider would charge for it; `cut` breaks the connection instead."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: FakeAnswer | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False


def completion(
    chat: Chat, number: int, created: int, headers: Mapping[str, str], answer: FakeAnswer, *, cut_off: bool = False
) -> MockReply:
    """`answer` as a chat completion, the mock's `number`th; `created` is in Unix seconds."""
    prompt_tokens, completion_tokens = count_prompt(chat), count_completion(answer)
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.calls:
        message |= message_on_wire(Message("assistant", answer.text, answer.calls))
    finish_reason = "length" if cut_off else "tool_calls" if answer.calls else "stop"
    body = {
        "id": f"chatcmpl-mock-{number}",
        "object": "chat.completion",
        "created": created,
        "model": chat.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }
    if chat.tier is not None:
        body["service_tier"] = chat.tier
    return MockReply(200, json.dumps(body).encode(), headers, answer, prompt_tokens, completion_tokens)


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


def _tokens(chars: int) -> int:
    """OpenAI's rule of thumb, four characters to a token, rounded up."""
    return -(-chars // 4)


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def refusal_for(fault: Fault, headers: Mapping[str, str]) -> MockReply:
    """The reply for a fault that has a status."""
    if fault.kind == "quota":
        message = "You exceeded your current quota, please check your plan and billing details."
        return refusal(429, message, code="insufficient_quota", kind="insufficient_quota", headers=headers)
    if fault.kind == "once":
        headers = {**headers, "retry-after": "0"}
    message = f"{fault.name} asked the mock for this {fault.status}"
    return refusal(fault.status, message, code=_CODES.get(fault.status), headers=headers)


def refusal(
    status: int,
    message: str,
    *,
    code: str | None = None,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> MockReply:
    """An error in OpenAI's form; `kind` is its `type`, by default the usual one for the status."""
    kind = kind or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": None, "code": code}
    return MockReply(status, json.dumps({"error": error}).encode(), headers or {})
