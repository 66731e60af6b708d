"""`crewrun batch`: flags in, exit code out. The run itself is `crewrun.batch.run`."""

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from crewrun.cli import flags
from crewrun.cli.flag_origins import check_values, flag_origins
from crewrun.cli.inputs import read_columns, read_fields, read_inputs

if TYPE_CHECKING:
    from crewrun.batch.invocation import BatchRequest
    from crewrun.batch.summary import Report
    from crewrun.cli.notify import Notice


@flags.takes_batch_flags
def batch(
    inputs: str = typer.Argument(
        ..., metavar="INPUTS", help="A table: CSV, TSV, JSONL, JSON, Parquet, Arrow or Excel; - for stdin."
    ),
    crew: flags.Crew = None,
    *,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Call no model: say what would be done, what it would cost and how long it would take."
    ),
    as_json: bool = typer.Option(False, "--json", help="With --dry-run: print the plan as JSON."),
    **values: Any,
) -> None:
    """Run a crew on every row of INPUTS, or go on where an earlier run of the same command stopped.

    Exit codes: 0 all rows succeeded, those done before included; 1 a bug, or results that cannot be written; 2 usage,
    crew, input or journal is wrong and nothing was sent; 3 some rows failed; 4 stopped because all rows would fail, or
    by --fail-fast or --max-failures; 5 stopped by --budget or --max-forecast; 6 stopped by --deadline; 7 batch jobs are
    sent, come back (--detach); 75 another process has this run; 129, 130 and 143 interrupted; 141 stdout was closed.
    """
    from crewrun.batch.invocation import BatchRequest, Invocation
    from crewrun.batch.settings import BatchSettings
    from crewrun.batch.source import claimed
    from crewrun.cli.notify import Notice
    from crewrun.cli.setup import claim_stdout, load_crew, load_env
    from crewrun.cli.streams import claim_output

    load_env()
    values["input"] = read_inputs(values["input"]) if values["input"] else None
    values |= read_fields(values["map"], values["fields"])
    values["columns"] = read_columns(values["columns"])
    stdout_fd = claim_stdout()
    inputs = claimed(inputs)
    with Notice(None if dry_run else values["notify"], inputs) as notice:
        strict, quiet, engine = values["strict"], values["quiet"], values["engine"]
        definition = load_crew(crew, inputs, strict=strict, quiet=quiet, engine=engine)
        settings, stdout_fd = claim_output(BatchSettings.merge(values, definition.batch), stdout_fd)
        check_values(settings, values, definition)
        if dry_run:
            from crewrun.cli.dry_run import show_plan

            show_plan(inputs, definition, settings, flag_origins(values), stdout_fd, as_json=as_json)
            return
        invocation = Invocation(inputs, crew or str(definition.path), ["crewrun", *sys.argv[1:]])
        carry_out(BatchRequest(invocation, definition, settings, stdout_fd), notice)


def carry_out(request: "BatchRequest", notice: "Notice") -> NoReturn:
    """Run the batch, say and notify how it went, and end the process with its exit code."""
    notice.learn(request)
    end(run(request), request, notice)


def run(request: "BatchRequest") -> "Report":
    """Run the batch. Ends the process if another one has the run and --lock says skip. Raises as `batch.run` does."""
    from crewrun.cli.resume_command import resume_command
    from crewrun.errors import OutputFailed, RunHeld
    from crewrun.terminal import say

    try:
        return _run(request)
    except RunHeld as held:
        if request.settings.lock != "skip":
            raise
        say(f"crewrun: {held}; skipped (--lock skip)")
        sys.exit(0)
    except OutputFailed as full:  # before the first row
        raise OutputFailed(f"{full}\nto go on: {resume_command(request)}") from full


def _run(request: "BatchRequest") -> "Report":
    import gc

    from crewrun.batch.garbage import seldom_collected
    from crewrun.batch.run import run_batch
    from crewrun.cli.display import choose_display
    from crewrun.cli.setup import run_loop

    settings = request.settings
    is_stdout_busy = _writes_to_stdout(request) and os.isatty(request.stdout_fd)
    display = choose_display(settings.progress, settings.quiet, is_stdout_busy=is_stdout_busy)
    gc.collect()
    with seldom_collected():  # what is loaded by now lives until the end of the process
        return run_loop(run_batch, request, display)


def _writes_to_stdout(request: "BatchRequest") -> bool:
    from crewrun.batch.locations import output_path

    settings = request.settings
    return output_path(request.invocation.inputs, settings.output, settings.part) is None


def end(report: "Report", request: "BatchRequest", notice: "Notice") -> NoReturn:
    """Report how the run went and end the process with its exit code."""
    from crewrun.cli.setup import exit_now

    exit_now(report_end(report, request, notice))


def report_end(report: "Report", request: "BatchRequest", notice: "Notice") -> int:
    """Report how the run went, on stderr, in the summary, on a page and in a notification. Returns the exit code."""
    from crewrun.batch.summary import write_summary
    from crewrun.cli.final_report import next_command, report_text, say_report
    from crewrun.cli.report import write_own_report
    from crewrun.cli.resume_command import resume_command

    settings = request.settings
    report = replace(report, page=settings.report)
    commands = resume_command(request), resume_command(request, replay=False)
    if not settings.quiet and not (report.stop and report.stop.kind == "closed"):
        say_report(report, *commands)
    if settings.summary:
        write_summary(settings.summary, report.summary)
    has_page = settings.report is None or write_own_report(report, request)
    notice.send(report, report_text(report, *commands), next_command(report, *commands))
    return report.exit_code or (0 if has_page else 1)
