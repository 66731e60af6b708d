"""`parts_of`: digests of what a run's crew consists of, by names in words: a later session can tell what has changed.

`text_parts` finds nearly the same in the texts of the crew's files, for runs whose manifest has only these.
"""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.fields import effective_fields
from crewrun.crew.process import Process, task_name
from crewrun.crew.task import Task
from crewrun.definitions.yaml_source import parse
from crewrun.errors import DefinitionError
from crewrun.fingerprint import as_data
from crewrun.redaction.credentials import settings_without_credentials
from crewrun.redaction.key_shapes import without_key_shapes

# Digests by owner and field: {"agent 'triage'": {"backstory": "…"}}. A file's only field is "".
Parts = dict[str, dict[str, str]]

CREW = "the crew"
ORDER = "order of tasks"
_DIGEST_BYTES = 8
_MAX_CHARS = 200_000  # of a crew file; YAML is read at about a million characters a second, and more is data
_IN_OTHER_PARTS = frozenset({"agents", "tasks", "manager_agent", "name", "verbose"})
# Keys of a crew file that are no part of the crew.
_BESIDE_THE_CREW = frozenset({"agents", "tasks", "batch", "expect", "identity", "manager_agent", "verbose"})


def parts_of(crew: Crew | None, texts: Mapping[str, str]) -> Parts:
    """The parts of a crew as it was loaded; of another target, which is known by its `texts` alone, its files."""
    if crew is None:
        return {_file(name, texts): {"": _digest(text)} for name, text in texts.items()}
    parts: Parts = {}
    for owner, agent in _agents_of(crew):
        _add(parts, owner, _fields_of(agent))
    for position, task in enumerate(crew.tasks):
        fields = _fields_of(task) | {
            "agent": task.agent.label if task.agent is not None else None,
            "context": None if task.context is None else ["only", *(other.label for other in task.context)],
        }
        _add(parts, _owner_of_task(task, position), fields)
    own = {name: value for name, value in effective_fields(crew).items() if name not in _IN_OTHER_PARTS}
    _add(parts, CREW, {**own, ORDER: [task.label for task in crew.tasks]})
    return parts


def text_parts(texts: Mapping[str, str]) -> Parts:
    """The parts of a crew as its files have them: of YAML and JSON each agent and task, of others the whole file."""
    parts: Parts = {}
    for name, text in texts.items():
        if (data := _data_of(name, text)) is None:
            parts[_file(name, texts)] = {"": _digest(text)}
            continue
        for noun in ("agent", "task"):
            for owner, fields in _named(noun, data.get(f"{noun}s")):
                _add(parts, owner, fields)
        if isinstance(manager := data.get("manager_agent"), dict):
            _add(parts, "agent 'manager'", manager)
        _add(parts, CREW, {k: v for k, v in data.items() if not _is_beside(k)})
    return parts


def tasks_to_redo(crew: Crew, owners: Collection[str]) -> list[str]:
    """The names of the tasks whose calls differ when the parts of these `owners` have changed: their own, and those
    that read their outputs. Calls of the others are answered from the journal.

    All tasks if an owner is not found, as one of two agents with the same role.
    """
    every = {_owner_of_agent(agent) for _, agent in _agents_of(crew)}
    every |= {_owner_of_task(task, position) for position, task in enumerate(crew.tasks)}
    if not every.issuperset(owners):
        return [task_name(task, position) for position, task in enumerate(crew.tasks)]
    names: dict[Task, str] = {}
    for position, task in enumerate(crew.tasks):
        own = {_owner_of_task(task, position)} | ({_owner_of_agent(task.agent)} if task.agent is not None else set())
        read = names.keys() if task.context is None else set(task.context)
        if not own.isdisjoint(owners) or not names.keys().isdisjoint(read):
            names[task] = task_name(task, position)
    return list(names.values())


def is_in_order(crew: Crew) -> bool:
    """Whether what a task's calls depend on is known before they are made: there is no manager and no delegation."""
    agents = [agent for _, agent in _agents_of(crew)]
    return crew.process is Process.sequential and not any(agent.allow_delegation for agent in agents)


def _owner_of_task(task: Task, position: int) -> str:
    return f"task {task.name or position + 1!r}"


def _owner_of_agent(agent: Agent) -> str:
    return f"agent {agent.label}"


def _agents_of(crew: Crew) -> Iterator[tuple[str, Agent]]:
    managers = [crew.manager_agent] if crew.manager_agent is not None else []
    others = [task.agent for task in crew.tasks if task.agent is not None]
    for agent in dict.fromkeys([*crew.agents, *others, *managers]):
        yield _owner_of_agent(agent), agent


def _fields_of(part: Any) -> dict[str, Any]:
    fields = {name: value for name, value in effective_fields(part).items() if name not in ("agent", "context")}
    tools = fields.pop("tools", None) or ()
    return fields | {f"tool {tool.name!r}": tool for tool in tools}


def _add(parts: Parts, owner: str, fields: Mapping[str, Any]) -> None:
    name, times = owner, 1
    while name in parts:
        times += 1
        name = f"{owner} ({times})"
    parts[name] = {
        key: _digest(as_data(value, base_url=None))
        for key, value in fields.items()
        if value is not None and value is not False and value not in ("", [], {}, ())
    }


def _named(noun: str, entries: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The agents or tasks of a file, which are a mapping by name or a list."""
    pairs = entries.items() if isinstance(entries, dict) else enumerate(entries if isinstance(entries, list) else (), 1)
    for key, fields in pairs:
        if isinstance(fields, dict):
            name = fields.get("name") or key
            yield f"{noun} {str(name).strip()!r}" if isinstance(name, str) else f"{noun} {name}", fields


def _data_of(name: str, text: str) -> dict[str, Any] | None:
    """The data of a YAML or JSON file; in a CrewAI project the file's name says whether it has agents or tasks."""
    if not name.endswith((".yaml", ".yml", ".json")) or len(text) > _MAX_CHARS:
        return None
    try:
        data = parse(text.encode(), name).data
    except DefinitionError:
        return None
    stem = os.path.splitext(os.path.basename(name))[0]
    return {stem: data} if stem in ("agents", "tasks") and stem not in data else data


def _is_beside(key: str) -> bool:
    return key in _BESIDE_THE_CREW or key.startswith("x-")  # which are for anchors


def _file(name: str, texts: Mapping[str, str]) -> str:
    """A file's name as messages have it: relative to the folder that all have in common."""
    top = os.path.commonpath([os.path.dirname(other) for other in texts]) if len(texts) > 1 else os.path.dirname(name)
    return os.path.relpath(name, top or None)


def _digest(value: Any) -> str:
    """A digest of `value`; what looks like a secret is left out, so that nobody can try passwords on it."""
    text = without_key_shapes(json.dumps(settings_without_credentials(value), sort_keys=True))
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
