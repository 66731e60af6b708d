"""crewrun's own format, `crew.yaml`: one file with the agents, the tasks, and how to run them.

Every fault of the file is collected before any is raised. Reading is `yaml_source`, the keys are `spec`, the words are
`problems`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.process import Process
from crewrun.crew.task import Task
from crewrun.definitions.definition import Definition
from crewrun.definitions.problems import KeyPath, Problem, Value, explain, failure, listed
from crewrun.definitions.spec import BatchSpec, CrewSpec, LLMSpec, TaskSpec, spec_at
from crewrun.definitions.yaml_nodes import Source
from crewrun.definitions.yaml_source import read
from crewrun.errors import suggest
from crewrun.llm.model import LLM


def load(file: str) -> Definition:
    """The crew that `file` defines. Raises DefinitionError with one line per fault, in the order of the file."""
    source = _with_underscores(read(file))
    problems = [*source.problems, *_check_agents(source), *_check_tasks(source)]
    try:
        spec = CrewSpec.model_validate(source.data)
    except ValidationError as invalid:
        problems += [_translate(error, source) for error in invalid.errors(include_url=False)]
        raise failure(file, problems) from None
    if problems:
        raise failure(file, problems)
    batch = spec.batch.model_dump(exclude_none=True) if spec.batch else {}
    inputs = spec.inputs or {}
    return Definition(target=_build(spec, inputs), batch=batch, path=Path(file))


def _build(spec: CrewSpec, inputs: dict[str, Any]) -> Crew:
    default = _llm(spec.llm)
    agents = {
        name.strip(): Agent(
            name=name.strip(),
            role=agent.role.strip(),
            goal=agent.goal,
            backstory=agent.backstory,
            llm=_llm(agent.llm) or default,
            verbose=agent.verbose,
        )
        for name, agent in spec.agents.items()
    }
    tasks: dict[str, Task] = {}
    for name, task in _named(spec.tasks):
        tasks[name] = Task(
            name=name,
            description=task.description,
            expected_output=task.expected_output,
            agent=agents[task.agent],
            context=None if task.context is None else [tasks[earlier] for earlier in task.context],
            async_execution=task.async_execution,
        )
    return Crew(
        name=spec.name,
        agents=list(agents.values()),
        tasks=list(tasks.values()),
        process=Process(spec.process),
        default_inputs=inputs,
        verbose=spec.verbose,
    )


def _llm(spec: LLMSpec | str | None) -> LLM | None:
    if spec is None or isinstance(spec, str):
        return LLM(model=spec) if spec else None
    fields = spec.model_dump(exclude_none=True)
    return LLM(**fields.pop("additional_params"), **fields)


def _named(tasks: Any) -> Iterator[tuple[str, TaskSpec]]:
    if isinstance(tasks, dict):
        yield from ((name.strip(), task) for name, task in tasks.items())
    else:
        yield from ((task.name or f"task_{i + 1}", task) for i, task in enumerate(tasks))


def _with_underscores(source: Source) -> Source:
    """`source` with the flags' spelling, `max-concurrent`, turned into that of the fields."""
    batch = source.data.get("batch")
    if not isinstance(batch, dict):
        return source
    renamed: dict[str, Any] = {}
    for key, value in batch.items():
        name = key.replace("-", "_")
        old, new = ("batch", key), ("batch", name)
        if name == key or name not in BatchSpec.model_fields:
            renamed[key] = value
        elif name in batch:
            message = f"is the same setting as {name!r} on line {source.line_of_key(new)}; keep one of them"
            source.problems.append(Problem(source.line_of_key(old), old, message))
        else:
            renamed[name] = value
            source.rename(old, new)
    return replace(source, data={**source.data, "batch": renamed})


@dataclass(frozen=True, slots=True)
class _RawTask:
    """A task as the file has it, whatever else is wrong with it; so that one fault does not hide another."""

    name: str
    path: KeyPath
    fields: dict[str, Any]


def _raw_tasks(source: Source) -> list[_RawTask]:
    tasks = source.data.get("tasks")
    entries: list[tuple[str | int, Any]] = []
    if isinstance(tasks, dict):
        entries = list(tasks.items())
    elif isinstance(tasks, list):
        entries = list(enumerate(tasks))
    found = []
    for key, fields in entries:
        name = fields.get("name") if isinstance(key, int) and isinstance(fields, dict) else key
        if not isinstance(name, str):
            name = f"task_{int(key) + 1}"
        found.append(_RawTask(name.strip(), ("tasks", key), fields if isinstance(fields, dict) else {}))
    return found


