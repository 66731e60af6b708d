"""`find`: finds the files of knowledge sources and skills.

CrewAI looks in the folder `knowledge` of the working directory. A crew may be run from anywhere, so its own project
comes first.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from crewrun.confinement.place import inside
from crewrun.errors import DefinitionError
from crewrun.loading.user_code import shown, users_frame

KNOWLEDGE_FOLDER = "knowledge"

# How many folders are searched for pyproject.toml, from the file's own upwards. CrewAI's scaffold of a flow has
# PROJECT/src/NAME/crews/CREW/crew.py, whose project is the fifth; one further up is hardly the crew's own.
_MAX_LEVELS = 5
# The folder of the definition file that a crew is being built from; None while the user's Python code runs.
_definition_folder: ContextVar[Path | None] = ContextVar("crewrun_definition_folder", default=None)


@contextmanager
def definition_in(folder: Path) -> Iterator[None]:
    """Inside the block, `find` looks for paths from a definition file in `folder`, which may not lead out of it."""
    token = _definition_folder.set(folder)
    try:
        yield
    finally:
        _definition_folder.reset(token)


def find(path: str | os.PathLike[str], below: str = "") -> Path:
    """The file or folder at `path`, searched in the subfolder `below` of each folder of `_folders`, then in these.

    Raises DefinitionError if it is nowhere, or leads out of the folder of the definition file that names it.
    """
    home = _definition_folder.get()
    folders = [home] if home is not None else _folders()
    tried = [folder / below / path for folder in folders] if below else []
    tried += [folder / path for folder in folders]
    place = next((candidate for candidate in tried if _exists(candidate)), None)
    if place is None:
        places = ", ".join(dict.fromkeys(shown(os.path.normpath(candidate.absolute())) for candidate in tried))
        raise DefinitionError(f"no file {os.fspath(path)!r}; looked for {places}")
    if home is not None:
        try:
            return inside(home, place.absolute())
        except PermissionError as leaves:
            raise DefinitionError(str(leaves)) from None
    return place


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):  # a name that is too long, a null byte
        return False


def _folders() -> list[Path]:
    """The folder of the user's file whose code is running, its project's folder, and the working directory."""
    folders = []
    if (file := _users_file()) is not None:
        own = Path(file).absolute().parent
        project = next((up for up in [own, *own.parents][:_MAX_LEVELS] if (up / "pyproject.toml").is_file()), None)
        folders = [own] if project is None else [own, project]
    return list(dict.fromkeys([*folders, Path.cwd()]))


def _users_file() -> str | None:
    frame = users_frame(inspect.currentframe())
    file = frame.f_code.co_filename if frame is not None else None
    return file if file is not None and os.path.isfile(file) else None
