"""`Agent`: performs a task, or answers a prompt directly. It is a definition; its texts for one row are a `Persona`.

`perform` has how an agent works on a task, with tools and schemas.
"""

from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from crewrun.aio.concurrency import call
from crewrun.aio.notebook import stoppable
from crewrun.crew.agent_definition import AgentDefinition, Persona
from crewrun.crew.family import report_to_watch
from crewrun.crew.guardrails import check, judgement_schema, no_more_tries, replaced
from crewrun.crew.kickoff import Kickoff, current_kickoff
from crewrun.crew.output import AgentOutput, UsageMetrics, as_dict
from crewrun.crew.perform import perform
from crewrun.crew.prompts import JUDGE, Prompt, judge_prompt, retry_prompt, with_passages
from crewrun.crew.work import Answer, Work
from crewrun.errors import OutputInvalid
from crewrun.files.attachment import attach, parts_of, tell_of
from crewrun.files.file import as_files
from crewrun.files.folder import row_folder
from crewrun.hooks.dispatch import has_hooks
from crewrun.hooks.scope import Site, current_site
from crewrun.limits.windows import window_of
from crewrun.llm.conversation import as_messages, may_read_files
from crewrun.llm.model import LLM
from crewrun.llm.schema import NotValid, OutputSchema, schema_prompt
from crewrun.llm.shared_gateway import open_gateway
from crewrun.llm.sync import run_sync
from crewrun.notebook.card import Card, Grid
from crewrun.notebook.displayed import Displayed
from crewrun.notebook.short_repr import counted, quoted, short_repr
from crewrun.row_context import RowContext, new_row_context
from crewrun.row_events import AgentAtWork, observed
from crewrun.tools.tool_failure import records_of
from crewrun.tools.toolbox import Toolbox
from crewrun.tracebacks import shorten

# Calls of these need no Site, unless there are hooks.
_WITHOUT_SITE = (LLM, type(None))
# The tools of a judge: not even those of the agent's servers.
_NONE_AT_ALL = Toolbox(())


