"""`DoneIndex`: which rows of a run are done under its current definition.

It is a table in memory, about 50 bytes per row, because a query per row would dominate the resuming of a large run.
Loading, marking the lines of the results and finding the rows of the input take 5 µs of CPU time per row here, measured
over 300,000 rows. A temporary SQLite table, indexed by key and digest, with the marks in arrays, would take 12 µs: not
measured as a whole, but added up from parts that were, over as many rows: loading 1.8, indexing 1.2, two lookups of
4.6 µs each. With the marks in that table it takes 26 µs. All of resuming takes 17 µs per row (59,000 rows/s, 135 MB for
a million), so either table would bring it below 50,000 rows/s. Indexes in the journal itself would cost every run: the
keys are digests, so each entry would write a page of its own.
"""

import sqlite3
from array import array
from bisect import bisect_left

from crewrun.journal.keys import done_key, id_key, pack_id
from crewrun.journal.schema import OK
from crewrun.row import Row


def is_among(numbers: "array[int]", number: int) -> bool:
    """Whether `number` is one of the sorted `numbers`."""
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number


class Positions:
    """Finds 64-bit numbers in an array: a hash table with open addressing over it, 8 to 16 bytes per number.

    A dictionary would take 100 bytes. The numbers are digests, so their low bits serve as the hash.
    """

    def __init__(self, numbers: "array[int]", most: int) -> None:
        """`most` is how many numbers the array may get. Those that are in it already are entered."""
        size = 1 << max(4, (2 * most).bit_length())
        self._numbers = numbers
        self._mask = size - 1
        self._slots = array("I", bytes(4 * size))  # a position plus 1; 0 is an empty slot
        for position in range(len(numbers)):
            self.enter(position)

    def enter(self, position: int) -> None:
        """Enter the number at `position`."""
        slots, mask = self._slots, self._mask
        slot = self._numbers[position] & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = position + 1

    def find(self, number: int) -> int | None:
        """The position of `number`, None when the array does not have it."""
        slots, mask, numbers = self._slots, self._mask, self._numbers
        slot = number & mask
        while entry := slots[slot]:
            if numbers[entry - 1] == number:
                return entry - 1
            slot = (slot + 1) & mask
        return None


class DoneIndex:
    """Done rows, by their positions in arrays.

    `seen` marks the rows that the input still has, `places` says where; `written` marks those whose line is in the
    results.
    """

    def __init__(self, definition: int, most: int, *, by_id: bool = False) -> None:
        """`most` is how many rows may be added. `by_id` is for ids from a field: only the last content of an id
        counts.
        """
        self._definition = definition
        # With `by_id`, rows are looked up by their ids, and this has the key of each row's content.
        self._contents: array[int] | None = array("q") if by_id else None
        self._keys, self._seqs, self._digests = array("q"), array("q"), array("q")
        self._ended = bytearray()
        self._by_key = Positions(self._keys, most)
        self._by_digest: Positions | None = None
        self.seen = self.written = bytearray()
        self.places = array("I")

    @classmethod
    def load(cls, db: sqlite3.Connection, definition: int, *, by_id: bool = False) -> "DoneIndex":
        """Load the last entry of each row under `definition`."""
        (most,) = db.execute("select count(*) from rows where definition = ?", (definition,)).fetchone()
        done = cls(definition, most, by_id=by_id)
        columns = "key, seq, digest, ended, id" if by_id else "key, seq, digest, ended"
        entries = db.execute(f"select {columns} from rows where definition = ? order by seq", (definition,))  # noqa: S608  (ours)
        if done._contents is None:
            for key, seq, digest, ended in entries:
                done._add(key, seq, digest, ended)
        else:
            for content, seq, digest, ended, packed in entries:
                position = done._add(id_key(packed), seq, digest, ended)
                done._contents[position : position + 1] = array("q", (content,))
        count = len(done._keys)
        done.seen, done.written = bytearray(count), bytearray(count)
        done.places = array("I", bytes(4 * count))
        return done

    def _add(self, key: int, seq: int, digest: int, ended: int) -> int:
        position = self._by_key.find(key)
        if position is None:
            position = len(self._keys)
            self._keys.append(key)
            self._seqs.append(seq)
            self._digests.append(digest)
            self._ended.append(ended)
            self._by_key.enter(position)
        else:
            self._seqs[position], self._digests[position], self._ended[position] = seq, digest, ended
        return position

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, row: Row) -> int | None:
        """The position of `row`, None when it is not done."""
        content = done_key(row.id, row.content, self._definition)
        if self._contents is None:
            return self._by_key.find(content)
        position = self._by_key.find(id_key(pack_id(row.id)))
        return position if position is not None and self._contents[position] == content else None

    def find_changed(self, row: Row) -> int | None:
        """The position of the row with the same id as `row` and different content; None without one."""
        if self._contents is None or self.find(row) is not None:
            return None
        return self._by_key.find(id_key(pack_id(row.id)))

    def find_line(self, digest: int) -> int | None:
        """The position of the row whose last line has this digest, None when there is no such row."""
        if self._by_digest is None:
            self._by_digest = Positions(self._digests, len(self._digests))
        return self._by_digest.find(digest)

    def see(self, position: int, place: int) -> None:
        """Mark the row as being in the input, at `place`."""
        self.seen[position] = 1
        self.places[position] = place

    def digest(self, position: int) -> int:
        """The digest of the row's line."""
        return self._digests[position]

    def is_ok(self, position: int) -> bool:
        """Whether the row succeeded."""
        return self._ended[position] == OK

    def ended(self, position: int) -> int:
        """How the row ended, as a number of `ended_of`."""
        return self._ended[position]

    def count_ok(self) -> int:
        """How many rows succeeded."""
        return self._ended.count(OK)

    def seq(self, position: int) -> int:
        """The number of the row's entry."""
        return self._seqs[position]

    def count_stale(self) -> int:
        """How many lines in the results belong to rows that the input no longer has."""
        return sum(1 for seen, written in zip(self.seen, self.written, strict=True) if written and not seen)

    def forget_search(self) -> None:
        """Free the memory that `find_line` needs; its next call builds the table again."""
        self._by_digest = None
