"""Run folders on disk: finding them, telling which are still needed, and deleting one."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from crewrun.errors import CrewrunError, UsageError
from crewrun.inspect.status import Status, read_status, when
from crewrun.inspect.view import View, has_number, open_folder
from crewrun.run_files import FOLDER_SUFFIX
from crewrun.runs.folder import RunFolder, folder_of
from crewrun.runs.lock import RunLock, is_held
from crewrun.runs.manifest import SCHEMA as RUN_SCHEMA

SCHEMA: Final = "crewrun.gc/1"

# `aside`: moved away by --fresh, with a newer run in its place. `unfinished`: not all rows have succeeded. `finished`
# and `orphan`: they have; an orphan's results file is gone.
State = Literal["running", "finished", "unfinished", "aside", "orphan", "damaged"]
# How long providers keep the answers of a batch job: a day to end, and 30 days (OpenAI) or 29 (Anthropic) from there.
_KEPT_S: Final = 31 * 86_400.0
# No command continues these. A `finished` run still tells the next batch which rows are done.
NEEDLESS: Final[frozenset[State]] = frozenset({"aside", "orphan"})


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run folder. `rows` is how many have an outcome (None: cannot be read), `active_at` a Unix time in seconds.

    `open_jobs` are batch jobs that may have answers for it: they were billed, and no run without its journal uses them.
    """

    folder: RunFolder
    state: State
    size_bytes: int
    active_at: float
    rows: int | None
    problem: str | None = None
    open_jobs: int = 0

    def to_json(self, *, deleted: bool) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "path": str(self.folder.path),
            "state": self.state,
            "size_bytes": self.size_bytes,
            "active_at": when(self.active_at),
            "rows": self.rows,
            "problem": self.problem,
            "open_jobs": self.open_jobs,
            "deleted": deleted,
        }


def find_runs(top: Path) -> Iterator[FoundRun]:
    """The run folders at and below `top`; links are not followed. Raises UsageError when `top` is not a folder."""
    if not top.is_dir():
        raise UsageError(f"{top}: {'is not a folder' if top.exists() else 'no such folder'}")
    for path, folders, _ in os.walk(top):
        folder = RunFolder(Path(path))
        if is_run(folder):
            folders.clear()
            yield look_at(folder)
        folders.sort()


def look_at(folder: RunFolder) -> FoundRun:
    """Inspect a run folder. Raises nothing: a folder that cannot be read is `damaged`."""
    if is_held(folder.lock):
        return FoundRun(folder, "running", _size(folder), time.time(), None)
    try:
        with open_folder(folder) as view:
            status = read_status(view)
            state: State = "running" if status.state == "running" else _state(view, status)
    except CrewrunError as damaged:
        return FoundRun(folder, "damaged", _size(folder), _changed_at(folder), None, str(damaged))
    session = status.session
    active_at = (session.ended_at or session.updated_at) if session else _changed_at(folder)
    open_jobs = sum(time.time() - job.begun_at < _KEPT_S for job in status.jobs)
    # Measured last, because reading the journal may create SQLite's own files, which deleting frees too.
    return FoundRun(folder, state, _size(folder), active_at, status.ok + status.failed, open_jobs=open_jobs)


async def delete(run: FoundRun) -> int:
    """Delete a run's own files and leave any others in its folder. Returns how many bytes that freed.

    Raises RunHeld when a process is working on the run, UsageError when its state has changed since `find_runs`, or it
    cannot be deleted.
    """
    folder = run.folder
    lock = RunLock(folder.lock)
    await lock.acquire()
    try:
        if (now := _state_of(folder)) != run.state:
            raise UsageError(f"{folder.path}: is {now} now; it is not deleted")
        size_bytes = _size(folder)
        for path in folder.files:  # the lock last
            path.unlink(missing_ok=True)
        if not any(folder.path.iterdir()):
            folder.path.rmdir()
    except OSError as refused:
        raise UsageError(f"{folder.path}: cannot be deleted: {refused.strerror}") from None
    finally:
        lock.release()
    return size_bytes


def _state_of(folder: RunFolder) -> State:
    """The state as `look_at` would give it, for a caller that holds the lock itself."""
    try:
        with open_folder(folder) as view:
            return _state(view, read_status(view, held=False))
    except CrewrunError:
        return "damaged"


def _state(view: View, status: Status) -> State:
    if _is_backup(view):
        return "aside"
    if status.state != "finished" or status.failed:
        return "unfinished"
    return "orphan" if view.manifest.output is not None and not (view.output and view.output.exists()) else "finished"


def _is_backup(view: View) -> bool:
    """Whether --fresh moved the run to a numbered name, and a newer run is at the place that its manifest names."""
    if not has_number(view.folder, view.manifest):
        return False
    results, run_dir = view.manifest.results, view.manifest.options.get("run_dir")
    place = Path(view.manifest.cwd, str(run_dir)) if run_dir else folder_of(results).path if results else None
    moved = view.folder.path.with_name(place.name) if place else None  # both runs were moved together
    is_newer = any(one is not None and RunFolder(one).is_used for one in (place, moved))
    return is_newer or (results is not None and results.exists())


def is_run(folder: RunFolder) -> bool:
    """Whether it is a run folder, and not a folder that happens to have files of the same names."""
    try:
        if folder.path.name.endswith(FOLDER_SUFFIX):
            return folder.is_used
        with folder.manifest.open("rb") as file:
            return bool(json.load(file)["schema"] == RUN_SCHEMA)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _size(folder: RunFolder) -> int:
    size_bytes = 0
    for path in folder.files:
        if path != folder.lock:  # `delete` itself writes a few bytes to it
            with suppress(OSError):  # not all exist, and a run that is ending removes some of them
                size_bytes += path.stat().st_size
    return size_bytes


def _changed_at(folder: RunFolder) -> float:
    """When the run's files were last written to."""
    at = 0.0
    for path in (folder.manifest, folder.journal):
        with suppress(OSError):
            at = max(at, path.stat().st_mtime)
    return at
