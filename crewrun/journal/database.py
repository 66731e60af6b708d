"""Opens `journal.sqlite`, for the one process that writes and for any that read, and translates SQLite's errors."""

import os
import sqlite3
from pathlib import Path

from crewrun.errors import JournalDamaged, JournalFailed, UsageError
from crewrun.journal.schema import MIGRATIONS, READABLE, SCHEMA, VERSION

# Result codes that do not mean that the file is damaged: https://sqlite.org/rescode.html
_OBSTACLES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    }
)


def open_journal(path: Path, *, expected: bool) -> sqlite3.Connection:
    """Open the journal for writing, or make it where none is `expected`. One thread at a time may use the connection.

    Raises JournalDamaged when it cannot be read, or is missing or empty although `expected`, and UsageError when it was
    made by a newer crewrun.
    """
    existed = path.exists() and path.stat().st_size > 0
    if expected and not existed:
        raise JournalDamaged(f"{path}: is {'empty' if path.exists() else 'missing'}")
    if not existed:
        path.touch(mode=0o600)
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            version = _prepare(db, expected)
        except BaseException:
            db.close()
            raise
    except sqlite3.DatabaseError as wrong:
        raise failure(path, wrong) from wrong
    if version > VERSION:
        db.close()
        raise UsageError(
            f"{path}: was made by a newer crewrun (schema {version}, this one knows {VERSION}); use that one, "
            "or --fresh to start over"
        )
    return db


def read_journal(path: Path) -> sqlite3.Connection:
    """Open the journal for reading, also while a run writes to it. Raises as `open_journal` does."""
    if not path.exists():
        raise JournalDamaged(f"{path}: is missing")
    try:
        db = sqlite3.connect(_to_read(path), uri=True, isolation_level=None, timeout=10)
        (version,) = db.execute("pragma user_version").fetchone()
        if version in READABLE:
            db.executescript(READABLE[version])
        db.execute("pragma query_only = on")
        if version == 0:
            db.close()
            raise JournalDamaged(f"{path}: is empty")
    except sqlite3.DatabaseError as wrong:
        raise failure(path, wrong) from wrong
    if version > VERSION:
        db.close()
        raise UsageError(f"{path}: was made by a newer crewrun (schema {version}, this one knows {VERSION})")
    if version < VERSION and version not in READABLE:
        db.close()
        raise UsageError(
            f"{path}: was made by an older crewrun; repeat the run's command once, which brings it up to date"
        )
    return db


def _to_read(path: Path) -> str:
    """The SQLite URI of the journal, for a reader."""
    address = f"{path.resolve().as_uri()}?mode="
    if os.access(path.parent, os.W_OK):
        return f"{address}rw"  # readers create -wal and -shm too, and only a connection that may write removes them
    # In a read-only folder without a -wal nothing changes, so neither file is needed:
    # https://sqlite.org/wal.html#read_only_databases
    return f"{address}ro" if path.with_name(f"{path.name}-wal").exists() else f"{address}ro&immutable=1"


def failure(path: Path, error: sqlite3.Error) -> JournalFailed | JournalDamaged:
    """The exception for an error of SQLite: JournalFailed for the disk or another program, else JournalDamaged."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _OBSTACLES:
        return JournalFailed(f"{path}: cannot be written: {error}")
    if code is not None and code & 0xFF == sqlite3.SQLITE_CONSTRAINT:  # another process has used our next numbers
        return JournalFailed(
            f"{path}: another process works on this run too, as it can when the lock file is deleted; "
            "let that end, then repeat the command"
        )
    return JournalDamaged(f"{path}: is damaged: {error}")


def _prepare(db: sqlite3.Connection, expected: bool) -> int:
    # NORMAL: commits survive a crash of the process. After a power failure the latest may be lost, but none is torn.
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    version = int(db.execute("pragma user_version").fetchone()[0])
    if version == 0:
        if expected or db.execute("select count(*) from sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("there is nothing in it")
        db.executescript(SCHEMA)
        db.execute("pragma wal_checkpoint(truncate)")
        return VERSION
    if version <= VERSION and (fault := db.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(" ".join(fault.split()))
    while version in MIGRATIONS:
        db.executescript(f"begin; {MIGRATIONS[version]}; pragma user_version = {version + 1}; commit;")
        version += 1
    return version
