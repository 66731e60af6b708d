"""Expectations counted over all rows of a session: how many rows were checked, and how many missed each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.expect.field_path import UNCHECKED
from crewrun.row import Row


@dataclass(slots=True)
class ExpectationCount:
    """How many rows one expectation was checked on, and how many missed it; the first one that did is the example.
    `unchecked` are those of the missed ones whose check failed, such as a function that raises.
    """

    name: str
    checked: int = 0
    missed: int = 0
    unchecked: int = 0
    row_id: str = ""
    line: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the summary has it."""
        example = {"id": self.row_id, "line": self.line, "reason": self.reason} if self.missed else None
        counts = {"checked": self.checked, "missed": self.missed, "unchecked": self.unchecked}
        return {"name": self.name, **counts, "example": example}


class ExpectationCounts:
    """Counts by name, in the order of the crew file."""

    def __init__(self) -> None:
        self._counts: dict[str, ExpectationCount] = {}

    def add(self, row: Row, checked: Mapping[str, bool | str]) -> None:
        """Count what the expectations say of one row."""
        for name, reason in checked.items():
            count = self._counts.setdefault(name, ExpectationCount(name))
            count.checked += 1
            if reason is True:
                continue
            if not count.missed:
                count.row_id, count.line, count.reason = row.id, row.line, str(reason)
            count.missed += 1
            count.unchecked += str(reason).startswith(UNCHECKED)

    def all(self) -> list[ExpectationCount]:
        """All that were checked."""
        return list(self._counts.values())
