"""`DoneRows`: which rows of a run are done under its present definition, for a million rows in a few dozen megabytes.

Arrays sorted by key, searched by halving: a dictionary would take ten times the memory.
"""

import sqlite3
from array import array
from bisect import bisect_left

from crewrun.row import Row
from crewrun.runs.journal import OK, done_key


class DoneRows:
    """Rows by their position in the arrays. `seen` marks those that the input still has, with their `places` in it;
    `written` those whose line is in the results.
    """

    def __init__(self, definition: int) -> None:
        self._definition = definition
        self._keys = array("q")
        self._seqs = array("q")
        self._digests = array("q")
        self._ended = bytearray()
        self._by_digest: array[int] | None = None
        self.seen = bytearray()
        self.written = bytearray()
        self.places = array("I")

    @classmethod
    def load(cls, db: sqlite3.Connection, definition: int) -> "DoneRows":
        """Read the last entry of every row under `definition`."""
        done = cls(definition)
        keys, seqs, digests, ended = done._keys, done._seqs, done._digests, done._ended
        last = None
        for key, seq, digest, how in db.execute(
            "select key, seq, digest, ended from rows where definition = ? order by key, seq", (definition,)
        ):
            if key == last:
                seqs[-1], digests[-1], ended[-1] = seq, digest, how
            else:
                keys.append(key)
                seqs.append(seq)
                digests.append(digest)
                ended.append(how)
                last = key
        done.seen, done.written = bytearray(len(keys)), bytearray(len(keys))
        done.places = array("I", bytes(len(keys) * array("I").itemsize))
        return done

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, row: Row) -> int | None:
        """The position of `row`, None when it has not ended yet."""
        key = done_key(row.id, row.content, self._definition)
        position = bisect_left(self._keys, key)
        return position if position < len(self._keys) and self._keys[position] == key else None

    def find_line(self, digest: int) -> int | None:
        """The position of the row whose line has this digest, None for a line that no row has."""
        if self._by_digest is None:
            self._by_digest = array("I", sorted(range(len(self._digests)), key=self._digests.__getitem__))
        order, digests = self._by_digest, self._digests
        at = bisect_left(order, digest, key=digests.__getitem__)
        return order[at] if at < len(order) and digests[order[at]] == digest else None

    def see(self, position: int, place: int) -> None:
        """The input has the row at `place`."""
        self.seen[position] = 1
        self.places[position] = place

    def digest(self, position: int) -> int:
        """The digest of the row's line."""
        return self._digests[position]

    def is_ok(self, position: int) -> bool:
        """Whether the row succeeded."""
        return self._ended[position] == OK

    def ended(self, position: int) -> int:
        """How the row ended, as the journal writes it."""
        return self._ended[position]

    def seq(self, position: int) -> int:
        """The number of the row's entry."""
        return self._seqs[position]

    def count_stale(self) -> int:
        """Rows whose lines are in the results and which the input does not have any more."""
        return sum(1 for seen, written in zip(self.seen, self.written, strict=True) if written and not seen)

    def forget_search(self) -> None:
        """Give back what searching by lines needs."""
        self._by_digest = None
