"""CrewAI's spellings in those of crew.yaml: `normalise_json` for its JSON, `normalise_older` for older projects.

In its JSON an agent's `settings` are fields like all others, `{"python": "app.steps.log"}` is `app.steps:log`, the
model `{"provider": "groq", "model": "x"}` is `groq/x`, and a `type` that names one of CrewAI's own classes is dropped.
Models, managers and classes that are Python objects cannot be written in crew.yaml: they become the source's `objects`.

In older projects an agent's `model`, `base_url` and so on belong to its `llm`; a task may name its agent by the role;
`verbose: 2` means true; an empty `output_file` is left out. `unwrap` removes a key around all entries of a file.
"""

import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

from crewrun.crew.model_keys import described, model_keys
from crewrun.definitions.keys import mappings
from crewrun.definitions.problems import KeyPath, Problem
from crewrun.definitions.source import DefinitionSource

_PLAIN_TYPES = frozenset({"agent", "Agent", "task", "Task"})
_CONDITIONAL_TYPES = frozenset({"conditional", "conditional_task", "ConditionalTask"})
# Keys whose value may be a Python object, and the placeholder that the checks of names and types see instead.
_OBJECTS: Mapping[str, tuple[str, ...]] = {
    "agent": ("type", "llm"),
    "task": ("type",),
    "crew": ("manager_llm", "manager_agent"),
}
_IN_PLACE: Mapping[str, Any] = {"manager_agent": {"role": "manager", "goal": "-", "backstory": "-"}}
_AS_THEY_ARE = frozenset({"inputs", "input_files", "output_schema", "batch"})
_TEXTS = frozenset({"role", "goal", "backstory", "description", "expected_output"})


def normalise_json(source: DefinitionSource, folder: str) -> DefinitionSource:
    """`source`, of a project in `folder`, in crew.yaml's spelling."""
    data = dict(source.data)
    modules = _Modules(folder)
    for kind, path, fields in list(mappings(source.data)):
        if path in source.objects:
            continue
        whole = _with_settings(fields, path, source) if kind == "agent" else fields
        for key in _OBJECTS[kind]:
            if (reference := modules.reference(whole.get(key))) is not None:
                source.objects[(*path, key)] = reference
                whole = {**whole, key: _IN_PLACE.get(key, reference)}
        new = dict(_values(whole, modules))
        if kind != "crew":
            _drop_type(new, path, source)
        _put(data, path, new)
    return replace(source, data=data)


class _Modules:
    """Tells where in `app.hooks.Steps.log` the module's name ends: at the longest one that exists in `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def reference(self, value: Any) -> str | None:
        """`{"python": "app.steps.log"}` as `app.steps:log`, None for anything else."""
        dotted = value.get("python") if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(dotted, str) or "." not in dotted:
            return None
        parts = dotted.strip().split(".")
        lengths = range(len(parts) - 1, 0, -1)
        end = next((length for length in lengths if self._is_there(parts[:length])), len(parts) - 1)
        return f"{'.'.join(parts[:end])}:{'.'.join(parts[end:])}"

    def _is_there(self, parts: list[str]) -> bool:
        path = os.path.join(self._folder, *parts)
        return os.path.isfile(f"{path}.py") or os.path.isfile(os.path.join(path, "__init__.py"))


def _put(data: dict[str, Any], path: KeyPath, fields: dict[str, Any]) -> None:
    if not path:
        data.update(fields)
        return
    *around, last = path
    inner: Any = data
    for key in around:
        inner[key] = inner[key].copy()
        inner = inner[key]
    inner[last] = fields


def _with_settings(fields: dict[str, Any], path: KeyPath, source: DefinitionSource) -> dict[str, Any]:
    settings = fields.get("settings")
    if not isinstance(settings, dict):
        return {key: value for key, value in fields.items() if key != "settings" or value is not None}
    for key in settings:
        source.move((*path, "settings", key), (*path, key))
    return {**{key: value for key, value in fields.items() if key != "settings"}, **settings}


def _drop_type(fields: dict[str, Any], path: KeyPath, source: DefinitionSource) -> None:
    kind = fields.pop("type", None)
    if kind is None:
        return
    if (*path, "type") in source.objects:
        return
    name = str(kind).rpartition(".")[2]
    if isinstance(kind, str) and name in _CONDITIONAL_TYPES:
        if not fields.get("condition"):
            source.problems.append(source.at_value((*path, "type"), "a task of this type needs condition"))
    elif not (isinstance(kind, str) and name in _PLAIN_TYPES):
        source.problems.append(source.at_value((*path, "type"), "classes of your own are not supported here"))


def _values(fields: dict[str, Any], modules: _Modules) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        if key in _AS_THEY_ARE:
            yield key, value
        elif key in ("llm", "manager_llm"):
            yield key, [_model(one) for one in value] if isinstance(value, list) else _model(value)
        elif isinstance(value, list):
            yield key, [modules.reference(entry) or entry for entry in value]
        else:
            yield key, modules.reference(value) or value


def _model(value: Any) -> Any:
    """The model with its provider in its name. A `deployment_name` stands for a missing `model`."""
    if isinstance(value, dict) and "model" not in value and "deployment_name" in value:
        value = {"model": value["deployment_name"], **{k: v for k, v in value.items() if k != "deployment_name"}}
    if not isinstance(value, dict) or not isinstance(value.get("provider"), str):
        return value
    provider, model = value["provider"].strip(), value.get("model")
    fields = {key: inner for key, inner in value.items() if key != "provider"}
    if isinstance(model, str) and not model.startswith(f"{provider}/"):
        fields["model"] = f"{provider}/{model}"
    return fields


def normalise_older(source: DefinitionSource, warnings: list[Problem]) -> DefinitionSource:
    """`source` in today's spelling. Warnings about the old spelling are added to `warnings`."""
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
        _put_older(data, path, new)
    return replace(source, data=data)


def unwrap(source: DefinitionSource, key: str) -> DefinitionSource:
    """`source` without a `key`, such as `agents`, around all its entries. A list of named entries becomes a mapping."""
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


def _put_older(data: dict[str, Any], path: KeyPath, fields: dict[str, Any]) -> None:
    match path:
        case []:
            data.update({name: value for name, value in fields.items() if name not in ("agents", "tasks")})
        case [name]:
            data[str(name)] = fields
        case [name, key]:
            data[str(name)][key] = fields


def _keys_by_role(agents: Any) -> Mapping[str, str]:
    """The names of agents by role, for the roles that only one agent has."""
    keys: dict[str, list[str]] = {}
    entries = agents if isinstance(agents, dict) else {}
    for name, fields in entries.items():
        role = fields.get("role") if isinstance(fields, dict) else None
        if isinstance(role, str):
            keys.setdefault(role.strip().casefold(), []).append(name)
    return {role: only[0] for role, only in keys.items() if len(only) == 1}


def _move_model(fields: dict[str, Any], path: KeyPath, source: DefinitionSource, warnings: list[Problem]) -> None:
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
