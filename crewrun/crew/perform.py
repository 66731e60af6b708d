"""How an agent comes to an answer: one call, or turns with tools, then the check against a schema.

`perform` is given all that it needs as a `Work`; it knows neither agents nor tasks. Values that every row makes anew
are named tuples here and around: a frozen dataclass takes three times as long to make.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import anyio

from crewrun.aio.concurrency import call, gather
from crewrun.crew.prompts import FINAL_ANSWER_NOW, Prompt
from crewrun.crew.steps import AgentAction, AgentFinish, Step
from crewrun.crew.text_protocol import Actions, explain_tools, observation, read_reply, turns
from crewrun.errors import ContextTooLong, OutputInvalid, SchemaRefused, TaskTimedOut, ToolFailed, ToolsRefused
from crewrun.hooks.dispatch import has_hooks
from crewrun.hooks.scope import Site, current_site
from crewrun.limits.estimates import fewest_tokens
from crewrun.limits.windows import RequestWindow
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.llm.schema import NotValid, OutputSchema, Structured, repair_prompt
from crewrun.messages import ChatRequest, Completion, Message, ReplySchema, ToolSpec
from crewrun.row_context import RowContext
from crewrun.tools.base import BaseTool
from crewrun.tools.tool_call import ToolResult
from crewrun.tools.toolbox import NO_TOOLS, Toolbox

# Shortening below this is no help: then the task itself is what does not fit.
_SHORTEST_CHARS = 400


class Work(NamedTuple):
    """One thing to do for one agent.

    `windows` limit its requests, `on_step` are called after each turn, and at `cut_at` an answer ends. `agent` is how
    errors name who does it, in at most `max_duration_s`; `max_retries` is how often it is started over.
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
    """What came of it: the text, the conversation that led to it, and the value where there is a schema."""

    text: str
    messages: tuple[Message, ...]
    structured: Structured | None = None


async def perform(work: Work) -> Answer:
    """Do `work`. Raises CallError, ToolFailed, TaskTimedOut, and OutputInvalid with the raw reply when that does not
    validate.
    """
    if work.max_duration_s is None:
        return await (_perform_with_retries(work) if work.max_retries else _perform_once(work))
    with anyio.move_on_after(work.max_duration_s):
        return await _perform_with_retries(work)
    raise TaskTimedOut(
        f"agent {work.agent} took longer than {work.max_duration_s:g} s for one task (max_execution_time)"
    )


async def _perform_with_retries(work: Work) -> Answer:
    """Start over after an empty reply or a failed tool, at most `max_retries` times."""
    for _ in range(work.max_retries):
        try:
            return await _perform_once(work)
        except OutputInvalid as invalid:
            if invalid.raw is not None:  # it was sent back to be mended already
                raise
        except ToolFailed:
            pass
    return await _perform_once(work)


async def _perform_once(work: Work) -> Answer:
    is_plain = not (work.toolbox.specs or work.schema or work.on_step or work.cut_at or work.prompt.context)
    if is_plain and not has_hooks():
        return await _ask_once(work)
    talk = _Conversation(work)
    if work.toolbox.specs:
        text = await _answer_with_tools(talk)
    else:
        text = _some((await talk.ask(schema=work.schema)).text)
    if work.cut_at:
        text = text.partition(work.cut_at)[0].rstrip()
    structured = None
    if work.schema is not None:
        text, structured = await _validated(talk, text, work.schema)
    if work.on_step:
        await talk.tell(AgentFinish("", text, text))
    return Answer(text, (*talk.messages, Message("assistant", text)), structured)


async def _ask_once(work: Work) -> Answer:
    """One call and no more: what most rows are, which shall not pay for the rest."""
    messages = work.prompt.messages()
    completion = await work.gateway.complete(work.llm, messages, work.row_context, windows=work.windows)
    text = _some(completion.text)
    return Answer(text, (*messages, Message("assistant", text)))


