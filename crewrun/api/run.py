"""`Run`: a run of a batch as a program sees it, going or ended, of a program or of the command."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from crewrun.api.keywords import in_keywords
from crewrun.batch.run_results import RunResults, open_results
from crewrun.batch.summary import Report
from crewrun.errors import CrewrunError, UsageError, suggest
from crewrun.inspect.export import Status
from crewrun.inspect.later_sessions import Mark, change_since, mark_of
from crewrun.inspect.results_file import find_results_file
from crewrun.inspect.view import nearby, open_folder, open_run
from crewrun.notebook.card import Card, Grid
from crewrun.notebook.displayed import Displayed
from crewrun.notebook.short_repr import line, quoted, short_repr
from crewrun.row import as_json
from crewrun.runs.folder import RunFolder
from crewrun.runs.lock import is_held
from crewrun.tracebacks import shorten, shortened
from crewrun.wording import duration, money

# In the folder named after a crew.
RESULTS_NAME = "results.jsonl"
_SHOWN_ROWS = 5
_SHOWN_FAILED_ROWS = 3
_MOST_CHARS = 60

if TYPE_CHECKING:
    from crewrun.tables.writing.columns import Columns


class Run(Displayed):
    """The results of a run, and how it ended. Iterating streams its result rows, as dicts with the keys of the lines.

    Attributes:
        output: the results file, None where results went to a stream.
        path: the run folder, None for results without one.
        summary: what `--summary` writes: counts, failures, tokens, cost, times. Of a run that was opened, that of its
            latest session; while that is going, what is known so far.
    """

    def __init__(
        self,
        output: Path | None,
        path: Path | None,
        summary: dict[str, Any],
        mark: Mark | None = None,
        *,
        is_of_program: bool = False,
    ) -> None:
        self.output = output
        self.path = path
        self.summary = summary
        self._mark = mark
        self._is_of_program = is_of_program

    @classmethod
    @shortened
    def open(cls, run: str | os.PathLike[str]) -> "Run":
        """An earlier run, or one that is going: its results file, its run folder, the folder that `run_batch` has named
        after a crew, or results without a run folder.

        Raises UsageError when there is no such run, and JournalDamaged.
        """
        from crewrun.batch.stored_summary import summary_of, summary_of_results

        name = os.fspath(run)
        if (inside := Path(name, RESULTS_NAME)).is_file() and not RunFolder(Path(name)).is_used:
            name = str(inside)
        if (file := find_results_file(name)) is not None:
            with _opened(name) as results:
                return cls(file.absolute(), None, summary_of_results(results.records()))
        with open_run(name) as view:
            output = None if view.output is None else view.output.absolute()
            mark = None if is_held(view.folder.lock) else mark_of(view)
            return cls(
                output, view.folder.path.absolute(), summary_of(view), mark, is_of_program=view.manifest.is_of_program
            )

    @classmethod
    def _of_report(cls, report: Report) -> "Run":
        output = None if report.output is None else Path(report.output).absolute()
        if report.folder is None:
            return cls(output, None, report.summary, is_of_program=True)
        folder, mark = Path(report.folder).absolute(), None
        with suppress(CrewrunError), open_folder(RunFolder(folder)) as view:
            mark = mark_of(view)
        return cls(output, folder, report.summary, mark, is_of_program=True)

    @property
    def exit_code(self) -> int | None:
        """The code that the command ends with: 0 if every row succeeded. None while the run is going, and when its
        process died.
        """
        code: int | None = self.summary["exit_code"]
        return code

    @property
    def stopped(self) -> str | None:
        """Why the run stopped before its end, None if it did not."""
        why: str | None = self.summary["stopped"]
        return in_keywords(why) if why is not None and self._is_of_program else why

    @property
    def is_going(self) -> bool:
        """Whether a process is working on the run now."""
        return self.path is not None and is_held(RunFolder(self.path).lock)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The rows that failed. `summary["failures"]` has them by cause."""
        return list(self.rows("failed"))

    @shortened
    def rows(self, status: Status | None = None, *, ordered: bool = False) -> Iterator[dict[str, Any]]:
        """The rows that have ended, or only those that ended with `status`, one at a time.

        `ordered` gives them in the order of the input, else as they ended. Raises UsageError when they cannot be read,
        or when a later run has replaced or removed some of them.
        """
        _check_status(status)
        return self._read(status, ordered=ordered)

    def _read(self, status: Status | None, *, ordered: bool) -> Iterator[dict[str, Any]]:
        try:
            with self._opened(status, ordered=ordered) as results:
                yield from results.records()
        except CrewrunError as error:
            shorten(error)
            raise

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.rows()

    @shortened
    def __len__(self) -> int:
        with self._opened() as results:
            return len(results.lines)

    def __bool__(self) -> bool:
        return True  # a run without rows is one too

    @shortened
    def to_arrow(
        self, status: Status | None = None, *, ordered: bool = False, columns: Sequence[str] | None = None
    ) -> Any:
        """The rows as a `pyarrow.Table`, with the columns of `crewrun export`, or those that its `--columns` may name,
        such as `expectations.total`. Needs pyarrow.
        """
        from crewrun.tables.writing.column_names import parse_columns
        from crewrun.tables.writing.columns import Columns
        from crewrun.tables.writing.parquet_writer import arrow_table

        try:
            table = Columns(parse_columns(columns))
        except UsageError as wrong:
            raise UsageError(in_keywords(str(wrong))) from None
        with self._opened(status, table, ordered=ordered) as results:
            return arrow_table(table.all(), (table.cells(record) for record in results.records()))

    @shortened
    def to_pandas(
        self, status: Status | None = None, *, ordered: bool = False, columns: Sequence[str] | None = None
    ) -> Any:
        """The rows as a `pandas.DataFrame`, with the columns of `to_arrow`. Needs pandas and pyarrow."""
        if find_spec("pandas") is None:
            raise UsageError("to_pandas() needs pandas: pip install pandas")
        return self.to_arrow(status, ordered=ordered, columns=columns).to_pandas()

    def __repr__(self) -> str:
        return short_repr(self, quoted(self._label), *self._counts, line(self._why, _MOST_CHARS))

    def _crewrun_card(self) -> Card:
        cost_usd, seconds = self.summary["cost_usd"], self.summary["duration_s"]
        facts = (*self._counts, *([] if cost_usd is None else [money(cost_usd)]), duration(seconds or 0.0))
        failures = [
            (group["category"], group["task"] or "", f"{group['count']:,}", group["example"]["message"])
            for group in self._failures
        ]
        grids = [Grid(("failed", "task", "rows", "for example"), tuple(failures))] if failures else []
        text = self._why
        try:
            grids += self._row_grids()
        except CrewrunError as gone:
            text = "\n".join(filter(None, (text, str(gone))))
        return Card(f"Run {self._label}", facts, text=text, grids=tuple(grids))

    def _row_grids(self) -> list[Grid]:
        """The first rows that failed, and the first that succeeded."""
        failed = [
            (row["id"], _text(row["input"]), row["error"]["message"])
            for row in islice(self.rows("failed"), _SHOWN_FAILED_ROWS)
        ]
        ok = [(row["id"], _text(row["input"]), _text(row["output"])) for row in islice(self.rows("ok"), _SHOWN_ROWS)]
        grids = (Grid(("failed row", "input", "error"), tuple(failed)), Grid(("row", "input", "output"), tuple(ok)))
        return [grid for grid in grids if grid.rows]

    @contextmanager
    def _opened(
        self, status: Status | None = None, columns: "Columns | None" = None, *, ordered: bool = False
    ) -> Iterator[RunResults]:
        """The results. Raises UsageError when they are not those of this run any more."""
        _check_status(status)
        if self._mark is not None and self.path is not None:
            with open_folder(RunFolder(self.path)) as view:
                why = change_since(view, self._mark)
            if why is not None:
                raise UsageError(
                    f"{self._label}: does not have this run's results any more: {why}. Run.open() reads what is there; "
                    "runs whose results are needed side by side have an output= of their own each"
                )
        with _opened(self._name, status, columns, ordered=ordered) as results:
            yield results

    @property
    def _label(self) -> str:
        return nearby(self.output or self._name)

    @property
    def _counts(self) -> list[str]:
        rows = self.summary["rows"] or {}
        failed = rows.get("failed", 0) + rows.get("kept_failed", 0)
        return [f"{rows.get('ok', 0) + rows.get('kept', 0):,} ok", f"{failed:,} failed"]

    @property
    def _why(self) -> str:
        if self.stopped or self.exit_code is not None:
            return f"stopped: {self.stopped}" if self.stopped else ""
        return "going" if self.is_going else "its process died"

    @property
    def _failures(self) -> list[dict[str, Any]]:
        failures: list[dict[str, Any]] = self.summary["failures"]
        return failures

    @property
    def _name(self) -> str:
        return str(self.output if self.output is not None and self.path is None else self.path)


def _check_status(status: Any) -> None:
    statuses = get_args(Status)
    if status is not None and status not in statuses:
        words = " or ".join(map(repr, statuses))
        near = suggest(status, statuses) if isinstance(status, str) else ""
        raise UsageError(f"status={status!r}: rows end {words}{near}; without a status it is all of them")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value).decode()


@contextmanager
def _opened(
    run: str, status: Status | None = None, columns: "Columns | None" = None, *, ordered: bool = False
) -> Iterator[RunResults]:
    """The results, in sync code: what has to be awaited is awaited in a thread of its own."""
    from anyio.from_thread import start_blocking_portal

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_results(run, status, columns, ordered=ordered)) as results,
    ):
        yield results
