"""What a report has of scores and expectations: a column for each score, and counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from crewrun.report.columns import Numbers
from crewrun.score.figures import ScoreCollector
from crewrun.score.score_sets import OpenScores


class ScoreColumns:
    """Sees each result, and takes its scores from the files beside the run's results."""

    def __init__(self, sets: Sequence[OpenScores]) -> None:
        self._sets = [(scores, ScoreCollector()) for scores in sets]
        self._columns: dict[str, Numbers] = {}

    def see(self, row: int, record: Mapping[str, Any]) -> None:
        """Take the scores of the row with this number."""
        for scores, collector in self._sets:
            output = scores.of(record)
            for name, value in collector.add(str(row), output).items():
                column = self._columns.setdefault(f"score.{scores.set.column(name)}", Numbers())
                column.fill(row)
                column.add(value)

    def columns(self, rows: int) -> Mapping[str, Numbers]:
        """The columns, for all `rows`."""
        for column in self._columns.values():
            column.fill(rows)
        return self._columns

    def to_json(self) -> list[dict[str, Any]]:
        """What the head of the page says of each score."""
        return [
            {
                "name": scores.set.column(one.name),
                "by": scores.set.by,
                "rows": one.rows,
                "mean": one.mean,
                "low": one.low,
                "high": one.high,
                "histogram": {"edges": one.edges, "counts": one.counts},
                "worst": [{"row": int(row.id), "score": row.score, "reason": row.reason} for row in one.worst],
            }
            for scores, collector in self._sets
            for one in collector.figures()
        ]


class ExpectationTotals:
    """Counts which expectations results say they met and missed, with the first row that missed each."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Any]] = {}

    def see(self, row: int, record: Mapping[str, Any]) -> None:
        """Take the result with this number."""
        checked = record.get("expectations")
        for name, reason in checked.items() if isinstance(checked, Mapping) else ():
            count = self._counts.setdefault(name, {"name": name, "checked": 0, "missed": 0, "example": None})
            count["checked"] += 1
            if reason is not True:
                count["missed"] += 1
                count["example"] = row if count["example"] is None else count["example"]

    def to_json(self) -> list[dict[str, Any]]:
        """As the head of the page has it."""
        return list(self._counts.values())
