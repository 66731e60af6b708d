"""What must fit together in a definition: names are unique, and agents, contexts and managers refer to existing ones.

The checks work on the plain data, so that faults of other kinds do not hide these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crewrun.definitions.problems import KeyPath, Problem, listed, missing
from crewrun.definitions.source import DefinitionSource
from crewrun.definitions.spec import TaskSpec
from crewrun.errors import suggest


def check(source: DefinitionSource, *, is_crewai: bool = False) -> Iterator[Problem]:
    """All such faults of `source`. `is_crewai` means that it is in one of CrewAI's formats."""
    agents, tasks = _agent_names(source), _raw_tasks(source)
    yield from _check_agents(source)
    yield from _check_manager(source, agents)
    if not is_crewai:  # in CrewAI's formats the crew only warns about it
        yield from _check_roles(source, tasks)
    first: dict[str, KeyPath] = {}
    for position, task in enumerate(tasks):
        path = (*task.path, "name") if "name" in task.fields else task.path
        yield from _check_name("task", task.name, path, source, first)
        yield from _check_agent(task, agents, source)
        yield from _check_context(task, position, tasks, source)
        yield from _check_condition(task, position, source)


def is_hierarchical(source: DefinitionSource) -> bool:
    """Whether a manager does the tasks."""
    return bool(source.data.get("process") == "hierarchical")


def needs_of_a_task(source: DefinitionSource) -> list[str]:
    """The keys that every task must have."""
    needed = [name for name, field in TaskSpec.model_fields.items() if field.is_required()]
    return needed if is_hierarchical(source) else [*needed, "agent"]


@dataclass(frozen=True, slots=True)
class _RawTask:
    """A task as the file has it, before any validation."""

    name: str
    path: KeyPath
    fields: dict[str, Any]


def _raw_tasks(source: DefinitionSource) -> list[_RawTask]:
    tasks = source.data.get("tasks")
    entries: list[tuple[str | int, Any]] = []
    if isinstance(tasks, dict):
        entries = list(tasks.items())
    elif isinstance(tasks, list):
        entries = list(enumerate(tasks))
    raw_tasks = []
    for key, fields in entries:
        name = fields.get("name") if isinstance(key, int) and isinstance(fields, dict) else key
        if not isinstance(name, str):
            name = f"task_{int(key) + 1}"
        raw_tasks.append(_RawTask(name.strip(), ("tasks", key), fields if isinstance(fields, dict) else {}))
    return raw_tasks


def _agents(source: DefinitionSource) -> dict[str, Any]:
    agents = source.data.get("agents")
    return agents if isinstance(agents, dict) else {}


def _agent_names(source: DefinitionSource) -> list[str]:
    return [name.strip() for name in _agents(source)]


def _manager(source: DefinitionSource) -> str | None:
    """The name of the managing agent, None if it is not given by name."""
    manager = source.data.get("manager_agent")
    return manager.strip() if is_hierarchical(source) and isinstance(manager, str) else None


def _check_agents(source: DefinitionSource) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for key in _agents(source):
        yield from _check_name("agent", key.strip(), ("agents", key), source, first)


def _check_name(
    kind: str, name: str, path: KeyPath, source: DefinitionSource, first: dict[str, KeyPath]
) -> Iterator[Problem]:
    if not name and len(path) == 2:  # in a list, a task's name is a field that `spec` checks
        yield source.at_key(path, "a name must not be empty")
    elif name and name in first:
        taken = source.place_of_key(first[name])
        yield source.at_key(path, f"the name {name!r} is taken by the {kind} on {taken}")
    first.setdefault(name, path)


def _check_manager(source: DefinitionSource, agents: list[str]) -> Iterator[Problem]:
    manager, llm = source.data.get("manager_agent"), source.data.get("manager_llm")
    if is_hierarchical(source) and manager is None and llm is None:
        yield source.at_value(("process",), "a hierarchical crew needs manager_llm or manager_agent")
    if isinstance(manager, str) and manager.strip() and agents and manager.strip() not in agents:
        yield source.at_value(("manager_agent",), _no_agent(manager.strip(), agents))
    if not is_hierarchical(source):
        return
    path: KeyPath = ("manager_agent",)
    if isinstance(manager, str):
        path = next((("agents", key) for key in _agents(source) if key.strip() == manager.strip()), path)
        manager = _agents(source).get(str(path[-1]))
    if isinstance(manager, dict) and manager.get("tools"):
        yield source.at_key((*path, "tools"), "a manager delegates and has no tools; give them to another agent")


def _check_roles(source: DefinitionSource, tasks: list[_RawTask]) -> Iterator[Problem]:
    """Agents may share a role unless coworkers are picked by it."""
    agents = {key: fields for key, fields in _agents(source).items() if isinstance(fields, dict)}
    if not is_hierarchical(source) and not any(fields.get("allow_delegation") is True for fields in agents.values()):
        return
    first: dict[str, str] = {}
    for key, fields in agents.items():
        role = fields.get("role")
        if not isinstance(role, str) or not role.strip() or key.strip() == _manager(source):
            continue
        same = "".join(role.split()).casefold()
        if same in first:
            path = ("agents", key, "role")
            message = f"is the role of agent {first[same]!r} too, and coworkers are picked by their role"
            yield source.at_value(path, message)
        first.setdefault(same, key.strip())


def _check_agent(task: _RawTask, agents: list[str], source: DefinitionSource) -> Iterator[Problem]:
    agent, path = task.fields.get("agent"), (*task.path, "agent")
    if agent is None and task.fields and not is_hierarchical(source):
        yield source.at_key(path, missing("a task", needs_of_a_task(source)))
    if not isinstance(agent, str) or not agent.strip() or not agents:
        return
    if agent.strip() not in agents:
        yield source.at_value(path, _no_agent(agent.strip(), agents))
    elif agent.strip() == _manager(source):
        yield source.at_value(path, f"{agent.strip()!r} is the manager, who only manages; name another agent or none")


def _no_agent(name: str, agents: list[str]) -> str:
    return f"no agent {name!r}{suggest(name, agents)}; agents are {listed(agents)}"


def _check_context(task: _RawTask, position: int, tasks: list[_RawTask], source: DefinitionSource) -> Iterator[Problem]:
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
            previous = names[:position]
            message = f"no task {name!r}{suggest(name, names)}; " + (
                f"earlier tasks are {listed(previous)}" if previous else "no task comes before this one"
            )
        elif name not in names[:position]:
            message = f"task {name!r} comes later; a context is made of earlier tasks"
        elif name in seen:
            message = f"task {name!r} is in this context twice"
        seen.add(name)
        if message:
            yield source.at_value(path, message)


def _check_condition(task: _RawTask, position: int, source: DefinitionSource) -> Iterator[Problem]:
    path = (*task.path, "condition")
    if not task.fields.get("condition"):
        return
    if position == 0:
        yield source.at_key(path, "the first task cannot have a condition: the output of the task before it decides")
    elif task.fields.get("async_execution") is True:
        yield source.at_key(path, "a task with a condition cannot be async")
