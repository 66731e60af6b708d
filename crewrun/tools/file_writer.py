"""`FileWriterTool`: writes a whole file atomically.

`confinement.place` decides where it may write; `confinement.private_files` and `crew_files` which files it refuses.
"""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, Field

from crewrun.confinement.place import Place, folder_at, open_in, place_in
from crewrun.confinement.private_files import START_BYTES, why_private, why_withheld
from crewrun.tools.base import BaseTool
from crewrun.tools.crew_files import why_active, why_fixed

_YES = frozenset({"true", "yes", "y", "1", "on"})
_DATABASE = b"SQLite format 3\0"
# O_EXCL follows no symlink either.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class _Content(BaseModel, extra="forbid"):
    filename: str = Field(description="The name of the file.")
    directory: str | None = Field(default="./", description="The directory it goes into; made if it is not there.")
    overwrite: str | bool = Field(default=False, description="Whether to replace a file of that name.")
    content: str = Field(description="All that shall be in the file.")


class FileWriterTool(BaseTool):
    """Writes text files inside `root`, by default the working directory when it is called.

    A file appears with its whole content or not at all; of two concurrent calls without `overwrite`, one fails. Hidden
    files, files of runs, the inputs, and the crew's definition and code are not written.
    """

    name: str = "File Writer Tool"
    description: str = "Writes text into a file. A file that exists is replaced only if overwrite is true."
    args_schema: type[BaseModel] | None = _Content
    root: Path = Path()

    def _run(self, filename: str, content: str, directory: str | None = "./", overwrite: str | bool = False) -> str:
        path = Path(directory or "./") / filename
        place = place_in(self.root, path)
        if os.path.isdir(place.path) or place.path == place.home:
            raise IsADirectoryError(f"{str(path)!r} is a directory; filename must name a file")
        if why := why_private(place) or why_fixed(place.path) or why_active(place) or _why_not_replaced(place):
            raise PermissionError(
                f"{str(path)!r} is not written, since {why}; choose another name, or a directory such as 'output'. "
                "Hidden files, files of runs, inputs, and the crew's own definition and code are not written"
            )
        data = content.encode("utf-8", "replace")
        replace = overwrite if isinstance(overwrite, bool) else overwrite.strip().lower() in _YES
        try:
            with folder_at(place.home, place.folder, make=True) as fd:
                _write(fd, place.name, data, replace)
        except FileExistsError:
            raise FileExistsError(f"{str(path)!r} exists; call with overwrite=true to replace it") from None
        return f"Wrote {len(data):,} bytes to {str(path)!r}."


def _why_not_replaced(place: Place) -> str | None:
    """Why the file at `place` may not be replaced, or None."""
    try:
        with folder_at(place.home, place.folder) as fd, open_in(fd, place.name) as file:
            start = file.read(START_BYTES)
            if start.startswith(_DATABASE):
                return "it is a database, such as runs and flows keep their state in"
            return why_withheld(start, os.fstat(file.fileno()))
    except OSError:  # it does not exist or cannot be read; writing will report what is wrong
        return None


def _write(folder_fd: int, name: str, data: bytes, replace: bool) -> None:
    """Write `data` to `name` in a directory in one step.

    Raises FileExistsError if there is a file and `replace` is false.
    """
    temporary = f".{uuid4().hex}.tmp"
    try:
        with open(os.open(temporary, _NEW, 0o666, dir_fd=folder_fd), "wb") as file:
            file.write(data)
        if not replace:
            # Reserves the name, or fails if it exists. A hard link would do that too, but not on every file system.
            os.close(os.open(name, _NEW, 0o666, dir_fd=folder_fd))
        os.replace(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder_fd)
