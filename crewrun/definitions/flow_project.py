"""A CrewAI flow project: a folder whose pyproject.toml says `[tool.crewai] type = "flow"`, with the flow in a main.py.

Its crews are what its methods run, so none of them is the one that is meant by the folder.
"""

import ast
import os
import re
import tomllib
from collections.abc import Iterable

from crewrun.definitions.definition import Definition
from crewrun.definitions.file_text import read_bytes
from crewrun.definitions.folders import below, classes_in, inside, path_in, python_files
from crewrun.errors import DefinitionError

_FLOW_CLASS = re.compile(rb"^class +(\w+) *\([^)]*Flow\b", re.MULTILINE)


def is_flow_project(folder: str) -> bool:
    """Whether the pyproject.toml in `folder` says so."""
    file = path_in(folder, "pyproject.toml")
    if not os.path.isfile(file):
        return False
    try:
        project = tomllib.loads(read_bytes(file).decode())
    except (DefinitionError, ValueError, RecursionError):  # no TOML: what is wrong with it is for other tools to say
        return False
    settings: object = project
    for key in ("tool", "crewai", "type"):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings == "flow"


def load(folder: str) -> Definition:
    """The flow of the project in `folder`: the one class of a flow in its main.py, which is found without running it.

    Raises DefinitionError, which names the flows that could be meant, when there is none or there are several.
    """
    source = path_in(folder, "src")
    places = [path_in(folder, "."), source, *inside(source), *inside(folder)]
    mains = [file for place in dict.fromkeys(places) if os.path.isfile(file := path_in(place, "main.py"))]
    found = _flows(mains)
    if len(found) != 1:
        raise _unclear(folder, found)
    from crewrun.definitions.python_source import load_flow

    file, name = found[0]
    return load_flow(file, name, folder)


def _unclear(folder: str, found: list[tuple[str, str]]) -> DefinitionError:
    many = bool(found)
    found = found or _flows(file for place in below(folder) for file in python_files(place))
    names = [f"{file}:{name}" for file, name in found]
    what = "has several flows in its main.py" if many else "is a CrewAI flow project without a flow in its main.py"
    others = f"{', ' if many else '; elsewhere there is '}{', '.join(names)}" if names else ""
    example = names[0] if names else path_in(folder, "FILE.py:NAME")
    return DefinitionError(f"{folder}: {what}{others}; say which flow is meant: --crew {example}")


def _flows(files: Iterable[str]) -> list[tuple[str, str]]:
    return [(file, name) for file in files for name in _flow_classes(file)]


def _flow_classes(file: str) -> list[str]:
    """The names of the flows' classes in `file`, which is not run; one that is the base of another is none to run."""
    text = read_bytes(file)
    classes = classes_in(text) if b"Flow" in text else []
    if classes is None:
        return [name.decode() for name in _FLOW_CLASS.findall(text)]
    flows: list[str] = []
    bases: set[str] = set()
    for one in classes:
        named = {_name(base) for base in one.bases}
        if any(name.endswith("Flow") or name in flows for name in named):
            flows.append(one.name)
            bases |= named
    return [name for name in flows if name not in bases]


def _name(base: ast.expr) -> str:
    """`Flow` of `Flow`, `flow.Flow` and `Flow[State]`."""
    match base:
        case ast.Subscript(value=inner):
            return _name(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
