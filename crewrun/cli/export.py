"""`crewrun export`: the results of a run for other programs."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from crewrun.batch.sink import Sink
    from crewrun.inspect.export import Written
    from crewrun.inspect.view import View
    from crewrun.row import Row
    from crewrun.tables.columns import Columns
    from crewrun.tables.output_format import OutputFormat
    from crewrun.tables.writers import TableOptions


class _Selection(NamedTuple):
    """What to export, and as what. `columns` are those of a table, None for whole lines."""

    form: "OutputFormat"
    columns: "Columns | None"
    options: "TableOptions"
    status: Literal["ok", "failed"] | None
    ordered: bool


def export(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    form: Annotated[
        Literal["jsonl", "csv", "tsv", "parquet", "xlsx"] | None,
        typer.Option("--format", "-f", help="What to write. [default: as FILE ends, else jsonl]"),
    ] = None,
    columns: str | None = typer.Option(
        None,
        "--columns",
        metavar="A,B",
        help="Only these, in this order: id,input.topic,output.title,cost_usd. [default: all; whole rows in jsonl]",
    ),
    ordered: bool = typer.Option(False, "--ordered", help="In input order. [default: as they stand in the results]"),
    status: Annotated[Literal["ok", "failed"] | None, typer.Option("--status", help="Only rows that ended so.")] = None,
    formula_guard: bool = typer.Option(
        True,
        "--formula-guard/--no-formula-guard",
        help="In csv and tsv: put an apostrophe before text that a spreadsheet would take for a formula.",
    ),
    output: str | None = typer.Option(None, "--output", "-o", metavar="FILE", help="Write there. [default: stdout]"),
) -> None:
    """Write the results of a run as JSONL, CSV, TSV, Parquet or Excel, also while it is going.

    FILE's name says the format: results.csv, .tsv, .parquet, .xlsx, .jsonl; with .gz or .zst behind it, it is
    compressed. A table has the same columns whatever --status: each input, each field of the output (also of objects in
    it: output.address.city), lists as JSON. Text in a CSV that begins with = + - @, a tab or a carriage return gets an
    apostrophe in front, unless --no-formula-guard. Torn or edited lines are left out. Results that went to a stream, or
    were deleted, are restored from the journal and the input. Of results without a run folder, merged or copied, the
    last line of each id is taken. Exit codes: 0 it is written; 1 it cannot be written; 2 RUN is not a run, or cannot be
    exported; 3 it is written, but results that the run had are missing (unless it is going), or a line is incomplete;
    141 stdout was closed.
    """
    from crewrun.cli.setup import claim_stdout, run_loop
    from crewrun.inspect.results_file import find_results_file
    from crewrun.inspect.view import open_run
    from crewrun.terminal import say

    stdout_fd = claim_stdout()
    output = None if output == "-" else output
    selection = _Selection(*_table(output, form, columns, stdout_fd, guards=formula_guard), status, ordered)
    results_file = find_results_file(run)
    if results_file is not None:
        with _open_sink(output, stdout_fd, lambda path: path.exists() and path.samefile(results_file)) as sink:
            missing = run_loop(_export_file, Path(run), selection, sink)
    else:
        with open_run(run) as view, _open_sink(output, stdout_fd, lambda path: _is_of_run(path, view)) as sink:
            missing = run_loop(_export, view, selection, sink)
    for note in selection.options.notes:
        say(f"crewrun: {output or 'standard output'}: {note}")
    for warning in selection.columns.unknown() if selection.columns is not None else ():
        say(f"warning: {warning}")
    raise typer.Exit(3 if missing else 0)


def _table(
    output: str | None, name: str | None, columns: str | None, stdout_fd: int, *, guards: bool
) -> "tuple[OutputFormat, Columns | None, TableOptions]":
    """The format, the columns and the options of the export. Raises UsageError."""
    from crewrun.errors import UsageError
    from crewrun.tables.column_names import parse_columns
    from crewrun.tables.columns import Columns
    from crewrun.tables.output_format import output_format
    from crewrun.tables.writers import TableOptions

    form = output_format(output, name)
    form.check_installed(output or f"-f {form}")
    if form.is_binary and output is None and os.isatty(stdout_fd):
        raise UsageError(f"-f {form}: is nothing for a terminal; name a file with -o")
    names = parse_columns(columns)
    folder = os.path.dirname(os.path.realpath(output)) if output is not None else None
    options = TableOptions(guards, folder if folder is not None and os.path.isdir(folder) else None)
    has_columns = names is not None or form.name != "jsonl"
    return form, Columns(names, typed=form.name == "parquet") if has_columns else None, options


async def _export(view: "View", selection: _Selection, sink: "Sink") -> int:
    """Write the export. Returns how many results it lacks."""
    from crewrun.cli.wording import count
    from crewrun.inspect.export import LeftOut, Written
    from crewrun.runs.lock import is_held
    from crewrun.terminal import say

    if view.results is None or not view.results.is_file():
        await _export_again(view, selection, sink)
        return 0
    with view.results.open("rb") as file:
        results = Written(view, file, selection.status, LeftOut(), selection.columns)
        is_going = is_held(view.folder.lock)
        if selection.ordered or (results.may_lack and not is_going):
            await _read_input(view, results, selection)
        if selection.ordered:
            results.sort()
        await _write(results.lines, selection, sink)
    if is_going:
        results.left_out.torn = results.missing = 0  # they are still being written
    faults = [f"lines of {view.results} that are left out: {results.left_out}"] if str(results.left_out) else []
    faults += [f"missing in {view.results}: {count(results.missing, 'result')}"] if results.missing else []
    if faults:
        say(f"crewrun: {'; '.join(faults)}; to restore them: {view.command}")
    return results.missing


async def _read_input(view: "View", results: "Written", selection: _Selection) -> None:
    """Pass the rows of the input to `results`."""
    from crewrun.batch.run_input import is_wanted, visit_rows
    from crewrun.errors import UsageError
    from crewrun.terminal import say

    wanted = is_wanted(view.manifest)

    def see(row: "Row") -> None:
        results.see(row, wanted=wanted(row))

    try:
        await visit_rows(view.manifest, see)
    except UsageError as gone:
        results.end_without_input()
        if selection.ordered:
            say(f"crewrun: --ordered by the places that rows had when they ran, because {gone}")


async def _export_again(view: "View", selection: _Selection, sink: "Sink") -> None:
    """Export results that are not in a file, from the journal and the input."""
    from crewrun.batch.run_input import visit_rows
    from crewrun.errors import OutputFailed, UsageError
    from crewrun.inspect.export import Spool

    if view.manifest.input_file is None:
        gone = "its results went to a stream" if view.results is None else f"{view.results} is gone"
        raise UsageError(
            f"{view.folder.path}: {gone} and its rows came through a pipe, so the results cannot be restored"
        )
    try:
        with tempfile.TemporaryFile() as file:
            spool = Spool(view, file, selection.status, selection.columns)
            await visit_rows(view.manifest, spool.add)
            await _write(spool.lines, selection, sink)
    except OSError as full:
        raise OutputFailed(f"the temporary file of results cannot be written: {full.strerror}") from full


async def _export_file(run: Path, selection: _Selection, sink: "Sink") -> int:
    """Export results without a run folder. Returns how many are certainly missing: the incomplete lines."""
    from crewrun.errors import UsageError
    from crewrun.inspect.results_file import ResultsFile
    from crewrun.terminal import say

    try:
        with run.open("rb") as file:
            results = ResultsFile(file, selection.status, selection.columns)
            if not len(results) and str(results.left_out):
                raise UsageError(
                    f"{run}: has no run folder, and none of its lines is a result; "
                    "RUN is a results file of crewrun batch or merge, or a run folder"
                )
            await _write(results.lines(ordered=selection.ordered), selection, sink)
    except OSError as refused:
        raise UsageError(f"{run}: cannot be read: {refused.strerror}") from refused
    if str(results.left_out):
        say(f"crewrun: lines of {run} that are left out: {results.left_out}")
    if selection.ordered:
        say(f"crewrun: --ordered by the places that rows had when they ran, because {run} has no run folder")
    return results.left_out.torn


async def _write(lines: "Iterable[bytes]", selection: _Selection, sink: "Sink") -> None:
    from crewrun.errors import OutputFailed
    from crewrun.tables.writers import table_pieces

    try:
        for piece in table_pieces(lines, selection.columns, selection.form, selection.options):
            await sink.write([piece])
    except OSError as full:
        raise OutputFailed(f"the table cannot be written: {full.strerror}") from full


@contextmanager
def _open_sink(output: str | None, stdout_fd: int, is_taken: Callable[[Path], bool]) -> "Iterator[Sink]":
    """Standard output, or a file that appears when it is complete. `is_taken` tells which paths belong to the run."""
    from crewrun.batch.descriptors import copy_of
    from crewrun.batch.locations import check_output
    from crewrun.batch.sink import FileSink, StreamSink, open_sink
    from crewrun.errors import OutputFailed, UsageError
    from crewrun.unfinished import replacement

    if output is None or output == "-":
        yield StreamSink(stdout_fd)
        return
    descriptor = copy_of("-o", output, stdout_fd)
    if descriptor is not None:
        yield StreamSink(descriptor, output)
        return
    check_output(output)
    path = Path(os.path.realpath(output))
    if is_taken(path):
        raise UsageError(f"-o {output}: is a file of the run itself; name another")
    if path.exists() and not path.is_file():
        sink = open_sink(path)
        yield sink
        sink.close()
        return
    try:
        with replacement(path) as part:
            file = FileSink(part)
            yield file
            file.close()
            part.replace(path)
    except OSError as refused:
        raise OutputFailed(f"{path}: cannot be written: {refused.strerror}") from refused


def _is_of_run(path: Path, view: "View") -> bool:
    """Whether it is a file of the run, or has the name of one that SQLite creates and removes."""
    files = view.folder.files
    if path.name in {file.name for file in files} and path.parent.samefile(view.folder.path):
        return True
    files_of_run = (view.results, view.manifest.input_file, *files)
    return path.exists() and any(file is not None and file.exists() and path.samefile(file) for file in files_of_run)
