"""Telling identical rows apart: the second row with the same inputs gets `-2` behind its content's id.

Which contents were seen is kept in a private SQLite file that the system removes, so a million rows cost disk, not
memory.
"""

import sqlite3

from crewrun.row import content_id

_CACHE_KIB = 4096


class RowIds:
    """Names rows in input order."""

    def __init__(self) -> None:
        # An empty name is a temporary database on disk, gone when closed: https://sqlite.org/inmemorydb.html
        self._seen = sqlite3.connect("", isolation_level=None)
        self._seen.executescript(
            f"pragma cache_size = -{_CACHE_KIB}; pragma synchronous = off; pragma journal_mode = off;"
            "create table seen (content integer primary key, times integer not null) without rowid; begin;"
        )

    def name(self, content: dict[str, object] | bytes) -> str:
        """The id of the next row."""
        digits = content_id(content)
        key = int(digits, 16) - (1 << 63)  # SQLite's integers are signed
        (times,) = self._seen.execute(
            "insert into seen values (?, 1) on conflict do update set times = times + 1 returning times", (key,)
        ).fetchone()
        return digits if times == 1 else f"{digits}-{times}"

    def close(self) -> None:
        """Forget everything."""
        self._seen.close()
