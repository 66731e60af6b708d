"""`DirectoryReadTool`: lists the files in a directory and below it.

`confinement.place` decides which directories it may list, `confinement.private_files` what it leaves out.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from crewrun.confinement.place import Place, folder_at, inside, open_in, place_in
from crewrun.confinement.private_files import START_BYTES, why_private, why_unlisted, why_withheld
from crewrun.run_files import JOURNAL_NAME
from crewrun.tools.base import BaseTool

_LEFT_OUT = "[hidden files and files of runs are left out; the developer may name their folder: DirectoryReadTool(…)]"


class _Directory(BaseModel, extra="forbid"):
    directory: str = Field(description="The directory to list, relative to the working directory.")


class _Nothing(BaseModel, extra="forbid"):
    pass


class DirectoryReadTool(BaseTool):
    """Lists the files inside `root`, by default the working directory when it is called.

    With `directory` it takes no argument and lists that one, which may be anywhere, even hidden. Hidden files below it
    and the files of runs are left out. `max_files` bounds how many are listed.
    """

    name: str = "List files in directory"
    description: str = "Lists all files in a directory and in the directories below it."
    args_schema: type[BaseModel] | None = _Directory
    directory: str | None = None
    root: Path = Path()
    max_files: int = Field(default=2000, ge=1)

    def __init__(self, directory: str | None = None, **fields: Any) -> None:
        super().__init__(**{**fields, "directory": directory})

    @model_validator(mode="after")
    def _describe_directory(self) -> Self:
        if self.directory is not None:
            self.description = f"{self.description} The directory is {self.directory!r}."
            if self.args_schema is _Directory:
                self.args_schema = _Nothing
        return self

    def _run(self, directory: str | None = None) -> str:
        path = directory or self.directory or "."
        place = place_in(self.root, path, self.directory)
        if why := why_private(place):
            raise PermissionError(
                f"{path!r} is not listed, since {why}; list another directory. Hidden directories and those of runs "
                "are listed only where the developer names them: DirectoryReadTool(directory=…)"
            )
        if not os.path.isdir(place.path):
            raise NotADirectoryError(f"there is no directory {path!r}")
        listing = _Listing(place, str(inside(self.root, ".")), self.max_files)
        files = iter(listing)
        lines = list(islice(files, self.max_files))
        left_out = sum(1 for _ in files)
        if left_out:
            lines.append(f"[… and {left_out:,} more]")
        lines = lines or [f"There are no files in {path!r}."]
        return "\n".join([*lines, _LEFT_OUT] if listing.has_private else lines)


class _Listing:
    """The files below `place`, relative to `home` if that contains them; a directory's files before its directories.

    The first `opened` files are left out by their content as well as by their names. `has_private` says, once all are
    listed, whether any were left out.
    """

    def __init__(self, place: Place, home: str, opened: int) -> None:
        self._place = place
        self._opened = opened
        self._home = home if Path(place.path).is_relative_to(home) else None
        self.has_private = False

    def __iter__(self) -> Iterator[str]:
        top, count = self._place.path, 0
        with folder_at(self._place.home, top) as top_fd:
            for inner, directories, names, fd in os.fwalk(".", dir_fd=top_fd, follow_symlinks=False):
                folder = os.path.normpath(os.path.join(top, inner))
                if folder != top and JOURNAL_NAME in names:
                    self.has_private = True
                    directories.clear()
                    continue
                around = {*directories, *names}
                directories[:] = sorted(self._visible(folder, directories, around))
                for name in self._visible(folder, sorted(names), around):
                    if count >= self._opened or self._is_public(folder, name, fd):
                        count += 1
                        yield self._printable(os.path.join(folder, name))

    def _visible(self, folder: str, names: list[str], around: set[str]) -> list[str]:
        visible = [name for name in names if not why_unlisted(folder, name, around.__contains__)]
        self.has_private |= len(visible) < len(names)
        return visible

    def _is_public(self, folder: str, name: str, fd: int) -> bool:
        """Whether a file may be listed, by its content or, for a symlink, by its target."""
        why = None
        with suppress(OSError):
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                why = self._why_behind(os.path.join(folder, name))
            elif stat.S_ISREG(mode):
                with open_in(fd, name) as file:
                    why = why_withheld(file.read(START_BYTES), os.fstat(file.fileno()))
        self.has_private |= why is not None
        return why is None

    def _why_behind(self, link: str) -> str | None:
        """Why a model may not see a symlink's target. A link that leads out is listed, since tools do not follow it."""
        with suppress(PermissionError):
            return why_private(place_in(Path(self._place.home), link))
        return None

    def _printable(self, path: str) -> str:
        path = os.path.relpath(path, self._home) if self._home else path
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
