"""Turns a completion into the answer to its request: without reasoning in the text, and with unique call ids.

A transport reads what a provider sends, without knowing what was asked for. Here the request is taken into account: a
tag that the task itself asks for stays.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from crewrun.errors import EmptyReply, OutputInvalid
from crewrun.llm.replies.reasoning import Parts, names_tag, part
from crewrun.messages import ChatRequest, Completion, ToolCall

_ADVICE: Final = "raise max_tokens, lower the reasoning effort, or change the prompt or the model"


def fresh_answer(completion: Completion, request: ChatRequest, own_texts: tuple[str, ...] | None) -> Completion:
    """The answer for the caller. Raises EmptyReply, or OutputInvalid if it is empty because of max_tokens.

    `own_texts` are the task's own texts, without a row's values; None if all messages count as such.
    """
    answer = _without_reasoning(completion, request, own_texts)
    if answer.tool_calls:
        return _with_unique_ids(answer, request)
    if not answer.text.strip():
        raise no_answer(answer, answer.finish_reason)
    return answer


def no_answer(reply: Completion, finish_reason: object) -> OutputInvalid:
    """The error for a reply without text and tool calls, with its usage. A retry may help unless it was cut off."""
    what = "is only reasoning, without an answer" if reply.reasoning.strip() else "is empty"
    how = f" (finish_reason {finish_reason!r})" if finish_reason else ""
    kind: type[OutputInvalid] = EmptyReply
    if reply.truncated:
        how, kind = " (it reached max_tokens)", OutputInvalid
    error = kind(f"the model's reply {what}{how}; {_ADVICE}", http_status=200)
    error.usage = reply.usage
    return error


def recalled_answer(
    completion: Completion, request: ChatRequest, own_texts: tuple[str, ...] | None
) -> Completion | None:
    """A recorded answer, possibly from an earlier version that left reasoning in the text; None if nothing remains.

    A turn with tool calls is left unchanged: its text is not an answer, and the requests after it were recorded with
    that text.
    """
    if completion.tool_calls:
        return completion
    answer = _without_reasoning(completion, request, own_texts)
    return answer if answer.text.strip() else None


def _without_reasoning(completion: Completion, request: ChatRequest, own_texts: tuple[str, ...] | None) -> Completion:
    parts = part(completion.text)
    if parts.tags and _is_named(request, own_texts, parts.tags):
        return completion
    if parts.tags and own_texts is not None and names_tag(_prompt_texts(request), parts.tags):
        parts = part(completion.text, is_about_tags=True)  # a row's text mentions such tags
    if not parts.tags:
        return completion
    return replace(completion, text=parts.answer, reasoning=_joined(completion.reasoning, parts))


def _is_named(request: ChatRequest, own_texts: tuple[str, ...] | None, tags: frozenset[str]) -> bool:
    """Whether the task, or the schema of its answer, mentions one of these tags."""
    if names_tag(own_texts if own_texts is not None else _prompt_texts(request), tags):
        return True
    schema = request.schema.schema if request.schema is not None else request.endpoint.params.get("response_format")
    return schema is not None and names_tag([json.dumps(schema, default=str, ensure_ascii=False)], tags)


def _prompt_texts(request: ChatRequest) -> Iterable[str]:
    return (message.content for message in request.messages if message.role in ("system", "developer", "user"))


def _joined(reasoning: str, parts: Parts) -> str:
    return "\n".join(filter(None, (reasoning, parts.reasoning)))


def _with_unique_ids(completion: Completion, request: ChatRequest) -> Completion:
    """`completion` with call ids that are unique in the conversation. Some servers number the calls of each turn from
    0, and servers reject a request in which two calls have the same id.
    """
    used = {call.id for message in request.messages for call in message.tool_calls}
    mine = {call.id for call in completion.tool_calls}
    if "" not in mine and used.isdisjoint(mine) and len(mine) == len(completion.tool_calls):
        return completion
    number, taken = len(used), used | mine
    calls: list[ToolCall] = []
    for call in completion.tool_calls:
        new = call
        if not call.id or call.id in used:
            while (name := tool_call_id(number)) in taken:
                number += 1
            taken.add(name)
            new = replace(call, id=name)
        used.add(new.id)
        calls.append(new)
    return replace(completion, tool_calls=tuple(calls))


def tool_call_id(number: int) -> str:
    """An id that every server accepts: Mistral's templates require nine letters and digits."""
    return f"call{number:05d}"
