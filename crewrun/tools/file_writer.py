"""`FileWriterTool`: a whole file, written at once. `confined` says where."""

import os
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, Field

from crewrun.confined import inside
from crewrun.tools.base import BaseTool

_YES = frozenset({"true", "yes", "y", "1", "on"})
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class _Content(BaseModel, extra="forbid"):
    filename: str = Field(description="The name of the file.")
    directory: str | None = Field(default="./", description="The directory it goes into; made if it is not there.")
    overwrite: str | bool = Field(default=False, description="Whether to replace a file of that name.")
    content: str = Field(description="All that shall be in the file.")


class FileWriterTool(BaseTool):
    """Writes text files inside `root`, by default the working directory when it is called.

    A file is there with all of its content or not at all, and of two calls that may not overwrite one fails.
    """

    name: str = "File Writer Tool"
    description: str = "Writes text into a file. A file that exists is replaced only if overwrite is true."
    args_schema: type[BaseModel] | None = _Content
    root: Path = Path()

    def _run(self, filename: str, content: str, directory: str | None = "./", overwrite: str | bool = False) -> str:
        path = Path(directory or "./") / filename
        target = inside(self.root, path)
        if target.is_dir() or target == inside(self.root, "."):
            raise IsADirectoryError(f"{str(path)!r} is a directory; filename must name a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        target = inside(self.root, path)  # again: somebody may have put a symlink where a directory was to be made
        data = content.encode("utf-8", "replace")
        replace = overwrite if isinstance(overwrite, bool) else overwrite.strip().lower() in _YES
        try:
            _write(target, data, replace)
        except FileExistsError:
            raise FileExistsError(f"{str(path)!r} exists; call with overwrite=true to replace it") from None
        return f"Wrote {len(data):,} bytes to {str(path)!r}."


def _write(target: Path, data: bytes, replace: bool) -> None:
    """Put `data` at `target` in one step. Raises FileExistsError when something is there that may not be replaced."""
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        with open(os.open(temporary, _NEW, 0o666), "wb") as file:
            file.write(data)
        if not replace:
            # Takes the name, or fails because it is taken. A hard link would do both, but not on every file system.
            os.close(os.open(target, _NEW, 0o666))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
