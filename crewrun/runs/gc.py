"""Run folders on disk: which there are, what each is still good for, and how one is deleted."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from crewrun.errors import CrewrunError, UsageError
from crewrun.runs.folder import SUFFIX, RunFolder
from crewrun.runs.lock import RunLock, is_held
from crewrun.runs.manifest import SCHEMA as RUN_SCHEMA
from crewrun.runs.manifest import Manifest
from crewrun.runs.status import read_status, when
from crewrun.runs.view import View, open_folder

SCHEMA: Final = "crewrun.gc/1"

# `aside` was moved by --fresh, and a newer run is in its place; `orphan` has finished, and its results are gone.
State = Literal["running", "finished", "unfinished", "aside", "orphan", "damaged"]
DELETED: Final[frozenset[State]] = frozenset({"finished", "aside", "orphan"})


@dataclass(frozen=True, slots=True)
class Found:
    """A run folder. `rows` have an outcome, None when that cannot be read; `active_at` is in seconds since 1970."""

    folder: RunFolder
    state: State
    size_bytes: int
    active_at: float
    rows: int | None
    problem: str | None = None

    def to_json(self, *, deleted: bool) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "path": str(self.folder.path),
            "state": self.state,
            "size_bytes": self.size_bytes,
            "active_at": when(self.active_at),
            "rows": self.rows,
            "problem": self.problem,
            "deleted": deleted,
        }


def find_runs(top: Path) -> Iterator[Found]:
    """The run folders at and below `top`, links not followed. Raises UsageError when `top` is no folder."""
    if not top.is_dir():
        raise UsageError(f"{top}: {'is not a folder' if top.exists() else 'no such folder'}")
    for path, folders, _ in os.walk(top):
        folder = RunFolder(Path(path))
        if _is_run(folder):
            folders.clear()
            yield look_at(folder)
        folders.sort()


def look_at(folder: RunFolder) -> Found:
    """What a run folder is. Raises nothing: what cannot be read is `damaged`."""
    size_bytes, active_at = 0, 0.0
    for path in _files(folder):
        with suppress(OSError):  # a run that ends takes some of them away
            file = path.stat()
            size_bytes += file.st_size
            active_at = max(active_at, file.st_mtime) if path in (folder.manifest, folder.journal) else active_at
    if is_held(folder.lock):
        return Found(folder, "running", size_bytes, time.time(), None)
    try:
        with open_folder(folder) as view:
            status = read_status(view)
            session = status.session
            active_at = (session.ended_at or session.updated_at) if session else active_at
            state: State = "running" if status.state == "running" else _state(view, finished=status.state == "finished")
            return Found(folder, state, size_bytes, active_at, status.ok + status.failed)
    except CrewrunError as damaged:
        return Found(folder, "damaged", size_bytes, active_at, None, str(damaged))


async def delete(found: Found) -> int:
    """Delete a run's files, but no others that lie in its folder; how many bytes that freed.

    Raises RunHeld when a process has it, UsageError when it is not any more what it was, or cannot be deleted.
    """
    folder = found.folder
    lock = RunLock(folder.lock)
    await lock.acquire()
    try:
        if (now := _state_of(folder)) != found.state:
            raise UsageError(f"{folder.path}: is {now} now; it stays")
        for path in _files(folder):  # the lock last
            path.unlink(missing_ok=True)
        if not any(folder.path.iterdir()):
            folder.path.rmdir()
    except OSError as refused:
        raise UsageError(f"{folder.path}: cannot be deleted: {refused.strerror}") from None
    finally:
        lock.release()
    return found.size_bytes


def _state_of(folder: RunFolder) -> State:
    """As `look_at` finds it, by who holds the lock himself."""
    try:
        with open_folder(folder) as view:
            session = view.session()
            return _state(view, finished=bool(session and session.ended_at is not None and not session.stopped))
    except CrewrunError:
        return "damaged"


def _state(view: View, *, finished: bool) -> State:
    if _is_aside(view.folder, view.manifest):
        return "aside"
    if not finished:
        return "unfinished"
    return "orphan" if view.manifest.output is not None and not (view.results and view.results.exists()) else "finished"


def _is_aside(folder: RunFolder, manifest: Manifest) -> bool:
    """Whether --fresh gave the run a number, `x.1.jsonl`, and a newer one has the name that the manifest still says."""
    for name, old in (
        (folder.path.name.removesuffix(SUFFIX), Path(manifest.output).name if manifest.output else ""),
        (folder.path.name, Path(manifest.options.get("run_dir") or "").name),
    ):
        stem, dot, suffix = old.rpartition(".")
        numbered = rf"{re.escape(stem)}\.\d+\.{re.escape(suffix)}" if dot and stem else rf"{re.escape(old)}\.\d+"
        if old and re.fullmatch(numbered, name):
            newer = folder.path.with_name(old + SUFFIX if folder.path.name.endswith(SUFFIX) else old)
            return RunFolder(newer).is_used or (manifest.results is not None and manifest.results.exists())
    return False


def _is_run(folder: RunFolder) -> bool:
    """Whether it is a run folder, and not one that only has files of such names."""
    try:
        if folder.path.name.endswith(SUFFIX):
            return folder.is_used
        with folder.manifest.open("rb") as file:
            return bool(json.load(file)["schema"] == RUN_SCHEMA)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _files(folder: RunFolder) -> list[Path]:
    return [*folder.state, folder.manifest.with_name(f".{folder.manifest.name}.part"), folder.lock]
