"""Points in a run of crewrun at which its process kills itself, for tests of what a killed run leaves behind.

Only functions of the standard library are wrapped, and nothing of crewrun is. `forks` runs commands up to a point.
"""

import fcntl
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

_JOURNAL = "journal.sqlite"


class Point(NamedTuple):
    """The `n`th call of a function, counted from 1, that is about a file, or a statement, whose name begins so.

    `call` is `write`, `pwrite`, `open`, `replace`, `rename`, `truncate`, `ftruncate`, `fsync`, `flock`, `connect` (a
    socket), `sql`, `schema` or `checkpoint`. Half of a `write` writes half of its bytes; half of `sql` dies where
    SQLite's file grows; `schema` is its `n`th statement; `checkpoint` dies in one that is made after the `n`th commit.
    """

    moment: Literal["before", "half", "after"]
    call: str
    about: str = ""
    n: int = 1

    def __str__(self) -> str:
        return f"{self.moment} {self.call} {self.about} {self.n}".replace("  ", " ")


class _Trap:
    def __init__(self, point: Point) -> None:
        self.point = point
        self._left = point.n

    def closes(self, about: str) -> bool:
        """Whether this is the call to die in."""
        if not about.startswith(self.point.about):
            return False
        self._left -= 1
        return self._left == 0

    def spring(self, call: Callable[[], Any], half: Callable[[], Any]) -> NoReturn:
        """Die before, in the middle of or after `call`."""
        if self.point.moment != "before":
            {"half": half, "after": call}[self.point.moment]()
        die()


def die() -> NoReturn:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("is dead")


def arm(point: Point) -> None:
    """Have this process killed at `point`."""
    trap = _Trap(point)
    named: dict[str, tuple[Any, Callable[..., str]]] = {
        "write": (os, _name_of),
        "pwrite": (os, _name_of),
        "fsync": (os, _name_of),
        "ftruncate": (os, _name_of),
        "truncate": (os, lambda path, *_: Path(path).name),
        "open": (os, lambda path, *_: Path(path).name),
        "replace": (os, lambda _, path: Path(path).name),
        "rename": (os, lambda _, path: Path(path).name),
        "flock": (fcntl, _name_of),
    }
    if point.call in named:
        module, name = named[point.call]
        setattr(module, point.call, _trapped(getattr(module, point.call), name, trap))
    elif point.call == "connect":
        setattr(socket, "socket", _trapped_socket(trap))  # noqa: B010  (mypy takes no assignment to a class)
    else:
        _trap_sqlite(trap)


def _name_of(fd: int, *_: Any) -> str:
    return Path(os.readlink(f"/proc/self/fd/{fd}")).name


def _trapped(function: Callable[..., Any], name: Callable[..., str], trap: _Trap) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not trap.closes(name(*args)):
            return function(*args, **kwargs)

        def half() -> None:
            fd, data, *rest = args
            # Not the very middle: that may be the end of a line.
            function(fd, data[: len(data) // 2 - 1], *rest)

        return trap.spring(lambda: function(*args, **kwargs), half)

    return call


def _trapped_socket(trap: _Trap) -> type[socket.socket]:
    class Socket(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if trap.closes(""):
                die()
            super().__init__(*args, **kwargs)

    return Socket


def _trap_sqlite(trap: _Trap) -> None:
    # Python ignores the signal of a file that grows beyond the limit; then SQLite would get an error and live.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    point = trap.point

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            execute = super().execute
            if point.call == "checkpoint" and sql == "commit" and trap.closes(""):
                execute(sql)
                self._die_in("pragma wal_checkpoint(passive)")
            if point.call == "sql" and trap.closes(sql):
                trap.spring(lambda: execute(sql, *args), lambda: self._die_in(sql, *args))
            return execute(sql, *args)

        def _die_in(self, sql: str, *args: Any) -> None:
            """A write beyond the limit is done up to there, then the system kills; `sql` is whole if no file grows."""
            grows = "" if sql.startswith("pragma wal_checkpoint") else "-wal"
            path = super().execute("pragma database_list").fetchone()[2] + grows
            size_bytes = os.stat(path).st_size + 1000
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
            super().execute(sql, *args)
            die()

        def executescript(self, script: str) -> sqlite3.Cursor:
            if point.call == "schema":
                self.set_trace_callback(lambda statement: die() if trap.closes(statement.strip()) else None)
            return super().executescript(script)

    connect = sqlite3.connect

    def connect_trapped(path: Any, **options: Any) -> sqlite3.Connection:
        factory = Connection if str(path).endswith(_JOURNAL) else sqlite3.Connection
        return connect(path, factory=factory, **options)

    setattr(sqlite3, "connect", connect_trapped)  # noqa: B010  (its overloads are not worth repeating)
