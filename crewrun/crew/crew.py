"""`Crew`: agents and their tasks. A definition: no run ever writes to it. How it is started is `family.py`."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SkipValidation, model_validator

from crewrun.aio.concurrency import call
from crewrun.crew.agent import Agent, AnyLLM
from crewrun.crew.background import Background, Backgrounds, files_of, has_background
from crewrun.crew.crew_config import with_config
from crewrun.crew.decisive import decisive
from crewrun.crew.delegation import Team
from crewrun.crew.family import Files, Inputs, KickoffFamily
from crewrun.crew.fields import accept
from crewrun.crew.kickoff import Kickoff, LeftOpen, flow_files
from crewrun.crew.log_file import LogFile
from crewrun.crew.output import CrewOutput, TaskOutput, UsageMetrics
from crewrun.crew.process import (
    Assign,
    Process,
    agent_of,
    assign_sequential,
    assign_to,
    make_manager,
    run_tasks,
    task_name,
)
from crewrun.crew.task import ConditionalTask, Task
from crewrun.crew.task_run import Assignment, opening
from crewrun.declared import Declared
from crewrun.errors import CrewrunWarning, DefinitionError, InputInvalid
from crewrun.files.attachment import Attachment, attach, check
from crewrun.files.file import files_among
from crewrun.files.folder import row_folder
from crewrun.hooks.dispatch import has_hooks
from crewrun.hooks.scope import ScopedHooks, hooks_of_a_crew
from crewrun.knowledge.knowledge import Knowledge
from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.knowledge.sources import as_sources
from crewrun.limits.windows import window_of
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.llm.shared_gateway import open_gateway
from crewrun.row_context import RowContext
from crewrun.skills.loader import as_skills
from crewrun.skills.models import Skill
from crewrun.templates import check_inputs
from crewrun.tools.toolbox import Toolbox
from crewrun.usage import UsageCounter

Callbacks = Annotated[list[Callable[[Any], Any]], SkipValidation]


@dataclass(frozen=True, slots=True)
class TaskPreview:
    """What a task's agent would be asked first, as `role` and `content` of each message."""

    task: str
    agent: str
    messages: list[dict[str, str]]


# Where a crew keeps its hooks; its fingerprint has them.
_HOOKS = "scoped_hooks"