class Agent(AgentDefinition, Displayed):
    """A role with a goal and a backstory, each of which may contain `{placeholders}`, and the model that plays it.

    `llm` is a model name, a mapping of parameters or an `LLM`; without one the agent uses the run's default model.
    `name` is the agent's key in a definition file. With `tools` the agent may make up to `max_iter` turns with them
    before it must answer. `max_execution_time` (seconds) bounds its work on one task, `max_rpm` its requests per
    minute over all rows of the process. With `respect_context_window` tool results and earlier outputs are shortened
    when the model's context is full. `max_retry_limit` is how often it starts a task over after an empty reply or a
    failed tool; it defaults to 0, since every retry costs money.

    The text of `knowledge_sources` goes into its prompts, within the bounds of `knowledge_config`. Its prompts have the
    descriptions of `skills`; it loads their instructions when it needs them.
    """

    if TYPE_CHECKING:
        # `config=` may have the required fields, so a type checker must not demand them as arguments.
        def __init__(self, **fields: Any) -> None: ...

    async def akickoff(
        self,
        messages: str | Sequence[Mapping[str, Any]] | None = None,
        response_format: type[BaseModel] | None = None,
        input_files: Mapping[str, Any] | None = None,
        *,
        query: str | None = None,
    ) -> AgentOutput:
        """Ask the agent directly, without a crew. The last of `messages` is the task; a string is the task itself.

        Messages are as `LLM.acall` takes them. `input_files`, by name, go to the model with the task.
        With `response_format` the answer is validated and is in the output's `pydantic`. Raises what a kickoff does;
        TypeError unless exactly one of `messages` and `query` is given.
        """
        prompt = self._one_of(messages, query)
        row_context = new_row_context()
        try:
            with stoppable():
                return await report_to_watch(self._crewrun_kickoff(prompt, response_format, input_files, row_context))
        except (Exception, CancelledError) as error:
            shorten(error)
            raise
        finally:
            await row_context.end()

    async def _crewrun_kickoff(
        self,
        messages: Any,
        response_format: type[BaseModel] | None,
        input_files: Mapping[str, Any] | None,
        row_context: RowContext,
    ) -> AgentOutput:
        schema = None
        reads = bool(input_files or self.knowledge or self.knowledge_sources) or may_read_files(messages)
        prompt = await call(self._opening, messages, input_files) if reads else self._opening(messages, None)
        if response_format is not None:
            schema = OutputSchema.of_model(response_format, "pydantic", f"agent {self.label}")
            prompt = prompt._replace(after=f"{prompt.after}\n\n{schema_prompt(schema.text)}")
        async with open_gateway() as gateway:
            kickoff = Kickoff(None, gateway, row_context)
            toolbox = self.background.toolbox(self.toolbox)
            output = self._output(await self.perform(prompt, kickoff, row_context, toolbox, schema))
            for attempt in range(self.guardrail_max_retries + 1) if self.guardrail else ():
                question = prompt.messages()[-1].content
                judge = partial(
                    self.judge, description=prompt.before or question, kickoff=kickoff, row_context=row_context
                )
                outcome = await check(self.guardrail, output, f"agent {self.label}", judge)
                if outcome.fault is None:
                    output = self._replaced(output, outcome.replacement, schema)
                    break
                if attempt == self.guardrail_max_retries:
                    raise no_more_tries(attempt + 1, outcome.fault)
                retry = prompt._replace(after=f"{prompt.after}\n\n{retry_prompt(outcome.fault, output.raw)}")
                output = self._output(await self.perform(retry, kickoff, row_context, toolbox, schema))
        output.usage_metrics = UsageMetrics.of(row_context.usage)
        if row_context.failed_tools is not None:
            output.tool_failures = records_of(row_context.failed_tools.calls, output.agent_role, None)
        return output

    kickoff_async = akickoff

    def kickoff(
        self,
        messages: str | Sequence[Mapping[str, Any]] | None = None,
        response_format: type[BaseModel] | None = None,
        input_files: Mapping[str, Any] | None = None,
        *,
        query: str | None = None,
    ) -> AgentOutput:
        """`akickoff` for sync code. Inside a running event loop it blocks that loop, with a warning."""
        started = partial(self.akickoff, query=query)
        return run_sync("kickoff", "akickoff", started, messages, response_format, input_files)

    def __repr__(self) -> str:
        llm = f"llm={quoted(self.model.model)}" if self.model is not None else ""
        return short_repr(self, quoted(self.name or self.role), llm, counted(len(self.tools), "tool"))

    __str__ = __repr__

    def _crewrun_card(self) -> Card:
        facts = (self.model.model if self.model is not None else "the run's model", counted(len(self.tools), "tool"))
        texts = [("goal", self.goal), ("backstory", self.backstory)]
        tools = [("tools", ", ".join(tool.name for tool in self.tools))] if self.tools else []
        return Card(f"Agent {self.role.strip()}", facts, grids=(Grid(("", ""), (*texts, *tools)),))

    def _output(self, answer: Answer) -> AgentOutput:
        output = AgentOutput(
            raw=answer.text,
            agent_role=self.role.strip(),
            messages=[as_dict(message) for message in answer.messages],
        )
        if answer.structured is not None:
            output.put(answer.structured, "pydantic")
        return output

    def _replaced(self, output: AgentOutput, replacement: Any, schema: OutputSchema | None) -> AgentOutput:
        """The output after a guardrail, which may have returned a replacement for its answer."""
        if replacement is None or replacement is output or isinstance(replacement, AgentOutput):
            return output if replacement is None else replacement
        if isinstance(replacement, str):
            return output.model_copy(update={"raw": replacement})
        try:
            return replaced(output, replacement, schema)
        except NotValid as invalid:
            raise OutputInvalid(f"what the guardrail made of the answer does not validate: {invalid}") from None

    async def judge(
        self, rule: str, answer: str, *, description: str, kickoff: Kickoff, row_context: RowContext
    ) -> tuple[bool, str]:
        """Ask the agent's model whether `answer` keeps to `rule`; returns that and what must change if it does not."""
        schema = judgement_schema()
        question = f"{judge_prompt(rule, description, answer)}\n\n{schema_prompt(schema.text)}"
        unseen = kickoff._replace(on_step=())
        row_context = row_context.child()
        row_context.own_texts = ()  # a tag of reasoning that the task asks for is not expected from its judge
        reply = await self.perform(Prompt(JUDGE, question), unseen, row_context, _NONE_AT_ALL, schema)
        judgement: dict[str, Any] = reply.structured.value if reply.structured else {}
        return judgement["valid"], judgement["feedback"] or ""

    def _one_of(self, messages: str | Sequence[Mapping[str, Any]] | None, query: str | None) -> Any:
        if (messages is None) == (query is None):
            raise TypeError("an agent's kickoff takes messages or query=, one of them")
        return query if messages is None else messages

    def _opening(self, messages: str | Sequence[Mapping[str, Any]], files: Mapping[str, Any] | None) -> Prompt:
        """The prompt for messages of which the last is the task. Reads local files."""
        persona = self.persona(None)
        attached = [*attach(as_files(files, "input_files"), {}, row_folder(), "input_files")] if files else []
        if isinstance(messages, str):
            return self._informed(persona, f"{messages}{tell_of(attached)}")._replace(parts=parts_of(attached))
        *history, last = as_messages(messages, "an agent's kickoff")
        if last.role == "tool" or last.tool_calls:
            raise TypeError("the last message of an agent's kickoff is its task, and no turn with tools")
        text = f"{'' if last.parts else last.content}{tell_of(attached)}"
        prompt = self._informed(persona, text.lstrip())
        return prompt._replace(history=tuple(history), parts=(*last.parts, *parts_of(attached)))

    def _informed(self, persona: Persona, text: str) -> Prompt:
        """The prompt for `text`, with the agent's knowledge and skills."""
        background = self.background
        if passages := background.passages_for(text):
            text = with_passages(text, passages)
        return self.compose(persona, text, "", background.system_text(self.toolbox))

    async def perform(
        self,
        prompt: Prompt,
        kickoff: Kickoff,
        row_context: RowContext,
        toolbox: Toolbox,
        schema: OutputSchema | None,
        task_of_row: Callable[[], Any] | None = None,
    ) -> Answer:
        """Answer `prompt` with the tools in `toolbox` and those of the agent's servers, counted in `row_context`.

        `task_of_row` builds the task that hooks see, where there is one. Raises CallError, ToolFailed, TaskTimedOut,
        and what a step callback raises.
        """
        if (self.mcps or toolbox.deferred) and toolbox is not _NONE_AT_ALL:
            replay_only = kickoff.gateway.options.replay_only
            toolbox = await self._mcp_tools.added_to(toolbox, self.mcps, self, row_context, replay_only=replay_only)
        window = window_of(self, self.max_rpm) if self.max_rpm else None
        work = Work(
            prompt=prompt,
            llm=self.model,
            gateway=kickoff.gateway,
            row_context=row_context,
            toolbox=toolbox,
            schema=schema,
            max_iter=self.max_iter,
            shorten=self.respect_context_window,
            windows=(*kickoff.windows, window) if window else kickoff.windows,
            on_step=self._step_callbacks(kickoff),
            cut_at=(self.response_template or "").partition("{{ .Response }}")[2].strip(),
            agent=self.label,
            max_duration_s=self.max_execution_time,
            max_retries=self.max_retry_limit,
        )
        if (emitter := row_context.emitter) is None:
            return await self._perform(work, kickoff, task_of_row)
        subject = AgentAtWork(self, *self.persona(kickoff.inputs), prompt.before, tuple(toolbox.tools))
        return await observed(emitter.span("agent", subject.role, subject), self._perform(work, kickoff, task_of_row))

    async def _perform(self, work: Work, kickoff: Kickoff, task_of_row: Callable[[], Any] | None) -> Answer:
        """Perform `work` in the context variables that hooks, the user's own models and delegation tools need."""
        if has_hooks() or type(self.llm) not in _WITHOUT_SITE:
            site = current_site.set(self._site(kickoff, task_of_row))
            try:
                return await self._within_kickoff(work, kickoff)
            finally:
                current_site.reset(site)
        return await (self._within_kickoff(work, kickoff) if work.toolbox.specs else perform(work))

    async def _within_kickoff(self, work: Work, kickoff: Kickoff) -> Answer:
        """Perform `work` with the kickoff in a context variable, where delegation tools find it."""
        token = current_kickoff.set(kickoff._replace(row_context=work.row_context, parts=work.prompt.parts))
        try:
            return await perform(work)
        finally:
            current_kickoff.reset(token)

    def _site(self, kickoff: Kickoff, task_of_row: Callable[[], Any] | None) -> Site:
        """The caller of models and tools as hooks and the user's own models see it, with the row's inputs filled in."""
        outer, persona = current_site.get() or Site(), self.persona(kickoff.inputs)
        agent = self if not kickoff.inputs else self.model_copy(update=persona._asdict())
        task = task_of_row() if task_of_row is not None else outer.task
        return Site(agent, task, kickoff.crew or outer.crew)

    def _step_callbacks(self, kickoff: Kickoff) -> tuple[Callable[[Any], Any], ...]:
        """The crew's callback and the agent's; a function that is both is called once."""
        own, others = self.step_callback, kickoff.on_step
        return others if own is None or own in others else (*others, own)
