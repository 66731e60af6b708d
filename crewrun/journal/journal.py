"""`journal.sqlite`: what the calls of a run were answered, and what became of its rows.

Nothing in it is changed or deleted: a row that ran again has a later entry. Prompts are not in it, a request is known
by its digest. Here are the schema, opening and reading; `writer` commits.
"""

import os
import sqlite3
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from crewrun.errors import Category, JournalDamaged, JournalFailed, UsageError

VERSION = 4
# What makes a journal of each older version one of the next.
_REFUSALS = (
    "create table refusals (definition integer not null, endpoint text not null, what text not null, "
    "primary key (definition, endpoint, what)) without rowid"
)
# `status` counts failed tools, which are few among the calls: 4 is TOOL_FAILURE below.
_TOOL_FAILURES = "create index if not exists tool_failures on calls (name) where kind = 4"
_CACHE_WRITES = "cache_write_prompt_tokens integer not null default 0"
# Of a session, besides: the mark over what it spent and its calls in flight may cost, None without a budget, and what
# attempts with unknown bills may cost.
_SINCE_4 = (
    _CACHE_WRITES,
    "high_water_usd real",
    "owed_usd real not null default 0",
    "owed_calls integer not null default 0",
    "owed_unpriced integer not null default 0",
)
_LEARNED_BOUNDS = (
    "create table learned_bounds (model text primary key, extra_prompt_tokens integer not null, "
    "answer_factor real not null) without rowid"
)
_MIGRATIONS = {
    1: "alter table calls add column estimated_calls integer not null default 0",
    # What was concluded from one reply is not believed any more.
    2: f"drop table refusals; {_REFUSALS}; {_TOOL_FAILURES}",
    3: "; ".join(
        [
            *(f"alter table sessions add column {one}" for one in _SINCE_4),
            f"alter table calls add column {_CACHE_WRITES}",
            _LEARNED_BOUNDS,
        ]
    ),
}

# What is counted of a call's tokens, and of a session's.
TOKEN_COLUMNS: Final = (
    *("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens"),
    "cache_write_prompt_tokens",
)

# What a call entry is. An answer is kept as its text alone, a turn (with tools, cut off, or with more than its text) as
# JSON. Failures, of calls and of tools, are kept to be looked at and never replayed.
ANSWER: Final = 0
TURN: Final = 1
TOOL: Final = 2
FAILURE: Final = 3
TOOL_FAILURE: Final = 4

# How rows ended: 0 is success, the others by their place here, to which new ones are added at the end.
OK: Final = 0
_CATEGORIES = (
    *("", "input", "auth", "quota", "model_not_found", "bad_request", "context_length", "content_filter", "rate_limit"),
    *("timeout", "network", "server", "output_invalid", "tool", "guardrail", "budget", "internal"),
)

