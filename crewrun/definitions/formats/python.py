"""Crews in Python: `load` a `module:attr` or `file.py:attr`; `load_project` and `load_flow` are for CrewAI projects.

`references` finds and imports files, `target` says what may be run.
"""

import os
from inspect import isclass
from pathlib import Path
from types import ModuleType

from crewrun.definitions.definition import Definition
from crewrun.definitions.formats.entry_point import find_entry_point
from crewrun.definitions.problems import listed
from crewrun.errors import DefinitionError
from crewrun.references import find_file, known_names, load_file, pick, resolve, shown
from crewrun.target import as_target
from crewrun.target.script import script_target


def load(ref: str) -> Definition:
    """The target that `ref` names. Raises DefinitionError."""
    name = ref.strip().rpartition(":")[0]
    target = as_target(resolve(ref), ref.strip())
    return Definition(target, {}, Path(name), target.kind)


def load_script(file: str) -> Definition:
    """The one thing in the Python file `file` that can be run, as `entry_point` finds it. Raises DefinitionError."""
    module = load_file(find_file(file))
    name = find_entry_point(module, file)
    if name is None:
        return Definition(script_target(module, file), {}, Path(file), "Python")
    target = as_target(pick(module, name, f"{file}:{name}"), f"{file}:{name}")
    return Definition(target, {}, Path(file), target.kind)


def load_project(crew_py: str, root: str) -> Definition:
    """The crew of the @CrewBase class in `crew_py`, a file of the CrewAI project in the folder `root`.

    Without such a class it is whatever else `entry_point` finds there. Raises DefinitionError.
    """
    module = _load_below(root, crew_py)
    name = _crew_class(module, crew_py) or find_entry_point(module, crew_py)
    if name is None:
        return Definition(script_target(module, crew_py), {}, Path(root), "CrewAI project")
    ref = f"{crew_py}:{name}"
    return Definition(as_target(pick(module, name, ref), ref), {}, Path(root), "CrewAI project")


def load_flow(file: str, name: str, root: str) -> Definition:
    """The flow `name` in `file`, a file of the CrewAI flow project in the folder `root`. Raises DefinitionError."""
    ref = f"{file}:{name}"
    return Definition(as_target(pick(_load_below(root, file), name, ref), ref), {}, Path(root), "CrewAI flow project")


def _load_below(root: str, file: str) -> ModuleType:
    path, top = os.path.abspath(file), os.path.abspath(root)
    return load_file(path, _source_root(path, top), top)


def _source_root(path: str, top: str) -> str | None:
    """The project's `src` folder if the file is below it, since packages there may lack an `__init__.py`."""
    parts = os.path.relpath(path, top).split(os.sep)
    if "src" not in parts[:-2] or parts[0] == os.pardir:
        return None
    source = os.path.join(top, *parts[: parts.index("src") + 1])
    return None if os.path.isfile(os.path.join(source, "__init__.py")) else source


def _crew_class(module: ModuleType, file: str) -> str | None:
    """The name of the file's own @CrewBase class, None without one. Raises DefinitionError if it has several."""
    names = [
        name
        for name, value in known_names(module).items()
        if isclass(value) and value.__module__ == module.__name__ and getattr(value, "is_crew_class", False)
    ]
    if len(names) > 1:
        advice = f"say which crew is meant: --crew {shown(file)}:{names[0]}"
        raise DefinitionError(f"{file}: has several @CrewBase classes, {listed(names)}; {advice}")
    return names[0] if names else None
