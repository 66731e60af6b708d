"""`crewrun batch`: flags in, exit code out. The run itself is `crewrun.batch.run`."""

import shlex
import sys
from typing import TYPE_CHECKING, Literal

import typer

from crewrun.cli import flags

if TYPE_CHECKING:
    from crewrun.batch.run import Report
    from crewrun.batch.settings import BatchSettings
    from crewrun.definitions.definition import Definition

ProgressChoice = Literal["auto", "rich", "plain", "json", "none"]


def batch(
    inputs: str = typer.Argument(
        ..., metavar="INPUTS", help="A .jsonl, .jsonl.gz or .csv file, or - for JSONL on stdin."
    ),
    crew: flags.Crew = None,
    output: str | None = typer.Option(
        None,
        "--output",
        "-o",
        envvar="CREWRUN_OUTPUT",
        help="Where results go, - for stdout. [default: INPUTS' name with .results.jsonl; stdout for stdin]",
    ),
    max_concurrent: int | None = typer.Option(
        None, "--max-concurrent", "-j", min=1, envvar="CREWRUN_MAX_CONCURRENT", help="Rows at once. [default: 8]"
    ),
    model: flags.Model = None,
    base_url: flags.BaseUrl = None,
    ordered: bool | None = typer.Option(
        None, "--ordered/--unordered", envvar="CREWRUN_ORDERED", help="Results in input order. [default: as they end]"
    ),
    retries: flags.Retries = None,
    call_timeout: flags.CallTimeout = None,
    row_timeout: float | None = typer.Option(
        None, "--row-timeout", min=0.001, envvar="CREWRUN_ROW_TIMEOUT", help="Seconds for one row. [default: no limit]"
    ),
    grace: float | None = typer.Option(
        None, "--grace", min=0, envvar="CREWRUN_GRACE", help="Seconds a stop waits for rows in flight. [default: 20]"
    ),
    limit: int | None = typer.Option(None, "--limit", min=0, envvar="CREWRUN_LIMIT", help="Run at most N rows."),
    offset: int | None = typer.Option(
        None, "--offset", min=0, envvar="CREWRUN_OFFSET", help="Leave out the first N rows."
    ),
    fail_fast: bool | None = typer.Option(
        None, "--fail-fast/--no-fail-fast", envvar="CREWRUN_FAIL_FAST", help="Stop at the first failed row."
    ),
    max_failures: str | None = typer.Option(
        None,
        "--max-failures",
        metavar="N|P%",
        envvar="CREWRUN_MAX_FAILURES",
        help="Stop when N rows, or P percent of the finished ones (from 20 on), have failed.",
    ),
    strict: bool | None = typer.Option(
        None, "--strict/--no-strict", envvar="CREWRUN_STRICT", help="Refuse to start if any row cannot be run."
    ),
    progress: ProgressChoice | None = typer.Option(
        None, "--progress", envvar="CREWRUN_PROGRESS", help="How progress is shown on stderr. [default: auto]"
    ),
    quiet: bool | None = typer.Option(
        None, "--quiet/--no-quiet", "-q", envvar="CREWRUN_QUIET", help="No progress and no summary."
    ),
    summary: str | None = typer.Option(
        None, "--summary", metavar="FILE", envvar="CREWRUN_SUMMARY", help="Write the summary there as JSON."
    ),
    overwrite: bool | None = typer.Option(
        None, "--overwrite/--no-overwrite", envvar="CREWRUN_OVERWRITE", help="Replace an output file that exists."
    ),
) -> None:
    """Run a crew on every row of INPUTS.

    Exit codes: 0 all rows succeeded; 1 a bug, or results that cannot be written; 2 usage, crew or input is wrong and
    nothing was sent; 3 some rows failed; 4 stopped by --fail-fast or --max-failures; 130 and 143 interrupted; 141
    stdout was closed.
    """
    given = {name: value for name, value in locals().items() if name not in ("inputs", "crew")}
    from crewrun.batch.settings import BatchSettings
    from crewrun.cli.setup import claim_stdout, load_crew, load_env

    load_env()
    stdout_fd = claim_stdout()
    inputs = "-" if inputs == "/dev/stdin" else inputs
    definition = load_crew(crew, inputs, strict=strict)
    settings = BatchSettings.merge(given, definition.batch)
    end(_run(inputs, definition, settings, stdout_fd), settings)


def _run(inputs: str, definition: "Definition", settings: "BatchSettings", stdout_fd: int) -> "Report":
    import gc

    from crewrun.batch.run import run_batch
    from crewrun.cli.display import choose_display
    from crewrun.cli.setup import run_loop

    display = choose_display(settings.progress, settings.quiet)
    # What was loaded so far lives to the end of the process: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return run_loop(run_batch, inputs, definition, settings, stdout_fd, display)


def end(report: "Report", settings: "BatchSettings") -> None:
    """Say how the run went and end the process with its exit code."""
    from crewrun.batch.summary import write_summary
    from crewrun.cli.report import say_report
    from crewrun.cli.setup import leave

    if not settings.quiet and not (report.stop and report.stop.kind == "closed"):
        say_report(report, again(report))
    if settings.summary:
        write_summary(settings.summary, report.summary)
    leave(report.exit_code)


def again(report: "Report") -> str:
    """The command that runs this batch again from its start."""
    words = ["crewrun", *sys.argv[1:]]
    return shlex.join(words if report.output is None or "--overwrite" in words else [*words, "--overwrite"])