def _agent_names(source: Source) -> list[str]:
    agents = source.data.get("agents")
    return [name.strip() for name in agents] if isinstance(agents, dict) else []


def _check_agents(source: Source) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for key in source.data["agents"] if _agent_names(source) else ():
        yield from _check_name("agent", key.strip(), ("agents", key), source, first)


def _check_tasks(source: Source) -> Iterator[Problem]:
    """Names that are there twice, agents and contexts that are not there."""
    agents, tasks = _agent_names(source), _raw_tasks(source)
    first: dict[str, int] = {}
    for position, task in enumerate(tasks):
        path = (*task.path, "name") if "name" in task.fields else task.path
        yield from _check_name("task", task.name, path, source, first)
        agent = task.fields.get("agent")
        if isinstance(agent, str) and agent.strip() and agents and agent.strip() not in agents:
            message = f"no agent {agent.strip()!r}{suggest(agent.strip(), agents)}; agents are {listed(agents)}"
            yield Problem(source.line_of_value((*task.path, "agent")), (*task.path, "agent"), message)
        yield from _check_context(task, position, tasks, source)


def _check_name(kind: str, name: str, path: KeyPath, source: Source, first: dict[str, int]) -> Iterator[Problem]:
    line = source.line_of_key(path)
    if not name and len(path) == 2:  # the name in a list's task is a field, and `spec` looks after it
        yield Problem(line, path, "a name must not be empty")
    elif name and name in first:
        yield Problem(line, path, f"the name {name!r} is taken by the {kind} on line {first[name]}")
    first.setdefault(name, line)


def _check_context(task: _RawTask, position: int, tasks: list[_RawTask], source: Source) -> Iterator[Problem]:
    context = task.fields.get("context")
    names = [other.name for other in tasks]
    seen: set[str] = set()
    for i, entry in enumerate(context if isinstance(context, list) else ()):
        if not isinstance(entry, str) or not entry.strip():
            continue
        name, path, message = entry.strip(), (*task.path, "context", i), None
        if name == task.name:
            message = "a task cannot be its own context"
        elif name not in names:
            earlier = names[:position]
            message = f"no task {name!r}{suggest(name, names)}; " + (
                f"earlier tasks are {listed(earlier)}" if earlier else "no task comes before this one"
            )
        elif name not in names[:position]:
            message = f"task {name!r} comes later; a context is made of earlier tasks"
        elif name in seen:
            message = f"task {name!r} is in this context twice"
        seen.add(name)
        if message:
            yield Problem(source.line_of_value(path), path, message)


def _translate(error: ErrorDetails, source: Source) -> Problem:
    # The tags of `spec`'s unions stand in the location, right behind the key that the union is for.
    location = error["loc"]
    path = tuple(key for i, key in enumerate(location) if i == 0 or location[i - 1] not in _UNIONS or key not in _TAGS)
    if error["type"] == "missing":
        spec = spec_at(path[:-1])
        needed = [name for name, field in spec.model_fields.items() if field.is_required()]
        return Problem(source.line_of_key(path[:-1]), path, f"is missing; {spec.noun} needs {_and(needed)}")
    if error["type"] == "extra_forbidden":
        return Problem(source.line_of_key(path), path, _unknown_key(str(path[-1]), path[:-1]))
    value = Value(path, error["input"], source.written.get(path))
    if error["type"] == "literal_error" and path == ("process",) and value.content == "hierarchical":
        return Problem(source.line_of_value(path), path, "'hierarchical' is not supported by this version of crewrun")
    return Problem(source.line_of_value(path), path, explain(error, value))


_UNIONS = frozenset({"tasks", "llm", "stop", "max_failures"})
_TAGS = frozenset({"<text>", "<mapping>", "<list>", "<number>"})


def _unknown_key(key: str, around: KeyPath) -> str:
    spec = spec_at(around)
    if key in spec.not_yet:
        return f"{key!r} is not supported by this version of crewrun"
    if key == "name" and len(around) == 2:
        return f"is not a key here; the name of {spec.noun} is its key under {around[0]!r}"
    known = list(spec.model_fields)
    near = suggest(key, known)
    return f"unknown key {key!r}{near}" if near else f"unknown key {key!r}; the keys of {spec.noun} are {listed(known)}"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
