"""`crewrun report`: everything that a run did, on a page for the browser."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from crewrun.batch.rebuilt_prompts import RunCrew
    from crewrun.batch.run_results import RunResults
    from crewrun.inspect.view import View
    from crewrun.report.contents import Contents


def report(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    output: str | None = typer.Option(
        None, "--output", "-o", metavar="FILE", help="The page; - is stdout. [default: the name of the results, .html]"
    ),
) -> None:
    """Write what a run did as an HTML page: figures, time line, failures, and all rows with their calls and prompts.

    The page is one file that loads nothing, for any browser; a page that is there is written over, and nothing else. Of
    a run that is still going it is a snapshot. Large runs have the full texts of failed, slow and expensive rows and of
    a sample; the page says so. Results without a run folder, merged or copied, have no calls. Exit codes: 0 it was
    written; 1 it cannot be written; 2 RUN is not a run, or FILE must not be written; 141 stdout was closed.
    """
    from crewrun.cli.setup import claim_stdout
    from crewrun.inspect.results_file import find_results_file
    from crewrun.inspect.view import open_run

    stdout_fd = claim_stdout()
    if find_results_file(run) is not None:
        write_report(run, None, output, stdout_fd)
        return
    with open_run(run) as view:
        write_report(run, view, output, stdout_fd)


def write_report(run: str, view: "View | None", output: str | None, stdout_fd: int) -> None:
    """Write the report of a run, or of results without a run folder, and say where it is."""
    from crewrun.batch.descriptors import copy_of
    from crewrun.batch.rebuilt_prompts import RunCrew
    from crewrun.batch.run_results import open_file_results, open_view_results
    from crewrun.cli.run_crew import load_run_crew
    from crewrun.cli.setup import run_loop
    from crewrun.report.page_path import check_path, default_path
    from crewrun.terminal import say

    name = output or default_path(run, view)
    descriptor = stdout_fd if name == "-" else copy_of("-o", name, stdout_fd)
    path = None if descriptor is not None else check_path("-o", name, view.folder.path if view else None)
    crew = load_run_crew(view.manifest) if view is not None else RunCrew(None)
    opening = open_view_results(view, ordered=True) if view is not None else open_file_results(run, ordered=True)
    notes = run_loop(_write, opening, crew, path if path is not None else descriptor)
    for note in notes:
        say(f"crewrun: {note}")
    if path is not None:
        say(f"wrote {name}")


async def _write(opening: "AbstractAsyncContextManager[RunResults]", crew: "RunCrew", to: "Path | int") -> list[str]:
    """Write the page to a file or a descriptor. Returns what has to be said about it."""
    from crewrun.report.contents import gather

    async with opening as results, gather(results, crew) as contents:
        _put(contents, to)
        notes = [*contents.head["notes"]]
        if results.is_going:
            notes.append("a process is working on this run: the page is a snapshot")
        return notes


def _put(contents: "Contents", to: "Path | int") -> None:
    from crewrun.errors import OutputClosed, OutputFailed
    from crewrun.report.page import write_page

    try:
        if isinstance(to, Path):
            write_page(to, contents.head, contents.packs)
            return
        with open(to, "wb") as stream:
            write_page(stream, contents.head, contents.packs)
    except BrokenPipeError:
        raise OutputClosed("standard output was closed") from None
    except OSError as full:
        raise OutputFailed(f"the page cannot be written: {full.strerror}") from full
