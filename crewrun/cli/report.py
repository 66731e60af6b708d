"""`crewrun report`: everything that a run did, on a page for the browser."""

import os
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    from crewrun.batch.invocation import BatchRequest
    from crewrun.batch.rebuilt_prompts import RunCrew
    from crewrun.batch.run_results import RunResults
    from crewrun.batch.summary import Report
    from crewrun.inspect.view import View
    from crewrun.report.contents import Contents


def report(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    output: str | None = typer.Option(
        None, "--output", "-o", metavar="FILE", help="The page; - is stdout. [default: the name of the results, .html]"
    ),
    other: str | None = typer.Option(
        None, "--with", metavar="OTHER", help="The run before: show what changed since then, as `compare OTHER RUN`."
    ),
) -> None:
    """Write what a run did as an HTML page: figures, timeline, failures, and all rows with their calls and prompts.

    The page is one file that loads nothing, for any browser; a page that is there is written over, and nothing else. Of
    a run that is still going it is a snapshot. Large runs have the full texts of failed, slow and expensive rows and of
    a sample; the page says so. Results without a run folder, merged or copied, have no calls. Exit codes: 0 it was
    written; 1 it cannot be written; 2 RUN is not a run, or FILE must not be written; 141 stdout was closed.
    """
    from crewrun.batch.rebuilt_prompts import RunCrew
    from crewrun.batch.run_results import open_file_results, open_view_results
    from crewrun.cli.run_crew import load_run_crew
    from crewrun.cli.setup import claim_stdout
    from crewrun.inspect.results_file import find_results_file
    from crewrun.inspect.view import open_run

    stdout_fd = claim_stdout()
    if find_results_file(run) is not None:
        page = _Page.at(output, run, None, stdout_fd)
        page.write(open_file_results(run, ordered=True), RunCrew(None), other)
        return
    with open_run(run) as view:
        page = _Page.at(output, run, view, stdout_fd)
        page.write(open_view_results(view, ordered=True, needs_inputs=False), load_run_crew(view.manifest), other)


def write_own_report(report: "Report", request: "BatchRequest") -> bool:
    """Write the page that --report names for a run that has ended, in a loop of its own.

    False when it cannot be written, which is said: the run is what it is without its page.
    """
    from crewrun.batch.rebuilt_prompts import RunCrew
    from crewrun.batch.run_results import open_view_results
    from crewrun.errors import CrewrunError
    from crewrun.inspect.view import open_run
    from crewrun.terminal import say

    settings = request.settings
    if report.folder is None or settings.report is None:
        return False
    page = _Page(settings.report, Path(os.path.realpath(settings.report)))
    try:
        with open_run(report.folder) as view:
            opening = open_view_results(view, ordered=True, needs_inputs=False)
            page.write(opening, RunCrew(request.definition), quiet=settings.quiet)
    except CrewrunError as wrong:
        say(f"warning: --report {settings.report}: {wrong}")
        return False
    return True


class _Page(NamedTuple):
    """Where a page goes: to a file, or to a descriptor."""

    name: str
    to: "Path | int"

    @classmethod
    def at(cls, output: str | None, run: str, view: "View | None", stdout_fd: int) -> "_Page":
        """Where -o says, by default in the folder of the results. Raises UsageError."""
        from crewrun.batch.descriptors import copy_of
        from crewrun.batch.page_path import check_page_path, default_path

        name = output or default_path(run, view)
        descriptor = stdout_fd if name == "-" else copy_of("-o", name, stdout_fd)
        if descriptor is not None:
            return cls(name, descriptor)
        return cls(name, check_page_path("-o", name, view.folder.path if view is not None else None))

    def write(
        self,
        opening: "AbstractAsyncContextManager[RunResults]",
        crew: "RunCrew",
        other: str | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        """Write the page, and say unless `quiet` what it lacks and where it is. `other` names the run before."""
        from crewrun.cli.setup import run_loop
        from crewrun.terminal import say

        notes = run_loop(_write, opening, crew, self.to, other)
        if quiet:
            return
        for note in notes:
            say(f"crewrun: {note}")
        if isinstance(self.to, Path):
            say(f"wrote {self.name}")


async def _write(
    opening: "AbstractAsyncContextManager[RunResults]", crew: "RunCrew", to: "Path | int", other: str | None
) -> list[str]:
    """Write the page to a file or a descriptor. Returns what has to be said about it."""
    from crewrun.batch.run_results import open_results
    from crewrun.report.contents import gather

    async with AsyncExitStack() as stack:
        results = await stack.enter_async_context(opening)
        before = await stack.enter_async_context(open_results(other)) if other is not None else None
        contents = await stack.enter_async_context(gather(results, crew, before))
        _put(contents, to)
        notes = [*contents.head["notes"], *(before.notes if before is not None else ())]
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
