"""Crews in Python: `load` a `module:attr` or `file.py:attr`, and CrewAI projects by `load_project` and `load_flow`.

How a file is found and imported is `references`, what it may name is `target`.
"""

import os
from inspect import isclass
from pathlib import Path
from types import ModuleType
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.definitions.definition import Definition
from crewrun.definitions.entries import entry_of
from crewrun.definitions.problems import listed
from crewrun.errors import DefinitionError
from crewrun.flow.target import FlowTarget
from crewrun.references import find_file, known_names, load_file, pick, resolve, shown
from crewrun.target import as_target


def load(ref: str) -> Definition:
    """What `ref` names, made ready to run. Raises DefinitionError."""
    name = ref.strip().rpartition(":")[0]
    target = as_target(resolve(ref), ref.strip())
    return Definition(target, {}, Path(name), "flow" if isinstance(target, FlowTarget) else "Python")


def load_script(file: str) -> Definition:
    """The one thing in the Python file `file` that can be run, as `entries` finds it. Raises DefinitionError."""
    module = load_file(find_file(file))
    name = entry_of(module, file)
    target = as_target(pick(module, name, f"{file}:{name}"), f"{file}:{name}")
    return Definition(target, {}, Path(file), "flow" if isinstance(target, FlowTarget) else "Python")


def load_project(crew_py: str, root: str) -> Definition:
    """The crew of the @CrewBase class in `crew_py`, a file of the CrewAI project in the folder `root`, as it is.

    Raises DefinitionError.
    """
    cls = _crew_class(_load_below(root, crew_py), crew_py)
    return Definition(as_target(cls, f"{crew_py}:{cls.__name__}"), {}, Path(root), "CrewAI project")


def load_flow(file: str, name: str, root: str) -> Definition:
    """The flow `name` in `file`, which is in the CrewAI flow project in the folder `root`. Raises DefinitionError."""
    ref = f"{file}:{name}"
    return Definition(as_target(pick(_load_below(root, file), name, ref), ref), {}, Path(root), "CrewAI flow project")


def _load_below(root: str, file: str) -> ModuleType:
    path, top = os.path.abspath(file), os.path.abspath(root)
    return load_file(path, _source_root(path, top), top)


def _source_root(path: str, top: str) -> str | None:
    """The project's `src` folder if the file is below it: the packages in it may lack their `__init__.py`."""
    parts = os.path.relpath(path, top).split(os.sep)
    if "src" not in parts[:-2] or parts[0] == os.pardir:
        return None
    source = os.path.join(top, *parts[: parts.index("src") + 1])
    return None if os.path.isfile(os.path.join(source, "__init__.py")) else source


def _crew_class(module: ModuleType, file: str) -> Any:
    names = known_names(module)
    found = [
        name
        for name, value in names.items()
        if isclass(value) and value.__module__ == module.__name__ and getattr(value, "is_crew_class", False)
    ]
    if len(found) == 1:
        return names[found[0]]
    if found:
        raise DefinitionError(f"{file}: has several @CrewBase classes, {listed(found)}; {_name_one(file, found)}")
    crews = [name for name, value in names.items() if isinstance(value, Crew)]
    raise DefinitionError(f"{file}: has no @CrewBase class in it; {_name_one(file, crews)}")


def _name_one(file: str, names: list[str]) -> str:
    return f"say which crew is meant: --crew {shown(file)}:{names[0] if names else 'NAME'}"
