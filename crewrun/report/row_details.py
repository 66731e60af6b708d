"""`RowDetails`: what the page shows of a single row: its result, and its calls as `crewrun show` has them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crewrun.batch.rebuilt_prompts import RebuiltPrompts, RunCrew
from crewrun.batch.run_input import inputs_of_rows
from crewrun.batch.run_results import RunResults
from crewrun.inspect.show import describe_calls
from crewrun.inspect.view import View
from crewrun.journal.keys import row_key
from crewrun.report.details import shortened
from crewrun.report.other_run import OtherRun
from crewrun.report.row_pass import RowPass
from crewrun.report.timeline import Timeline
from crewrun.row import Row
from crewrun.tables.writing.columns import decoded


@dataclass(frozen=True, slots=True)
class _Journal:
    """What details need of a run: `inputs` by the ids of rows, the numbers of their `calls` by their keys, and where
    the log has `prompts`, by the numbers of calls.
    """

    view: View
    rebuilt: RebuiltPrompts
    inputs: Mapping[str, dict[str, Any] | None]
    calls: Mapping[int, Sequence[int]]
    prompts: Mapping[int, int]


class RowDetails:
    """The details of chosen rows. `timeline` knows where the log has prompts; `other` has the results of the run
    before.
    """

    def __init__(
        self,
        results: RunResults,
        rows: RowPass,
        crew: RunCrew,
        timeline: Timeline,
        other: OtherRun | None = None,
    ) -> None:
        self._results = results
        self._rows = rows
        self._crew = crew
        self._timeline = timeline
        self._other = other

    async def of_rows(self, numbers: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The details of these rows, with their numbers, made one by one."""
        view = self._results.view
        if view is None:
            return ((number, self._of_result(number)) for number in numbers)
        own_of = dict(map(self._own, numbers))
        calls = _calls_of(view, {row_key(row_id) for row_id in own_of})
        inputs = await inputs_of_rows(view.manifest, own_of)
        prompts = self._timeline.places_of_prompts({seq for seqs in calls.values() for seq in seqs})
        journal = _Journal(view, RebuiltPrompts(view, self._crew), inputs, calls, prompts)
        return ((number, self._of_row(number, journal)) for number in numbers)

    def _of_result(self, number: int) -> dict[str, Any]:
        detail = {"record": self._record(number), "calls": [], "no_prompt": None} | self._before(number)
        shown: dict[str, Any] = shortened(detail)
        return shown

    def _before(self, number: int) -> dict[str, Any]:
        """The row's result in the run before, as part of its details."""
        record = self._other.record(self._own(number)[0]) if self._other is not None else None
        return {"other": record} if record is not None else {}

    def _of_row(self, number: int, journal: _Journal) -> dict[str, Any]:
        view, row, record = journal.view, self._row(number), self._record(number)
        row_id, own = self._own(number)
        seqs = journal.calls.get(row_key(row_id), ())
        calls = view.calls(f"seq in ({','.join(map(str, seqs))})", ()) if seqs else []
        logged = {seq: _logged(view, journal.prompts[seq]) for seq in seqs if seq in journal.prompts}
        prompts, why_not = journal.rebuilt.of_row(journal.inputs.get(row_id), record, calls, logged)
        detail: dict[str, Any] = {
            "record": record,
            "calls": describe_calls(view, calls, prompts),
            "no_prompt": why_not,
        }
        detail |= {"input": own} if row is not None else {}
        detail |= self._before(number)
        shown: dict[str, Any] = shortened(detail)
        return shown

    def _own(self, number: int) -> tuple[str, dict[str, Any] | None]:
        """A row's id and the fields of the input that its result repeats."""
        row, record = self._row(number), self._record(number)
        if row is not None:
            return row.id, row.own
        return (record or {})["id"], (record or {}).get("input")

    def _row(self, number: int) -> Row | None:
        """A row without a result."""
        count = len(self._results.lines)
        return self._rows.unfinished[number - count] if number >= count else None

    def _record(self, number: int) -> dict[str, Any] | None:
        if number >= len(self._results.lines):
            return None
        record: dict[str, Any] = decoded(self._results.lines.at(number))
        return record


def _logged(view: View, place: int) -> Any:
    """The prompt in the log that begins at `place`."""
    with view.folder.log.open("rb") as log:
        log.seek(place)
        return json.loads(log.readline())["messages"]


def _calls_of(view: View, keys: set[int]) -> dict[int, list[int]]:
    """The numbers of the calls of rows, by the rows' keys: one pass, since the journal has no index of rows."""
    calls: dict[int, list[int]] = {}
    for row, seq in view.db.execute("select row, seq from calls order by seq"):
        if row in keys:
            calls.setdefault(row, []).append(seq)
    return calls