class _Conversation:
    """The turns so far. What a tool or an earlier task said may be shortened in it, nothing else."""

    __slots__ = ("_calls", "_opening", "in_words", "prompt", "turns", "used", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.turns: list[Message] = []
        self.used: dict[BaseTool, int] = {}
        self.in_words = False  # whether tools are asked for in text
        self._calls = 0
        self._begin(work.prompt)

    def _begin(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self._opening = prompt.messages()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns, from the beginning."""
        return (*self._opening, *self.turns) if self.turns else self._opening

    async def ask(self, tools: tuple[ToolSpec, ...] = (), schema: OutputSchema | None = None) -> Completion:
        """The model's next turn. It is not added: who asked knows what becomes of it."""
        work = self.work
        wire = schema.wire if schema is not None and work.gateway.takes_schema(work.llm, schema.wire) else None
        if work.shorten and (most := work.gateway.endpoint(work.llm).context_tokens) is not None:
            while self._tokens(tools) > most and self._shorten():
                pass
        while True:
            try:
                return await self._complete(tools, wire)
            except SchemaRefused:
                wire = None  # it stands in the prompt as well
            except ContextTooLong:
                if not (work.shorten and self._shorten()):
                    raise

    async def _complete(self, tools: tuple[ToolSpec, ...], schema: ReplySchema | None) -> Completion:
        work, messages = self.work, self.messages
        if not has_hooks():
            return await work.gateway.complete(
                work.llm, messages, work.row_context, tools=tools, schema=schema, windows=work.windows
            )
        from crewrun.llm.hooked import complete_hooked  # few runs have hooks

        completion, left = await complete_hooked(
            *(work.gateway, work.llm, messages, work.row_context),
            site=current_site.get() or Site(),
            iterations=self._calls,
            tools=tools,
            schema=schema,
            windows=work.windows,
        )
        self._calls += 1
        if left is not messages:
            self._keep(left)
        return completion

    def _keep(self, messages: tuple[Message, ...]) -> None:
        """Go on with the messages that hooks left. An opening that they changed is not shortened any more."""
        start = len(self._opening)
        if messages[:start] == self._opening:
            self.turns = list(messages[start:])
        else:
            self._opening, self.turns = messages, []
            self.prompt = self.prompt._replace(context="")

    def _tokens(self, tools: tuple[ToolSpec, ...]) -> int:
        return fewest_tokens(ChatRequest(self.work.gateway.endpoint(self.work.llm), self.messages, tools))

    def read(self, text: str) -> Actions | str:
        """The answer in a reply's text, or the tools that it asks for there, natively or in words."""
        work = self.work
        if not work.toolbox.specs:
            return text
        schema = work.schema.text if work.schema is not None else ""
        return read_reply(text, work.toolbox.resolve, schema, in_words=self.in_words)

    def answer(self, completion: Completion, fault: str) -> str:
        """The answer in a turn that may not ask for tools; OutputInvalid with `fault` if it does."""
        reply = self.read(completion.text)
        if completion.tool_calls or isinstance(reply, Actions):
            error = OutputInvalid(fault)
            error.raw = completion.text
            raise error
        return _some(reply)

    async def tell(self, step: Step) -> None:
        """Let the callbacks know."""
        for callback in self.work.on_step:
            await call(callback, step)

    def use_words(self) -> None:
        """Explain the tools in the prompt, for a model that takes none."""
        self.in_words = True
        explained = explain_tools(self.work.toolbox.specs)
        if self.prompt.system is None:
            self._begin(self.prompt._replace(before=f"{explained}\n\n{self.prompt.before}"))
        else:
            self._begin(self.prompt._replace(system=f"{self.prompt.system}\n\n{explained}"))

    def _shorten(self) -> bool:
        """Halve the longest thing that a tool or an earlier task said. False when nothing is left to shorten."""
        soft = [i for i, turn in enumerate(self.turns) if turn.role == "tool" or _is_observation(turn)]
        longest = max(soft, key=lambda i: len(self.turns[i].content), default=None)
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


async def _answer_with_tools(talk: _Conversation) -> str:
    work = talk.work
    if not work.gateway.takes_tools(work.llm):
        talk.use_words()
    for _ in range(work.max_iter):
        try:
            completion = await talk.ask(tools=() if talk.in_words else work.toolbox.specs)
        except ToolsRefused:
            if talk.in_words or talk.turns:
                raise
            talk.use_words()
            completion = await talk.ask()
        if completion.tool_calls:
            answer = await _use(talk, completion)
        elif isinstance(reply := talk.read(completion.text), Actions):
            answer = await _use_in_words(talk, reply)
        else:
            return _some(reply)
        if answer is not None:
            return answer
    return await _forced(talk)


async def _use(talk: _Conversation, completion: Completion) -> str | None:
    """Run the tools of one turn, together. The text of one whose result is the answer, else None."""
    calls = completion.tool_calls
    results = await gather([partial(_run, talk, one.name, one.arguments) for one in calls])
    talk.turns.append(Message("assistant", completion.text, calls, carried=completion.carried))
    for one, result in zip(calls, results, strict=True):
        talk.turns.append(Message("tool", result.text, tool_call_id=one.id))
        if talk.work.on_step:
            await talk.tell(AgentAction(completion.text, one.name, one.arguments, completion.text, result.text))
    return next((result.text for result in results if result.is_answer), None)


async def _use_in_words(talk: _Conversation, actions: Actions) -> str | None:
    """As `_use`, for tools that a reply's text asks for. What they give is told in words, native tools or not: a server
    that takes calls for text would not take them back as calls, and some are broken.
    """
    calls = actions.calls
    results = await gather([partial(_run, talk, one.tool, one.arguments) for one in calls])
    talk.turns += turns(actions, [result.text for result in results])
    if talk.work.on_step:
        for one, result in zip(calls, results, strict=True):
            await talk.tell(AgentAction(actions.thought, one.tool, one.arguments, actions.said, result.text))
    return next((result.text for result in results if result.is_answer), None)


async def _run(talk: _Conversation, tool: str, arguments: str) -> ToolResult:
    work = talk.work
    replay_only = work.gateway.options.replay_only
    return await work.toolbox.use(tool, arguments, talk.used, work.row_context, replay_only=replay_only)


async def _forced(talk: _Conversation) -> str:
    """The answer of an agent that has used up its turns: one last call, without tools."""
    talk.turns.append(Message("user", FINAL_ANSWER_NOW))
    fault = f"the model still asks for tools after {talk.work.max_iter} turns (max_iter)"
    return talk.answer(await talk.ask(), fault)


def _some(text: str) -> str:
    if not text.strip():
        raise OutputInvalid("the model's final answer is empty", http_status=200)
    return text


async def _validated(talk: _Conversation, text: str, schema: OutputSchema) -> tuple[str, Structured]:
    """`text` and the value in it. One that does not validate is sent back once; then OutputInvalid."""
    try:
        return text, schema.read(text)
    except NotValid as invalid:
        talk.turns += [Message("assistant", text), Message("user", repair_prompt(str(invalid), schema.text))]
    mended = talk.answer(await talk.ask(schema=schema), "the model asks for a tool instead of mending its answer")
    try:
        return mended, schema.read(mended)
    except NotValid as invalid:
        error = OutputInvalid(f"the answer does not validate, nor did its repair: {invalid}")
        error.raw = mended
        raise error from None
