"""What of a completion is the answer to its request: without reasoning left in the text, with ids that are unique.

A transport reads what a provider says, and does not know what was asked for. Here the request decides: a tag that the
task itself asks for stays.
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
    """`completion` as the caller is to have it. Raises EmptyReply, and OutputInvalid where max_tokens left it empty.

    `own_texts` are what the task itself says, without what a row fills in; None when that is all messages.
    """
    answer = _without_reasoning(completion, request, own_texts)
    if answer.tool_calls:
        return _with_unique_ids(answer, request)
    if not answer.text.strip():
        raise no_answer(answer, answer.finish_reason)
    return answer


def no_answer(reply: Completion, finish_reason: object) -> OutputInvalid:
    """The error for a reply without text and tools, with what it cost. Another attempt helps unless it was cut off."""
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
    """An answer that was recorded, by an earlier version perhaps, which kept what stood in the text.

    None when there is no answer in it. A turn with tools is left as it is: its words are nobody's answer, and the
    requests behind it were recorded with them.
    """
    if completion.tool_calls:
        return completion
    answer = _without_reasoning(completion, request, own_texts)
    return answer if answer.text.strip() else None


def _without_reasoning(completion: Completion, request: ChatRequest, own_texts: tuple[str, ...] | None) -> Completion:
    parts = part(completion.text)
    if parts.tags and _is_named(request, own_texts, parts.tags):
        return completion
    if parts.tags and own_texts is not None and names_tag(_told(request), parts.tags):
        parts = part(completion.text, is_about_tags=True)  # a row's text is about such tags
    if not parts.tags:
        return completion
    return replace(completion, text=parts.answer, reasoning=_joined(completion.reasoning, parts))


def _is_named(request: ChatRequest, own_texts: tuple[str, ...] | None, tags: frozenset[str]) -> bool:
    """Whether the task or the schema of its answer names one of these tags."""
    if names_tag(own_texts if own_texts is not None else _told(request), tags):
        return True
    schema = request.schema.schema if request.schema is not None else request.endpoint.params.get("response_format")
    return schema is not None and names_tag([json.dumps(schema, default=str, ensure_ascii=False)], tags)


def _told(request: ChatRequest) -> Iterable[str]:
    return (message.content for message in request.messages if message.role in ("system", "developer", "user"))


def _joined(reasoning: str, parts: Parts) -> str:
    return "\n".join(filter(None, (reasoning, parts.reasoning)))


def _with_unique_ids(completion: Completion, request: ChatRequest) -> Completion:
    """`completion` with ids that no other call of the conversation has: some servers number each turn's from 0, and
    refuse, as others do, a request in which two calls have one id.
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
    """An id that every server takes: Mistral's templates want nine letters and digits."""
    return f"call{number:05d}"