_CONTENT_ID_CHARS = 16
# https://sqlite.org/rescode.html: codes that say nothing of what is in the file.
_IN_THE_WAY = frozenset(
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

_SCHEMA = f"""
begin;
create table names (id integer primary key, name text not null);
{_REFUSALS};
create table sessions (
    id integer primary key, started_at real not null, updated_at real not null, ended_at real, pid integer not null,
    command text not null, definition integer not null, stopped text, exit_code integer,
    attempts integer not null default 0, calls integer not null default 0, prompt_tokens integer not null default 0,
    cached_prompt_tokens integer not null default 0, completion_tokens integer not null default 0,
    reasoning_tokens integer not null default 0, cost_usd real not null default 0, unpriced integer not null default 0,
    ok integer not null default 0, failed integer not null default 0, kept integer not null default 0,
    in_flight integer not null default 0, share real, elapsed_s real not null default 0,
    {", ".join(_SINCE_4)}
);
create table calls (
    seq integer primary key, session integer not null, row integer not null, task not null, kind integer not null,
    request blob not null, reply blob not null, name not null, prompt_tokens integer, cached_prompt_tokens integer,
    completion_tokens integer, reasoning_tokens integer, cost_usd real, attempts integer, at_ms integer,
    duration_ms integer, estimated_calls integer, cache_write_prompt_tokens integer
);
{_TOOL_FAILURES};
{_LEARNED_BOUNDS};
create table rows (
    seq integer primary key, session integer not null, definition integer not null, key integer not null,
    id not null, digest integer not null, ended integer not null, record blob not null
);
pragma user_version = {VERSION};
commit;
"""


class CallEntry(NamedTuple):
    """A call as it is kept. `row` is `row_key` of its id; `name` the model or the tool; names are ids of `names`."""

    seq: int
    session: int
    row: int
    task: int | str
    kind: int
    request: bytes
    reply: bytes
    name: int | str
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    attempts: int
    at_ms: int
    duration_ms: int
    estimated_calls: int
    cache_write_prompt_tokens: int


class RowEntry(NamedTuple):
    """A finished row. `key` is `done_key`, `id` as `pack_id` makes it, `digest` that of its line in the results, and
    `record` what `outcomes` makes.
    """

    seq: int
    session: int
    definition: int
    key: int
    id: bytes | str
    digest: int
    ended: int
    record: bytes


def open_journal(path: Path, *, expected: bool) -> sqlite3.Connection:
    """Open the journal, or make it when none is `expected`. The connection may be used in any one thread at a time.

    Raises JournalDamaged when it cannot be read, or is empty where one with entries is expected, and UsageError when it
    was made by a newer crewrun.
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
            "or --fresh to begin anew"
        )
    return db


def read_journal(path: Path) -> sqlite3.Connection:
    """Open the journal for looking at it, also while a run writes to it. Raises as `open_journal` does."""
    if not path.exists():
        raise JournalDamaged(f"{path}: is missing")
    try:
        db = sqlite3.connect(_to_read(path), uri=True, isolation_level=None, timeout=10)
        db.execute("pragma query_only = on")
        (version,) = db.execute("pragma user_version").fetchone()
        if version == 0:
            db.close()
            raise JournalDamaged(f"{path}: is empty")
    except sqlite3.DatabaseError as wrong:
        raise failure(path, wrong) from wrong
    if version > VERSION:
        db.close()
        raise UsageError(f"{path}: was made by a newer crewrun (schema {version}, this one knows {VERSION})")
    if version < VERSION:
        db.close()
        raise UsageError(
            f"{path}: was made by an older crewrun; give the run's command once, that brings it up to date"
        )
    return db


def refusals_of(path: Path, definition: str) -> set[tuple[str, str]]:
    """What endpoints turned out not to take for a definition, by its fingerprint. Raises as `read_journal` does."""
    db = read_journal(path)
    try:
        number = "(select id from names where name = ?)"
        query = f"select endpoint, what from refusals where definition = {number}"  # noqa: S608  (ours)
        return set(db.execute(query, (definition,)))
    except sqlite3.DatabaseError as wrong:
        raise failure(path, wrong) from wrong
    finally:
        db.close()


def _to_read(path: Path) -> str:
    """The journal's address for SQLite, to read it only."""
    address = f"{path.resolve().as_uri()}?mode="
    if os.access(path.parent, os.W_OK):
        return f"{address}rw"  # readers, too, share files beside it: only who may write takes them away in the end
    # In a folder that cannot be written to nothing changes, so they need none:
    # https://sqlite.org/wal.html#read_only_databases
    return f"{address}ro" if path.with_name(f"{path.name}-wal").exists() else f"{address}ro&immutable=1"


def failure(path: Path, error: sqlite3.Error) -> JournalFailed | JournalDamaged:
    """What to raise for an error of SQLite: the disk or another program is in the way, or the file is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _IN_THE_WAY:
        return JournalFailed(f"{path}: cannot be written: {error}")
    if code is not None and code & 0xFF == sqlite3.SQLITE_CONSTRAINT:  # numbers that we gave were taken meanwhile
        return JournalFailed(
            f"{path}: another process works on this run too, as it can when the lock file is deleted; "
            "let that end, then repeat the command"
        )
    return JournalDamaged(f"{path}: is damaged: {error}")


def _prepare(db: sqlite3.Connection, expected: bool) -> int:
    # NORMAL: a commit is safe when the process dies. When the machine does, the last ones may be lost, none is torn.
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    version = int(db.execute("pragma user_version").fetchone()[0])
    if version == 0:
        if expected or db.execute("select count(*) from sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("there is nothing in it")
        db.executescript(_SCHEMA)
        db.execute("pragma wal_checkpoint(truncate)")
        return VERSION
    if version <= VERSION and (fault := db.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(" ".join(fault.split()))
    while version in _MIGRATIONS:
        db.executescript(f"begin; {_MIGRATIONS[version]}; pragma user_version = {version + 1}; commit;")
        version += 1
    return version


def row_key(row_id: str) -> int:
    """64 bits, signed, that stand for a row's id."""
    return _short(row_id.encode("utf-8", "surrogatepass"))


def done_key(row_id: str, content: str, definition: int) -> int:
    """64 bits, signed, for a row of this id and content under a definition of the crew."""
    return _short(f"{row_id}\0{content}\0{definition}".encode("utf-8", "surrogatepass"))


def storable(text: str) -> str:
    """`text` as SQLite takes it, which takes no lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def pack_id(row_id: str) -> bytes | str:
    """A row's id as it is kept: one of 16 hex digits, as content gives it, takes half of that."""
    if not row_id.isascii():  # SQLite takes no lone surrogates
        return row_id.encode("utf-8", "backslashreplace").decode()
    if len(row_id) == _CONTENT_ID_CHARS:
        try:
            packed = bytes.fromhex(row_id)
        except ValueError:
            return row_id
        return packed if packed.hex() == row_id else row_id
    return row_id


def unpack_id(packed: bytes | str) -> str:
    """What `pack_id` was given."""
    return packed.hex() if isinstance(packed, bytes) else packed


def id_key(packed: bytes | str) -> int:
    """64 bits, signed, that stand for an id as it is kept."""
    return row_key(unpack_id(packed))


def line_digest(line: bytes) -> int:
    """64 bits, signed, over a line of the results."""
    return _short(line)


def _short(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)


def ended_of(category: Category | None) -> int:
    """How a row ended, as the journal writes it."""
    return OK if category is None else _CATEGORIES.index(category)


def category_of(ended: int) -> Category | None:
    """What `ended_of` wrote."""
    return None if ended == OK else Category(_CATEGORIES[ended])


# So many of the latest calls tell what one that was lost with its session may have cost.
_LATEST_CALLS = 2000


def owed(db: sqlite3.Connection, *, going: int, only: int | None = None) -> float | None:
    """What attempts of all sessions may have cost, beside what is known to be spent, in US dollars; None when a price
    is not known. With `only` it is what those of one session may have.

    The session that is `going`, 0 for none, knows what it owes. One that was killed counts as its high-water mark;
    without a mark, since it had no budget, each row that it had in flight counts as the dearest late call.
    """
    query = (
        "select coalesce(sum(case when ended_at is not null or id = ? then owed_usd "
        "when high_water_usd is null then owed_usd + in_flight * dearest "
        "else max(owed_usd, high_water_usd - cost_usd) end), 0), coalesce(sum(owed_unpriced), 0) from sessions, "
        "(select coalesce(max(cost_usd), 0) as dearest from (select cost_usd from calls order by seq desc limit ?)) "
        "where ? is null or id = ?"
    )
    usd, unpriced = db.execute(query, (going, _LATEST_CALLS, only, only)).fetchone()
    return None if unpriced else float(usd)


def all_spent(db: sqlite3.Connection, *, going: int) -> dict[str, Any]:
    """What all sessions of the run spent together, by the columns of `sessions`; `cost_usd` None when unknown.

    `owed_usd` is what `owed` says, with `going` the session that is going, 0 for none.
    """
    names = ("attempts", "calls", *TOKEN_COLUMNS)
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in (*names, "cost_usd", "unpriced"))
    *counts, cost_usd, unpriced = db.execute(f"select {sums} from sessions").fetchone()  # noqa: S608  (names are ours)
    spent = {**dict(zip(names, counts, strict=True)), "cost_usd": None if unpriced else cost_usd}
    return {**spent, "owed_usd": owed(db, going=going)}
