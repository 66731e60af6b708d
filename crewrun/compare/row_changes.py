"""What became of a row from one run to the other, and how many rows each of it happened to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

RowChange = Literal["same", "changed", "fixed", "broken", "only_a", "only_b"]

# Of the rows that are in both runs.
JOINED: Final[tuple[RowChange, ...]] = ("same", "changed", "fixed", "broken")
# What a condition may name.
COUNTS: Final = (*JOINED, "only_a", "only_b", "failed_in_both", "other_input", "joined")


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Numbers of rows by what became of them.

    Rows that are `same` have the same output, or have failed in both runs, as `failed_in_both` of them have;
    `other_input` rows have the same id and other inputs.
    """

    numbers: Mapping[RowChange, int]
    failed_in_both: int
    other_input: int

    @property
    def joined(self) -> int:
        """How many rows are in both runs."""
        return sum(self.numbers.get(change, 0) for change in JOINED)

    def share(self, change: RowChange) -> float:
        """The share of the joined rows, 0 without any."""
        return self.numbers.get(change, 0) / self.joined if self.joined else 0.0

    def count(self, name: str) -> int:
        """The number that a condition calls `name`, one of `COUNTS`."""
        counts: dict[str, int] = dict(self.numbers.items())
        counts |= {"failed_in_both": self.failed_in_both, "other_input": self.other_input, "joined": self.joined}
        return counts.get(name, 0)

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it."""
        return {name: self.count(name) for name in COUNTS}
