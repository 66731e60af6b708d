"""`crewrun export`: the results of a run for other programs."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from crewrun.batch.sink import Sink
    from crewrun.runs.export import Lines
    from crewrun.runs.view import View


class _Wish(NamedTuple):
    form: Literal["jsonl", "csv"]
    status: Literal["ok", "failed"] | None
    ordered: bool


def export(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    form: Annotated[Literal["jsonl", "csv"], typer.Option("--format", "-f", help="What to write.")] = "jsonl",
    ordered: bool = typer.Option(False, "--ordered", help="In input order. [default: as they stand in the results]"),
    status: Annotated[Literal["ok", "failed"] | None, typer.Option(help="Only rows that ended so.")] = None,
    output: str | None = typer.Option(None, "--output", "-o", metavar="FILE", help="Write there. [default: stdout]"),
) -> None:
    """Write the results of a run as JSONL or CSV, also while it is going.

    Lines that were torn or edited are left out. Results that went to a stream, or were deleted, are made again from the
    journal and the input. Exit codes: 0 it is written; 1 it cannot be written; 2 RUN is none, or cannot be exported;
    141 stdout was closed.
    """
    from crewrun.cli.setup import claim_stdout, run_loop
    from crewrun.runs.view import open_run

    stdout_fd = claim_stdout()
    with open_run(run) as view, _open_sink(output, stdout_fd, view) as sink:
        run_loop(_export, view, _Wish(form, status, ordered), sink)


async def _export(view: "View", wish: _Wish, sink: "Sink") -> None:
    from crewrun.batch.reread import visit_rows
    from crewrun.cli.wording import say
    from crewrun.errors import OutputFailed, UsageError
    from crewrun.runs.export import LeftOut, Spool, known_lines
    from crewrun.runs.lock import is_held

    if view.results is not None and view.results.is_file():
        left_out = LeftOut()
        with view.results.open("rb") as file:
            lines = known_lines(view, file, wish.status, left_out)
            if is_held(view.folder.lock):
                left_out.torn = 0  # it is being written
            await _write(lines, wish, sink)
        if str(left_out):
            say(f"crewrun: lines of {view.results} that are left out: {left_out}; to restore them: {view.command}")
        return
    if view.manifest.input_file is None:
        gone = "its results went to a stream" if view.results is None else f"{view.results} is gone"
        raise UsageError(
            f"{view.folder.path}: {gone} and its rows came through a pipe: there is nothing to make the results from"
        )
    try:
        with tempfile.TemporaryFile() as file:
            spool = Spool(view, file, wish.status)
            await visit_rows(view.manifest, spool.add)
            await _write(spool.lines, wish, sink)
    except OSError as full:
        raise OutputFailed(f"the temporary file of results cannot be written: {full.strerror}") from full


async def _write(lines: "Lines", wish: _Wish, sink: "Sink") -> None:
    from crewrun.runs.export import written

    if wish.ordered:
        lines.sort()
    for piece in written(lines, wish.form):
        await sink.write([piece])


@contextmanager
def _open_sink(output: str | None, stdout_fd: int, view: "View") -> "Iterator[Sink]":
    """Standard output, or a file that is there when it is whole."""
    from crewrun.batch.preflight import check_output
    from crewrun.batch.sink import FileSink, StreamSink
    from crewrun.errors import UsageError

    if output is None or output == "-":
        yield StreamSink(stdout_fd)
        return
    check_output(output)
    path = Path(os.path.realpath(output))
    for taken in (view.results, view.manifest.input_file, *view.folder.state):
        if taken is not None and path.exists() and taken.exists() and path.samefile(taken):
            raise UsageError(f"-o {output}: is a file of the run itself; name another")
    part = path.with_name(f".{path.name}.part") if path.is_file() or not path.exists() else path
    if part != path:
        part.unlink(missing_ok=True)
    sink = FileSink(part)
    try:
        yield sink
        sink.close()
        if part != path:
            _replace(part, path)
    finally:
        if part != path:
            part.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    from crewrun.errors import OutputFailed

    try:
        part.replace(path)
    except OSError as refused:
        raise OutputFailed(f"{path}: cannot be written: {refused.strerror}") from refused
