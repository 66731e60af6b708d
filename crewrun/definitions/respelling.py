"""What CrewAI's JSON spells in another way than crew.yaml: `respelled` turns one into the other.

An agent's `settings` are fields like the others, `{"python": "app.steps.log"}` is `app.steps:log`, the model
`{"provider": "groq", "model": "x"}` is `groq/x`, and a `type` that is no class of the user's says nothing. Models,
managers and classes that are Python objects have no spelling in crew.yaml: they are noted as the source's `objects`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from crewrun.definitions.keys import mappings
from crewrun.definitions.problems import KeyPath
from crewrun.definitions.source import Source

_PLAIN_TYPES = frozenset({"agent", "Agent", "task", "Task"})
_CONDITIONAL_TYPES = frozenset({"conditional", "conditional_task", "ConditionalTask"})
# Keys whose value may be a Python object, and what stands in its place for the checks of names and types.
_OBJECTS: Mapping[str, tuple[str, ...]] = {
    "agent": ("type", "llm"),
    "task": ("type",),
    "crew": ("manager_llm", "manager_agent"),
}
_IN_PLACE: Mapping[str, Any] = {"manager_agent": {"role": "manager", "goal": "-", "backstory": "-"}}
_AS_THEY_ARE = frozenset({"inputs", "input_files", "output_schema", "batch"})


def respelled(source: Source, folder: str) -> Source:
    """`source`, a project in `folder`, in the spelling of crew.yaml."""
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
    """Tells where in `app.hooks.Steps.log` the module ends: the longest one that there is in `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def reference(self, value: Any) -> str | None:
        """`{"python": "app.steps.log"}` as `app.steps:log`, None for all else."""
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


def _with_settings(fields: dict[str, Any], path: KeyPath, source: Source) -> dict[str, Any]:
    settings = fields.get("settings")
    if not isinstance(settings, dict):
        return {key: value for key, value in fields.items() if key != "settings" or value is not None}
    for key in settings:
        source.move((*path, "settings", key), (*path, key))
    return {**{key: value for key, value in fields.items() if key != "settings"}, **settings}


def _drop_type(fields: dict[str, Any], path: KeyPath, source: Source) -> None:
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
    """A model with its provider in its name. That of a deployment is the deployment's."""
    if isinstance(value, dict) and "model" not in value and "deployment_name" in value:
        value = {"model": value["deployment_name"], **{k: v for k, v in value.items() if k != "deployment_name"}}
    if not isinstance(value, dict) or not isinstance(value.get("provider"), str):
        return value
    provider, model = value["provider"].strip(), value.get("model")
    fields = {key: inner for key, inner in value.items() if key != "provider"}
    if isinstance(model, str) and not model.startswith(f"{provider}/"):
        fields["model"] = f"{provider}/{model}"
    return fields
