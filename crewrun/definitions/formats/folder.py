"""A folder stands for the flow, the CrewAI project or the script that its owner would run, looked for in this order.

`flow_project`, `crewai_project` and `folder_scripts` handle one of these each.
"""

import os
from dataclasses import replace
from pathlib import Path

from crewrun.definitions.definition import Definition
from crewrun.definitions.formats import crewai_project, flow_project
from crewrun.definitions.formats.crewai_project import Project
from crewrun.definitions.formats.folder_scripts import imported_by, mains_of, script_in
from crewrun.definitions.formats.folder_walk import below, path_in
from crewrun.definitions.formats.pyproject import ProjectFile, read_project
from crewrun.errors import DefinitionError


def load(folder: str, strict: bool = False) -> Definition:
    """The crew or flow of `folder`. Raises DefinitionError if it has no or several ones, which are listed."""
    if flow_project.is_flow_project(folder):
        return flow_project.load(folder)
    projects = crewai_project.projects_in(folder)
    flows = list(dict.fromkeys(flow for one in projects if (flow := _flow_around(one.base, folder)) is not None))
    if len(flows) == 1 and all(_flow_around(one.base, folder) for one in projects):
        return flow_project.load(flows[0])
    if len(projects) == 1:
        return _load_project(folder, projects[0], strict)
    project = read_project(folder)
    if projects:
        return crewai_project.load(_main_project(folder, projects, project).base, strict)
    return _load_script(folder, project) or _load_inner(folder, strict)


def is_found_in(folder: str, *, with_inner: bool = True) -> bool:
    """Whether there is a flow, a project or a script in `folder` itself, so that it need not be named.

    `with_inner`: a script in a folder of it counts as well.
    """
    if flow_project.is_flow_project(folder) or crewai_project.is_project(folder):
        return True
    try:
        return script_in(folder, read_project(folder), with_inner=with_inner) is not None
    except DefinitionError:  # several scripts: loading reports them
        return True


def _load_project(folder: str, project: Project, strict: bool) -> Definition:
    """The project, or the script that makes its crew if there is no crew class and the YAML files are not enough."""
    try:
        return crewai_project.load(folder, strict)
    except DefinitionError:
        if project.classes:
            raise
        script = _load_script(folder, read_project(folder))
        if script is None:
            raise
        return script


def _load_script(folder: str, project: ProjectFile) -> Definition | None:
    script = script_in(folder, project)
    if script is None:
        return None
    from crewrun.definitions.formats.python import load_script

    return replace(load_script(script), path=Path(folder))


def _load_inner(folder: str, strict: bool) -> Definition:
    """The only project below `folder` that has a pyproject.toml."""
    inner: list[str] = []
    for place in below(folder):
        is_outermost = not any(place.startswith(other + os.sep) for other in inner)
        if place != os.path.normpath(folder) and is_outermost and os.path.isfile(path_in(place, "pyproject.toml")):
            inner.append(place)
    matches = [place for place in inner if is_found_in(place)]
    if len(matches) == 1:
        return load(matches[0], strict)
    if matches:
        raise DefinitionError(
            f"{folder}: has {len(matches)} projects in it: {', '.join(map(repr, matches))}; name one of them"
        )
    raise DefinitionError(crewai_project.nothing_in(folder))


def _flow_around(base: str, folder: str) -> str | None:
    """The flow project below `folder` that the crew in `base` is a part of, None without one."""
    parts = os.path.relpath(base, folder).split(os.sep)
    if parts[0] == os.pardir or read_project(folder).type == "crew":
        return None
    around = [path_in(folder, os.path.join(*parts[: i + 1])) for i in range(len(parts))]
    return next(
        (place for place in around if place != os.path.normpath(folder) and flow_project.is_flow_project(place)), None
    )


def _main_project(folder: str, projects: list[Project], file: ProjectFile) -> Project:
    """The one of `projects` that the main file imports, or that has the name in pyproject.toml."""
    names = {name for main in mains_of(folder, file)[:1] for name in imported_by(main)}
    imported = [one for one in projects if names & set(one.classes)]
    if len(imported) == 1:
        return imported[0]
    called = [one for one in projects if os.path.basename(os.path.abspath(one.base)) == file.package]
    if len(called) == 1 and not imported:
        return called[0]
    bases = ", ".join(repr(one.base) for one in projects)
    raise DefinitionError(f"{folder}: has {len(projects)} CrewAI projects in it: {bases}; name one of them")
