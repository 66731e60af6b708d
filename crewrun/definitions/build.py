"""`build`: from a spec to the crew that it describes. The spec's names are already resolved."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crewrun.confinement.place import inside
from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.process import Process
from crewrun.crew.task import ConditionalTask, Task
from crewrun.definitions.mcp_servers import McpServers
from crewrun.definitions.names import Objects
from crewrun.definitions.problems import KeyPath, Problem, failure
from crewrun.definitions.source import DefinitionSource
from crewrun.definitions.spec import AgentSpec, CrewSpec, LLMSpec, NamedTaskSpec, TaskSpec
from crewrun.errors import DefinitionError
from crewrun.files.attachment import check
from crewrun.files.file import File, as_file, reason
from crewrun.files.source import FilePath
from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.places import definition_in
from crewrun.knowledge.sources import as_source
from crewrun.llm.model import LLM, as_llm
from crewrun.skills.loader import load_skill

_NOT_OF_THE_CREW = frozenset({"llm", "batch", "identity", "expect", "mcp_servers"})


def build(spec: CrewSpec, source: DefinitionSource, folder: Path, objects: Objects) -> Crew:
    """The crew of `spec`, whose paths count from `folder`; `objects` replace what the spec has at their paths.

    Raises DefinitionError with the places of values that the classes reject.
    """
    builder = _Builder(spec, source, folder, objects)
    crew = builder.crew()
    if builder.problems or crew is None:
        raise failure(source.file, builder.problems)
    return crew


class _Builder:
    """Builds agents, then tasks, then the crew, and collects problems on the way."""

    def __init__(self, spec: CrewSpec, source: DefinitionSource, folder: Path, objects: Objects) -> None:
        self.problems: list[Problem] = []
        self._spec = spec
        self._source = source
        self._folder = folder
        self._objects = objects
        self._llm = self._llm_at(spec.llm, ("llm",))
        self._mcp_servers = McpServers(spec.mcp_servers, folder, source.at_value)
        self._agents: dict[str, Agent] = {}
        self._tasks: dict[str, Task] = {}

    def crew(self) -> Crew | None:
        """The crew, None if there are problems."""
        self.problems += [self._source.at_key(path, wrong) for path, wrong in self._mcp_servers.check()]
        for key, agent in self._spec.agents.items():
            with self._noting(("agents", key)):
                self._agents[key.strip()] = self._agent(key.strip(), agent, ("agents", key))
        tasks = self._spec.tasks
        for path, task in tasks.items() if isinstance(tasks, dict) else enumerate(tasks):
            with self._noting(("tasks", path)):
                self._task(path, task)
        with self._noting(()):
            return None if self.problems else self._crew()
        return None

    def _agent(self, name: str, spec: AgentSpec, path: KeyPath) -> Agent:
        values = spec.explicit() | self._background(spec, path)
        llm = self._objects.get((*path, "llm")) or self._llm_at(spec.llm, (*path, "llm")) or self._llm
        values |= {"name": name, "role": spec.role.strip(), "llm": llm}
        if spec.mcps is not None:
            values["mcps"] = []
            for i, entry in enumerate(spec.mcps):
                with self._noting((*path, "mcps", i)):
                    values["mcps"].append(self._mcp_servers.server(entry, (*path, "mcps", i)))
        agent: Agent = self._objects.get((*path, "type"), Agent)(**values)
        with self._noting((*path, "tools")):
            _ = agent.toolbox  # made now, to report what is wrong with the tools
        return agent

    def _llm_at(self, spec: LLMSpec | str | list[LLMSpec | str] | None, path: KeyPath) -> LLM | None:
        """The model of `spec`, which knows on which line its name and its address are."""
        llm = _llm(spec)
        if llm is not None:
            first = (*path, 0) if isinstance(spec, list) else path
            keys = {"model": (*first, "model"), "base_url": (*first, "base_url"), "api_base": (*first, "api_base")}
            places = {name: self._source.at_value(key, "") for name, key in keys.items()}
            llm._crewrun_places = {name: f"{place.file}:{place.line}" for name, place in places.items() if place.line}
        return llm

    def _background(self, spec: AgentSpec | CrewSpec, path: KeyPath) -> dict[str, Any]:
        """The fields for knowledge and skills, with their files in the crew's folder."""
        made: dict[str, Any] = {}
        with definition_in(self._folder):
            if spec.knowledge_sources is not None:
                made["knowledge_sources"] = []
                for i, entry in enumerate(spec.knowledge_sources):
                    with self._noting((*path, "knowledge_sources", i)):
                        made["knowledge_sources"].append(as_source(entry))
            if spec.skills is not None:
                made["skills"] = []
                for i, entry in enumerate(spec.skills):
                    with self._noting((*path, "skills", i)):
                        made["skills"] += load_skill(entry, activate=False)
        if spec.knowledge_config is not None:
            made["knowledge_config"] = None
            with self._noting((*path, "knowledge_config")):
                made["knowledge_config"] = _config(spec.knowledge_config.explicit())
        return made

    def _task(self, key: str | int, spec: TaskSpec) -> None:
        values = spec.explicit()
        values["name"] = _task_name(key, spec)
        agent = self._agents.get(spec.agent) if spec.agent else None
        values["agent"] = agent
        if spec.output_file is not None:
            values["config"] = {"output_file": values.pop("output_file")}  # which allows absolute paths
        if spec.input_files is not None:
            values["input_files"] = self._files(spec.input_files, ("tasks", key, "input_files"))
        if spec.context is not None:
            values["context"] = [self._tasks[name] for name in spec.context if name in self._tasks]
        standard = Task if spec.condition is None else ConditionalTask
        task: Task = self._objects.get(("tasks", key, "type"), standard)(**values)
        self._tasks[str(values["name"])] = task
        if agent is not None and task.tools:
            with self._noting(("tasks", key, "tools")):
                task.toolbox(agent)

    def _files(self, values: dict[str, Any], path: KeyPath) -> dict[str, File]:
        """The files that a task names. One that is the same for all rows must exist in the crew's folder already."""
        files: dict[str, File] = {}
        for name, value in values.items():
            with self._noting((*path, name)):
                try:
                    files[name] = file = as_file(value)
                    if file.text and not file.varies:
                        if isinstance(file.source, FilePath):
                            inside(self._folder, file.text)
                        check({name: file}, {}, self._folder, "")
                except (ValueError, OSError) as wrong:
                    raise DefinitionError(reason(wrong).removeprefix(f".{name}: ")) from None
        return files

    def _crew(self) -> Crew:
        spec, agents, values = self._spec, dict(self._agents), self._spec.explicit()
        process = Process(spec.process or "sequential")
        manager = spec.manager_agent
        own_manager = self._objects.get(("manager_agent",))
        if own_manager is not None:
            values["manager_agent"] = own_manager
        elif isinstance(manager, AgentSpec):
            values["manager_agent"] = self._agent("manager", manager, ("manager_agent",))
        elif manager is not None:
            # The manager is not one of the agents that do the work.
            values["manager_agent"] = agents.pop(manager)
        for when in ("before_kickoff", "after_kickoff"):
            values[f"{when}_callbacks"] = [*_many(values.pop(when, ())), *_many(values.pop(f"{when}_callbacks", ()))]
        values |= self._background(spec, ())
        values |= {"agents": list(agents.values()), "tasks": list(self._tasks.values()), "process": process}
        manager_llm = self._objects.get(("manager_llm",)) or self._llm_at(spec.manager_llm, ("manager_llm",))
        values |= {"manager_llm": manager_llm, "default_inputs": values.pop("inputs", {})}
        return Crew(**{name: value for name, value in values.items() if name not in _NOT_OF_THE_CREW})

    @contextmanager
    def _noting(self, path: KeyPath) -> Iterator[None]:
        try:
            yield
        except DefinitionError as wrong:
            self.problems.append(self._source.at_key(path, str(wrong)))
        except ValidationError as invalid:  # from the user's own classes and models
            for error in invalid.errors(include_url=False, include_input=False):
                self.problems.append(self._source.at_key((*path, *error["loc"]), error["msg"]))


def _config(values: dict[str, Any]) -> KnowledgeConfig:
    try:
        return KnowledgeConfig(**values)
    except ValidationError as invalid:
        faults = (f"{e['loc'][0]}: {e['msg']}" for e in invalid.errors(include_url=False))
        raise DefinitionError("; ".join(faults)) from None


def _llm(spec: LLMSpec | str | list[LLMSpec | str] | None) -> LLM | None:
    if spec is None or isinstance(spec, str):
        return LLM(model=spec) if spec else None
    if isinstance(spec, list):
        first: LLM = as_llm([_llm(one) for one in spec])
        return first
    fields = spec.model_dump(exclude_none=True, exclude={"fallbacks", "extra_body"})
    if spec.extra_body:
        fields["extra_body"] = spec.extra_body  # unchanged, nulls included
    others = [_llm(one) for one in _many(spec.fallbacks or ())]
    return LLM(**{**fields.pop("additional_params"), **fields}, fallbacks=others)


def _task_name(key: str | int, spec: TaskSpec) -> str:
    if isinstance(key, str):
        return key.strip()
    return (spec.name if isinstance(spec, NamedTaskSpec) else None) or f"task_{key + 1}"


def _many(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]
