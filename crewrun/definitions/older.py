"""What older CrewAI projects write in another way: `modernised` puts it as `spec` has it, `unwrapped` takes off a key.

An agent's `model`, `base_url` and the like belong to its `llm`; a task may name its agent by the role; `verbose: 2` is
true; an empty `output_file` is left out.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from crewrun.crew.model_keys import described, model_keys
from crewrun.definitions.keys import mappings
from crewrun.definitions.problems import KeyPath, Problem
from crewrun.definitions.source import Source

_TEXTS = frozenset({"role", "goal", "backstory", "description", "expected_output"})


def modernised(source: Source, warnings: list[Problem]) -> Source:
    """`source` in today's spelling; what is said of it is added to `warnings`."""
    data = dict(source.data)
    for name in ("agents", "tasks"):
        if isinstance(data.get(name), dict | list):
            data[name] = data[name].copy()
    agents = source.data.get("agents")
    names = {name.strip() for name in agents} if isinstance(agents, dict) else set()
    roles = _keys_by_role(agents)
    for kind, path, fields in list(mappings(source.data)):
        new = dict(fields)
        if type(new.get("verbose")) is int:
            new["verbose"] = bool(new["verbose"])
        if kind == "agent":
            _move_model(new, path, source, warnings)
        if kind == "task":
            _correct_task(new, names, roles)
        _put(data, path, new)
    return replace(source, data=data)


def unwrapped(source: Source, key: str) -> Source:
    """`source` without a `key`, such as `agents`, around all of its entries. A list of named entries is a mapping."""
    inner = source.data.get(key)
    if set(source.data) - {"agents", "tasks"} or not isinstance(inner, dict | list):
        return source
    pairs = list(inner.items()) if isinstance(inner, dict) else list(enumerate(inner))
    if not all(isinstance(fields, dict) and not _TEXTS.isdisjoint(fields) for _, fields in pairs):
        return source
    data: dict[str, Any] = {}
    for place, fields in pairs:
        name = place if isinstance(place, str) else fields.get("name")
        if not isinstance(name, str):
            return source
        data[name] = {field: value for field, value in fields.items() if place == name or field != "name"}
        source.move((key, place), (name,))
    return replace(source, data=data)


def _put(data: dict[str, Any], path: KeyPath, fields: dict[str, Any]) -> None:
    match path:
        case []:
            data.update({name: value for name, value in fields.items() if name not in ("agents", "tasks")})
        case [name]:
            data[str(name)] = fields
        case [name, key]:
            data[str(name)][key] = fields


def _keys_by_role(agents: Any) -> Mapping[str, str]:
    """The names of agents by their roles, of those that are one's alone."""
    keys: dict[str, list[str]] = {}
    entries = agents if isinstance(agents, dict) else {}
    for name, fields in entries.items():
        role = fields.get("role") if isinstance(fields, dict) else None
        if isinstance(role, str):
            keys.setdefault(role.strip().casefold(), []).append(name)
    return {role: only[0] for role, only in keys.items() if len(only) == 1}


def _move_model(fields: dict[str, Any], path: KeyPath, source: Source, warnings: list[Problem]) -> None:
    llm, keys = model_keys(fields)
    if not keys:
        return
    warnings.append(source.at_key((*path, keys[0]), described(keys)))
    if isinstance(fields.get("llm"), str):
        source.move((*path, "llm"), (*path, "llm", "model"))
    for key in keys:
        del fields[key]
        source.move((*path, key), (*path, "llm", key))
    fields["llm"] = llm


def _correct_task(fields: dict[str, Any], names: Set[str], roles: Mapping[str, str]) -> None:
    agent, file = fields.get("agent"), fields.get("output_file")
    if isinstance(agent, str) and agent.strip() not in names:
        fields["agent"] = roles.get(agent.strip().casefold(), agent)
    if isinstance(file, str) and not file.strip():
        del fields["output_file"]
