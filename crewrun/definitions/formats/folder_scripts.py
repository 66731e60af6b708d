"""The Python file that a folder's owner would run: a script of its pyproject.toml, else the one about a crew."""

import ast
import os
from collections.abc import Iterable

from crewrun.definitions.file_text import read_bytes
from crewrun.definitions.formats.folder_walk import inside, path_in, python_files
from crewrun.definitions.formats.outline import outline_of
from crewrun.definitions.formats.pyproject import ProjectFile
from crewrun.errors import DefinitionError

# Which of several files is run, the most likely first.
_MAIN = ("main.py", "crew.py", "app.py", "run.py", "run_crew.py", "flow.py")


def mains_of(folder: str, project: ProjectFile) -> list[str]:
    """The files that may start the project in `folder`: those of its scripts, and main.py in the usual places."""
    source = path_in(folder, "src")
    named = [file for script in project.scripts for file in script.files]
    places = [path_in(folder, "."), source, *inside(source), *inside(folder)]
    return list(
        dict.fromkeys([*named, *(file for place in places if os.path.isfile(file := path_in(place, "main.py")))])
    )


def script_in(folder: str, project: ProjectFile, *, with_inner: bool = True) -> str | None:
    """The file about a crew in `folder`, its `src`, a folder of that or, `with_inner`, of `folder`; None without one.

    Of several it is the one with the most likely name. Raises DefinitionError with a list if that decides nothing.
    """
    named = [file for script in project.scripts for file in script.files]
    if named and is_about_crews(named[0]):
        return named[0]
    source = path_in(folder, "src")
    for places in ([folder], [source], inside(source), inside(folder) if with_inner else []):
        matches = [file for place in places for file in python_files(place) if is_about_crews(file)]
        if matches:
            return _one_of(matches, folder)
    return None


def is_about_crews(file: str) -> bool:
    """Whether `file` makes or runs a crew or a flow."""
    text = read_bytes(file)
    if not any(word in text for word in (b"Crew", b"Flow", b"kickoff")):
        return False
    outline = outline_of(text)
    return outline is not None and outline.is_about_crews


def imported_by(file: str) -> set[str]:
    """The names that `file` imports from other modules; empty if there is no such file."""
    if not os.path.isfile(file):
        return set()
    try:
        tree = ast.parse(read_bytes(file))
    except (SyntaxError, ValueError, RecursionError):
        return set()
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.name for node in imports for alias in node.names}


def _one_of(files: list[str], folder: str) -> str:
    names: Iterable[str] = (*_MAIN, f"{os.path.basename(os.path.abspath(folder))}.py")
    for name in names:
        matching = [file for file in files if os.path.basename(file) == name]
        if len(matching) == 1:
            return matching[0]
        if matching:
            files = matching
            break
    if len(files) == 1:
        return files[0]
    commands = ", ".join(f"--crew {file}" for file in files)
    raise DefinitionError(f"{folder}: several files in it make or run a crew; say which is meant: {commands}")
