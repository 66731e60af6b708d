"""`open_state`: locks a run and brings its files into a consistent state, before the first row of a session."""

import os
import shlex
import sqlite3
import time
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import anyio.to_thread

from crewrun.errors import JournalDamaged, RunHeld, UsageError
from crewrun.journal.database import failure, open_journal
from crewrun.journal.done_index import DoneIndex, is_among
from crewrun.journal.event_log import EventLog
from crewrun.journal.keys import pack_id
from crewrun.journal.schema import ended_of
from crewrun.runs.folder import RunFolder, back_up, folder_of
from crewrun.runs.lock import RunLocks, is_held
from crewrun.runs.manifest import Manifest, created_at, read_manifest
from crewrun.runs.results import Settled, settle, spent_in
from crewrun.runs.state import RunState, StateOptions
from crewrun.templates import alike

# After a power failure, the latest results may be on disk without the commits before them: with synchronous = NORMAL
# SQLite flushes its WAL at checkpoints only. Up to this many missing rows, or up to 1 % of the results, count as that
# unless they are most of the results; more means that the journal is damaged.
_MAY_BE_LOST = 64


class Opened(NamedTuple):
    """An opened run: where `--fresh` moved the previous one, and how many results the journal has `lost`."""

    state: RunState
    backup: Path | None
    lost: int


async def open_state(options: StateOptions) -> Opened:
    """Lock the run and make its results agree with its journal.

    Raises RunHeld when another process has the run or its results, UsageError when it cannot be opened, JournalDamaged
    when its journal cannot be read.
    """
    _refuse_unknown(options, is_ours=False)
    options.folder.make()
    locks = RunLocks(options.folder, options.output, wait=options.lock == "wait")
    try:
        await locks.acquire()
        _refuse_other(options)
        _refuse_other_ids(options)
        _refuse_other_engine(options)
        backup = None
        if options.fresh:
            backup = await anyio.to_thread.run_sync(back_up, options.named, options.folder, *options.companions)
            await locks.acquire()
        return await anyio.to_thread.run_sync(_open, options, locks, backup)
    except BaseException:
        locks.release()
        raise


def _open(options: StateOptions, locks: RunLocks, backup: Path | None) -> Opened:
    folder, output = options.folder, options.output
    _refuse_unknown(options, is_ours=True)  # again: another process may have written before we had the lock
    is_known = folder.is_used
    folder.summary.unlink(missing_ok=True)  # of the session before
    manifest = replace(options.manifest, created_at=created_at(folder.manifest))
    options = replace(options, manifest=manifest)
    if not is_known:
        manifest.write(folder.manifest)
    db: sqlite3.Connection | None = None
    try:
        # The log is created after the journal, so a log with lines means that there was a journal.
        db = open_journal(folder.journal, expected=has_lines(output) or has_lines(folder.log))
        if is_known:
            manifest.write(folder.manifest)
        return _opened(options, locks, db, backup)
    except BaseException as wrong:
        if db is not None:
            db.close()
        error = failure(folder.journal, wrong) if isinstance(wrong, sqlite3.DatabaseError) else wrong
        if isinstance(error, JournalDamaged):
            raise with_cost(error, output) from wrong
        if error is not wrong:
            raise error from wrong
        raise


def has_lines(output: Path | None) -> bool:
    """Whether `output` is a file that is not empty."""
    return output is not None and output.is_file() and output.stat().st_size > 0


def with_cost(damaged: JournalDamaged, output: Path | None) -> JournalDamaged:
    """The same error, with the remedy and what that would cost."""
    keeps = "--fresh moves it aside, with the results, and runs every row again"
    if output is None or not has_lines(output):
        return JournalDamaged(f"{damaged}\n{keeps}")
    rows, calls, cost_usd = spent_in(output)
    cost = "cost unknown" if cost_usd is None else f"${cost_usd:.2f}"
    spent = f"for the {rows} rows that {output} has, {calls} calls ({cost}) would be paid for a second time"
    return JournalDamaged(f"{damaged}\n{keeps}: {spent}")


def _refuse_unknown(options: StateOptions, *, is_ours: bool) -> None:
    """Raise UsageError for results without a run folder: they would be lost, or paid for again.

    Raises RunHeld while another process writes them, unless the lock `is_ours`. Waiting for that process would not
    help: its results would be refused too.
    """
    output = options.named
    if output is not None and has_lines(output) and not (options.fresh or options.folder.is_used):
        if not is_ours and options.lock != "wait" and is_held(output):
            raise RunHeld(f"{output}: another process is writing these results")
        _refuse_results(output, options.folder)


def _refuse_results(output: Path, folder: RunFolder) -> NoReturn:
    """Raise UsageError that says how to continue the run of these results."""
    name, own = os.path.relpath(output), folder_of(output)
    if own.is_used:
        raise UsageError(
            f"{name}: the state of its run is in {os.path.relpath(own.path)}, not in {os.path.relpath(folder.path)}; "
            "leave --run-dir out to go on with it, or name another file with -o"
        )
    raise UsageError(
        f"{name}: is there already, and {os.path.relpath(folder.path)} has no state of a run that wrote it; if that "
        "was moved, --run-dir names it; -o names another file; --fresh moves the file aside and runs every row"
    )


def _refuse_other(options: StateOptions) -> None:
    """Raise UsageError when --run-dir names the folder of another run, which would lose its rows."""
    output, folder = options.named, options.folder
    if output is None or os.path.realpath(folder.path) == os.path.realpath(folder_of(output).path):
        return  # results and folder may have been moved together
    try:
        other = read_manifest(folder.manifest).results
    except UsageError:
        return
    if other is not None and other.exists() and os.path.realpath(other) != os.path.realpath(output):
        raise UsageError(
            f"--run-dir {folder.path}: has the state of another run, whose results are {other}; "
            f"name another folder for {output}"
        )


