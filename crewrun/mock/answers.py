"""What the mock says to a request: tools to call, JSON that fits a schema, or a text that quotes the prompt.

All of it follows from the request alone. How it goes over the wire, and how it is spoiled, is `server`'s.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crewrun.llm.offline_model.values import example
from crewrun.llm.offline_model.words import action, described_schema, described_tools, excerpt, final_answer, observed
from crewrun.messages import ToolCall, ToolSpec
from crewrun.mock import directives, faults
from crewrun.mock.chat import Chat
from crewrun.mock.directives import PromptDirectives, find_directives

_EXCERPT_CHARS = 80
# By this the mock knows its own bad answer again.
_UNFIT = "made not to validate"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: a text, or tools to call."""

    text: str
    calls: tuple[ToolCall, ...] = ()


def answer(chat: Chat, digest: int) -> Said:
    """The answer to `chat`; `digest`, 32 bits of its body, is named in every text."""
    wished = find_directives(chat.steering)
    if not chat.tools and (told := described_tools(chat.turns[0].text)):
        return Said(_answer_in_words(chat, digest, wished, told))
    prompt = chat.users[-1] if chat.users else ""
    if chat.tools and (names := _names(chat, wished)):
        number = sum(turn.role == "assistant" for turn in chat.turns) + 1
        calls = (
            ToolCall(f"call_mock_{number}_{i}", name, _arguments(name, chat.tools, prompt, wished))
            for i, name in enumerate(names)
        )
        return Said("", tuple(calls))
    return Said(_formed(chat, _text(digest, prompt, chat.results), wished))


def _answer_in_words(chat: Chat, digest: int, wished: PromptDirectives, tools: Sequence[ToolSpec]) -> str:
    """What a model says that was told of its tools in words: one action at a time, then the final answer."""
    results = [result for text in chat.users if (result := observed(text)) is not None]
    prompt = next((text for text in reversed(chat.users) if observed(text) is None), "")
    names = () if wished.no_tools else _wanted(tools, wished)
    if names and (wished.forever or len(results) < len(names)):
        name = names[len(results) % len(names)]
        return action(name, _arguments(name, tools, prompt, wished))
    return final_answer(_formed(chat, _text(digest, prompt, results), wished))


def _text(digest: int, prompt: str, results: Sequence[str]) -> str:
    text = f"Mock reply {digest:08x} to: {_quote(prompt)}"
    return f"{text} / tools said: {_quote(' / '.join(results))}" if results else text


def _quote(text: str) -> str:
    return directives.disarm(faults.disarm(excerpt(text, _EXCERPT_CHARS)))


def _names(chat: Chat, wished: PromptDirectives) -> Sequence[str]:
    """The tools to call in this turn."""
    match chat.choice:
        case "none":
            return ()
        case "auto" if wished.no_tools or (chat.results and not wished.forever):
            return ()
        case "auto" | "required":
            return _wanted(chat.tools, wished)
    return (chat.choice,)


def _wanted(tools: Sequence[ToolSpec], wished: PromptDirectives) -> Sequence[str]:
    if wished.all_tools:
        return [tool.name for tool in tools]
    return wished.tools or [tools[0].name]


def _arguments(name: str, tools: Sequence[ToolSpec], prompt: str, wished: PromptDirectives) -> str:
    parameters = next((tool.parameters for tool in tools if tool.name == name), {"type": "object"})
    if wished.arguments == "bad":
        return json.dumps(_unfit_arguments(parameters))
    arguments = json.dumps(example(dict(parameters) or {"type": "object"}, _quote(prompt)))
    return arguments[:-1] if wished.arguments == "not JSON" else arguments


def _unfit_arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """An object in which every property is of a wrong kind, and one is unknown."""
    properties = parameters.get("properties")
    unfit: dict[str, Any] = {"no_such_argument": _UNFIT}
    for name, schema in properties.items() if isinstance(properties, dict) else ():
        is_text = isinstance(schema, dict) and schema.get("type") not in ("object", None)
        unfit[name] = {_UNFIT: True} if is_text else _UNFIT
    return unfit


def _formed(chat: Chat, text: str, wished: PromptDirectives) -> str:
    """`text` as the request wants it: in JSON, or as it is."""
    schema = chat.schema
    if schema is None:
        told = (described_schema(said) for said in reversed(chat.users))
        schema = next((one for one in told if one is not None), None)
    if schema is None and not chat.wants_json:
        return text
    value = {"answer": text} if schema is None else example(schema, text)
    mended = any(turn.role == "assistant" and _UNFIT in turn.text for turn in chat.turns)
    if wished.json == "invalid" or (wished.json == "invalid-once" and not mended):
        # The other kind of value: a list where an object is wanted, an object everywhere else.
        return json.dumps([_UNFIT, text] if isinstance(value, dict) else {_UNFIT: text})
    written = json.dumps(value, ensure_ascii=False)
    return f"Here is the answer:\n\n```json\n{written}\n```\n\nThat is all." if wished.json == "prose" else written
