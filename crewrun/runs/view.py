"""`View`: a run opened for looking at it, also while a process works on it. Nothing is written.

What the other files here say of a run, they read through this one.
"""

import os
import shlex
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from crewrun.errors import JournalDamaged, JournalFailed, UsageError
from crewrun.messages import Usage
from crewrun.row import Outcome, Row, usage_json
from crewrun.runs import journal
from crewrun.runs.folder import SUFFIX, RunFolder, find
from crewrun.runs.journal import CallEntry
from crewrun.runs.manifest import Manifest, read_manifest
from crewrun.runs.outcomes import decode
from crewrun.runs.recording import read_text

TOKENS = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens")


class Session(NamedTuple):
    """One process's work on a run, as the journal has it; times in seconds since 1970."""

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


class View:
    """A run's files, read only. `results` is where its results are now, None when they went to a stream."""

    def __init__(self, folder: RunFolder, manifest: Manifest, db: sqlite3.Connection) -> None:
        self.folder = folder
        self.manifest = manifest
        self.db = db
        self.results = results_of(folder, manifest)
        self._names: dict[int, str] = {}

    @property
    def command(self) -> str:
        """The command that goes on with the run, for a shell in the present working directory."""
        return command_of(self.manifest)

    def session(self) -> Session | None:
        """The latest session, None when none has begun."""
        columns = ", ".join(Session._fields)
        found = self.db.execute(f"select {columns} from sessions order by id desc limit 1").fetchone()  # noqa: S608  (columns are ours)
        return Session(*found) if found else None

    def definition(self) -> int:
        """The number of the definition that the run has now, 0 when no session has begun."""
        session = self.session()
        return session.definition if session else 0

    def name(self, code: int | str) -> str:
        """The model, task, agent or tool behind a number of the journal."""
        if isinstance(code, str):
            return code
        if code not in self._names:
            found = self.db.execute("select name from names where id = ?", (code,)).fetchone()
            self._names[code] = found[0] if found else f"#{code}"
        return self._names[code]

    def calls(self, where: str, values: Sequence[Any]) -> list[CallEntry]:
        """The call entries that an SQL condition is true of, in their order."""
        columns = ", ".join(CallEntry._fields)
        found = self.db.execute(f"select {columns} from calls where {where} order by seq", values)  # noqa: S608  (both are ours)
        entries = []
        for entry in map(CallEntry._make, found):
            with self.legible(entry.seq):
                read_text(entry)
            entries.append(entry)
        return entries

    def outcome(self, seq: int, row: Row) -> Outcome:
        """What became of `row`, by the number of its entry."""
        (record,) = self.db.execute("select record from rows where seq = ?", (seq,)).fetchone()
        with self.legible(seq):
            return decode(record, row, lambda number: read_text(self.calls("seq = ?", (number,))[0]), self.name)

    @contextmanager
    def legible(self, seq: int) -> Iterator[None]:
        """Raise JournalDamaged when an entry is not what was written: SQLite keeps no checksums that would tell."""
        try:
            yield
        except (ValueError, LookupError, TypeError) as wrong:
            raise JournalDamaged(f"{self.folder.journal}: is damaged: its entry {seq} cannot be read") from wrong

    def row_id(self, seq: int) -> str:
        """The id of the row that an entry is of."""
        (packed,) = self.db.execute("select id from rows where seq = ?", (seq,)).fetchone()
        return journal.unpack_id(packed)


@contextmanager
def open_run(run: str) -> Iterator[View]:
    """The run that a user names. Raises UsageError and JournalDamaged, also for what is found while it is open."""
    with open_folder(find(os.path.realpath(run) if os.path.islink(run) else run)) as view:
        yield view


@contextmanager
def open_folder(folder: RunFolder) -> Iterator[View]:
    """The run in `folder`. Raises as `open_run` does."""
    manifest = read_manifest(folder.manifest)
    try:
        db = journal.read_journal(folder.journal)
        try:
            yield View(folder, manifest, db)
        except sqlite3.Error as wrong:
            raise journal.failure(folder.journal, wrong) from wrong
        except UnicodeDecodeError as wrong:  # a text that is none
            raise JournalDamaged(f"{folder.journal}: is damaged: {wrong}") from wrong
        finally:
            db.close()
    except JournalDamaged as damaged:
        raise JournalDamaged(f"{damaged}; to begin anew: {command_of(manifest)} --fresh") from damaged
    except JournalFailed as failed:
        raise UsageError(str(failed).replace("cannot be written", "cannot be read")) from failed
    except OSError as refused:
        raise UsageError(f"{refused.filename or folder.path}: cannot be read: {refused.strerror}") from refused


def results_of(folder: RunFolder, manifest: Manifest) -> Path | None:
    """The results of a run: beside its folder, wherever both were moved, else where the manifest says."""
    if manifest.output is None:
        return None
    if folder.path.name.endswith(SUFFIX):
        beside = folder.path.with_name(folder.path.name.removesuffix(SUFFIX))
        if "run_dir" not in manifest.options or beside.exists():
            return beside
    return manifest.results


def command_of(manifest: Manifest) -> str:
    """The command of a run, for a shell in the present working directory."""
    words = shlex.join(word for word in manifest.command if word != "--fresh")
    return words if manifest.cwd == os.getcwd() else f"cd {shlex.quote(manifest.cwd)} && {words}"


def nearby(path: str | Path) -> str:
    """`path` from the working directory if it is below that, else as it is."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def spent_json(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Calls, tokens and US dollars of one or all sessions, from the columns that count them."""
    cost_usd = sums["cost_usd"]
    return {
        "usage": usage_json(Usage(*(sums[name] for name in TOKENS)), sums["calls"]),
        "attempts": sums["attempts"],
        "cost_usd": None if cost_usd is None else round(cost_usd, 6),
    }
