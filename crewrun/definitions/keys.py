"""Keys that crewrun does not have: `drop_unknown_keys` reports them, each format by its `Rules`.

crew.yaml is crewrun's own, so what has no effect there is an error. CrewAI's files run as they are: what CrewAI logs
and traces with is let through, features that crewrun does not have are warned about.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from crewrun.crew.fields import MISSING, SILENT, no_effect
from crewrun.definitions.problems import KeyPath, Problem, listed
from crewrun.definitions.source import Source
from crewrun.definitions.spec import spec_at
from crewrun.errors import suggest


@dataclass(frozen=True, slots=True)
class Rules:
    """`crewai` for CrewAI's formats; `strict` makes an unknown key an error, else it is a warning."""

    crewai: bool
    strict: bool


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """A source that has no unknown keys any more, and what there is to say about those that it had."""

    source: Source
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def mappings(data: dict[str, Any]) -> Iterator[tuple[str, KeyPath, dict[str, Any]]]:
    """Each mapping for an agent, a task or the crew: its kind, its path, itself. What is no mapping is left out."""
    yield "crew", (), data
    agents, tasks, manager = data.get("agents"), data.get("tasks"), data.get("manager_agent")
    found: list[tuple[str, KeyPath, Any]] = [("agent", ("manager_agent",), manager)]
    if isinstance(agents, dict):
        found += [("agent", ("agents", name), fields) for name, fields in agents.items()]
    if isinstance(tasks, dict | list):
        entries = tasks.items() if isinstance(tasks, dict) else enumerate(tasks)
        found += [("task", ("tasks", key), fields) for key, fields in entries]
    yield from ((kind, path, fields) for kind, path, fields in found if isinstance(fields, dict))


def drop_unknown_keys(source: Source, rules: Rules) -> KnownKeys:
    """`source` without the keys of agents, tasks and the crew that its format does not have."""
    result = KnownKeys(source)
    dropped: set[KeyPath] = set()
    for kind, path, fields in mappings(source.data):
        for key, value in fields.items():
            if key not in spec_at(path).model_fields:
                dropped.add((*path, key))
                _report(result, rules, kind, (*path, key), value)
    return replace(result, source=replace(source, data=_without(source.data, (), dropped)))


def unknown_key(path: KeyPath) -> str:
    """What is wrong with the key that `path` ends with, and what may be meant."""
    key, spec = str(path[-1]), spec_at(path[:-1])
    if key in spec.not_yet:
        return f"{key!r} is not supported by this version of crewrun"
    if key == "name" and len(path) == 3 and path[0] in ("agents", "tasks"):
        return f"is not a key here; the name of {spec.noun} is its key under {str(path[0])!r}"
    known = list(spec.model_fields)
    near = suggest(key, known)
    return f"unknown key {key!r}{near}" if near else f"unknown key {key!r}; the keys of {spec.noun} are {listed(known)}"


def _report(result: KnownKeys, rules: Rules, kind: str, path: KeyPath, value: Any) -> None:
    key, source = str(path[-1]), result.source
    if not rules.crewai:
        if key not in spec_at(path[:-1]).ignored:
            result.problems.append(source.at_key(path, unknown_key(path)))
    elif key in MISSING[kind]:
        if value:
            message = f"{key!r} {no_effect(key)}"
            result.warnings.append(source.at_key(path, message))
    elif key not in SILENT[kind]:
        if rules.strict:
            result.problems.append(source.at_key(path, unknown_key(path)))
        else:
            result.warnings.append(source.at_key(path, f"{unknown_key(path)}; it has no effect"))


def _without(data: Any, path: KeyPath, dropped: set[KeyPath]) -> Any:
    if not dropped or len(path) > 2:  # the mappings that keys are dropped from are two levels down at most
        return data
    if isinstance(data, dict):
        return {
            key: _without(value, (*path, key), dropped) for key, value in data.items() if (*path, key) not in dropped
        }
    if isinstance(data, list):
        return [_without(value, (*path, i), dropped) for i, value in enumerate(data)]
    return data
