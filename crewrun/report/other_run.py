"""`OtherRun`: what a report shows of the run before, row by row."""

import random
from collections.abc import Mapping
from typing import Any, Final

from crewrun.batch.run_results import RunResults
from crewrun.compare.comparison import Sampling
from crewrun.compare.join import RowJoin
from crewrun.compare.row_changes import RowChange
from crewrun.compare.runs import compare_runs
from crewrun.report.columns import Codes
from crewrun.tables.writing.column_names import Record

_CHANGES: Final[tuple[RowChange, ...]] = ("same", "changed", "fixed", "broken", "only_b")
# How many rows of these changes have details, at most.
_MOST: Final[Mapping[RowChange, int]] = {"broken": 1000, "changed": 500}
_SEED: Final = 0


class OtherRun:
    """The run before, which is A of the comparison, and the run of the report, which is B. Both have to be open.

    `changes` says what became of each row, in the order of the results. Raises UsageError when there is nothing to
    compare.
    """

    def __init__(self, before: RunResults, results: RunResults) -> None:
        self._runs = compare_runs(before, results, Sampling())
        self._before = RowJoin(before.lines)
        self.changes = Codes(_CHANGES)
        for change in self._runs.comparison.join.changes():
            self.changes.add(change)

    def record(self, row_id: str) -> Record | None:
        """The row's result in the run before, None when that does not have it."""
        number = self._before.find(row_id)
        return None if number is None else self._before.record(number)

    def notable(self) -> list[int]:
        """The rows that should have details: broken ones, and changed ones."""
        draw = random.Random(_SEED)  # noqa: S311  (no secret)
        rows: list[int] = []
        for change, most in _MOST.items():
            numbers = self.changes.rows_of(change)
            rows += numbers if len(numbers) <= most else draw.sample(numbers, most)
        return rows

    def to_json(self) -> dict[str, Any]:
        """The comparison as `compare --json` prints it; its examples have the numbers of their rows on the page too."""
        comparison = self._runs.to_json()
        for example in comparison["examples"]:
            example["row"] = self._runs.comparison.join.find(example["id"])
        return comparison
