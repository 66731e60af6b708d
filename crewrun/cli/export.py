"""`crewrun export`: the results of a run for other programs."""

import os
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from crewrun.batch_flags import ResultsFormat
from crewrun.cli.export_sink import is_of_run, is_own_table, open_own_table, open_sink_of

if TYPE_CHECKING:
    from crewrun.batch.run_results import RunResults
    from crewrun.batch.sink import Sink
    from crewrun.inspect.view import View
    from crewrun.tables.writing.columns import Columns
    from crewrun.tables.writing.layout import TableLayout
    from crewrun.tables.writing.output_format import OutputFormat
    from crewrun.tables.writing.writers import TableOptions


class _Selection(NamedTuple):
    """What to export, and as what. `columns` are those of a table, None for whole lines."""

    form: "OutputFormat"
    columns: "Columns | None"
    options: "TableOptions"


def export(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    form: Annotated[
        ResultsFormat | None,
        typer.Option("--format", "-f", help="What to write. [default: as FILE ends, else jsonl]"),
    ] = None,
    columns: str | None = typer.Option(
        None,
        "--columns",
        metavar="A,B",
        help="Only these, in this order, such as id,input.topic,output. [default: all; whole rows in jsonl]",
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
    """Write the results of a run as JSONL, CSV, TSV, Parquet or Excel, also while it runs.

    FILE's name says the format: results.csv, .tsv, .parquet, .xlsx, .jsonl; with .gz or .zst behind it, it is
    compressed. A table has the same columns whatever --status: each input, each field of the output (also of objects in
    it: output.address.city), lists as JSON. Text in a CSV that begins with = + - @, a tab or a carriage return gets an
    apostrophe in front, unless --no-formula-guard. Torn or edited lines are left out. Results that went to a stream, or
    were deleted, are restored from the journal and the input. Of results without a run folder, merged or copied, the
    last line of each id is taken. Exit codes: 0 it is written; 1 it cannot be written; 2 RUN is not a run, or cannot be
    exported; 3 it is written, but results that the run had are missing (unless it is running), or a line is incomplete;
    141 stdout was closed.
    """
    from crewrun.batch.run_results import open_file_results, open_view_results
    from crewrun.cli.setup import claim_stdout, run_loop
    from crewrun.inspect.results_file import find_results_file
    from crewrun.inspect.view import open_run
    from crewrun.terminal import say

    stdout_fd = claim_stdout()
    output = None if output == "-" else output
    request = _Request(output, form, columns, formula_guard, status)
    layout = _layout(request, stdout_fd)
    results_file = find_results_file(run)
    if results_file is not None:
        selection = _selection(request, layout)
        opening = open_file_results(run, status, selection.columns, ordered=ordered)
        with open_sink_of(output, stdout_fd, lambda path: path.exists() and path.samefile(results_file)) as sink:
            results = run_loop(_export, opening, selection, sink)
    else:
        with open_run(run) as view:
            own_layout = _own_layout(request, view)
            selection = _selection(request, own_layout or layout)
            opening = open_view_results(view, status, selection.columns, ordered=ordered)
            with (
                open_own_table(output, view, own_layout)
                if own_layout is not None and output is not None
                else open_sink_of(output, stdout_fd, lambda path: is_of_run(path, view))
            ) as sink:
                results = run_loop(_export, opening, selection, sink)
    notes = [*results.notes]
    if results.order is not None:
        notes.append(f"--ordered by the places that rows had when they ran, because {results.order}")
    for note in notes:
        say(f"crewrun: {note}")
    for note in selection.options.notes:
        say(f"crewrun: {output or 'standard output'}: {note}")
    for warning in selection.columns.unknown() if selection.columns is not None else ():
        say(f"warning: {warning}")
    raise typer.Exit(3 if results.missing else 0)


class _Request(NamedTuple):
    """What the command line says; `output` is None for standard output."""

    output: str | None
    form: str | None
    columns: str | None
    guards_formulas: bool
    status: Literal["ok", "failed"] | None


def _layout(request: _Request, stdout_fd: int) -> "TableLayout":
    """What the export looks like. Raises UsageError."""
    from crewrun.errors import UsageError
    from crewrun.tables.writing.column_names import parse_columns, split_names
    from crewrun.tables.writing.layout import TableLayout
    from crewrun.tables.writing.output_format import output_format

    form = output_format(request.output, request.form)
    form.check_installed(request.output or f"-f {form}")
    if form.is_binary and request.output is None and os.isatty(stdout_fd):
        raise UsageError(f"-f {form}: is nothing for a terminal; name a file with -o")
    names = None if request.columns is None else parse_columns(split_names(request.columns))
    return TableLayout(form, None if names is None else tuple(names), request.guards_formulas)


def _own_layout(request: _Request, view: "View") -> "TableLayout | None":
    """What the run's own table looks like, if that is to be written. Raises UsageError for another table there."""
    from crewrun.batch.run_input import settings_of
    from crewrun.errors import UsageError
    from crewrun.tables.writing.column_names import parse_columns
    from crewrun.tables.writing.layout import TableLayout
    from crewrun.tables.writing.output_format import parse_stored

    stored = view.manifest.table
    if request.output is None or stored is None or not is_own_table(Path(os.path.realpath(request.output)), view):
        return None
    if request.form or request.columns or request.status:
        raise UsageError(
            f"-o {request.output}: is the run's own table: leave --format, --columns and --status out to write it "
            "again, or name another file"
        )
    settings = settings_of(view.manifest)
    names = parse_columns(settings.columns)
    form = parse_stored(stored)
    form.check_installed(request.output)
    return TableLayout(form, None if names is None else tuple(names), settings.formula_guard)


def _selection(request: _Request, layout: "TableLayout") -> _Selection:
    from crewrun.tables.writing.writers import TableOptions

    folder = os.path.dirname(os.path.realpath(request.output)) if request.output is not None else None
    options = TableOptions(layout.guards_formulas, folder if folder is not None and os.path.isdir(folder) else None)
    return _Selection(layout.form, layout.columns(), options)


async def _export(
    opening: "AbstractAsyncContextManager[RunResults]", selection: _Selection, sink: "Sink"
) -> "RunResults":
    """Write the results that `opening` opens."""
    async with opening as results:
        await _write(results.lines, selection, sink)
    return results


async def _write(lines: "Iterable[bytes]", selection: _Selection, sink: "Sink") -> None:
    from crewrun.errors import OutputFailed
    from crewrun.tables.writing.writers import table_pieces

    try:
        for piece in table_pieces(lines, selection.columns, selection.form, selection.options):
            await sink.write([piece])
    except OSError as full:
        raise OutputFailed(f"the table cannot be written: {full.strerror}") from full
