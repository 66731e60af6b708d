"""A CrewAI project: a folder with `config/agents.yaml` and `config/tasks.yaml`, or a crew class, in it or below it.

A `crew.py` next to config/, or another file with a @CrewBase class, defines the crew (`python`). Without one the crew
has all agents and all tasks, in the order of the YAML files.
"""

import ast
import os
import re
from dataclasses import dataclass

from crewrun.compat.import_hook import refuse_foreign_engine
from crewrun.definitions.definition import Definition
from crewrun.definitions.file_text import read_bytes
from crewrun.definitions.formats.folder_scripts import imported_by
from crewrun.definitions.formats.folder_walk import MAX_DEPTH, below, classes_in, inside, path_in, python_files
from crewrun.definitions.keys import Rules
from crewrun.definitions.names import NameResolver
from crewrun.definitions.normalise import unwrap
from crewrun.definitions.pipeline import assemble
from crewrun.definitions.source import DefinitionSource, Expected, joined
from crewrun.definitions.yaml_source import read
from crewrun.errors import DefinitionError

_EXTENSIONS = (".yaml", ".yml")
_CREW_CLASS = re.compile(rb"^@(?:\w+\.)*CrewBase\b.*\n(?:@.*\n)*class +(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Project:
    """Where a project's files are. `base` is the folder of config/, tools/ and crew.py."""

    base: str
    yaml: tuple[str, str] | None
    """The files of agents and tasks; None if a crew.py says where they are, or needs none."""

    @property
    def python(self) -> str | None:
        """The file with the @CrewBase class, None without one: crew.py, else the only file that has such a class.

        Looks in `base` and `base/src`. Of several files it is the one whose class a main.py imports. Raises
        DefinitionError if more than one is left.
        """
        crew_py = path_in(self.base, "crew.py")
        if os.path.isfile(crew_py):
            return crew_py
        places = [self.base, path_in(self.base, "src")]
        matches = [(file, name) for place in places for file in python_files(place) for name in _crew_classes(file)]
        if len(matches) > 1:
            imported = {name for place in places for name in imported_by(path_in(place, "main.py"))}
            matches = [one for one in matches if one[1] in imported] or matches
        if len(matches) > 1:
            names = [f"{file}:{name}" for file, name in matches]
            raise DefinitionError(
                f"{self.base}: has several @CrewBase classes, {', '.join(names)}; "
                f"say which crew is meant: --crew {names[0]}"
            )
        return matches[0][0] if matches else None

    @property
    def classes(self) -> list[str]:
        """The names of the project's @CrewBase classes."""
        places = [self.base, path_in(self.base, "src")]
        return [name for place in places for file in python_files(place) for name in _crew_classes(file)]


def load(folder: str, strict: bool = False) -> Definition:
    """The crew of the project in `folder`. Unknown keys are warnings, with `strict` errors. Raises DefinitionError."""
    project = find(folder)
    root = project.base if os.path.relpath(project.base, folder).startswith(os.pardir) else os.path.normpath(folder)
    python = project.python
    if python is not None or project.yaml is None:
        from crewrun.definitions.formats.python import load_project

        return load_project(python or path_in(project.base, "crew.py"), root)
    agents, tasks = project.yaml
    refuse_foreign_engine(f"{folder} is a project without a crew.py")
    source = joined(
        DefinitionSource(folder, {}),
        {
            ("agents",): unwrap(read(agents, Expected("agents.yaml", "an entry for every agent")), "agents"),
            ("tasks",): unwrap(read(tasks, Expected("tasks.yaml", "an entry for every task")), "tasks"),
        },
    )
    folders = list(dict.fromkeys([project.base, os.path.dirname(agents), root]))
    tool_folders = [path_in(project.base, "tools"), path_in(root, "tools")]
    names = NameResolver(folders, list(dict.fromkeys(tool_folders)))
    return assemble(source, names, Rules(crewai=True, strict=strict), "CrewAI project", folder)


def is_project(folder: str) -> bool:
    """Whether there is a project in `folder` itself or where CrewAI creates it: in `src` or a folder of `src`."""
    source = os.path.join(folder, "src")
    places = [folder, source, *inside(source)]
    return any(_project_at(os.path.join(place, "config")) is not None or _has_crew_py(place) for place in places)


def find(folder: str) -> Project:
    """The project in `folder` itself, else the only one below it. Raises DefinitionError for none or several."""
    matches = projects_in(folder)
    if not matches:
        raise DefinitionError(nothing_in(folder))
    if len(matches) > 1:
        bases = ", ".join(repr(project.base) for project in matches)
        raise DefinitionError(f"{folder}: has {len(matches)} CrewAI projects in it: {bases}; name one of them")
    return matches[0]


def projects_in(folder: str) -> list[Project]:
    """The project in `folder` itself, else all projects below it."""
    matches: dict[str, Project] = {}
    for place in below(folder):
        if (project := _project_at(place)) is not None:
            if project.base == os.path.normpath(folder) or place == os.path.normpath(folder):
                return [project]
            matches.setdefault(project.base, project)
    return list(matches.values())


def nothing_in(folder: str) -> str:
    """The message for a `folder` without a crew, with what was looked for."""
    for place in below(folder):
        for name, other in (("agents", "tasks"), ("tasks", "agents")):
            if (file := _file(place, name)) is not None:
                return f"{file}: has no {other}.yaml beside it; a CrewAI project has both"
    return (
        f"{folder}: has no crew in it; looked for crew.yaml, crew.yml, crew.jsonc and crew.json, and for a CrewAI "
        f"project (config/agents.yaml and config/tasks.yaml), that one {MAX_DEPTH} folders deep, "
        "and a Python file that makes or runs a crew"
    )


def _project_at(config: str) -> Project | None:
    agents, tasks = _file(config, "agents"), _file(config, "tasks")
    if agents is not None and tasks is not None:
        inner = os.path.basename(os.path.abspath(config)) == "config"
        return Project(path_in(config, os.pardir) if inner else config, (agents, tasks))
    return Project(config, None) if _has_crew_py(config) else None


def _has_crew_py(folder: str) -> bool:
    crew_py = path_in(folder, "crew.py")
    return os.path.isfile(crew_py) and bool(_crew_classes(crew_py))


def _crew_classes(file: str) -> list[str]:
    """The names of the classes under @CrewBase in `file`, found without running it."""
    text = read_bytes(file)
    classes = classes_in(text) if b"CrewBase" in text else []
    if classes is None:
        return [name.decode() for name in _CREW_CLASS.findall(text)]
    return [cls.name for cls in classes if any(map(_is_crew_base, cls.decorator_list))]


def _is_crew_base(decorator: ast.expr) -> bool:
    name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", None)
    return name == "CrewBase"


def _file(folder: str, name: str) -> str | None:
    files = (path_in(folder, name + extension) for extension in _EXTENSIONS)
    return next((file for file in files if os.path.isfile(file)), None)
