"""`output_log_file` of a crew: when each task began and what it answered, in a file of text or of JSON.

As CrewAI has it: True is logs.txt, a name that ends in .json holds a list of objects, any other one is text and ends in
.txt. It grows from kickoff to kickoff in the working directory; a row of a batch has its own, which begins empty.
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

# A JSON list is read, added to and written: by one kickoff of the process at a time.
_writing = threading.Lock()


class LogFile:
    """The log of one kickoff. `path` is as the row lists it."""

    __slots__ = ("_is_new", "path")

    def __init__(self, named: str | bool) -> None:
        name = "logs.txt" if named is True else str(named)
        if not name.endswith((".json", ".txt")):
            name += ".txt"
        folder = output_folder()
        # In a row's folder, wherever the name would lead.
        self.path = name if folder is None else str(folder / posixpath.normpath(f"/{name}").lstrip("/"))
        self._is_new = folder is not None

    async def write(self, **entry: str) -> None:
        """Add an entry. Raises OSError when the disk refuses."""
        is_first, self._is_new = self._is_new, False
        await anyio.to_thread.run_sync(_write, self.path, entry, is_first)


def _write(named: str, entry: dict[str, str], is_first: bool) -> None:
    path = Path(named).expanduser()
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
    """What the file has so far; nothing if that is no list."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return []
    return entries if isinstance(entries, list) else []
