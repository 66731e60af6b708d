"""Where a run keeps its state: `FILE.crewrun/` next to its results, or the folder that `--run-dir` names."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from crewrun.errors import UsageError
from crewrun.run_files import FOLDER_SUFFIX, JOURNAL_NAME, LINES_NAME, TABLE_NAME
from crewrun.runs.progress_file import part_of


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What the run was asked to do: see `manifest.py`."""
        return self.path / "manifest.json"

    @property
    def journal(self) -> Path:
        """Calls and outcomes: see `crewrun.journal`."""
        return self.path / JOURNAL_NAME

    @property
    def lock(self) -> Path:
        """Which process is working on the run: see `lock.py`."""
        return self.path / "lock"

    @property
    def log(self) -> Path:
        """What happened when, one event per line: see `crewrun.journal.event_log`."""
        return self.path / "log.jsonl"

    @property
    def results(self) -> Path:
        """The result lines of a run whose results are a table: see `results_table.py`. Others have them next to it."""
        return self.path / LINES_NAME

    @property
    def table(self) -> Path:
        """What was made of them: see `results_table.py`."""
        return self.path / TABLE_NAME

    @property
    def summary(self) -> Path:
        """How its latest session ended: see `crewrun.batch.stored_summary`."""
        return self.path / "summary.json"

    @property
    def progress(self) -> Path:
        """How far a session is while it runs: see `progress_file.py`."""
        return self.path / "progress.json"

    @property
    def state(self) -> list[Path]:
        """The files that a run needs, and SQLite's companions of the journal; only those that exist."""
        return [path for path in self._state if path.exists()]

    @property
    def files(self) -> list[Path]:
        """Every file that a run may have in its folder, whether it exists or not; the lock comes last."""
        of_moments = [*map(part_of, (self.manifest, self.results, self.progress)), self.progress]
        return [*self._state, *of_moments, self.lock]

    @property
    def _state(self) -> list[Path]:
        journal = self.journal
        companions = (journal.with_name(f"{journal.name}{end}") for end in ("-wal", "-shm"))
        return [self.manifest, journal, *companions, self.log, self.results, self.table, self.summary]

    @property
    def is_used(self) -> bool:
        """Whether a run has begun in this folder."""
        return self.manifest.exists() or self.journal.exists()

    @property
    def is_all_ours(self) -> bool:
        """Whether it has no files but a run's, and is neither a link nor the working directory."""
        if self.path.is_symlink() or os.path.realpath(self.path) == os.getcwd():
            return False
        return set(self.files).issuperset(self.path.iterdir())

    def make(self) -> None:
        """Make the folder, for its owner only. Raises UsageError when it cannot be made."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as refused:
            raise UsageError(
                f"{self.path}: the run's state cannot be kept there: {refused.strerror}; --run-dir names another folder"
            ) from None


def folder_of(output: Path) -> RunFolder:
    """The run folder of a results file."""
    return RunFolder(output.with_name(output.name + FOLDER_SUFFIX))


def find(run: str) -> RunFolder:
    """The run folder that a user names: itself, or the results file that it belongs to. Raises UsageError."""
    path = Path(run)
    try:
        folder = RunFolder(path) if path.is_dir() else folder_of(path)
        if folder.is_used:
            return folder
        if is_lines_of_run(path):
            return RunFolder(path.parent)
    except OSError as wrong:
        raise UsageError(f"{run[:200]}: cannot be read: {wrong.strerror}") from None
    if path.is_dir():
        raise UsageError(f"{run}: is not a run folder; there is no {folder.manifest.name} in it")
    missing = "no such run" if not os.path.exists(path) else f"has no run folder {folder.path}"
    raise UsageError(f"{run}: {missing}; RUN is a results file of crewrun batch, or the run folder next to it")


def is_lines_of_run(path: Path) -> bool:
    """Whether a file has the lines of a run whose results are a table."""
    return path.name == LINES_NAME and RunFolder(path.parent).is_used


def back_up(output: Path | None, folder: RunFolder, *more: Path) -> Path | None:
    """Move the results, the run folder and the `more` files that go with `output` to the next free number.

    `x.jsonl` becomes `x.1.jsonl` with `x.1.jsonl.crewrun`, which is a run like any other. Returns the new path of the
    results, or of the folder where there are no results; None when there was nothing to move. A process killed between
    two steps leaves a run that still works: the folder is moved last and in one step, and restores results that are
    missing. Raises UsageError when something cannot be moved.
    """
    named = output or folder.path
    try:
        has_state = folder.is_used or folder.log.exists()
        if not has_state and (output is None or not output.is_file() or not output.stat().st_size):
            return None
        backup = free_name(named)
        for path in (*more, *([output] if output is not None else [])):
            if path.exists():
                path.rename(backup.with_name(backup.name + path.name.removeprefix(named.name)))
        if has_state:
            _move(folder, folder_of(backup) if output is not None else RunFolder(backup))
    except OSError as refused:
        raise UsageError(f"{named}: cannot be moved aside (--fresh): {refused.strerror}") from None
    return backup


def free_name(path: Path) -> Path:
    """`path` with the lowest number that neither a file nor a run folder next to it has."""
    number = 1
    while _exists_any(backup := _numbered(path, number)):
        number += 1
    return backup


def _move(folder: RunFolder, moved: RunFolder) -> None:
    if folder.is_all_ours:
        try:
            folder.path.rename(moved.path)
            return
        except OSError:
            pass  # the folder is a mount point, or the new path is on another file system
    moved.make()
    for path in folder.state:
        shutil.move(path, moved.path / path.name)


def _numbered(path: Path, number: int) -> Path:
    stem, dot, suffix = path.name.rpartition(".")
    return path.with_name(f"{stem}.{number}.{suffix}" if dot and stem else f"{path.name}.{number}")


def _exists_any(path: Path) -> bool:
    return path.exists() or folder_of(path).path.exists()
