"""Where tasks with an `output_file` write: below one folder, which in a batch is the row's own."""

from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from crewrun.confinement.place import place_in
from crewrun.confinement.private_files import why_private
from crewrun.errors import DefinitionError, InputInvalid
from crewrun.templates import compile_template
from crewrun.tools.crew_files import why_fixed

_MAX_NAME_BYTES = 255
_folder: ContextVar[Path | None] = ContextVar("crewrun_output_folder", default=None)


class writing_below:  # noqa: N801  (used as a function is)
    """`with writing_below(folder)`: files of tasks go there; without, into the working directory."""

    __slots__ = ("_folder", "_token")

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._token = _folder.set(self._folder)

    def __exit__(self, *_: object) -> None:
        _folder.reset(self._token)


def render_path(template: str, inputs: Mapping[str, Any] | None, field: str) -> str:
    """The path of an output file with `inputs` filled in. Raises InputInvalid when a value would lead elsewhere."""
    if not inputs:
        return template
    compiled = compile_template(template)
    path = compiled.render(inputs, field)
    for name in sorted(compiled.names):
        value = str(inputs[name])
        if any(mark in value for mark in ("/", "\\", "\0", "\n")) or value.strip() in ("", ".", ".."):
            raise InputInvalid(
                f"input {name!r} is {value[:80]!r}, which cannot be part of a file's name; {field} is {template!r}"
            )
    if any(len(part.encode("utf-8", "replace")) > _MAX_NAME_BYTES for part in path.split("/")):
        raise InputInvalid(f"{field} is {template!r}, which these inputs make longer than a file's name may be")
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise InputInvalid(f"{field} is {template!r}, which these inputs fill with half a character")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise InputInvalid(f"{field} is {template!r}, which these inputs make {path[:200]!r}; it leaves its folder")
    return path


def check_filled(template: str, path: str, field: str) -> None:
    """Raise InputInvalid when inputs made `path` a hidden file, one of a run, or a part of the crew.

    A row's folder has none of these, and what the template itself names is intended.
    """
    if path == template or _folder.get() is not None:
        return
    parts = template.split("/")
    literal = next((i for i, part in enumerate(parts) if compile_template(part).names), len(parts) - 1)
    try:
        place = place_in(Path(*parts[:literal]), "/".join(path.split("/")[literal:]))
    except PermissionError:  # a link leads out, which writing says
        return
    if why := why_private(place) or why_fixed(place.path):
        raise InputInvalid(f"{field} is {template!r}, which these inputs make {path[:200]!r}; not written, since {why}")


async def write_output(path: str, text: str, *, create_directory: bool, field: str) -> str:
    """Write a task's answer to `path` below the folder in force; the path as the row lists it.

    Raises DefinitionError when the directory is missing and may not be made, InputInvalid when a link leads out of the
    folder, OSError when the disk refuses.
    """
    folder = _folder.get() or Path()
    await anyio.to_thread.run_sync(_write, folder, path, text, create_directory, field)
    return str(folder / path)


def _write(folder: Path, path: str, text: str, create_directory: bool, field: str) -> None:
    target = folder / path
    if not target.resolve().is_relative_to(folder.resolve()):
        raise InputInvalid(f"{field}: {str(target)!r} leads out of {str(folder.resolve())!r} through a link")
    if not target.parent.is_dir():
        if not create_directory:
            raise DefinitionError(f"{field}: the directory {str(target.parent)!r} does not exist (create_directory)")
        target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", errors="replace")
