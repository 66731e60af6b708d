"""Modules made from the table in `paths`: `import crewrun.tasks.task_output` gets one with the names of that entry.

`crewrun/__init__` uses them only after all other finders have found nothing, so that no other import gets slower.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from crewrun.compat.paths import PATHS, REFUSED, WITHOUT_EFFECT, is_stub, place_of


def alias_spec(fullname: str) -> ModuleSpec | None:
    """The spec of the module `crewrun.…` that stands for CrewAI's module of the same path, None for other paths."""
    path = fullname.removeprefix("crewrun.")
    names = PATHS.get(path)
    if names is None:
        return None
    has_children = any(other.startswith(f"{path}.") for other in (*PATHS, *WITHOUT_EFFECT, *REFUSED))
    return ModuleSpec(fullname, _AliasLoader(path, names), is_package=has_children)


class _AliasLoader(Loader):
    """Fills a module with names that are looked up when they are first used."""

    def __init__(self, path: str, names: Mapping[str, str]) -> None:
        self._path = path
        self._names = names

    def exec_module(self, module: ModuleType) -> None:
        """`import *` leaves out names that do nothing: they need the stubs, which exist only while a crew is loaded."""
        namespace: dict[str, Any] = module.__dict__

        def look_up(name: str) -> Any:
            home, attribute = place_of(module.__name__, name)
            if home == module.__name__:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            value = namespace[name] = getattr(import_module(home), attribute)
            return value

        namespace["__doc__"] = f"CrewAI's `crewai.{self._path}`: where its names are in crewrun is in `compat.paths`."
        namespace["__all__"] = sorted(name for name, place in self._names.items() if not is_stub(place))
        namespace["__getattr__"] = look_up
        namespace["__dir__"] = lambda: sorted(self._names)
