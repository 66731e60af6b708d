"""What a folder's pyproject.toml says about its crew: `[tool.crewai] type`, the project's name and its scripts."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.definitions.file_text import read_bytes
from crewrun.definitions.formats.folder_walk import path_in
from crewrun.errors import DefinitionError

# The scripts of CrewAI's templates that run the project, the most certain first, and those that do something else.
_RUNNING = ("kickoff", "run_crew", "run")
_OTHERS = frozenset({"train", "test", "replay", "plot", "run_with_trigger"})


@dataclass(frozen=True, slots=True)
class Script:
    """The `function` of a script `module:function`, and the existing `files` that the module may be."""

    function: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """`type` is "flow", "crew" or None; `package` is the project's name in the spelling of a package."""

    type: str | None = None
    package: str | None = None
    scripts: tuple[Script, ...] = ()


def read_project(folder: str) -> ProjectFile:
    """What the pyproject.toml in `folder` says; empty without one, or if it is not valid TOML."""
    file = path_in(folder, "pyproject.toml")
    if not os.path.isfile(file):
        return ProjectFile()
    try:
        content = tomllib.loads(read_bytes(file).decode())
    except (DefinitionError, ValueError, RecursionError):  # other tools report what is wrong with it
        return ProjectFile()
    tool = _table(content, "tool")
    poetry = _table(tool, "poetry")
    kind = _table(tool, "crewai").get("type")
    name = _table(content, "project").get("name") or poetry.get("name")
    package = name.replace("-", "_").lower() if isinstance(name, str) else None
    scripts = {**_table(poetry, "scripts"), **_table(_table(content, "project"), "scripts")}
    return ProjectFile(kind if isinstance(kind, str) else None, package, _sorted(scripts, package, folder))


def _sorted(scripts: Mapping[str, Any], package: str | None, folder: str) -> tuple[Script, ...]:
    order = [*_RUNNING, package]
    names = [name for name in scripts if name not in _OTHERS and isinstance(scripts[name], str)]
    keys = {name: name if name in _RUNNING else name.replace("-", "_").lower() for name in names}
    names.sort(key=lambda name: order.index(keys[name]) if keys[name] in order else len(order))
    return tuple(_script(scripts[name], folder) for name in names)


def _script(target: str, folder: str) -> Script:
    module, _, function = target.partition(":")
    inner = module.strip().replace(".", os.sep)
    places = (path_in(folder, "src"), path_in(folder, "."))
    files = [path_in(place, f"{inner}{end}") for place in places for end in (".py", f"{os.sep}__init__.py")]
    return Script(function.strip(), tuple(file for file in files if os.path.isfile(file)))


def _table(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}
