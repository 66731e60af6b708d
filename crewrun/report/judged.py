"""What a report has of scores and expectations: a column for each score, and counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from crewrun.report.columns import NameSets, Numbers
from crewrun.score.figures import ScoreCollector
from crewrun.score.score_sets import OpenScores


class ScoreColumns:
    """Sees each result, and takes its scores from the run's files of scores."""

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
    """Counts which expectations results say they met and missed, with the first row that missed each, and has a column
    of those that each row missed. `missed_rows` missed at least one.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Any]] = {}
        self._missed = NameSets()
        self.missed_rows = 0

    def see(self, row: int, record: Mapping[str, Any]) -> str | None:
        """Take the next result, which has this number. Returns why it missed expectations, None if it missed none."""
        checked = record.get("expectations")
        if not isinstance(checked, Mapping):
            self._missed.add(None)
            return None
        self._count(row, checked)
        missed = [name for name, reason in checked.items() if reason is not True]
        self._missed.add(missed)
        self.missed_rows += bool(missed)
        return "\n".join(f"{name}: {checked[name]}" for name in missed) or None

    def columns(self, rows: int) -> Mapping[str, NameSets]:
        """The column, for all `rows`; none where no expectation was checked."""
        if not self._counts:
            return {}
        self._missed.fill(rows)
        return {"missed": self._missed}

    def _count(self, row: int, checked: Mapping[str, Any]) -> None:
        for name, reason in checked.items():
            count = self._counts.setdefault(name, {"name": name, "checked": 0, "missed": 0, "example": None})
            count["checked"] += 1
            if reason is not True:
                count["missed"] += 1
                count["example"] = row if count["example"] is None else count["example"]

    def to_json(self) -> list[dict[str, Any]]:
        """As the head of the page has it."""
        return list(self._counts.values())
