"""`definition_of`: the definition of whatever a program names or has as a crew."""

import inspect
import os
import re
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from crewrun.compat.import_hook import engine as meaning
from crewrun.crew.crew import Crew
from crewrun.definitions import Definition, load
from crewrun.definitions.project_file import ProjectDefaults, find_defaults
from crewrun.errors import CrewrunWarning, UsageError
from crewrun.flow.flow import Flow
from crewrun.loading.block import outside_loops
from crewrun.loading.user_code import levels_to_users_frame
from crewrun.target import as_target

_NO_NAME = re.compile(r"[^\w.-]+")


def definition_of(crew: Any, *, strict: bool, engine: str | None) -> Definition:
    """The crew that `crew` is, or that it names as --crew does, with the project file's defaults below its own.

    What of it crewrun ignores is a CrewrunWarning, with `strict` an error. Raises DefinitionError and UsageError.
    """
    project = find_defaults()
    for warning in project.warnings:
        warn(warning)
    if isinstance(crew, str | os.PathLike):
        definition = project.under(load(os.fspath(crew), strict=strict, engine=engine or project.engine))
    else:
        with nullcontext() if (engine or project.engine) == "crewrun" else meaning(engine or project.engine):
            definition = _of_object(crew, project)
    problems = list(definition.target.tool_problems)
    if strict and (problems := problems + list(definition.target.missing_tool_keys)):
        raise UsageError("\n".join(problems))
    for problem in dict.fromkeys(problems):
        warn(problem)
    return definition


def _of_object(crew: Any, project: ProjectDefaults) -> Definition:
    """The definition of an object in Python. No file is known to have all of it, so it has no texts."""
    what = f"the {type(crew).__name__} {name_of(crew)!r}" if isinstance(crew, Crew | Flow) else name_of(crew)
    target = outside_loops(lambda: as_target(crew, what))
    target.read_knowledge()
    path = Path(f"<{what}>")
    if target.needs_texts:
        path = _program(what)
    return project.under(Definition(target, {}, path, target.kind, target.knowledge_files))


def _program(what: str) -> Path:
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise UsageError(
            f"{what}: is another library's, and only the file that makes it tells whether it has changed; put it into "
            "a file, and name that: crew='crew.py:crew'"
        )
    return Path(file)


def name_of(crew: Any) -> str:
    """What a crew is called: by its own name, its class or function, or its file."""
    if isinstance(crew, str | os.PathLike):
        file, _, attribute = os.fspath(crew).rpartition(":")
        path = Path(file or attribute).absolute()
        is_usual = path.suffix in (".yaml", ".yml", ".json", ".jsonc") and path.stem == "crew"
        return attribute if file else path.parent.name if is_usual else path.stem
    name = getattr(crew, "name", None) if isinstance(crew, Crew) else getattr(crew, "__name__", None)
    return name if isinstance(name, str) and name else "crew" if isinstance(crew, Crew) else type(crew).__name__


def folder_name_of(crew: Any, definition: Definition) -> str:
    """The crew's own name, else `name_of`, as the name of a folder."""
    own = definition.target.crew.name if definition.target.crew is not None else None
    return _NO_NAME.sub("-", own or name_of(crew)).strip("-.")[:80] or "crew"


def warn(message: str) -> None:
    """Warn at the line of the program that is running."""
    frame = inspect.currentframe()
    level = None if frame is None else levels_to_users_frame(frame)
    warnings.warn(message, CrewrunWarning, stacklevel=level or 2)
