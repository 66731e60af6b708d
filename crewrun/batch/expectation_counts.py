"""Expectations counted over all rows of a session: how many rows were checked, and how many missed each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.row import Row


@dataclass(slots=True)
class ExpectationCount:
    """How many rows one expectation was checked on, and how many missed it; the first one that did is the example."""

    name: str
    checked: int = 0
    missed: int = 0
    row_id: str = ""
    line: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the summary has it."""
        example = {"id": self.row_id, "line": self.line, "reason": self.reason} if self.missed else None
        return {"name": self.name, "checked": self.checked, "missed": self.missed, "example": example}


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

    def all(self) -> list[ExpectationCount]:
        """All that were checked."""
        return list(self._counts.values())
