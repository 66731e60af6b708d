"""A CrewAI project: a folder with `config/agents.yaml` and `config/tasks.yaml` in it or below it.

With a `crew.py` beside config/ that says which crew it is (`python_source`); without one, the crew is all agents and
all tasks, in the order of the files.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from crewrun.definitions.assembly import assemble
from crewrun.definitions.definition import Definition
from crewrun.definitions.keys import Rules
from crewrun.definitions.names import Names
from crewrun.definitions.source import Expected, Source, joined
from crewrun.definitions.yaml_source import read
from crewrun.errors import DefinitionError

MAX_DEPTH = 5

_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "env", "site-packages"})
_EXTENSIONS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Project:
    """Where a project's files are. `base` holds what belongs to the crew: config/, tools/ and crew.py."""

    base: str
    agents: str
    tasks: str

    @property
    def crew_py(self) -> str | None:
        """The file with the @CrewBase class, if there is one."""
        file = _joined(self.base, "crew.py")
        return file if os.path.isfile(file) else None


def load(folder: str, strict: bool = False) -> Definition:
    """The crew of the project in `folder`. An unknown key is a warning, with `strict` an error. DefinitionError."""
    project = find(folder)
    root = project.base if os.path.relpath(project.base, folder).startswith(os.pardir) else os.path.normpath(folder)
    if project.crew_py is not None:
        from crewrun.definitions.python_source import load_project

        return load_project(project.crew_py, root)
    source = joined(
        Source(folder, {}),
        {
            ("agents",): read(project.agents, Expected("agents.yaml", "an entry for every agent")),
            ("tasks",): read(project.tasks, Expected("tasks.yaml", "an entry for every task")),
        },
    )
    folders = list(dict.fromkeys([project.base, os.path.dirname(project.agents), root]))
    tools = [_joined(project.base, "tools"), _joined(root, "tools")]
    names = Names(folders, list(dict.fromkeys(tools)))
    return assemble(source, names, Rules(crewai=True, strict=strict), "CrewAI project", folder)


def is_project(folder: str) -> bool:
    """Whether a project is right in `folder`, or where CrewAI makes it: in a folder of `src`."""
    places = [folder, *_inside(os.path.join(folder, "src"))]
    return any(_project_at(os.path.join(place, "config")) is not None for place in places)


def find(folder: str) -> Project:
    """The project in `folder`, else the only one below it. Raises DefinitionError when there is none, or several."""
    found = []
    for place in _folders(folder):
        if (project := _project_at(place)) is not None:
            if project.base == os.path.normpath(folder) or place == os.path.normpath(folder):
                return project
            found.append(project)
    if not found:
        raise DefinitionError(_nothing_in(folder))
    if len(found) > 1:
        bases = ", ".join(repr(project.base) for project in found)
        raise DefinitionError(f"{folder}: has {len(found)} CrewAI projects in it: {bases}; name one of them")
    return found[0]


def _nothing_in(folder: str) -> str:
    for place in _folders(folder):
        for name, other in (("agents", "tasks"), ("tasks", "agents")):
            if (file := _file(place, name)) is not None:
                return f"{file}: has no {other}.yaml beside it; a CrewAI project has both"
    return (
        f"{folder}: has no crew in it; looked for crew.yaml, crew.yml, crew.jsonc and crew.json, and for a CrewAI "
        f"project (config/agents.yaml and config/tasks.yaml), that one {MAX_DEPTH} folders deep"
    )


def _folders(top: str) -> Iterator[str]:
    """`top` and the folders below it where a project may be, from the outside in by name."""
    level = [os.path.normpath(top)]
    for _ in range(MAX_DEPTH + 1):
        yield from level
        level = [inner for folder in level for inner in _inside(folder)]


def _inside(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # a folder that may not be read
        return []
    inner = [_joined(folder, name) for name in sorted(names) if name not in _SKIPPED and not name.startswith(".")]
    return [path for path in inner if not os.path.exists(os.path.join(path, "pyvenv.cfg"))]


def _project_at(config: str) -> Project | None:
    agents, tasks = _file(config, "agents"), _file(config, "tasks")
    if agents is None or tasks is None:
        return None
    inner = os.path.basename(os.path.abspath(config)) == "config"
    return Project(_joined(config, os.pardir) if inner else config, agents, tasks)


def _file(folder: str, name: str) -> str | None:
    files = (_joined(folder, name + extension) for extension in _EXTENSIONS)
    return next((file for file in files if os.path.isfile(file)), None)


def _joined(folder: str, name: str) -> str:
    return os.path.normpath(os.path.join(folder, name))
