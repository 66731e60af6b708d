"""`Shard`: one of several parts of an input, for separate runs that do not know of each other."""

import re
from dataclasses import dataclass
from hashlib import blake2b

from crewrun.errors import UsageError
from crewrun.row import Row

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `count`, from 1. A row's id decides which part it is in, on every machine and in any order."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """What `--shard` says, `1/4`. Raises UsageError."""
        match = _FORM.fullmatch(text.strip())
        shard = cls(int(match[1]), int(match[2])) if match else None
        if shard is None or not 1 <= shard.number <= shard.count:
            count = max(1, shard.count) if shard else 4
            ends = "1/1" if count == 1 else f"from 1/{count} to {count}/{count}"
            raise UsageError(f"--shard {text!r}: write it as I/N, the part and how many there are, {ends}")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def suffix(self) -> str:
        """A suffix that distinguishes the files of this part from those of the others."""
        return f".shard-{self.number}-of-{self.count}"

    def has(self, row: Row) -> bool:
        """Whether the row is in this part."""
        # Results are merged across versions of crewrun: this may not change.
        digest = blake2b(row.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1
