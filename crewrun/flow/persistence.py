"""`@persist`: stores a flow's states, one per id, and how far each run got, in SQLite or in a class of the user's.

A save writes the whole state and the calls that have ended since the last save, in one transaction: after a kill at any
instant the file has the flow as it was after some method. `crewrun.flow.run` decides when to save and what to resume.
"""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from inspect import isfunction
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast, overload

import anyio
import anyio.to_thread
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from crewrun.errors import CrewrunError, DefinitionError, OutputFailed, UsageError
from crewrun.flow.store import CustomStore, EndedCall, FlowPersistence, Save, Saved, Store

__all__ = ["FlowPersistence", "SQLiteFlowPersistence", "persist", "store_for", "store_of", "stores_of_methods"]

DEFAULT_PATH = Path(".crewrun", "flow_states.sqlite")
VARIABLE = "CREWRUN_FLOW_STATES"
T = TypeVar("T", bound=Callable[..., Any])
_STORE_ATTRIBUTE = "_crewrun_kept_in"
_TABLES = """
create table if not exists states (id text primary key, flow text not null, state blob not null, ended integer not null)
    without rowid;
create table if not exists calls (id text, number integer, method text not null, result blob, primary key (id, number));
"""


class SQLiteFlowPersistence:
    """States of flows in the file `db_path`, for any number of flows, threads and processes.

    The path defaults to CREWRUN_FLOW_STATES, else to `.crewrun/flow_states.sqlite` in the working directory.
    """

    def __init__(self, db_path: str | os.PathLike[str] | None = None) -> None:
        self._db_path = db_path
        # Protects the order of saves: the thread that holds it writes all waiting saves in one transaction.
        self._lock = Lock()
        self._waiting: deque[Save] = deque()

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._db_path or os.environ.get(VARIABLE) or DEFAULT_PATH)

    @property
    def place(self) -> str:
        """The file, as messages name it."""
        return str(self.path)

    def init_db(self) -> None:
        """Create the file if it does not exist. For CrewAI's callers; `save_state` does it too."""
        with self._opened():
            pass

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any] | BaseModel) -> None:
        """Store a whole state under the id `flow_uuid`, as that of a flow that has ended.

        `method_name` is for CrewAI's callers. Raises ValueError for a state that is not JSON data, and what `save`
        does.
        """
        if not isinstance(state_data, dict | BaseModel):
            raise ValueError(f"a state is a dict or a pydantic model, not {state_data!r}")
        save = Save(str(flow_uuid), "", to_json(state_data), [], has_ended=True, begins=True)
        self._waiting.append(save)
        self._write()
        if save.error is not None:
            raise save.error

    def load_state(self, flow_uuid: str) -> dict[str, Any] | None:
        """The latest state with that id, or None. Raises UsageError if the file cannot be read."""
        saved = self._load(str(flow_uuid))
        state = None if saved is None else from_json(saved.state)
        return state if isinstance(state, dict) else None

    async def load(self, state_id: str) -> Saved | None:
        """What was saved under `state_id`, or None. Raises UsageError if the file cannot be read."""
        return await anyio.to_thread.run_sync(self._load, state_id)

    async def save(self, save: Save) -> None:
        """Write `save`; it is on the disk when this returns.

        Raises OutputFailed if it cannot be written, which ends a batch: no other row could be stored either. Raises
        UsageError if another process has held the file for too long.
        """
        self._waiting.append(save)
        with anyio.CancelScope(shield=True):  # a method that has ended is saved even when another one has failed
            await anyio.to_thread.run_sync(self._write)
        if save.error is not None:
            raise save.error

    def _load(self, state_id: str) -> Saved | None:
        if not self.path.exists():
            return None
        with self._opened() as store:
            row = store.execute("select flow, state, ended from states where id = ?", (state_id,)).fetchone()
            if row is None:
                return None
            calls = store.execute("select number, method, result from calls where id = ? order by rowid", (state_id,))
            state = row[1].encode() if isinstance(row[1], str) else bytes(row[1])
            return Saved(row[0], state, [EndedCall(*call) for call in calls], bool(row[2]))

    def _write(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not batch:  # another thread has written it
                return
            try:
                with self._opened(OutputFailed) as store, store:
                    for save in batch:
                        _put(store, save)
            except CrewrunError as failed:
                for save in batch:
                    save.error = failed

    @contextmanager
    def _opened(self, unusable: type[CrewrunError] = UsageError) -> Iterator[sqlite3.Connection]:
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)  # states may hold private texts
            with closing(sqlite3.connect(path, timeout=30)) as store:
                store.executescript(_TABLES)
                yield store
        except (sqlite3.Error, OSError) as wrong:
            is_busy = getattr(wrong, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            remedy = "Another process holds it; wait for that" if is_busy else "Move it away to begin without it"
            raise (UsageError if is_busy else unusable)(
                f"{path}: cannot be used for the states of flows: {wrong}. {remedy}, or name another file, "
                f"@persist(SQLiteFlowPersistence(…)) or {VARIABLE}"
            ) from None


def _put(store: sqlite3.Connection, save: Save) -> None:
    if save.begins:
        store.execute("delete from calls where id = ?", (save.id,))
    store.execute(
        "insert into states values (?, ?, ?, ?) on conflict (id) "
        "do update set flow = excluded.flow, state = excluded.state, ended = excluded.ended",
        (save.id, save.flow, save.state, save.has_ended),
    )
    store.executemany("insert or replace into calls values (?, ?, ?, ?)", [(save.id, *call) for call in save.calls])


def store_for(store: Store | FlowPersistence | str | os.PathLike[str] | None) -> Store:
    """The store that a user passed: itself, a path, or an object that stores states. Raises DefinitionError."""
    if isinstance(store, CustomStore) or (isinstance(store, SQLiteFlowPersistence) and not _overrides_ours(store)):
        return store
    if store is None or isinstance(store, str | os.PathLike):
        return SQLiteFlowPersistence(store)
    if not all(callable(getattr(store, name, None)) for name in ("save_state", "load_state")):
        raise DefinitionError(
            f"a flow cannot be stored by {store!r}; name a SQLiteFlowPersistence, the path of a file, nothing, or an "
            "object with save_state and load_state"
        )
    return CustomStore(cast("FlowPersistence", store))


def _overrides_ours(store: SQLiteFlowPersistence) -> bool:
    """Whether a subclass overrides the methods for whole states, which `load` and `save` would not call."""
    own, ours = type(store), SQLiteFlowPersistence
    return own.save_state is not ours.save_state or own.load_state is not ours.load_state


@overload
def persist(target: T, verbose: bool = False) -> T: ...
@overload
def persist(
    target: SQLiteFlowPersistence | FlowPersistence | str | os.PathLike[str] | None = None, verbose: bool = False
) -> Callable[[T], T]: ...
def persist(target: Any = None, verbose: bool = False) -> Any:
    """Store the state of a flow: on a class after every method, on a method after that one. Parentheses are optional.

    `target` is the store: a `SQLiteFlowPersistence`, the path of its file, or an object with `save_state` and
    `load_state` as CrewAI's have them. A kickoff with the `id` of an earlier one begins with its state. If that one was
    interrupted and the store is a SQLiteFlowPersistence, it resumes after the last method that was saved.
    """
    is_bare = isinstance(target, type) or isfunction(target)
    store = store_for(None if is_bare else target)

    def decorate(decorated: T) -> T:
        setattr(decorated, _STORE_ATTRIBUTE, store)
        return decorated

    return decorate(target) if is_bare else decorate


def store_of(decorated: object) -> Store | None:
    """The store that `@persist` gave to a class or a method, or None."""
    store = getattr(decorated, _STORE_ATTRIBUTE, None)
    return store if isinstance(store, SQLiteFlowPersistence | CustomStore) else None


def stores_of_methods(flow: type, methods: Iterable[str]) -> dict[str, Store]:
    """The methods of a class that are under `@persist`, all with one store, so that saves stay in order.

    Raises DefinitionError if they name several files.
    """
    stores = {name: store for name in methods if (store := store_of(getattr(flow, name))) is not None}
    files = list(dict.fromkeys(store.place for store in stores.values()))
    if len(files) > 1:
        raise DefinitionError(
            f"{flow.__name__} is stored in several files, {', '.join(files)}; a flow has one, so name the same "
            "one in each @persist"
        )
    return dict.fromkeys(stores, next(iter(stores.values()))) if stores else {}
