"""Distinguishes rows: the second row with the same inputs gets `-2` appended to its content id, and the second row with
the same id from a field is refused.

The contents of the first million rows are in memory, in 16 MB. Later ones, and duplicates, are in a private SQLite file
that the system removes, so that more rows cost disk, not memory. A bitmap in front of that file tells for nearly every
row that it is certainly new, so that its insertion can be batched.
"""

import sqlite3
from mmap import mmap
from typing import Any

from crewrun.errors import OutputFailed
from crewrun.row import content_id

_CACHE_KIB = 4096
_BITMAP_BITS = 1 << 24  # 2 MB: with a million rows in the file, one in 17 is looked up for nothing
_GROUP = 1000  # insertions per statement
_SLOTS = 1 << 21
_MOST = _SLOTS * 5 // 8  # slots in use; beyond, searches in the table get long


class _Seen:
    """The first `most` 64-bit digests, in a hash table with open addressing. Untouched pages take no memory.

    A set would take ten times the memory.
    """

    def __init__(self, most: int) -> None:
        self._slots = memoryview(mmap(-1, 8 * _SLOTS)).cast("Q")  # 0 is an empty slot
        self._room = most

    def add(self, key: int) -> bool | None:
        """Add `key`, which is not 0. Whether it is new; None when it is not in the table and there is no room."""
        slots = self._slots
        slot = key & (_SLOTS - 1)
        while stored := slots[slot]:
            if stored == key:
                return False
            slot = (slot + 1) & (_SLOTS - 1)
        if not self._room:
            return None
        slots[slot] = key
        self._room -= 1
        return True


class RowIds:
    """Gives rows their ids, in input order, with at most `in_memory` contents in memory."""

    def __init__(self, in_memory: int = _MOST) -> None:
        # An empty name is a temporary database on disk, gone when closed: https://sqlite.org/inmemorydb.html
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            f"pragma cache_size = -{_CACHE_KIB}; pragma synchronous = off; pragma journal_mode = off;"
            "create table seen (content integer primary key, times integer not null) without rowid;"
            "create table claimed (id integer primary key, line integer not null) without rowid; begin;"
        )
        self._seen = _Seen(in_memory)
        self._bitmap = mmap(-1, _BITMAP_BITS // 8)
        self._claimed = mmap(-1, _BITMAP_BITS // 8)
        self._waiting: list[tuple[int]] = []
        self._claims: list[tuple[int, int]] = []

    def name(self, content: dict[str, Any] | bytes) -> str:
        """The id of the next row. Raises OutputFailed when the temporary file cannot grow."""
        digits = content_id(content)
        key = int(digits, 16) or 1
        is_new = self._seen.add(key)
        if is_new:
            return digits
        place, bit = (key >> 3) & (_BITMAP_BITS // 8 - 1), 1 << (key & 7)
        signed = key - (1 << 63)  # SQLite's integers are signed
        try:
            if is_new is None and not self._bitmap[place] & bit:
                self._bitmap[place] |= bit
                self._waiting.append((signed,))
                if len(self._waiting) >= _GROUP:
                    self._flush()
                return digits
            self._flush()
            times = self._count(signed, 1 if is_new is None else 2)
        except sqlite3.OperationalError as full:
            raise OutputFailed(f"the temporary file of row ids cannot be written: {full}") from full
        return digits if times == 1 else f"{digits}-{times}"

    def claim(self, row_id: str, line: int) -> int | None:
        """Claim an id for `line`. Returns the line that has it already, None when it is new. Raises as `name` does."""
        key = int(content_id(row_id.encode("utf-8", "surrogatepass")), 16)
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
            claimed = self._db.execute("select line from claimed where id = ?", (signed,)).fetchone()
            if claimed is None:
                self._claims.append((signed, line))
            return int(claimed[0]) if claimed else None
        except sqlite3.OperationalError as full:
            raise OutputFailed(f"the temporary file of row ids cannot be written: {full}") from full

    def close(self) -> None:
        """Close the temporary file, which removes it."""
        self._db.close()

    def _flush(self) -> None:
        self._db.executemany("insert into seen values (?, 1)", self._waiting)
        self._waiting.clear()
        self._db.executemany("insert into claimed values (?, ?)", self._claims)
        self._claims.clear()

    def _count(self, key: int, first: int) -> int:
        """How often `key` has occurred; `first` is the answer when it is not in the file."""
        (times,) = self._db.execute(
            "insert into seen values (?, ?) on conflict do update set times = times + 1 returning times", (key, first)
        ).fetchone()
        return int(times)
