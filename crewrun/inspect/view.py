"""`View`: a run opened for reading, also while a process works on it.

The rest of this package reads runs through it.
"""

import os
import re
import shlex
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from crewrun.errors import JournalDamaged, JournalFailed, UsageError
from crewrun.journal.database import failure, read_journal
from crewrun.journal.keys import unpack_id
from crewrun.journal.reader import JournalReader
from crewrun.journal.schema import TOKEN_COLUMNS, CallEntry
from crewrun.messages import Usage
from crewrun.redaction.redactor import redact_value
from crewrun.row import Outcome, Row, usage_json
from crewrun.run_files import FOLDER_SUFFIX
from crewrun.runs.folder import RunFolder, find, folder_of
from crewrun.runs.manifest import Manifest, read_manifest, with_fresh, without
from crewrun.tier_use import completed, tiers_json


class SessionRecord(NamedTuple):
    """A row of the journal's table `sessions`; times are Unix times in seconds."""

    id: int
    started_at: float
    updated_at: float
    ended_at: float | None
    pid: int
    definition: int
    stopped: str | None
    exit_code: int | None
    attempts: int
    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_usd: float
    unpriced: int
    ok: int
    failed: int
    kept: int
    in_flight: int
    share: float | None
    elapsed_s: float
    cache_write_prompt_tokens: int


class View:
    """A run's files, read-only. `results` is where its result lines are now, `output` the user's file, which is another
    one if it is a table; None when they went to a stream.
    """

    def __init__(self, folder: RunFolder, manifest: Manifest, db: sqlite3.Connection) -> None:
        self.folder = folder
        self.manifest = manifest
        self.db = db
        self.output = output_of(folder, manifest)
        self.results = results_of(folder, manifest)
        self._names: dict[int, str] = {}
        self._entries = JournalReader(db, folder.journal, self.name)

    @property
    def command(self) -> str:
        """The command that continues the run, for a shell in the current working directory."""
        return command_of(self.folder, self.manifest)

    @property
    def fresh_command(self) -> str | None:
        """The command that starts the run over, None for a backup."""
        return fresh_command(self.folder, self.manifest)

    def session(self) -> SessionRecord | None:
        """The latest session, None when none has begun."""
        columns = ", ".join(SessionRecord._fields)
        row = self.db.execute(f"select {columns} from sessions order by id desc limit 1").fetchone()  # noqa: S608  (columns are ours)
        return SessionRecord(*row) if row else None

    def definition(self) -> int:
        """The number of the run's current definition, 0 when no session has begun."""
        session = self.session()
        return session.definition if session else 0

    def name(self, code: int | str) -> str:
        """The model, task, agent or tool behind a number of the journal."""
        if isinstance(code, str):
            return code
        if code not in self._names:
            row = self.db.execute("select name from names where id = ?", (code,)).fetchone()
            self._names[code] = row[0] if row else f"#{code}"
        return self._names[code]

    def calls(self, where: str, values: Sequence[Any]) -> list[CallEntry]:
        """The call entries that meet an SQL condition, oldest first."""
        return self._entries.calls(where, values)

    def outcome(self, seq: int, row: Row) -> Outcome:
        """The outcome of `row`, by the number of its entry."""
        return self._entries.outcome(seq, row)

    def legible(self, seq: int) -> AbstractContextManager[None]:
        """Raise JournalDamaged when an entry cannot be decoded in the block."""
        return self._entries.legible(seq)

    def row_id(self, seq: int) -> str:
        """The id of the row in an entry."""
        (packed,) = self.db.execute("select id from rows where seq = ?", (seq,)).fetchone()
        return unpack_id(packed)


def open_run(run: str) -> AbstractContextManager[View]:
    """The run that a user names. Raises UsageError and JournalDamaged, also for errors while it is open."""
    return open_folder(find_run(run))


def find_run(run: str) -> RunFolder:
    """The run folder that a user names, directly or by a link to it or to its results. Raises UsageError."""
    return find(os.path.realpath(run) if os.path.islink(run) and not folder_of(Path(run)).is_used else run)


@contextmanager
def open_folder(folder: RunFolder) -> Iterator[View]:
    """The run in `folder`. Raises as `open_run` does."""
    manifest = read_manifest(folder.manifest)
    try:
        _refuse_unbegun(folder, manifest)
        db = read_journal(folder.journal)
        try:
            yield View(folder, manifest, db)
        except sqlite3.Error as wrong:
            raise failure(folder.journal, wrong) from wrong
        except UnicodeDecodeError as wrong:  # a text column that is not UTF-8
            raise JournalDamaged(f"{folder.journal}: is damaged: {wrong}") from wrong
        finally:
            db.close()
    except JournalDamaged as damaged:
        command = fresh_command(folder, manifest)
        raise JournalDamaged(f"{damaged}; to start over: {command}" if command else str(damaged)) from damaged
    except JournalFailed as failed:
        raise UsageError(str(failed).replace("cannot be written", "cannot be read")) from failed
    except OSError as refused:
        raise UsageError(f"{refused.filename or folder.path}: cannot be read: {refused.strerror}") from refused


