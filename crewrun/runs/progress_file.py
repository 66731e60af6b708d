"""`progress.json`: how far the session of a run is, and what it waits for, for readers in other processes.

The session writes it every second and removes it at its end; a killed session leaves it. It is for people who watch:
nothing is decided by it, and a disk that is full loses only this. It may be on a network file system, where a reader
on another machine cannot rely on the journal.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = "crewrun.progress/1"


def part_of(path: Path) -> Path:
    """The file that becomes `path` once it is whole."""
    return path.with_name(f".{path.name}.part")


def write_progress(path: Path, progress: Mapping[str, Any]) -> None:
    """Replace the file, readable by its owner only, or leave it as it is if that cannot be done."""
    part = part_of(path)
    data = json.dumps({"schema": SCHEMA, "pid": os.getpid(), **progress}).encode()
    with suppress(OSError):
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        part.replace(path)


def remove_progress(path: Path) -> None:
    """Remove the file at the end of a session."""
    for file in (path, part_of(path)):
        with suppress(OSError):
            file.unlink(missing_ok=True)


def read_progress(path: Path) -> dict[str, Any] | None:
    """What the file says; None if there is none, or if it is not whole or of another version."""
    try:
        progress = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return progress if isinstance(progress, dict) and progress.get("schema") == SCHEMA else None
