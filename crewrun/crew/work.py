"""`Work`: one request to an agent. `Conversation`: the turns until its answer.

Neither knows agents or tasks. Values that every row creates are named tuples, here and elsewhere in this room: creating
a frozen dataclass takes three times as long.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from crewrun.aio.concurrency import call
from crewrun.crew.prompts import Prompt
from crewrun.crew.steps import Step
from crewrun.crew.text_protocol import Actions, explain_tools, observation, read_reply
from crewrun.errors import BadRequest, ContextTooLong, OutputInvalid, SchemaRefused, ToolsRefused
from crewrun.hooks.dispatch import has_hooks
from crewrun.hooks.scope import Site, current_site
from crewrun.limits.estimates import fewest_tokens
from crewrun.limits.windows import RequestWindow
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.llm.schema import OutputSchema, Structured
from crewrun.messages import ChatRequest, Completion, Message, ReplySchema, ToolSpec
from crewrun.row_context import RowContext
from crewrun.tools.base import BaseTool
from crewrun.tools.pictures import turn_of
from crewrun.tools.toolbox import NO_TOOLS, Toolbox

# Texts this short are not shortened further: a hundred tokens do not decide whether a request fits, so it must be the
# task itself that does not.
_SHORTEST_CHARS = 400
# What providers say of one picture, rather than of pictures: Anthropic's "image exceeds 5 MB maximum" and "Could not
# process image", OpenAI's "unsupported image" and "failed to decode".
_OF_ONE_PICTURE = re.compile(
    r"(?i)too (?:large|big|small|many)|exceed|dimension|resolution|corrupt|"
    r"(?:could not|cannot|failed to|unable to) \w+|(?:invalid|unsupported|damaged) (?:image|base64|media type|format)"
)


class Work(NamedTuple):
    """One request to one agent.

    `windows` limit its requests, `on_step` are called after each turn, and an answer ends at `cut_at`. `agent` is its
    name in errors, `max_duration_s` bounds the time, and `max_retries` is how often it may start over.
    """

    prompt: Prompt
    llm: LLM | None
    gateway: Gateway
    row_context: RowContext
    toolbox: Toolbox = NO_TOOLS
    schema: OutputSchema | None = None
    max_iter: int = 25
    shorten: bool = True
    windows: Sequence[RequestWindow] = ()
    on_step: Sequence[Callable[[Step], Any]] = ()
    cut_at: str = ""
    agent: str = ""
    max_duration_s: float | None = None
    max_retries: int = 0


class Answer(NamedTuple):
    """The answer: its text, the conversation that led to it, and the value if there is a schema."""

    text: str
    messages: tuple[Message, ...]
    structured: Structured | None = None


class Conversation:
    """The turns so far. Results of tools and of earlier tasks may be shortened in it, nothing else."""

    __slots__ = ("_calls", "_opening", "_pictures", "in_words", "prompt", "turns", "used", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.turns: list[Message] = []
        self.used: dict[BaseTool, int] = {}
        self.in_words = False  # whether the model calls tools in text
        self._calls = 0
        self._pictures: list[Message] = []  # the turns with pictures of tools
        self._begin(work.prompt)

    def _begin(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self._opening = prompt.messages()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns, from the beginning."""
        return (*self._opening, *self.turns) if self.turns else self._opening

    async def ask(self, tools: tuple[ToolSpec, ...] = (), schema: OutputSchema | None = None) -> Completion:
        """The model's next turn. The caller decides whether to add it to the turns."""
        work = self.work
        wire = schema.wire if schema is not None and work.gateway.takes_schema(work.llm, schema.wire) else None
        if work.shorten and (most := work.gateway.endpoint(work.llm).context_tokens) is not None:
            while self._tokens(tools) > most and self._shorten():
                pass
        while True:
            try:
                return await self._complete(tools, wire)
            except SchemaRefused:
                wire = None  # the prompt has the schema too
            except ToolsRefused:
                raise
            except BadRequest as refused:
                if not self._pictures:
                    raise
                return await self._ask_without_pictures(tools, wire, refused)
            except ContextTooLong:
                if not (work.shorten and self._shorten()):
                    raise

    def show(self, pictures: Sequence[str]) -> None:
        """Add pictures that tools have returned, unless the model takes none; the tools' texts mention them."""
        if self.work.gateway.takes_pictures(self.work.llm):
            self._pictures.append(turn_of(pictures))
            self.turns.append(self._pictures[-1])

    async def _ask_without_pictures(
        self, tools: tuple[ToolSpec, ...], wire: ReplySchema | None, refused: BadRequest
    ) -> Completion:
        """The next turn without the pictures of tools. If it is answered, the model takes none, unless the request was
        `refused` for what one of them is like.
        """
        work, pictures = self.work, self._pictures
        self.turns = [turn for turn in self.turns if not any(turn is other for other in pictures)]
        self._pictures = []
        completion = await self._complete(tools, wire)
        if not _OF_ONE_PICTURE.search(str(refused)):
            work.gateway.conclude_no_pictures(work.llm, work.row_context)
        return completion

    async def _complete(self, tools: tuple[ToolSpec, ...], schema: ReplySchema | None) -> Completion:
        work, messages = self.work, self.messages
        if not has_hooks():
            return await work.gateway.complete(
                work.llm, messages, work.row_context, tools=tools, schema=schema, windows=work.windows
            )
        from crewrun.llm.hooked import complete_hooked  # imported here, since few runs have hooks

        completion, hooked_messages = await complete_hooked(
            *(work.gateway, work.llm, messages, work.row_context),
            site=current_site.get() or Site(),
            iterations=self._calls,
            tools=tools,
            schema=schema,
            windows=work.windows,
        )
        self._calls += 1
        if hooked_messages is not messages:
            self._continue_with(hooked_messages)
        return completion

    def _continue_with(self, messages: tuple[Message, ...]) -> None:
        """Continue with messages that hooks have changed. If they changed the opening, it is no longer shortened."""
        start = len(self._opening)
        if messages[:start] == self._opening:
            self.turns = list(messages[start:])
        else:
            self._opening, self.turns = messages, []
            self.prompt = self.prompt._replace(context="")

    def _tokens(self, tools: tuple[ToolSpec, ...]) -> int:
        return fewest_tokens(ChatRequest(self.work.gateway.endpoint(self.work.llm), self.messages, tools))

    def read(self, text: str) -> Actions | str:
        """The answer in a reply's text, or the tool calls in that text."""
        work = self.work
        if not work.toolbox.specs:
            return text
        schema = work.schema.text if work.schema is not None else ""
        return read_reply(text, work.toolbox.resolve, schema, in_words=self.in_words)

    def answer(self, completion: Completion, fault: str) -> str:
        """The answer in a turn that may not call tools; OutputInvalid with `fault` if it does."""
        reply = self.read(completion.text)
        if completion.tool_calls or isinstance(reply, Actions):
            error = OutputInvalid(fault)
            error.raw = completion.text
            raise error
        return non_empty(reply)

    async def report(self, step: Step) -> None:
        """Call the step callbacks."""
        for callback in self.work.on_step:
            await call(callback, step)

    def use_words(self) -> None:
        """Explain the tools in the prompt, for a model without native tools."""
        self.in_words = True
        explanation = explain_tools(self.work.toolbox.specs)
        if self.prompt.system is None:
            self._begin(self.prompt._replace(before=f"{explanation}\n\n{self.prompt.before}"))
        else:
            self._begin(self.prompt._replace(system=f"{self.prompt.system}\n\n{explanation}"))

    def _shorten(self) -> bool:
        """Halve the longest result of a tool or an earlier task. False if nothing is left to shorten."""
        results = [i for i, turn in enumerate(self.turns) if turn.role == "tool" or _is_observation(turn)]
        longest = max(results, key=lambda i: len(self.turns[i].content), default=None)
        length = len(self.turns[longest].content) if longest is not None else 0
        if max(length, len(self.prompt.context)) <= _SHORTEST_CHARS:
            return False
        if longest is not None and length >= len(self.prompt.context):
            self.turns[longest] = replace(self.turns[longest], content=_halved(self.turns[longest].content))
        else:
            self._begin(self.prompt._replace(context=_halved(self.prompt.context)))
        return True


def _is_observation(turn: Message) -> bool:
    return turn.role == "user" and turn.content.startswith(observation(""))


def _halved(text: str) -> str:
    quarter = len(text) // 4
    left_out = len(text) - 2 * quarter
    return f"{text[:quarter]}\n[… {left_out:,} characters left out, to fit the model's context …]\n{text[-quarter:]}"


def non_empty(text: str) -> str:
    """`text`. Raises OutputInvalid if it is blank."""
    if not text.strip():
        raise OutputInvalid("the model's final answer is empty", http_status=200)
    return text
