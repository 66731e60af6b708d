"""`RowPass`: goes once through the results and once through the input of a run, and fills what a report has of rows."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crewrun.batch.failures import Failures
from crewrun.errors import Category
from crewrun.journal.done_index import Positions
from crewrun.journal.keys import row_key
from crewrun.report.answers import AnswerEnds
from crewrun.report.calls import RowTools
from crewrun.report.columns import Codes, NameSets, Numbers
from crewrun.report.fields import OutputFields
from crewrun.report.judged import ExpectationTotals, ScoreColumns
from crewrun.report.rows import RowTable
from crewrun.report.spent import SpentByResults
from crewrun.report.texts import TextPacks
from crewrun.report.values import number_in, object_in, text_in
from crewrun.row import ErrorRecord, Row
from crewrun.score.score_sets import OpenScores

_MOST_UNFINISHED: Final = 10_000  # with their inputs


class RowPass:
    """Gives each row to the columns, the texts, the fields of outputs and the groups of failures.

    `unfinished` has the rows that come after those with results, at least the first of them. `replayed_usd` is what
    earlier sessions paid for, None if a price is unknown.
    """

    def __init__(self, texts: TextPacks, tools: RowTools, scores: Sequence[OpenScores] = ()) -> None:
        self.table = RowTable()
        self.fields = OutputFields()
        self.failures = Failures()
        self.failed_by_task: dict[str, int] = {}
        self.unfinished: list[Row] = []
        self.replayed_usd: float | None = 0.0
        self.spent = SpentByResults()
        self.scores, self.expectations = ScoreColumns(scores), ExpectationTotals()
        self.answers = AnswerEnds()
        self._texts = texts
        self._tools = tools
        self._keys = array("q")
        self._by_key: Positions | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Take a result."""
        number, error = len(self.table), object_in(record, "error")
        self.table.add(record, self._tools.of_row(record["id"]))
        self._keys.append(row_key(record["id"]))
        self.spent.add(record)
        self.scores.see(number, record)
        self.answers.see(record)
        missed = self.expectations.see(number, record)
        message = text_in(error, "message") if record["status"] == "failed" else None
        self._texts.add(record.get("input"), record.get("output"), message, missed)
        if record["status"] == "ok":
            self.fields.see(number, record.get("output"))
        else:
            self._add_failure(number, record, error)
        if (replayed := object_in(record, "replayed")) and self.replayed_usd is not None:
            cost_usd = number_in(replayed, "cost_usd")
            self.replayed_usd = None if cost_usd is None else self.replayed_usd + cost_usd

    def see_input(self, row: Row, *, wanted: bool) -> None:
        """Take a row of the input, after all results. `wanted` says whether the run has it to do."""
        if self._by_key is None:
            self._by_key = Positions(self._keys, len(self._keys))
        number = self._by_key.find(row_key(row.id))
        if number is not None:
            self.table.line.put(number, row.line)
        elif wanted:
            self.table.add_unfinished(row)
            self._texts.add(row.own, None, None)
            if len(self.unfinished) < _MOST_UNFINISHED:
                self.unfinished.append(row)

    def columns(self) -> dict[str, Numbers | Codes | NameSets]:
        """The columns that not every report has, for all rows."""
        parts = (self.expectations, self.answers, self.fields, self.scores)
        return {name: column for part in parts for name, column in part.columns(len(self.table)).items()}

    def _add_failure(self, number: int, record: Mapping[str, Any], error: Mapping[str, Any]) -> None:
        failure = _error_record(error)
        own = record.get("input")
        # The groups give the number of their example back.
        self.failures.add(Row(number, 0, record["id"], own if isinstance(own, dict) else None), failure)
        if failure.task is not None:
            self.failed_by_task[failure.task] = self.failed_by_task.get(failure.task, 0) + 1


def _error_record(error: Mapping[str, Any]) -> ErrorRecord:
    """The error of a result, whose line may lack parts of it."""
    category = text_in(error, "category")
    http_status = number_in(error, "http_status")
    return ErrorRecord(
        Category(category) if category in set(Category) else Category.INTERNAL,
        text_in(error, "type") or "",
        text_in(error, "message") or "",
        text_in(error, "task"),
        None if http_status is None else int(http_status),
    )