class Crew(Declared, KickoffFamily[CrewOutput]):
    """Agents and the tasks they perform, in order.

    One crew object serves any number of kickoffs at once; each has its own texts, outputs and usage.
    `default_inputs` fill placeholders that a kickoff's inputs leave open. In a hierarchical crew a manager does every
    task and delegates: `manager_agent`, or one made for `manager_llm`. `max_rpm` limits the requests per minute of all
    kickoffs of the process together. What `knowledge_sources` say every agent knows besides its own, and has `skills`.

    Callbacks may be sync or async: `before_kickoff_callbacks` get the inputs and return them changed, or None;
    `after_kickoff_callbacks` get the output likewise; `task_callback` gets every TaskOutput, `step_callback` every
    step of an agent. What a callback raises fails the kickoff. `output_log_file` is where tasks are noted as they begin
    and end: a name, or True for logs.txt. `config` may bring agents, tasks and process, as a dict or JSON text.
    """

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)

    agents: list[Agent] = Field(default_factory=list)
    tasks: list[Task] = Field(default_factory=list)
    process: Process = Process.sequential
    name: str | None = None
    verbose: bool | int = False
    default_inputs: dict[str, Any] = Field(default_factory=dict)
    manager_llm: AnyLLM = None
    manager_agent: Agent | None = None
    max_rpm: int | None = Field(default=None, ge=0)
    before_kickoff_callbacks: Callbacks = Field(default_factory=list)
    after_kickoff_callbacks: Callbacks = Field(default_factory=list)
    task_callback: Annotated[Callable[[TaskOutput], Any] | None, SkipValidation] = None
    step_callback: Annotated[Callable[[Any], Any] | None, SkipValidation] = None
    output_log_file: bool | str | None = None
    knowledge: Knowledge | None = None
    knowledge_sources: Annotated[list[BaseKnowledgeSource] | None, BeforeValidator(as_sources)] = None
    knowledge_config: KnowledgeConfig | None = None
    embedder: Any = None
    skills: Annotated[list[Skill] | None, BeforeValidator(as_skills)] = None

    _crewrun_usage: UsageCounter = PrivateAttr(default_factory=UsageCounter)
    _team: Team | None = PrivateAttr(default=None)
    _manager: Agent | None = PrivateAttr(default=None)
    _folder: Path | None = PrivateAttr(default=None)
    _backgrounds: Backgrounds = PrivateAttr(default_factory=Backgrounds)
    _is_read: bool = PrivateAttr(default=False)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    if TYPE_CHECKING:
        # `config=` may bring the fields that are required, so a type checker cannot ask for them.
        def __init__(self, **fields: Any) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, given: Any) -> Any:
        return accept("crew", cls, with_config(given) if isinstance(given, dict) else given)

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a wrong crew when it is made; one without tasks may still get them."""
        if self.tasks:
            self.check()
            self._look_at_roles()

    def check(self) -> None:
        """Raise DefinitionError unless the crew can run: every task has who does it and reads only tasks before it."""
        if not self.tasks:
            raise DefinitionError("the crew has no tasks")
        self._check_manager()
        seen: set[Task] = set()
        for position, task in enumerate(self.tasks):
            toolbox = task.toolbox(agent_of(task)) if self.process is Process.sequential else None
            if toolbox is None and task.agent is not None:
                task.toolbox(task.agent)
            if task in seen:
                raise DefinitionError(f"task {task.label} is in the crew twice")
            if task.human_input:
                raise DefinitionError(
                    f"task {task.label} has human_input, and crewrun runs where nobody answers; take it out"
                )
            for other in task.context or ():
                # Another crew's task is no mistake: it stands for its latest output.
                if other not in seen and other in self.tasks:
                    raise DefinitionError(
                        f"task {task.label} has {other.label} as context, which is not an earlier task"
                    )
            if isinstance(task, ConditionalTask) and (position == 0 or task.async_execution):
                why = "cannot be async" if position else "needs a task before it, whose output decides"
                raise DefinitionError(f"task {task.label} is conditional, so it {why}")
            seen.add(task)

    def _look_at_roles(self) -> None:
        """Work is handed to coworkers by their role: of two that have the same one, the first gets it, as in CrewAI."""
        delegated = self.process is Process.hierarchical or any(agent.allow_delegation for agent in self._coworkers())
        taken: dict[str, Agent] = {}
        for agent in self._coworkers() if delegated else ():
            role = "".join(agent.role.split()).casefold()
            other = taken.setdefault(role, agent)
            if other is not agent:
                warnings.warn(
                    f"agents {other.label} and {agent.label} have the same role {agent.role.strip()!r}; "
                    "delegation tells agents apart by their roles, so the first one gets the work of both",
                    CrewrunWarning,
                    stacklevel=5,
                )

    def _check_manager(self) -> None:
        if self.process is Process.sequential:
            return
        if self.manager_agent is None and self.manager_llm is None:
            raise DefinitionError("a hierarchical crew needs manager_llm or manager_agent")
        manager = self.manager_agent
        if manager is None:
            return
        if manager in self.agents:
            raise DefinitionError(
                f"manager_agent {manager.label} is among the agents; a manager only manages, so take it out of `agents`"
            )
        if manager.tools:
            raise DefinitionError(
                f"manager_agent {manager.label} has tools; a manager delegates, so give them to an agent"
            )

    @property
    def placeholders(self) -> dict[str, str]:
        """The inputs that a kickoff must have, each with the first place that needs it.

        None are named where a callback may still add some: then a missing one is found when the kickoff begins.
        """
        if self.before_kickoff_callbacks:
            return {}
        needed: dict[str, str] = {}
        for position, task in enumerate(self.tasks):
            for name in sorted(task.placeholders):
                needed.setdefault(name, f"task {task.name or position + 1!r}")
            for agent in [task.agent] if task.agent else []:
                for name in sorted(agent.placeholders):
                    needed.setdefault(name, f"agent {agent.label}")
        for agent in self.agents_at_work:
            for name in sorted(agent.placeholders):
                needed.setdefault(name, f"agent {agent.label}")
        return {name: place for name, place in needed.items() if name not in self.default_inputs}

    @property
    def models(self) -> list[tuple[str, LLM | None]]:
        """Every model that a kickoff may call, each with the agent that uses it; None is the default model."""
        return [(agent.name or agent.role.strip(), agent.model) for agent in self.agents_at_work]

    @property
    def tool_problems(self) -> list[str]:
        """What is known to keep tools from working, besides `missing_tool_keys`."""
        return list(dict.fromkeys(problem for _, box in self._toolboxes() for problem in box.problems))

    @property
    def missing_tool_keys(self) -> list[str]:
        """The variables of the environment that tools need and that are not set, with who has the tool."""
        return list(
            dict.fromkeys(
                f"{name} is not set: agent {agent.label} has the tool {tool.name!r}"
                for agent, box in self._toolboxes()
                for tool in box.tools.values()
                for name in tool.missing_variables
            )
        )

    def _toolboxes(self) -> list[tuple[Agent, Toolbox]]:
        """The toolboxes that a kickoff may use, with whose they are."""
        if self.process is Process.hierarchical:
            boxes = [(self._the_manager(), task.toolbox(self._the_manager())) for task in self.tasks]
            return boxes + [(agent, agent.toolbox) for agent in self._coworkers()]
        own = [(task.agent, task.toolbox(task.agent)) for task in self.tasks if task.agent is not None]
        if not any(agent.allow_delegation for agent, _ in own):
            return own
        return own + [(agent, agent.toolbox) for agent in self._coworkers()]

    @property
    def has_files(self) -> bool:
        """Whether some task has input_files."""
        return any(task.input_files for task in self.tasks)

    @property
    def folder(self) -> Path | None:
        """The crew's own folder: paths of `input_files` count from it, and those that rows name stay in it."""
        return self._folder

    def stands_in(self, folder: Path) -> None:
        """Let that be the crew's folder."""
        self._folder = folder

    def __fingerprint__(self) -> dict[str, Any]:
        return decisive(self)

    def background_of(self, agent: Agent) -> Background:
        """What `agent` knows in this crew. Raises DefinitionError for knowledge that cannot be had."""
        return self._backgrounds.of(agent, self)

    def check_knowledge(self) -> None:
        """Read all that agents know. Raises DefinitionError for what cannot be read; warns of embedders that are not
        asked, and of skills that fill prompts.
        """
        providers = dict.fromkeys(self.background_of(agent).unused_embedder for agent in self.agents_at_work)
        self._is_read = True
        for agent in self.agents_at_work:
            skills = self.background_of(agent).skills
            if skills is not None and (problem := skills.why_large()):
                warnings.warn(f"agent {agent.label}: {problem}", CrewrunWarning, stacklevel=2)
        for provider in filter(None, providers):
            warnings.warn(
                f"embedder: crewrun does not speak the language of {provider!r}; passages of knowledge are chosen by "
                "their words (an OpenAI-compatible one: {provider: openai, config: {api_base: …, model_name: …}})",
                CrewrunWarning,
                stacklevel=2,
            )

    @property
    def embedders(self) -> list[LLM]:
        """The embedding models that a kickoff may call."""
        found = (self.background_of(agent).embedded for agent in self.agents_at_work)
        return list(dict.fromkeys(embedded.embedder for embedded in found if embedded is not None))

    @property
    def knowledge_files(self) -> frozenset[str]:
        """The files that knowledge and skills come from."""
        return files_of([self, *self.agents_at_work])

    def check_files(self) -> None:
        """Raise DefinitionError for a file that is the same for all rows and cannot be had."""
        for position, task in enumerate(self.tasks):
            fixed = {name: file for name, file in task.input_files.items() if not file.placeholders}
            try:
                check(fixed, {}, self._folder or row_folder(), _field(task, position))
            except InputInvalid as invalid:
                raise DefinitionError(str(invalid)) from None

    def problem_with_files(self, inputs: Inputs) -> str | None:
        """Why a file that `inputs` name cannot be had; None when all can, or callbacks may name others."""
        if self.before_kickoff_callbacks:
            return None
        for position, task in enumerate(self.tasks):
            named = {name: file for name, file in task.input_files.items() if file.placeholders}
            try:
                check(named, {**self.default_inputs, **inputs}, self._folder or row_folder(), _field(task, position))
            except InputInvalid as invalid:
                return str(invalid)
        return None

    def _attached(
        self, files: Files, inputs: Inputs | None, *, reads: bool = True
    ) -> dict[Task, tuple[Attachment, ...]]:
        """The files of each task: its own, and those of the kickoff that it has none of the same name in place of."""
        found: dict[Task, tuple[Attachment, ...]] = {}
        for position, task in enumerate(self.tasks):
            if named := {**files, **task.input_files}:
                folder = self._folder or row_folder()
                found[task] = tuple(attach(named, inputs or {}, folder, _field(task, position), reads=reads))
        return found

    @property
    def runs_code(self) -> bool:
        """Whether a kickoff runs tools, callbacks, hooks, conditions or guardrails, which may ask and call at will."""
        crew = (self.before_kickoff_callbacks, self.after_kickoff_callbacks, self.task_callback, self.step_callback)
        agents = ((agent.tools, agent.step_callback, callable(agent.guardrail)) for agent in self.agents_at_work)
        tasks = (
            (task.tools, task.callback, task.callbacks, task.all_guardrails, isinstance(task, ConditionalTask))
            for task in self.tasks
        )
        return has_hooks() or self.scoped_hooks is not None or any(map(any, (crew, *agents, *tasks)))

    @property
    def writes_files(self) -> bool:
        """Whether some task has an output_file, or the crew a log."""
        return bool(self.output_log_file) or any(task.output_file is not None for task in self.tasks)

    @property
    def agents_at_work(self) -> list[Agent]:
        """The agents that a kickoff may use: those of tasks, those who may be delegated to, the manager."""
        own = [task.agent for task in self.tasks if task.agent is not None]
        if self.process is Process.hierarchical:
            return list(dict.fromkeys([self._the_manager(), *own, *self.agents]))
        delegating = any(agent.allow_delegation for agent in own)
        return list(dict.fromkeys([*own, *(self._coworkers() if delegating else ())]))

    def fetch_inputs(self) -> set[str]:
        """The names that the crew's texts need, as CrewAI's method gives them."""
        agents = {agent for task in self.tasks if (agent := task.agent) is not None} | set(self.agents)
        needed = [*(task.placeholders for task in self.tasks), *(agent.placeholders for agent in agents)]
        return set().union(*needed)

    def preview(self, inputs: Inputs | None = None) -> list[TaskPreview]:
        """What each task's agent would be asked first, without a call; earlier outputs stand as `[output of …]`.

        Raises InputInvalid as a kickoff does.
        """
        previews: list[TaskPreview] = []
        names: dict[Task, str] = {}
        for assignment in self.assignments(inputs, Gateway(), reads_files=False):
            task, name = assignment.task, assignment.name
            seen = (
                list(names.values())
                if task.context is None
                else [names.get(other, other.label) for other in task.context]
            )
            prompt = opening(assignment, "\n\n".join(f"[output of {other!r}]" for other in seen))
            messages = [{"role": str(m.role), "content": m.shown} for m in prompt.messages()]
            previews.append(TaskPreview(name, assignment.texts.persona.role, messages))
            names[task] = name
        return previews

    def assignments(self, inputs: Inputs | None, gateway: Gateway, *, reads_files: bool = True) -> list[Assignment]:
        """Who would do which task with which tools, texts and files in a kickoff over `gateway`.

        Raises InputInvalid. See `attach` for files that are not read.
        """
        if inputs:
            check_inputs(inputs)
        kickoff = self._kickoff(inputs, gateway, RowContext())
        if self.has_files:
            kickoff = kickoff._replace(files=self._attached({}, kickoff.inputs, reads=reads_files))
        assign = self._assign()
        return [assign(task, task_name(task, position), kickoff) for position, task in enumerate(self.tasks)]

    @property
    def scoped_hooks(self) -> ScopedHooks | None:
        """The hooks that only this crew's calls meet, those of a @CrewBase class; None without any."""
        # No private attribute: each kickoff reads it, and pydantic takes ten microseconds for one.
        return self.__dict__.get(_HOOKS)

    def meets(self, hooks: ScopedHooks | None) -> None:
        """Have these called around the models and tools of each kickoff."""
        if hooks:
            self.__dict__[_HOOKS] = hooks

    async def _crewrun_kickoff(self, inputs: Inputs | None, row_context: RowContext, files: Files) -> CrewOutput:
        if not self.tasks:
            raise DefinitionError("the crew has no tasks")
        for callback in self.before_kickoff_callbacks:
            changed = await call(callback, dict(inputs or {}))
            inputs = inputs if changed is None else changed
        files = {**flow_files.get(), **files}
        if inputs:
            if own := files_among(inputs):
                files |= own
                inputs = {name: value for name, value in inputs.items() if name not in own}
            check_inputs(inputs)
        if not self._is_read and has_background([self, *self.agents_at_work]):
            # A crew that the user's code has made: sources may do network calls, and an index takes its time.
            await call(self.check_knowledge)
        async with open_gateway() as gateway:
            kickoff = self._kickoff(inputs, gateway, row_context)
            if self.output_log_file:
                kickoff = kickoff._replace(log=LogFile(self.output_log_file))
            if files or self.has_files:
                kickoff = kickoff._replace(files=await call(self._attached, files, kickoff.inputs))
            if (hooks := self.scoped_hooks) is None:
                outputs = await run_tasks(self.tasks, self._assign(), kickoff)
            else:
                with hooks_of_a_crew(hooks):
                    outputs = await run_tasks(self.tasks, self._assign(), kickoff)
        last = outputs[-1]
        if not last.raw:
            last = next((output for output in reversed(outputs) if output.raw), last)
        result = CrewOutput(raw=last.raw, tasks_output=outputs, token_usage=UsageMetrics.of(row_context.usage))
        if last.structured is not None or last.pydantic is not None or last.json_dict is not None:
            result.structured, result.pydantic, result.json_dict = last.structured, last.pydantic, last.json_dict
        for callback in self.after_kickoff_callbacks:
            replaced = await call(callback, result)
            result = result if replaced is None else replaced
        return result

    def _kickoff(self, inputs: Inputs | None, gateway: Gateway, row_context: RowContext) -> Kickoff:
        window = window_of(self, self.max_rpm) if self.max_rpm else None
        given: Inputs | None = {**self.default_inputs, **(inputs or {})} or None
        return Kickoff(
            inputs=LeftOpen(given) if given is not None and row_context.is_in_flow else given,
            gateway=gateway,
            row_context=row_context,
            windows=(window,) if window else (),
            on_step=(self.step_callback,) if self.step_callback else (),
            on_task=(self.task_callback,) if self.task_callback else (),
            team=self._the_team,
            first=next(iter(self.tasks), None) if self.process is Process.sequential else None,
            crew=self,
            background=self.background_of,
        )

    def _assign(self) -> Assign:
        return assign_sequential if self.process is Process.sequential else assign_to(self._the_manager())

    def _coworkers(self) -> tuple[Agent, ...]:
        return tuple(dict.fromkeys([*self.agents, *(task.agent for task in self.tasks if task.agent is not None)]))

    def _the_team(self) -> Team:
        coworkers = self._coworkers()
        if self._team is None or self._team.agents != coworkers:
            self._team = Team(coworkers)
        return self._team

    def _the_manager(self) -> Agent:
        if self.manager_agent is not None:
            return self.manager_agent
        llm = cast("LLM | None", self.manager_llm)
        if self._manager is None or self._manager.model is not llm:
            self._manager = make_manager(llm)
        return self._manager


def _field(task: Task, position: int) -> str:
    return f"tasks.{task_name(task, position)}.input_files"
