"""The runs below a folder: what each is, how far it came and what it has cost, for `crewrun runs`."""

import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from crewrun.errors import CrewrunError, UsageError
from crewrun.inspect.gc import is_run
from crewrun.inspect.status import Status, read_status, when
from crewrun.inspect.view import nearby, open_folder, output_of
from crewrun.runs.folder import RunFolder
from crewrun.runs.manifest import read_manifest

SCHEMA: Final = "crewrun.runs/1"

# As `status` has them; `unreadable`: the run has not begun, is damaged, or is another version's.
State = Literal["running", "finished", "stopped", "died", "unreadable"]

# Folders in which nobody keeps runs and which have many files.
_SKIPPED: Final = frozenset(
    {".git", ".hg", ".svn", ".cache", ".mypy_cache", ".nox", ".pytest_cache", ".ruff_cache", ".tox", ".venv"}
    | {"__pycache__", "node_modules", "site-packages", "venv"}
)
_THREADS: Final = 8  # SQLite reads without Python's lock


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run of the list. `results` is its results file, or its folder where the results went to a stream or cannot be
    told; `status` is None for one that cannot be read, and `problem` says why. Times are Unix times in seconds.
    """

    folder: Path
    results: Path
    state: State
    status: Status | None
    active_at: float
    problem: str | None = None

    @property
    def started_at(self) -> float | None:
        """When its latest session began."""
        session = self.status.session if self.status else None
        return session.started_at if session else None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        status = self.status
        session = status.session if status else None
        started_at = self.started_at
        return {
            "run": str(self.folder),
            "results": nearby(self.results) if self.results != self.folder else None,
            "state": self.state,
            "exit_code": session.exit_code if session and self.state != "running" else None,
            "stopped": session.stopped if session else None,
            "rows": {"ok": status.ok, "failed": status.failed, "in_flight": status.in_flight} if status else None,
            "share": status.share if status else None,
            "shard": status.shard if status else None,
            "sessions": status.sessions if status else None,
            "cost_usd": status.in_all["cost_usd"] if status else None,
            "may_be_owed_usd": status.in_all["may_be_owed_usd"] if status else None,
            "started_at": when(started_at) if started_at is not None else None,
            "active_at": when(self.active_at),
            "problem": self.problem,
        }


def list_runs(top: Path) -> list[RunEntry]:
    """The runs at and below `top`, the one in which something happened last first. Links are not followed.

    Raises UsageError when `top` is not a folder.
    """
    if not top.is_dir():
        way_out = f"is a file; runs lists what is in a folder, and of one run: crewrun status {shlex.quote(str(top))}"
        raise UsageError(f"{top}: {way_out if top.exists() else 'no such folder'}")
    with ThreadPoolExecutor(_THREADS) as threads:
        return sorted(threads.map(_look_at, _folders(top)), key=lambda entry: (-entry.active_at, str(entry.folder)))


def _folders(top: Path) -> Iterator[RunFolder]:
    for path, folders, files in os.walk(top):
        if "pyvenv.cfg" in files:
            folders.clear()
        elif "manifest.json" in files or "journal.sqlite" in files:
            folder = RunFolder(Path(path))
            if is_run(folder):
                folders.clear()
                yield folder
        folders[:] = sorted(set(folders) - _SKIPPED)


def _look_at(folder: RunFolder) -> RunEntry:
    """What a run folder has. Raises nothing: one that cannot be read is in the list as that."""
    results = folder.path
    try:
        results = output_of(folder, read_manifest(folder.manifest)) or folder.path
        with open_folder(folder) as view:
            status = read_status(view)
    except CrewrunError as wrong:
        problem = str(wrong).split("\n")[0]
        return RunEntry(folder.path, results, "unreadable", None, _changed_at(folder), problem)
    session = status.session
    active_at = (session.ended_at or session.updated_at) if session else _changed_at(folder)
    return RunEntry(folder.path, results, status.state, status, active_at)


def _changed_at(folder: RunFolder) -> float:
    """When the run's files were last written to; 0 when none can be looked at."""
    times = [0.0]
    for path in (folder.manifest, folder.journal):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)
