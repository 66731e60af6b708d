"""A CrewAI flow project: a folder with a flow in its main.py, or whose pyproject.toml says `type = "flow"`.

The flow's methods run the project's crews, so the folder stands for the flow and never for one of these crews.
"""

import ast
import os
import re
from collections.abc import Iterable

from crewrun.definitions.definition import Definition
from crewrun.definitions.file_text import read_bytes
from crewrun.definitions.formats.folder_scripts import imported_by, mains_of
from crewrun.definitions.formats.folder_walk import below, classes_in, inside, path_in, python_files
from crewrun.definitions.formats.outline import outline_of
from crewrun.definitions.formats.pyproject import ProjectFile, read_project
from crewrun.errors import DefinitionError

_FLOW_CLASS = re.compile(rb"^class +(\w+) *\([^)]*Flow\b", re.MULTILINE)


def is_flow_project(folder: str) -> bool:
    """Whether the pyproject.toml in `folder` says so, or gives no type and its scripts or a main.py have a flow."""
    project = read_project(folder)
    if project.type is not None:
        return project.type == "flow"
    source = path_in(folder, "src")
    # Without a pyproject.toml, other folders may be other projects.
    inner = inside(folder) if os.path.isfile(path_in(folder, "pyproject.toml")) else []
    near = {path_in(folder, "."), source, *inside(source), *inner}
    mains = [main for main in mains_of(folder, project) if (os.path.dirname(main) or ".") in near]
    return bool(_flows(mains) or _imported(mains, folder))


def _imported(mains: list[str], folder: str) -> list[tuple[str, str]]:
    """The flows in other files of `folder` that one of `mains` imports."""
    names = {name for main in mains for name in imported_by(main) if name.endswith("Flow") and name != "Flow"}
    files = (file for place in below(folder) for file in python_files(place)) if names else ()
    return [(file, name) for file, name in _flows(files) if name in names]


def load(folder: str) -> Definition:
    """The flow of the project in `folder`: the only flow class in its main.py, found without running it.

    Of several it is the one that the project's script runs. If main.py has none, it is the only one elsewhere. Raises
    DefinitionError if that leaves none or several, with the names of the candidates.
    """
    project = read_project(folder)
    mains = mains_of(folder, project)
    matches = _flows(mains) or _imported(mains, folder)
    if len(matches) > 1:
        matches = _run_by(project, matches) or matches
    others = [] if matches else _flows(file for place in below(folder) for file in python_files(place))
    if len(matches or others) != 1:
        raise _unclear(folder, matches, others)
    from crewrun.definitions.formats.python import load_flow

    file, name = (matches or others)[0]
    return load_flow(file, name, folder)


def _run_by(project: ProjectFile, flows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of `flows` that are mentioned in the function of the project's first script."""
    for script in project.scripts[:1]:
        for file in script.files:
            outline = outline_of(read_bytes(file))
            part = outline.parts.get(script.function) if outline is not None else None
            if part is not None:
                return [(of, name) for of, name in flows if name in part.calls and of == file]
    return []


def _unclear(folder: str, matches: list[tuple[str, str]], others: list[tuple[str, str]]) -> DefinitionError:
    many = bool(matches)
    names = [f"{file}:{name}" for file, name in matches or others]
    what = "has several flows in its main.py" if many else "is a CrewAI flow project without a flow in its main.py"
    where = f"{', ' if many else '; elsewhere there is '}{', '.join(names)}" if names else ""
    example = names[0] if names else path_in(folder, "FILE.py:NAME")
    return DefinitionError(f"{folder}: {what}{where}; say which flow is meant: --crew {example}")


def _flows(files: Iterable[str]) -> list[tuple[str, str]]:
    return [(file, name) for file in files for name in _flow_classes(file)]


def _flow_classes(file: str) -> list[str]:
    """The names of flow classes in `file`, found without running it, except base classes of other flows."""
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
