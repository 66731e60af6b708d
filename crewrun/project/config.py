"""`agents_config` and `tasks_config` of a crew class: the YAML file, with the names in its entries resolved.

The file is read when the attribute is first used; the names in an entry are resolved when the entry is first used.
"""

import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from crewrun.definitions.names import NameResolver
from crewrun.definitions.problems import LAST_COUNTS, KeyPath, failure, listed, with_advice
from crewrun.definitions.source import DefinitionSource, Expected
from crewrun.definitions.yaml_source import read
from crewrun.errors import CrewrunWarning, DefinitionError, suggest
from crewrun.project.marks import Kind, names_of
from crewrun.references import shown

EntryKind = Literal["agent", "task"]

# The kind of method that the names under a key refer to. A name without such a method may be a model or a tool.
_ONE: Mapping[str, Mapping[str, Kind]] = {
    "agent": {"llm": "llm", "step_callback": "callback"},
    "task": {
        "agent": "agent",
        "output_json": "output_json",
        "output_pydantic": "output_pydantic",
        "callback": "callback",
    },
}
_SEVERAL: Mapping[str, Mapping[str, Kind]] = {
    "agent": {"tools": "tool"},
    "task": {"context": "task", "tools": "tool", "callbacks": "callback"},
}
_FILES = {
    "agent": Expected("a file of agents", "a name for each, with `role`, `goal` and `backstory`"),
    "task": Expected("a file of tasks", "a name for each, with `description` and `expected_output`"),
}


class ConfigAttribute:
    """On the class, the attribute is the class's own value, a path or a dict; on an instance, the entries by name."""

    def __init__(self, kind: EntryKind, value: Any, folders: Sequence[str]) -> None:
        """If `value` is a path, it is looked for in each of `folders`."""
        self._kind = kind
        self._value = value
        self._folders = folders
        self._name = f"{kind}s_config"

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self._value
        held = vars(instance)
        if self._name not in held:
            held[self._name] = self._entries(self._value, instance)
        return held[self._name]

    def __set__(self, instance: Any, value: Any) -> None:
        """An instance may replace the path or the dict."""
        vars(instance)[self._name] = self._entries(value, instance)

    def _entries(self, value: Any, owner: Any) -> "Entries":
        whose = f"{type(owner).__name__}.{self._name}"
        if isinstance(value, Mapping):
            return Entries(self._kind, DefinitionSource(whose, dict(value)), owner, self._folders)
        if not isinstance(value, str | os.PathLike):
            raise DefinitionError(f"{whose} is a path or a dict, not a {type(value).__name__}")
        paths = [os.path.join(folder, value) for folder in self._folders]
        path = next((path for path in paths if os.path.isfile(path)), None)
        if path is None:  # a class whose agents are written in Python needs no file
            return Entries(self._kind, DefinitionSource(shown(paths[0]), None), owner, self._folders)
        source = read(shown(path), _FILES[self._kind])
        if source.problems:
            raise failure(source.file, source.problems)
        for warning in with_advice(source.repeated, LAST_COUNTS):
            warnings.warn(str(warning), CrewrunWarning, stacklevel=4)
        return Entries(self._kind, source, owner, self._folders)


class Entries(dict[str, Any]):
    """The entries of one file by name; empty if there is no file."""

    def __init__(self, kind: EntryKind, source: DefinitionSource, owner: Any, folders: Sequence[str]) -> None:
        super().__init__(source.data or {})
        self._kind = kind
        self._source = source
        self._owner = owner
        self._folders = folders
        self._linked: set[str] = set()
        self._linking: list[str] = []

    def of(self, owner: Any) -> "Entries":
        """The same entries for another object of the class."""
        return Entries(self._kind, self._source, owner, self._folders)

    def __missing__(self, name: str) -> Any:
        if self._source.data is None:
            raise DefinitionError(f"{self._source.file} has no {name!r}: there is no such file")
        near = suggest(name, list(self)) or f"; it has {listed(list(self))}"
        raise DefinitionError(f"{self._source.file} has no {name!r}{near}")

    def __getitem__(self, name: str) -> Any:
        if name in self and name not in self._linked:
            self._link(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The entry, with its names resolved."""
        return self[name] if name in self else default  # noqa: SIM401  (that would be this very method)

    def values(self) -> Any:
        """All entries, with their names resolved."""
        return [self[name] for name in self]

    def items(self) -> Any:
        """All items, with the names in the entries resolved."""
        return [(name, self[name]) for name in self]

    def _link(self, name: str) -> None:
        entry = super().__getitem__(name)
        if not isinstance(entry, Mapping):
            raise DefinitionError(str(self._source.at_value((name,), "needs a mapping of fields to values")))
        if name in self._linking:
            if self._kind == "agent":  # a method that this entry refers to reads the entry itself
                return
            circle = " → ".join([*self._linking[self._linking.index(name) :], name])
            raise DefinitionError(str(self._source.at_value((name, "context"), f"goes round in a circle: {circle}")))
        self._linking.append(name)
        try:
            self[name] = fields = dict(entry)
            links = _Links(self._source, self._owner, NameResolver(self._folders))
            for key, kind in _ONE[self._kind].items():
                if isinstance(fields.get(key), str):
                    fields[key] = links.made(kind, fields[key], (name, key))
            for key, kind in _SEVERAL[self._kind].items():
                if fields.get(key) is not None:
                    fields[key] = list(links.all_made(kind, fields[key], (name, key)))
            self._linked.add(name)
        finally:
            self._linking.remove(name)


@dataclass(frozen=True, slots=True)
class _Links:
    """Resolves the names in one entry."""

    source: DefinitionSource
    owner: Any
    names: NameResolver

    def all_made(self, kind: Kind, values: Any, path: KeyPath) -> Iterator[Any]:
        if not isinstance(values, list | tuple):
            raise DefinitionError(str(self.source.at_value(path, "needs a list of names")))
        for i, value in enumerate(values):
            named = isinstance(value, str) or (kind == "tool" and isinstance(value, dict))
            yield self.made(kind, value, (*path, i)) if named else value

    def made(self, kind: Kind, value: Any, path: KeyPath) -> Any:
        name = value.strip() if isinstance(value, str) else ""
        names = names_of(type(self.owner), kind)
        if name in names:
            method = getattr(self.owner, name)
            if kind == "callback":
                return _callback(method)
            return method if kind in ("output_json", "output_pydantic") else method()
        if kind == "llm":
            return value
        if kind == "tool":
            return self._tool(value, path)
        near = suggest(name, names) or f"; it has {listed(names) or 'none'}"
        message = f"no @{kind} {name!r} in {type(self.owner).__name__}{near}"
        raise DefinitionError(str(self.source.at_value(path, message)))

    def _tool(self, value: Any, path: KeyPath) -> Any:
        try:
            return self.names.tool(value)
        except DefinitionError as wrong:
            raise DefinitionError(str(self.source.at_value(path, str(wrong)))) from None


def _callback(method: Callable[..., Any]) -> Any:
    """CrewAI's @callback methods return the callback; a method with parameters is the callback itself."""
    return method if inspect.signature(method).parameters else method()
