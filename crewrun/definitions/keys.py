"""Keys that crewrun does not have: `drop_unknown_keys` reports them by the `Rules` of the format.

In crewrun's own crew.yaml a key without effect is an error. CrewAI's files run unchanged: keys for its logs and traces
are ignored, and features that crewrun does not have get a warning.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from crewrun.crew.fields import MISSING, SILENT, no_effect
from crewrun.definitions.problems import KeyPath, Problem, listed
from crewrun.definitions.source import DefinitionSource
from crewrun.definitions.spec import spec_at
from crewrun.errors import suggest

# What keys of a crew.yaml begin with that are the user's own, such as a mapping with anchors for several agents.
EXTENSION = "x-"


@dataclass(frozen=True, slots=True)
class Rules:
    """`crewai` is for CrewAI's formats, where `strict` makes an unknown key an error instead of a warning."""

    crewai: bool
    strict: bool


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """A source without its unknown keys, and the problems and warnings about those that it had."""

    source: DefinitionSource
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def mappings(data: dict[str, Any]) -> Iterator[tuple[str, KeyPath, dict[str, Any]]]:
    """Each mapping of an agent, a task or the crew, with its kind and path. Values of other types are skipped."""
    yield "crew", (), data
    agents, tasks, manager = data.get("agents"), data.get("tasks"), data.get("manager_agent")
    candidates: list[tuple[str, KeyPath, Any]] = [("agent", ("manager_agent",), manager)]
    if isinstance(agents, dict):
        candidates += [("agent", ("agents", name), fields) for name, fields in agents.items()]
    if isinstance(tasks, dict | list):
        entries = tasks.items() if isinstance(tasks, dict) else enumerate(tasks)
        candidates += [("task", ("tasks", key), fields) for key, fields in entries]
    yield from ((kind, path, fields) for kind, path, fields in candidates if isinstance(fields, dict))


def drop_unknown_keys(source: DefinitionSource, rules: Rules) -> KnownKeys:
    """`source` without the keys of agents, tasks and the crew that its format does not have."""
    result = KnownKeys(source)
    dropped: set[KeyPath] = set()
    for kind, path, fields in mappings(source.data):
        for key, value in fields.items():
            if key not in spec_at(path).model_fields:
                dropped.add((*path, key))
                if rules.crewai or kind != "crew" or not key.startswith(EXTENSION):
                    _report(result, rules, kind, (*path, key), value)
    return replace(result, source=replace(source, data=_without(source.data, (), dropped)))


def unknown_key(path: KeyPath) -> str:
    """The message for an unknown key at the end of `path`, with a suggestion if there is one."""
    key, spec = str(path[-1]), spec_at(path[:-1])
    if key in spec.not_yet:
        return f"{key!r} is not supported by this version of crewrun"
    if key == "name" and len(path) == 3 and path[0] in ("agents", "tasks"):
        return f"is not a key here; the name of {spec.noun} is its key under {str(path[0])!r}"
    names = [field.alias or name for name, field in spec.model_fields.items()]
    near = suggest(key, names)
    return f"unknown key {key!r}{near}" if near else f"unknown key {key!r}; the keys of {spec.noun} are {listed(names)}"


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
    if not dropped or len(path) > 2:  # keys are dropped at most two levels down
        return data
    if isinstance(data, dict):
        return {
            key: _without(value, (*path, key), dropped) for key, value in data.items() if (*path, key) not in dropped
        }
    if isinstance(data, list):
        return [_without(value, (*path, i), dropped) for i, value in enumerate(data)]
    return data