def _refuse_other_ids(options: StateOptions) -> None:
    """Raise UsageError when ids come from other fields than before: every row would be new and be paid for again."""
    if options.fresh or not has_lines(options.output):
        return
    try:
        manifest = read_manifest(options.folder.manifest)
    except UsageError:
        return
    _refuse_other_fields(options, manifest)
    before = manifest.options.get("id_field")
    now = options.manifest.options.get("id_field")
    if before != now:
        remedy = f"--id-field {before}" if before else "leave --id-field out"
        raise UsageError(
            f"{os.path.relpath(options.folder.path)}: its rows have their ids from {_ids_in_words(before)}, so with "
            f"{_ids_in_words(now)} every row would run again: {remedy}, or start over with --fresh"
        )


def _refuse_other_fields(options: StateOptions, before: Manifest) -> None:
    """Raise UsageError when rows are made of other columns than before, so that their ids and contents differ."""
    old, new = (manifest.options.get("fields") for manifest in (before, options.manifest))
    if _as_set(old) != _as_set(new):
        remedy = f"--fields {shlex.quote(_listed(old))}" if old else "leave --fields out"
        raise UsageError(
            f"{os.path.relpath(options.folder.path)}: its rows are made of {_listed(old) or 'all columns'}, so with "
            f"{_listed(new) or 'all columns'} every row would run again: {remedy}, or start over with --fresh"
        )


def _as_set(fields: Any) -> frozenset[str] | None:
    return frozenset(alike(str(name)) for name in fields) if isinstance(fields, list | tuple) else None


def _listed(fields: Any) -> str:
    """Names of columns as `--fields` takes them, empty for all."""
    names = fields if isinstance(fields, list | tuple) else ()
    return ",".join(f'"{name}"' if "," in str(name) else str(name) for name in names)


def _refuse_other_engine(options: StateOptions) -> None:
    """Raise UsageError for another engine than before: none of the run's recorded calls could be replayed."""
    if options.fresh or not has_lines(options.output):
        return
    try:
        before = read_manifest(options.folder.manifest).options.get("engine", "crewrun")
    except UsageError:
        return
    now = options.manifest.options.get("engine", "crewrun")
    if before != now:
        raise UsageError(
            f"{os.path.relpath(options.folder.path)}: its rows were run by {before}, and by {now} every row would run "
            f"again: --engine {before} continues, --fresh starts over"
        )


def _ids_in_words(field: Any) -> str:
    return f"the field {field!r}" if field else "their inputs"


def _opened(options: StateOptions, locks: RunLocks, db: sqlite3.Connection, backup: Path | None) -> Opened:
    definition = _definition_id(db, options.definition)
    session = _begin_session(db, definition, shlex.join(options.manifest.command))
    done = DoneIndex.load(db, definition, by_id=options.is_named)
    lost = 0
    if options.output is not None and options.output.is_file():
        keep = _keeper(done, _redone(options), _others(db, definition, options))
        lost = settle(options.output, keep, lambda settled: _lost(db, settled, options.folder))
        locks.renew()
    done.forget_search()
    log = EventLog(options.folder.log)
    return Opened(RunState(options, locks, db, session, definition, done, log), backup, lost)


def _redone(options: StateOptions) -> int | None:
    return None if options.only is None else ended_of(options.only)


def _others(db: sqlite3.Connection, definition: int, options: StateOptions) -> "array[int]":
    """The digests of lines that were written before and may be outdated, sorted."""
    # Where rows have ids from a field, lines of the current definition may be outdated too.
    which = ("", ()) if options.is_named else ("where definition != ?", (definition,))
    entries = db.execute(f"select digest from rows {which[0]} order by digest", which[1])  # noqa: S608  (it is ours)
    return array("q", (digest for (digest,) in entries))


def _keeper(done: DoneIndex, only: int | None, others: "array[int]") -> Callable[[int], bool | None]:
    """A function that tells which lines stay: each row's last one, once, if the row succeeded or is not to run again.

    `others` are lines of earlier definitions and contents, sorted: their rows run again, replaying recorded calls.
    """

    def keep(digest: int) -> bool | None:
        position = done.find_line(digest)
        if position is None:
            return False if is_among(others, digest) else None
        stays = done.is_ok(position) or (only is not None and done.ended(position) != only)
        if not stays or done.written[position]:
            return False
        done.written[position] = 1
        return True

    return keep


def _definition_id(db: sqlite3.Connection, fingerprint: str) -> int:
    entries = db.execute("select id from names where name = ?", (fingerprint,)).fetchone()
    if entries:
        return int(entries[0])
    (last,) = db.execute("select count(*) from names").fetchone()
    db.execute("insert into names values (?, ?)", (last + 1, fingerprint))
    return int(last) + 1


def _begin_session(db: sqlite3.Connection, definition: int, command: str) -> int:
    now = time.time()
    cursor = db.execute(
        "insert into sessions (started_at, updated_at, pid, command, definition) values (?, ?, ?, ?, ?)",
        (now, now, os.getpid(), command, definition),
    )
    return int(cursor.lastrowid or 0)


def _lost(db: sqlite3.Connection, settled: Settled, folder: RunFolder) -> int:
    """How many results have rows that the journal does not know. Raises JournalDamaged when there are too many."""
    if not settled.unknown_ids:
        return 0
    recorded = {packed for (packed,) in db.execute("select id from rows")}
    lost = sum(1 for row_id in settled.unknown_ids if pack_id(row_id) not in recorded)
    if lost > settled.recorded or (lost > _MAY_BE_LOST and lost * 100 > settled.recorded):
        raise JournalDamaged(f"{folder.journal}: has lost {lost} rows that the results have")
    return lost
