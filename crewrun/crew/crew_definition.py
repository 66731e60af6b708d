"""`CrewDefinition`: the fields of a crew, the checks on them, and what a kickoff of it will need and use."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SkipValidation, model_validator

from crewrun.crew.agent import Agent
from crewrun.crew.agent_definition import AnyLLM
from crewrun.crew.background import Background, Backgrounds, files_of
from crewrun.crew.crew_checks import check_manager, check_tasks, warn_of_equal_roles
from crewrun.crew.crew_config import with_config
from crewrun.crew.delegation import Team
from crewrun.crew.family import Inputs
from crewrun.crew.fields import accept, effective_fields, mark_doubled_braces
from crewrun.crew.listed_servers import ListedServer, list_servers
from crewrun.crew.output import TaskOutput
from crewrun.crew.process import (
    Process,
    make_manager,
)
from crewrun.crew.task import ConditionalTask, Task
from crewrun.crew.task_files import check_fixed_files, problem_with_files
from crewrun.declared import Declared
from crewrun.errors import CrewrunWarning, DefinitionError
from crewrun.hooks.dispatch import has_hooks
from crewrun.hooks.scope import ScopedHooks
from crewrun.knowledge.knowledge import Knowledge
from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.knowledge.sources import as_sources
from crewrun.llm.model import LLM
from crewrun.llm.model_fields import ModelFields
from crewrun.skills.loader import as_skills
from crewrun.skills.models import Skill
from crewrun.templates import find_key
from crewrun.tools.toolbox import Toolbox
from crewrun.usage import UsageCounter

Callbacks = Annotated[list[Callable[[Any], Any]], SkipValidation]


# The key of a crew's hooks in its `__dict__`, where they are a part of its fingerprint.
_HOOKS = "scoped_hooks"


class CrewDefinition(Declared):
    """The fields of a `Crew`. Nothing here calls a model, and runs never write to it."""

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
    _is_crew_yaml: bool = PrivateAttr(default=False)
    _has_warned: bool = PrivateAttr(default=False)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    if TYPE_CHECKING:
        # `config=` may have the required fields, so a type checker must not demand them as arguments.
        def __init__(self, **fields: Any) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, fields: Any) -> Any:
        return accept("crew", cls, with_config(fields) if isinstance(fields, dict) else fields)

    def model_post_init(self, context: Any, /) -> None:
        """Check a crew when it is created. One without tasks may get them later, so it is not checked yet."""
        if self.tasks:
            self.check()
            self._warn_of_equal_roles()

    def check(self) -> None:
        """Raise DefinitionError unless the crew can run: each task has an agent, and reads only earlier tasks."""
        if not self.tasks:
            raise DefinitionError("the crew has no tasks")
        is_sequential = self.process is Process.sequential
        if not is_sequential:
            check_manager(self.manager_agent, self.manager_llm, self.agents)
        check_tasks(self.tasks, is_sequential=is_sequential)

    def _warn_of_equal_roles(self) -> None:
        coworkers = self.coworkers
        if self.process is Process.hierarchical or any(agent.allow_delegation for agent in coworkers):
            warn_of_equal_roles(coworkers)

    @property
    def placeholders(self) -> dict[str, str]:
        """The inputs that a kickoff must have, each with the first task or agent that needs it.

        Empty if there are callbacks before the kickoff, which may add inputs: a missing one is found after them.
        """
        return {} if self.before_kickoff_callbacks else self._placeholders()

    def _placeholders(self) -> dict[str, str]:
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
        return {name: place for name, place in needed.items() if find_key(name, self.default_inputs) is None}

    @property
    def models(self) -> list[tuple[str, LLM | None]]:
        """Every model that a kickoff may call, with the name of its agent; None is the default model."""
        return [(agent.name or agent.role.strip(), agent.model) for agent in self.agents_at_work]

    @property
    def tool_problems(self) -> list[str]:
        """What prevents tools from working, as far as it can be seen before a kickoff; see also `missing_tool_keys`."""
        return list(dict.fromkeys(problem for _, box in self._toolboxes() for problem in box.problems))

    @property
    def missing_tool_keys(self) -> list[str]:
        """The environment variables that tools need and that are not set, each with the agent and its tool."""
        return list(
            dict.fromkeys(
                f"{name} is not set: agent {agent.label} has the tool {tool.name!r}"
                for agent, box in self._toolboxes()
                for tool in box.tools.values()
                for name in tool.missing_variables
            )
        )

    @property
    def has_servers(self) -> bool:
        """Whether an agent has tools of MCP servers."""
        return any(agent.mcps or box.deferred for agent, box in self._toolboxes())

    async def list_servers(self) -> list[ListedServer]:
        """Open the MCP servers of the agents at work and list their tools. A problem is in the list, not raised."""
        return await list_servers(self._toolboxes()) if self.has_servers else []

    def _toolboxes(self) -> list[tuple[Agent, Toolbox]]:
        """The toolboxes that a kickoff may use, each with its agent."""
        if self.process is Process.hierarchical:
            boxes = [(self._the_manager(), task.toolbox(self._the_manager())) for task in self.tasks]
            return boxes + [(agent, agent.toolbox) for agent in self.coworkers]
        own = [(task.agent, task.toolbox(task.agent)) for task in self.tasks if task.agent is not None]
        if not any(agent.allow_delegation for agent, _ in own):
            return own
        return own + [(agent, agent.toolbox) for agent in self.coworkers]

    @property
    def has_files(self) -> bool:
        """Whether some task has input_files."""
        return any(task.input_files for task in self.tasks)

    @property
    def folder(self) -> Path | None:
        """The crew's folder: paths of `input_files` are relative to it, and those that rows name stay inside it."""
        return self._folder

    def set_folder(self, folder: Path) -> None:
        """Make `folder` the crew's folder."""
        self._folder = folder

    def __fingerprint__(self) -> dict[str, Any]:
        return effective_fields(self)

    def background_of(self, agent: Agent) -> Background:
        """The knowledge and skills of `agent` in this crew. Raises DefinitionError if they cannot be read."""
        return self._backgrounds.of(agent, self)

    def set_crew_yaml(self) -> None:
        """Read the texts as a crew.yaml's: doubled braces stand for single ones, and no kickoff is without inputs."""
        self._is_crew_yaml = True
        for part in (*self.tasks, *self.coworkers, *([self.manager_agent] if self.manager_agent else ())):
            mark_doubled_braces(part)

    def _without_inputs(self, files: Mapping[str, Any]) -> Inputs | None:
        """The inputs of a kickoff that was given none: None, which leaves the texts as they are.

        A crew.yaml says itself what is to be filled in, so that a kickoff without inputs fails there. In code the text
        may be meant as it is: CrewAI sends it like that. It is a warning, once for each crew.
        """
        if self._is_crew_yaml:
            return {}
        needed = {} if self._has_warned or self.default_inputs else self._placeholders()
        if names := [name for name in needed if find_key(name, files) is None]:
            self._has_warned = True
            name, place = names[0], needed[names[0]]
            warnings.warn(
                f"kickoff() without inputs: the model is sent {{{name}}} of {place} as it is; "
                f"kickoff(inputs={{{name!r}: …}}) fills it in",
                CrewrunWarning,
                stacklevel=2,
            )
        return None

    def check_knowledge(self) -> None:
        """Read the knowledge and skills of all agents. Raises DefinitionError for what cannot be read.

        Warns about embedders that are not used, and about skills that fill prompts.
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
    def embedders(self) -> list[ModelFields]:
        """The embedding models that a kickoff may call."""
        passages = (self.background_of(agent).embedded for agent in self.agents_at_work)
        return list(dict.fromkeys(embedded.embedder for embedded in passages if embedded is not None))

    @property
    def knowledge_files(self) -> frozenset[str]:
        """The files that knowledge and skills come from."""
        return files_of([self, *self.agents_at_work])

    def check_files(self) -> None:
        """Raise DefinitionError for a file that is the same for all rows and cannot be read."""
        check_fixed_files(self.tasks, self._folder)

    def problem_with_files(self, inputs: Inputs) -> str | None:
        """Why a file that `inputs` name cannot be read; None if all can, or if callbacks may change the inputs."""
        if self.before_kickoff_callbacks:
            return None
        return problem_with_files(self.tasks, {**self.default_inputs, **inputs}, self._folder)

    @property
    def runs_code(self) -> bool:
        """Whether a kickoff runs the user's code, such as tools, callbacks, hooks, conditions or guardrails."""
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
        """The agents that a kickoff may use: those of tasks, those that may be delegated to, the manager."""
        own = [task.agent for task in self.tasks if task.agent is not None]
        if self.process is Process.hierarchical:
            return list(dict.fromkeys([self._the_manager(), *own, *self.agents]))
        delegating = any(agent.allow_delegation for agent in own)
        return list(dict.fromkeys([*own, *(self.coworkers if delegating else ())]))

    def fetch_inputs(self) -> set[str]:
        """The names of the inputs that the crew's texts need, like CrewAI's method."""
        agents = {agent for task in self.tasks if (agent := task.agent) is not None} | set(self.agents)
        needed = [*(task.placeholders for task in self.tasks), *(agent.placeholders for agent in agents)]
        return set().union(*needed)

    @property
    def scoped_hooks(self) -> ScopedHooks | None:
        """The hooks for this crew's calls only, from a @CrewBase class, or None."""
        # Not a private attribute: each kickoff reads it, and pydantic takes ten microseconds for one.
        return self.__dict__.get(_HOOKS)

    def set_hooks(self, hooks: ScopedHooks | None) -> None:
        """Call `hooks` around the models and tools of each kickoff."""
        if hooks:
            self.__dict__[_HOOKS] = hooks

    @property
    def coworkers(self) -> tuple[Agent, ...]:
        """The crew's agents and those of its tasks, without a manager."""
        return tuple(dict.fromkeys([*self.agents, *(task.agent for task in self.tasks if task.agent is not None)]))

    def _the_manager(self) -> Agent:
        if self.manager_agent is not None:
            return self.manager_agent
        llm = cast("LLM | None", self.manager_llm)
        if self._manager is None or self._manager.model is not llm:
            self._manager = make_manager(llm)
        return self._manager
