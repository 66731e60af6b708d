"""`DoneIndex`: which rows of a run are done under its present definition; a million take a few dozen megabytes."""

import sqlite3
from array import array
from bisect import bisect_left

from crewrun.journal.keys import done_key, id_key, pack_id
from crewrun.journal.schema import OK
from crewrun.row import Row


def is_among(numbers: "array[int]", number: int) -> bool:
    """Whether sorted numbers have this one."""
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number


class Positions:
    """Where 64-bit numbers stand in an array: a hash table of open addressing over that array, 8 bytes per number.

    A dictionary would take a hundred. The numbers are digests, so their low bits serve as hashes.
    """

    def __init__(self, numbers: "array[int]", most: int) -> None:
        """`most` is how many numbers there can be in all; those that are there already are entered."""
        size = 1 << max(4, (2 * most).bit_length())
        self._numbers = numbers
        self._mask = size - 1
        self._slots = array("I", bytes(4 * size))  # a position and 1; 0 is an empty slot
        for position in range(len(numbers)):
            self.enter(position)

    def enter(self, position: int) -> None:
        """Note where the number at `position` stands."""
        slots, mask = self._slots, self._mask
        slot = self._numbers[position] & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = position + 1

    def find(self, number: int) -> int | None:
        """A position of `number`, None when it is nowhere."""
        slots, mask, numbers = self._slots, self._mask, self._numbers
        slot = number & mask
        while found := slots[slot]:
            if numbers[found - 1] == number:
                return found - 1
            slot = (slot + 1) & mask
        return None


class DoneIndex:
    """Rows by their position in the arrays. `seen` marks those that the input still has, with their `places` in it;
    `written` those whose line is in the results.
    """

    def __init__(self, definition: int, most: int, *, by_id: bool = False) -> None:
        """`by_id` is for ids out of a field: of the contents that an id had, its last one only is known."""
        self._definition = definition
        # What each row says, where it is looked up by its id.
        self._contents: array[int] | None = array("q") if by_id else None
        self._keys, self._seqs, self._digests = array("q"), array("q"), array("q")
        self._ended = bytearray()
        self._by_key = Positions(self._keys, most)
        self._by_digest: Positions | None = None
        self.seen = self.written = bytearray()
        self.places = array("I")

    @classmethod
    def load(cls, db: sqlite3.Connection, definition: int, *, by_id: bool = False) -> "DoneIndex":
        """Read the last entry of every row under `definition`."""
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
        """The position of `row`, None when it has not ended yet."""
        content = done_key(row.id, row.content, self._definition)
        if self._contents is None:
            return self._by_key.find(content)
        position = self._by_key.find(id_key(pack_id(row.id)))
        return position if position is not None and self._contents[position] == content else None

    def find_changed(self, row: Row) -> int | None:
        """The position of the row that has the id of `row` and says something else, None when there is none."""
        if self._contents is None or self.find(row) is not None:
            return None
        return self._by_key.find(id_key(pack_id(row.id)))

    def find_line(self, digest: int) -> int | None:
        """The position of the row whose line has this digest, None for a line that no row has."""
        if self._by_digest is None:
            self._by_digest = Positions(self._digests, len(self._digests))
        return self._by_digest.find(digest)

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