def results_of(folder: RunFolder, manifest: Manifest) -> Path | None:
    """The result lines of a run, None when they went to a stream."""
    return folder.results if manifest.table is not None else output_of(folder, manifest)


def output_of(folder: RunFolder, manifest: Manifest) -> Path | None:
    """The user's file: next to its folder, wherever both were moved, or with --run-dir where the manifest says."""
    if manifest.output is None:
        return None
    is_beside = "run_dir" not in manifest.options or has_number(folder, manifest)
    if is_beside and folder.path.name.endswith(FOLDER_SUFFIX):
        return folder.path.with_name(folder.path.name.removesuffix(FOLDER_SUFFIX))
    return manifest.results


def has_number(folder: RunFolder, manifest: Manifest) -> bool:
    """Whether --fresh has renamed the run: it is called `x.1.jsonl`, and its manifest says `x.jsonl`."""
    for name, old in (
        (folder.path.name.removesuffix(FOLDER_SUFFIX), Path(manifest.output or "").name),
        (folder.path.name, Path(str(manifest.options.get("run_dir") or "")).name),
    ):
        stem, dot, suffix = old.rpartition(".")
        numbered = rf"{re.escape(stem)}\.\d+\.{re.escape(suffix)}" if dot and stem else rf"{re.escape(old)}\.\d+"
        if old and re.fullmatch(numbered, name):
            return True
    return False


def is_in_place(folder: RunFolder, manifest: Manifest) -> bool:
    """Whether the run is where its own command looks for it, and not moved or a backup."""
    results, run_dir = manifest.results, manifest.options.get("run_dir")
    if run_dir is None and results is None:
        return False
    place = Path(manifest.cwd, str(run_dir)) if run_dir is not None or results is None else folder_of(results).path
    return os.path.realpath(place) == os.path.realpath(folder.path)


def command_of(folder: RunFolder, manifest: Manifest, *, replay: bool = True) -> str:
    """The command that continues a run, for a shell in the current working directory.

    Without `replay` the command makes the calls that --replay left out.
    """
    if not is_in_place(folder, manifest):
        return shlex.join(["crewrun", "retry", nearby(output_of(folder, manifest) or folder.path)])
    words = without("fresh", manifest.command, is_set=bool(manifest.options.get("fresh")))
    if not replay:
        words = without("replay", words, is_set=bool(manifest.options.get("replay")))
    return _there(manifest, words)


def fresh_command(folder: RunFolder, manifest: Manifest) -> str | None:
    """The command that starts a run over. None for a backup: a newer run has its place."""
    if has_number(folder, manifest):
        return None
    return _there(manifest, with_fresh(without("fresh", manifest.command, is_set=False)))


def _there(manifest: Manifest, words: Sequence[str]) -> str:
    command = shlex.join(map(redact_value, words))  # manifests of older versions may contain secrets
    return command if manifest.cwd == os.getcwd() else f"cd {shlex.quote(manifest.cwd)} && {command}"


def has_begun(folder: RunFolder, manifest: Manifest) -> bool:
    """Whether a run has written anything but its manifest. A journal without a schema beside results is damaged."""
    results = results_of(folder, manifest)
    begun = [folder.log, folder.journal.with_name(f"{folder.journal.name}-wal"), *([results] if results else [])]
    return any(path.exists() and path.stat().st_size for path in begun) or not _is_blank(folder.journal)


def _refuse_unbegun(folder: RunFolder, manifest: Manifest) -> None:
    """Raise UsageError for a run that ended, for instance on a full disk, before it wrote anything."""
    if not has_begun(folder, manifest):
        raise UsageError(f"{folder.path}: the run has not begun; to begin it: {command_of(folder, manifest)}")


def _is_blank(path: Path) -> bool:
    """Whether a journal has no schema version yet: https://sqlite.org/fileformat.html#user_version_number."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        return not any(file.read(64)[60:])


def nearby(path: str | Path) -> str:
    """`path` relative to the working directory if it is below it, else unchanged."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def spent_json(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Calls, tokens and US dollars of one session or of all, from the columns of `sessions`."""
    cost_usd, owed_usd = sums["cost_usd"], sums["owed_usd"]
    tiers = completed(sums.get("tiers") or {}, sums["calls"], cost_usd)
    return {
        "usage": usage_json(Usage(**{name: sums[name] for name in TOKEN_COLUMNS}), sums["calls"]),
        "attempts": sums["attempts"],
        "cost_usd": None if cost_usd is None else round(cost_usd, 6),
        **({"tiers": tiers_json(tiers)} if tiers else {}),
        "may_be_owed_usd": None if owed_usd is None else round(owed_usd, 6),
    }
