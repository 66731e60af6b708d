"""`open_results`: the results of a run or of a results file without a run folder, for commands that read them all.

The lines of a run are checked against its journal; those that are not in a file any more are restored from the journal
and the input.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from crewrun.batch.run_input import see_input, visit_rows
from crewrun.errors import OutputFailed, UsageError
from crewrun.inspect.export import LeftOut, Lines, Spool, Status, Written
from crewrun.inspect.results_file import ResultsFile, find_results_file
from crewrun.inspect.view import View, open_run
from crewrun.runs.lock import is_held
from crewrun.tables.writing.columns import Columns, decoded


@dataclass(slots=True)
class RunResults:
    """Results that are open for reading.

    Attributes:
        name: what messages call them: the user's file, also if it is a table, or the run folder where they went to a
            stream.
        lines: the result lines, the latest of each row, without those that are incomplete or not the journal's.
        view: the run, None for a results file without a run folder.
        is_going: whether a process is working on the run, so that these are the results so far.
        missing: how many results should be here and are not.
        notes: what is left out or missing, a sentence each, for standard error.
        order: why lines in the input's order are by the places that rows had when they ran, None if they are not.
    """

    name: str
    lines: Lines
    view: View | None = None
    is_going: bool = False
    missing: int = 0
    notes: list[str] = field(default_factory=list)
    order: str | None = None

    def records(self) -> Iterator[dict[str, Any]]:
        """The results, decoded one by one."""
        return (decoded(line) for line in self.lines)


@asynccontextmanager
async def open_results(
    run: str, status: Status | None = None, columns: Columns | None = None, *, ordered: bool = False
) -> AsyncIterator[RunResults]:
    """Open the results that `run` names: a run's results file, its run folder, or results without a run folder.

    `status` selects how the rows ended (None: any), `ordered` puts them in the input's order; `columns` sees all of
    them. Raises UsageError when there are no such results or they cannot be read, and JournalDamaged.
    """
    if find_results_file(run) is not None:
        async with open_file_results(run, status, columns, ordered=ordered) as results:
            yield results
        return
    with open_run(run) as view:
        async with open_view_results(view, status, columns, ordered=ordered) as results:
            yield results


@asynccontextmanager
async def open_file_results(
    run: str, status: Status | None = None, columns: Columns | None = None, *, ordered: bool = False
) -> AsyncIterator[RunResults]:
    """As `open_results`, for a results file without a run folder."""
    with _readable(run) as file:
        yield _of_file(run, ResultsFile(file, status, columns), ordered=ordered)


@asynccontextmanager
async def open_view_results(
    view: View,
    status: Status | None = None,
    columns: Columns | None = None,
    *,
    ordered: bool = False,
    needs_inputs: bool = True,
) -> AsyncIterator[RunResults]:
    """As `open_results`, for a run that is open. Unless it `needs_inputs`, results that have to be restored lack those
    of rows that cannot be read again.
    """
    if view.results is not None and view.results.is_file():
        with view.results.open("rb") as file:
            yield await _of_run(view, view.results, Written(view, file, status, LeftOut(), columns), ordered=ordered)
    else:
        with _spool() as file:
            yield await _restored(view, Spool(view, file, status, columns), file, needs_inputs=needs_inputs)


def _of_file(run: str, results: ResultsFile, *, ordered: bool) -> RunResults:
    """Results without a run folder, of which only incomplete lines are certainly missing."""
    left_out = results.left_out
    if not len(results) and str(left_out):
        raise UsageError(
            f"{run}: has no run folder, and none of its lines is a result; "
            "RUN is a results file of crewrun batch or merge, or a run folder"
        )
    notes = [f"lines of {run} that are left out: {left_out}"] if str(left_out) else []
    order = f"{run} has no run folder" if ordered else None
    return RunResults(run, results.lines(ordered=ordered), missing=left_out.torn, notes=notes, order=order)


async def _of_run(view: View, path: Path, written: Written, *, ordered: bool) -> RunResults:
    """The results in a run's file."""
    is_going = is_held(view.folder.lock)
    gone = await _see_input(view, written) if ordered or (written.may_lack and not is_going) else None
    if ordered:
        written.sort()
    if is_going:
        written.left_out.torn = written.missing = 0  # they are still being written
    faults = [f"lines of {path} that are left out: {written.left_out}"] if str(written.left_out) else []
    faults += [f"missing in {path}: {_count(written.missing)}"] if written.missing else []
    notes = [f"{'; '.join(faults)}; to restore them: {view.command}"] if faults else []
    order = str(gone) if ordered and gone else None
    return RunResults(str(view.output or path), written.lines, view, is_going, written.missing, notes, order)


def _count(results: int) -> str:
    return f"{results:,} result{'' if results == 1 else 's'}"


async def _see_input(view: View, written: Written) -> UsageError | None:
    """Pass the rows of the input to `written`. Returns why they cannot be read, None if they can."""
    gone = await see_input(view.manifest, written.see)
    if gone:
        written.end_without_input()
    return gone


async def _restored(view: View, spool: Spool, file: BinaryIO, *, needs_inputs: bool) -> RunResults:
    """Results that are not in a file, from the journal and the input, in the spool's `file`."""
    if view.manifest.input_file is None and needs_inputs:
        gone = "its results went to a stream" if view.results is None else f"{view.results} is gone"
        raise UsageError(
            f"{view.folder.path}: {gone} and its rows {view.manifest.source_of_rows}, so the results cannot be restored"
        )
    notes = []
    try:
        try:
            await visit_rows(view.manifest, spool.add)
        except UsageError as gone:
            if needs_inputs:
                raise
            notes = [f"results are restored without their inputs: {gone}"]
            spool.add_rest()
        file.flush()  # single lines are read past its buffer
    except OSError as full:
        raise _spool_failed(full) from full
    name = str(view.output or view.folder.path)
    return RunResults(name, spool.lines, view, is_held(view.folder.lock), notes=notes)


@contextmanager
def _spool() -> Iterator[BinaryIO]:
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
    except OSError as full:
        raise _spool_failed(full) from full
    with file:
        yield file


def _spool_failed(full: OSError) -> OutputFailed:
    return OutputFailed(f"the temporary file of results cannot be written: {full.strerror}")


@contextmanager
def _readable(run: str) -> Iterator[BinaryIO]:
    """A file that is open for reading. Raises UsageError when it cannot be read, also later."""
    try:
        with open(run, "rb") as file:
            yield file
    except OSError as refused:
        raise UsageError(f"{run}: cannot be read: {refused.strerror}") from refused
