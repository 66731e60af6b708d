"""`FakeModel`: answers that follow from the request alone, the core of the offline model and of `crewrun mock`.

    tools, offered as such or explained in the prompt   → it asks for them, as the directives say
    a schema, sent as such or explained in the prompt   → JSON that validates against it
    else                                                → a text

The two models differ in how they word a text, and in what of a prompt they quote: the methods to override. How an
answer travels, waits and fails is in `llm/transports/offline` and in `mock/server`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crewrun.llm.offline_model.directives import PromptDirectives
from crewrun.llm.offline_model.values import example
from crewrun.llm.offline_model.words import action, described_schema, described_tools, final_answer, observed
from crewrun.messages import ToolCall, ToolSpec

# By this a bad answer of its own is recognised when it is sent back to be repaired.
_UNFIT = "made not to validate"


class Turn(NamedTuple):
    """One message: its role and its text."""

    role: str
    text: str


class Question(NamedTuple):
    """A request, as far as the answer depends on it; it has at least one turn.

    `results` are those of `tools`. `choice` is `auto`, `none`, `required` or the name of the tool that must be called.
    With `wants_json` the answer is JSON also where there is no `schema`.
    """

    turns: Sequence[Turn]
    tools: Sequence[ToolSpec] = ()
    results: Sequence[str] = ()
    choice: str = "auto"
    wants_json: bool = False
    schema: Any = None
    directives: PromptDirectives = PromptDirectives()

    @property
    def users(self) -> list[str]:
        """The texts of the user's turns."""
        return [turn.text for turn in self.turns if turn.role == "user"]


class FakeAnswer(NamedTuple):
    """A text, or tools to call."""

    text: str
    calls: tuple[ToolCall, ...] = ()


class FakeModel:
    """Answers one question."""

    ascii_arguments = False  # whether arguments of tools are escaped to ASCII

    def prompt(self, question: Question, *, in_words: bool) -> str:
        """What of the question tools are called with. `in_words` says that tools are explained in the prompt."""
        raise NotImplementedError

    def quote(self, prompt: str) -> str:
        """`prompt` as the arguments of tools have it."""
        raise NotImplementedError

    def text(self, prompt: str, results: Sequence[str]) -> str:
        """The answer in words, after `results` of tools."""
        raise NotImplementedError

    def call_id(self, number: int, position: int) -> str:
        """The id of a tool call: in the model's turn `number`, from 1, at `position`, from 0."""
        raise NotImplementedError

    def answer(self, question: Question) -> FakeAnswer:
        """The same answer to the same question."""
        explained = () if question.tools else described_tools(question.turns[0].text)
        if explained:
            return FakeAnswer(self._answer_in_words(question, explained))
        prompt = self.prompt(question, in_words=False)
        names = _tools_to_call(question)
        if not names:
            return FakeAnswer(_formed(question, self.text(prompt, question.results)))
        number = sum(turn.role == "assistant" for turn in question.turns) + 1
        calls = (
            ToolCall(self.call_id(number, i), name, self._arguments(name, question.tools, prompt, question.directives))
            for i, name in enumerate(names)
        )
        return FakeAnswer("", tuple(calls))

    def _answer_in_words(self, question: Question, tools: Sequence[ToolSpec]) -> str:
        """What a model says whose tools are explained in the prompt: one action at a time, then the final answer."""
        directives = question.directives
        results = [result for text in question.users if (result := observed(text)) is not None]
        prompt = self.prompt(question, in_words=True)
        names = () if directives.no_tools else _wanted_tools(tools, directives)
        if names and (directives.forever or len(results) < len(names)):
            name = names[len(results) % len(names)]
            return action(name, self._arguments(name, tools, prompt, directives))
        return final_answer(_formed(question, self.text(prompt, results)))

    def _arguments(self, name: str, tools: Sequence[ToolSpec], prompt: str, directives: PromptDirectives) -> str:
        parameters = next((tool.parameters for tool in tools if tool.name == name), {"type": "object"})
        if directives.arguments == "bad":
            return json.dumps(_unfit_arguments(parameters))
        value = example(dict(parameters) or {"type": "object"}, self.quote(prompt))
        arguments = json.dumps(value, ensure_ascii=self.ascii_arguments)
        return arguments[:-1] if directives.arguments == "not JSON" else arguments


def _tools_to_call(question: Question) -> Sequence[str]:
    """The names of the tools to call in this turn."""
    directives = question.directives
    match question.choice:
        case "none":
            return ()
        case "auto" if not question.tools or directives.no_tools or (question.results and not directives.forever):
            return ()
        case "auto" | "required":
            return _wanted_tools(question.tools, directives)
    return (question.choice,)


def _wanted_tools(tools: Sequence[ToolSpec], directives: PromptDirectives) -> Sequence[str]:
    if directives.all_tools:
        return [tool.name for tool in tools]
    return directives.tools or [tools[0].name]


def _unfit_arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """An object in which every property is of a wrong kind, and one is unknown."""
    properties = parameters.get("properties")
    unfit: dict[str, Any] = {"no_such_argument": _UNFIT}
    for name, schema in properties.items() if isinstance(properties, dict) else ():
        is_text = isinstance(schema, dict) and schema.get("type") not in ("object", None)
        unfit[name] = {_UNFIT: True} if is_text else _UNFIT
    return unfit


def _formed(question: Question, text: str) -> str:
    """`text` as the question wants it: in JSON, or as it is."""
    schema = question.schema
    if schema is None:
        explained = (described_schema(text) for text in reversed(question.users))
        schema = next((one for one in explained if one is not None), None)
    if schema is None and not question.wants_json:
        return text
    value = {"answer": text} if schema is None else example(schema, text)
    is_repair = any(turn.role == "assistant" and _UNFIT in turn.text for turn in question.turns)
    form = question.directives.json
    if form == "invalid" or (form == "invalid-once" and not is_repair):
        # The other kind of value: a list where an object is wanted, an object everywhere else.
        return json.dumps([_UNFIT, text] if isinstance(value, dict) else {_UNFIT: text})
    written = json.dumps(value, ensure_ascii=False)
    return f"Here is the answer:\n\n```json\n{written}\n```\n\nThat is all." if form == "prose" else written
