"""What CrewAI's JSON spells in another way than crew.yaml: `respelled` turns one into the other.

An agent's `settings` are fields like the others, `{"python": "app.steps.log"}` is `app.steps:log`, the model
`{"provider": "groq", "model": "x"}` is `groq/x`, and a `type` that is no class of the user's says nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from crewrun.definitions.keys import mappings
from crewrun.definitions.problems import KeyPath
from crewrun.definitions.source import Source

_PLAIN_TYPES = frozenset({"agent", "Agent", "task", "Task"})
_CONDITIONAL_TYPES = frozenset({"conditional", "conditional_task", "ConditionalTask"})
_AS_THEY_ARE = frozenset({"inputs", "input_files", "output_schema", "batch"})


def respelled(source: Source) -> Source:
    """`source` in the spelling of crew.yaml."""
    data = dict(source.data)
    for kind, path, fields in list(mappings(source.data)):
        new = dict(_values(_with_settings(fields, path, source) if kind == "agent" else fields))
        if kind != "crew":
            _drop_type(new, path, source)
        _put(data, path, new)
    return replace(source, data=data)


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
    name = str(kind).rpartition(".")[2]
    if isinstance(kind, str) and name in _CONDITIONAL_TYPES:
        if not fields.get("condition"):
            source.problems.append(source.at_value((*path, "type"), "a task of this type needs condition"))
    elif not (isinstance(kind, str) and name in _PLAIN_TYPES):
        source.problems.append(source.at_value((*path, "type"), "classes of your own are not supported here"))


def _values(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        if key in _AS_THEY_ARE:
            yield key, value
        elif key in ("llm", "manager_llm"):
            yield key, [_model(one) for one in value] if isinstance(value, list) else _model(value)
        elif isinstance(value, list):
            yield key, [_reference(entry) for entry in value]
        else:
            yield key, _reference(value)


def _reference(value: Any) -> Any:
    """`{"python": "app.steps.log"}` as `app.steps:log`, all else as it is."""
    dotted = value.get("python") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(dotted, str) or "." not in dotted:
        return value
    module, _, attr = dotted.strip().rpartition(".")
    return f"{module}:{attr}"


def _model(value: Any) -> Any:
    """A model with its provider in its name."""
    if not isinstance(value, dict) or not isinstance(value.get("provider"), str):
        return value
    provider, model = value["provider"].strip(), value.get("model")
    fields = {key: inner for key, inner in value.items() if key != "provider"}
    if isinstance(model, str) and not model.startswith(f"{provider}/"):
        fields["model"] = f"{provider}/{model}"
    return fields
