"""`DirectoryReadTool`: the names of the files in a directory and below it. `confined` says which directories."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from crewrun.confined import inside, inside_or_named
from crewrun.tools.base import BaseTool


class _Directory(BaseModel, extra="forbid"):
    directory: str = Field(description="The directory to list, relative to the working directory.")


class _Nothing(BaseModel, extra="forbid"):
    pass


class DirectoryReadTool(BaseTool):
    """Lists the files inside `root`, by default the working directory when it is called.

    With `directory` it lists that one, which may be anywhere, and takes no argument. `max_files` bounds how many
    are named.
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
    def _know_the_directory(self) -> Self:
        if self.directory is not None:
            self.description = f"{self.description} The directory is {self.directory!r}."
            if self.args_schema is _Directory:
                self.args_schema = _Nothing
        return self

    def _run(self, directory: str | None = None) -> str:
        wanted = directory or self.directory or "."
        top = inside_or_named(self.root, wanted, self.directory)
        if not top.is_dir():
            raise NotADirectoryError(f"there is no directory {wanted!r}")
        home = inside(self.root, ".")
        files = _files(top, home if top.is_relative_to(home) else None)
        named = list(islice(files, self.max_files))
        left_out = sum(1 for _ in files)
        if left_out:
            named.append(f"[… and {left_out:,} more]")
        return "\n".join(named) or f"There are no files in {wanted!r}."


def _files(top: Path, home: Path | None) -> Iterator[str]:
    """The files below `top`, from `home` on if there is one, a directory's own before those of its directories."""
    for place, directories, names in os.walk(top, followlinks=False):
        directories.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            path = os.path.relpath(path, home) if home else path
            yield path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
