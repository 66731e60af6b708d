"""`output_log_file` of a crew: when each task began and what it answered, as text or JSON.

As in CrewAI, True is logs.txt, a file whose name ends in .json has a list of objects, and any other is text and ends in
.txt. In the working directory, each kickoff appends to it; a row of a batch has a file of its own, which begins empty.
"""

import json
import os
import posixpath
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio.to_thread

from crewrun.crew.output_files import output_folder

# Protects a JSON list from the moment it is read until it is written with a new entry.
_writing = threading.Lock()


class LogFile:
    """The log of one kickoff. `path` is the path that the row lists."""

    __slots__ = ("_is_new", "path")

    def __init__(self, option: str | bool) -> None:
        name = "logs.txt" if option is True else str(option)
        if not name.endswith((".json", ".txt")):
            name += ".txt"
        folder = output_folder()
        # Inside the row's folder, even if the name is absolute or has `..` in it.
        self.path = name if folder is None else str(folder / posixpath.normpath(f"/{name}").lstrip("/"))
        self._is_new = folder is not None

    async def write(self, **entry: str) -> None:
        """Add an entry. Raises OSError if it cannot be written."""
        is_first, self._is_new = self._is_new, False
        await anyio.to_thread.run_sync(_write, self.path, entry, is_first)


def _write(name: str, entry: dict[str, str], is_first: bool) -> None:
    path = Path(name).expanduser()
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _writing:
        if is_first:
            path.unlink(missing_ok=True)
        if path.suffix == ".json":
            entries = [*_entries(path), {"timestamp": now, **entry}]
            part = path.with_name(f".{path.name}.part")
            part.write_text(json.dumps(entries, indent=4, ensure_ascii=False) + "\n", "utf-8", errors="replace")
            os.replace(part, path)
            return
        fields = ", ".join(f'{name}="{value}"' for name, value in entry.items())
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{now}: {fields}\n")


def _entries(path: Path) -> list[Any]:
    """The entries in the file; none if it has no list."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return []
    return entries if isinstance(entries, list) else []
