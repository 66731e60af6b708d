"""`Run`: a run of a batch as a program sees it, going or ended, of a program or of the command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crewrun.batch.run_results import RunResults, open_results
from crewrun.batch.summary import Report
from crewrun.errors import UsageError
from crewrun.inspect.export import Status
from crewrun.inspect.results_file import find_results_file
from crewrun.inspect.view import nearby, open_run

if TYPE_CHECKING:
    from crewrun.tables.writing.columns import Columns


class Run:
    """The results of a run, and how it ended. Iterating streams its result rows, as dicts with the keys of the lines.

    Attributes:
        output: the results file, None where results went to a stream.
        path: the run folder, None for results without one.
        summary: what `--summary` writes: counts, failures, tokens, cost, times. Of a run that was opened, that of its
            latest session; while that is going, what is known so far.
    """

    def __init__(self, output: Path | None, path: Path | None, summary: dict[str, Any]) -> None:
        self.output = output
        self.path = path
        self.summary = summary

    @classmethod
    def open(cls, run: str | os.PathLike[str]) -> "Run":
        """An earlier run, or one that is going: its results file, its run folder, or results without a run folder.

        Raises UsageError when there is none, and JournalDamaged.
        """
        from crewrun.batch.stored_summary import summary_of, summary_of_results

        name = os.fspath(run)
        if (file := find_results_file(name)) is not None:
            with _opened(name) as results:
                return cls(file.absolute(), None, summary_of_results(results.records()))
        with open_run(name) as view:
            output = None if view.output is None else view.output.absolute()
            return cls(output, view.folder.path.absolute(), summary_of(view))

    @classmethod
    def _of_report(cls, report: Report) -> "Run":
        output = None if report.output is None else Path(report.output).absolute()
        return cls(output, None if report.folder is None else Path(report.folder).absolute(), report.summary)

    @property
    def exit_code(self) -> int | None:
        """The code that the command ends with: 0 if every row succeeded. None while the run is going."""
        code: int | None = self.summary["exit_code"]
        return code

    @property
    def stopped(self) -> str | None:
        """Why the run stopped before its end, None if it did not."""
        why: str | None = self.summary["stopped"]
        return why

    @property
    def is_going(self) -> bool:
        """Whether a process is working on the run now."""
        from crewrun.runs.folder import RunFolder
        from crewrun.runs.lock import is_held

        return self.path is not None and is_held(RunFolder(self.path).lock)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The rows that failed. `summary["failures"]` has them by cause."""
        return list(self.rows("failed"))

    def rows(self, status: Status | None = None, *, ordered: bool = False) -> Iterator[dict[str, Any]]:
        """The rows that have ended, or only those that ended with `status`, one at a time.

        `ordered` gives them in the order of the input, else as they ended. Raises UsageError when they cannot be read.
        """
        with _opened(self._name, status, ordered=ordered) as results:
            yield from results.records()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.rows()

    def __len__(self) -> int:
        with _opened(self._name) as results:
            return len(results.lines)

    def __bool__(self) -> bool:
        return True  # a run without rows is one too

    def to_arrow(self, status: Status | None = None, *, ordered: bool = False) -> Any:
        """The rows as a `pyarrow.Table`, with the columns of `crewrun export`. Needs pyarrow."""
        from crewrun.tables.writing.columns import Columns
        from crewrun.tables.writing.parquet_writer import arrow_table

        columns = Columns()
        with _opened(self._name, status, columns, ordered=ordered) as results:
            return arrow_table(columns.all(), (columns.cells(record) for record in results.records()))

    def to_pandas(self, status: Status | None = None, *, ordered: bool = False) -> Any:
        """The rows as a `pandas.DataFrame`, with the columns of `to_arrow`. Needs pandas and pyarrow."""
        if find_spec("pandas") is None:
            raise UsageError("to_pandas() needs pandas: pip install pandas")
        return self.to_arrow(status, ordered=ordered).to_pandas()

    def __repr__(self) -> str:
        rows = self.summary["rows"] or {}
        ok = rows.get("ok", 0) + rows.get("kept", 0)
        failed = rows.get("failed", 0) + rows.get("kept_failed", 0)
        parts = [f"{ok:,} ok", f"{failed:,} failed"]
        parts += [f"stopped: {self.stopped}"] if self.stopped else []
        return f"<Run {nearby(self.output or self._name)!r}: {', '.join(parts)}>"

    @property
    def _name(self) -> str:
        return str(self.output if self.output is not None and self.path is None else self.path)


@contextmanager
def _opened(
    run: str, status: Literal["ok", "failed"] | None = None, columns: "Columns | None" = None, *, ordered: bool = False
) -> Iterator[RunResults]:
    """The results, in sync code: what has to be awaited is awaited in a thread of its own."""
    from anyio.from_thread import start_blocking_portal

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_results(run, status, columns, ordered=ordered)) as results,
    ):
        yield results
