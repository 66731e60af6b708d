"""Telling rows apart: of two with the same inputs the second gets `-2` behind its content's id, and of two with the
same id from a field the second is refused.

Which contents were seen is kept in a private SQLite file that the system removes, so a million rows cost disk, not
memory. A bitmap in front of it answers "surely new" for nearly every row, whose insertion can then wait for company.
"""

import sqlite3
from hashlib import blake2b
from typing import Any

from crewrun.errors import OutputFailed
from crewrun.row import content_id

_CACHE_KIB = 4096
_BITMAP_BITS = 1 << 24
_GROUP = 1000


class RowIds:
    """Names rows in input order."""

    def __init__(self) -> None:
        # An empty name is a temporary database on disk, gone when closed: https://sqlite.org/inmemorydb.html
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            f"pragma cache_size = -{_CACHE_KIB}; pragma synchronous = off; pragma journal_mode = off;"
            "create table seen (content integer primary key, times integer not null) without rowid;"
            "create table claimed (id integer primary key, line integer not null) without rowid; begin;"
        )
        self._bitmap = bytearray(_BITMAP_BITS // 8)
        self._claimed = bytearray(_BITMAP_BITS // 8)
        self._waiting: list[tuple[int]] = []
        self._claims: list[tuple[int, int]] = []

    def name(self, content: dict[str, Any] | bytes) -> str:
        """The id of the next row. Raises OutputFailed when the temporary file cannot grow."""
        digits = content_id(content)
        key = int(digits, 16)
        place, bit = (key >> 3) & (_BITMAP_BITS // 8 - 1), 1 << (key & 7)
        signed = key - (1 << 63)  # SQLite's integers are signed
        try:
            if not self._bitmap[place] & bit:
                self._bitmap[place] |= bit
                self._waiting.append((signed,))
                if len(self._waiting) >= _GROUP:
                    self._flush()
                return digits
            self._flush()
            times = self._count(signed)
        except sqlite3.OperationalError as full:
            raise OutputFailed(f"the temporary file of row ids cannot be written: {full}") from full
        return digits if times == 1 else f"{digits}-{times}"

    def claim(self, row_id: str, line: int) -> int | None:
        """Take an id that stands on `line`. The line that had it before, None when it is new. Raises as `name` does."""
        key = int.from_bytes(blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        place, bit = (key >> 3) & (_BITMAP_BITS // 8 - 1), 1 << (key & 7)
        signed = key - (1 << 63)
        try:
            if not self._claimed[place] & bit:
                self._claimed[place] |= bit
                self._claims.append((signed, line))
                if len(self._claims) >= _GROUP:
                    self._flush()
                return None
            self._flush()
            found = self._db.execute("select line from claimed where id = ?", (signed,)).fetchone()
            if found is None:
                self._claims.append((signed, line))
            return int(found[0]) if found else None
        except sqlite3.OperationalError as full:
            raise OutputFailed(f"the temporary file of row ids cannot be written: {full}") from full

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def _flush(self) -> None:
        self._db.executemany("insert into seen values (?, 1)", self._waiting)
        self._waiting.clear()
        self._db.executemany("insert into claimed values (?, ?)", self._claims)
        self._claims.clear()

    def _count(self, key: int) -> int:
        (times,) = self._db.execute(
            "insert into seen values (?, 1) on conflict do update set times = times + 1 returning times", (key,)
        ).fetchone()
        return int(times)
