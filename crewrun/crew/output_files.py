"""Where tasks with an `output_file` write: inside one folder, which in a batch is the row's own."""

import os
import posixpath
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import anyio
import anyio.to_thread

from crewrun.confinement.place import place_in
from crewrun.confinement.private_files import why_private
from crewrun.errors import DefinitionError, InputInvalid
from crewrun.templates import compile_template
from crewrun.tools.crew_files import why_active, why_fixed

# NAME_MAX of Linux's file systems and of APFS.
_MAX_NAME_BYTES = 255
_folder: ContextVar[Path | None] = ContextVar("crewrun_output_folder", default=None)


class writing_below:  # noqa: N801  (used as a function is)
    """`with writing_below(folder)`: tasks write their files into `folder`. Outside, into the working directory."""

    __slots__ = ("_folder", "_token")

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._token = _folder.set(self._folder)

    def __exit__(self, *_: object) -> None:
        _folder.reset(self._token)


def output_folder() -> Path | None:
    """The current folder for files of tasks, None for the working directory."""
    return _folder.get()


def render_path(template: str, inputs: Mapping[str, Any], field: str, *, doubled: bool = False) -> str:
    """The path of an output file with `inputs` filled in. Raises InputInvalid if a value would lead out of its folder.

    A value may contain slashes, for directories inside the one that the template names. `compile_template` explains
    `doubled`.
    """
    compiled = compile_template(template, doubled)
    path = compiled.render(inputs, field)
    for name in compiled.keys(inputs):
        value = str(inputs[name])
        parts = [part.strip() for part in value.split("/")]
        if any(mark in value for mark in ("\\", "\0", "\n")) or ".." in parts or parts in ([""], ["."]):
            raise InputInvalid(
                f"input {name!r} is {value[:80]!r}, which cannot be part of a file's name; {field} is {template!r}"
            )
    parts = path.split("/")
    if any(len(part.encode("utf-8", "replace")) > _MAX_NAME_BYTES for part in parts):
        raise InputInvalid(f"{field} is {template!r}, which these inputs make longer than a file's name may be")
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise InputInvalid(f"{field} is {template!r}, which these inputs fill with half a character")
    is_moved = path.startswith("/") != template.startswith("/")
    if is_moved or any(part.strip() == ".." for part in parts) or parts[-1] in ("", "."):
        raise InputInvalid(f"{field} is {template!r}, which these inputs make {path[:200]!r}; it leaves its folder")
    return path if path == template else ("/" if path.startswith("/") else "") + posixpath.normpath(path).lstrip("/")


def check_filled(template: str, path: str, field: str) -> None:
    """Raise InputInvalid if inputs made `path` a hidden file, a file of a run, or a part of the crew.

    A row's own folder has none of these, and a path that the template alone names is intended.
    """
    if path == template or _folder.get() is not None:
        return
    home = _literal_folder(template)
    try:
        place = place_in(home, os.path.relpath(path, home))
    except PermissionError:  # a link leads out; writing reports it
        return
    has_more_folders = path.count("/") > template.count("/")
    if why := why_private(place) or why_fixed(place.path) or (why_active(place) if has_more_folders else None):
        raise InputInvalid(f"{field} is {template!r}, which these inputs make {path[:200]!r}; not written, since {why}")


def _literal_folder(template: str) -> Path:
    """The folder that a template names before its first placeholder."""
    *folders, _ = template.split("/")
    literal = next((i for i, part in enumerate(folders) if compile_template(part).varies), len(folders))
    return Path("/".join(folders[:literal]) or ("/" if template.startswith("/") else ""))


class HasOutputFile(Protocol):
    """The part of a task that is needed here."""

    @property
    def output_file(self) -> str | None:
        """The template of a path, None for no file."""
        ...


def absolute_files(tasks: Iterable[HasOutputFile]) -> list[str]:
    """The output files of `tasks` with absolute paths: in a batch they go into each row's own folder."""
    return [task.output_file for task in tasks if task.output_file is not None and task.output_file.startswith("/")]


async def write_output(template: str, path: str, text: str, *, create_directory: bool, field: str) -> str:
    """Write a task's answer to `path`, which is `template` with the inputs, and return the path that the row lists.

    `path` is inside the current folder, else relative to the working directory. Raises DefinitionError if the directory
    is missing and may not be created, InputInvalid if it is a file or a link leads out of the folder, OSError if
    writing fails.
    """
    folder = _folder.get()
    if folder is None:
        place = _Place(_literal_folder(template), Path(path))
    else:
        place = _Place(folder, folder / path.lstrip("/"))
    is_named = folder is None and path.startswith("/") and path == template
    await anyio.to_thread.run_sync(_write, place, text, create_directory, is_named, field)
    return str(place.file)


class _Place(NamedTuple):
    """A file to write, and the folder that no link may lead out of."""

    folder: Path
    file: Path


def _write(place: _Place, text: str, create_directory: bool, is_named: bool, field: str) -> None:
    folder, target = place
    # An absolute path without placeholders is the developer's choice, even if it leads through a link.
    if not is_named and not target.resolve().is_relative_to(folder.resolve()):
        raise InputInvalid(f"{field}: {str(target)!r} leads out of {str(folder.resolve())!r} through a link")
    if not target.parent.is_dir():
        if not create_directory:
            raise DefinitionError(f"{field}: the directory {str(target.parent)!r} does not exist (create_directory)")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputInvalid(f"{field}: {str(target)!r} cannot be: a part of its path is a file") from None
    target.write_text(text, encoding="utf-8", errors="replace")
