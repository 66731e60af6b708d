"""`crewrun batch`: flags in, exit code out. The run itself is `crewrun.batch.run`."""

import shlex
import sys
from typing import TYPE_CHECKING, Literal, NoReturn

import typer

from crewrun.cli import flags
from crewrun.cli.inputs import ForAllRows, read_inputs

if TYPE_CHECKING:
    from crewrun.batch.opening import Invocation
    from crewrun.batch.session import Report
    from crewrun.batch.settings import BatchSettings
    from crewrun.definitions.definition import Definition


def _number_or_auto(given: str) -> int | str:
    if given == "auto":
        return given
    try:
        number = int(given)
    except ValueError:
        number = 0
    if number < 1:
        raise typer.BadParameter(f"{given!r} is neither a whole number from 1 up nor auto")
    return number


LockChoice = Literal["fail", "wait", "skip"]
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
    max_concurrent: str | None = typer.Option(
        None,
        "--max-concurrent",
        "-j",
        metavar="N|auto",
        parser=_number_or_auto,
        envvar="CREWRUN_MAX_CONCURRENT",
        help="Rows at once; auto finds out what the providers take. [default: 8]",
    ),
    engine: flags.Engine = None,
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
    shard: str | None = typer.Option(
        None,
        "--shard",
        metavar="I/N",
        envvar="CREWRUN_SHARD",
        help="Run part I of N of what --limit and --offset leave, divided by the rows' ids. `merge` unites them.",
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
    fresh: bool | None = typer.Option(
        None,
        "--fresh/--no-fresh",
        envvar="CREWRUN_FRESH",
        help="Begin anew: move the results and the state of an earlier run aside.",
    ),
    run_dir: str | None = typer.Option(
        None, "--run-dir", metavar="DIR", envvar="CREWRUN_RUN_DIR", help="The run's state. [default: OUTPUT.crewrun]"
    ),
    lock: LockChoice | None = typer.Option(
        None, "--lock", envvar="CREWRUN_LOCK", help="When another process has this run. [default: fail]"
    ),
    id_field: str | None = typer.Option(
        None, "--id-field", metavar="NAME", envvar="CREWRUN_ID_FIELD", help="The field that names a row. [default: all]"
    ),
    replay: bool | None = typer.Option(
        None, "--replay/--no-replay", envvar="CREWRUN_REPLAY", help="Send nothing: answer from the journal alone."
    ),
    log_prompts: bool | None = typer.Option(
        None,
        "--log-prompts/--no-log-prompts",
        envvar="CREWRUN_LOG_PROMPTS",
        help="Write prompts and replies into the run's log.jsonl.",
    ),
    rpm: list[str] | None = typer.Option(
        None,
        "--rpm",
        metavar="[MODEL=]N",
        envvar="CREWRUN_RPM",
        help="Requests per minute, of each model or of one. [default: what its provider says]",
    ),
    tpm: list[str] | None = typer.Option(
        None, "--tpm", metavar="[MODEL=]N", envvar="CREWRUN_TPM", help="Tokens per minute, likewise."
    ),
    outage_patience: str | None = typer.Option(
        None,
        "--outage-patience",
        metavar="TIME",
        envvar="CREWRUN_OUTAGE_PATIENCE",
        help="How long to wait for a provider that does not answer. [default: 5m, and 10s if it never has]",
    ),
    deadline: str | None = typer.Option(
        None,
        "--deadline",
        metavar="TIME",
        envvar="CREWRUN_DEADLINE",
        help="Start no more rows after 6h, at 06:30, or at a date and time.",
    ),
    budget: str | None = typer.Option(
        None,
        "--budget",
        metavar="USD",
        envvar="CREWRUN_BUDGET",
        help="The most that the run may cost, all its sessions together.",
    ),
    row_budget: str | None = typer.Option(
        None,
        "--row-budget",
        metavar="USD",
        envvar="CREWRUN_ROW_BUDGET",
        help="Fail a row that has cost so much before its next call; it may cost one call more.",
    ),
    price: list[str] | None = typer.Option(
        None,
        "--price",
        metavar="MODEL=IN,OUT[,CACHED[,WRITTEN]]",
        envvar="CREWRUN_PRICE",
        help="US dollars per million tokens, for a model whose price is not published, or in place of that; CACHED is "
        "the price of cache reads, WRITTEN of cache writes, that of other input unless given.",
    ),
    canary: int | None = typer.Option(
        None,
        "--canary",
        metavar="N",
        min=0,
        envvar="CREWRUN_CANARY",
        help="Run N rows first, drawn at random, and say what all will cost and take; 100 is a good number.",
    ),
    max_forecast: str | None = typer.Option(
        None,
        "--max-forecast",
        metavar="USD",
        envvar="CREWRUN_MAX_FORECAST",
        help="Stop after the canary if all rows would cost more.",
    ),
    cache: str | None = typer.Option(
        None,
        "--cache",
        metavar="DIR",
        envvar="CREWRUN_CACHE",
        help="Answer requests that any run made before from this folder, and keep new answers there.",
    ),
    cache_size: str | None = typer.Option(
        None, "--cache-size", metavar="SIZE", envvar="CREWRUN_CACHE_SIZE", help="How large it may get. [default: 1GB]"
    ),
    executor: str | None = typer.Option(
        None,
        "--executor",
        metavar="inline|ray|ray://HOST:PORT|MODULE:ATTR",
        envvar="CREWRUN_EXECUTOR",
        help="Where rows run: here, on a Ray cluster, or your own place. [default: inline]",
    ),
    workers: str | None = typer.Option(
        None,
        "--workers",
        metavar="N|auto",
        parser=_number_or_auto,
        envvar="CREWRUN_WORKERS",
        help="Workers of --executor; auto: as many as its CPUs hold. [default: auto]",
    ),
    worker_cpus: float | None = typer.Option(
        None, "--worker-cpus", min=0.001, envvar="CREWRUN_WORKER_CPUS", help="CPUs that each reserves. [default: 1]"
    ),
    env: list[str] | None = typer.Option(
        None, "--env", metavar="NAME", envvar="CREWRUN_ENV", help="A variable of the environment that workers get."
    ),
    missing_tool_keys: flags.MissingToolKeys = None,
    input: ForAllRows = None,  # noqa: A002  (a parameter is called as its flag is)
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Call no model: say what would be done, what it would cost and how long it would take."
    ),
    as_json: bool = typer.Option(False, "--json", help="With --dry-run: print the plan as JSON."),
) -> None:
    """Run a crew on every row of INPUTS, or go on where an earlier run of the same command stopped.

    Exit codes: 0 all rows succeeded, those done before included; 1 a bug, or results that cannot be written; 2 usage,
    crew, input or journal is wrong and nothing was sent; 3 some rows failed; 4 stopped since all rows would fail, or by
    --fail-fast or --max-failures; 5 by --budget or --max-forecast; 6 by --deadline; 75 another process has this run;
    129, 130 and 143 interrupted; 141 stdout was closed.
    """
    given = {name: value for name, value in locals().items() if name not in ("inputs", "crew", "dry_run", "as_json")}
    from crewrun.batch.opening import Invocation
    from crewrun.batch.settings import BatchSettings
    from crewrun.batch.source import claimed
    from crewrun.cli.setup import claim_stdout, load_crew, load_env

    load_env()
    given["input"] = read_inputs(input) if input else None
    stdout_fd = claim_stdout()
    inputs = claimed(inputs)
    definition = load_crew(crew, inputs, strict=strict, engine=engine or "crewrun")
    settings = BatchSettings.merge(given, definition.batch)
    if dry_run:
        from crewrun.cli.plan import show_plan

        show_plan(inputs, definition, settings, stdout_fd, as_json=as_json)
        return
    invocation = Invocation(inputs, crew or str(definition.path), ["crewrun", *sys.argv[1:]])
    carry_out(invocation, definition, settings, stdout_fd)


def carry_out(
    invocation: "Invocation", definition: "Definition", settings: "BatchSettings", stdout_fd: int
) -> NoReturn:
    """Run the batch and end the process with its exit code."""
    from crewrun.errors import OutputFailed, RunHeld
    from crewrun.terminal import say

    try:
        report = _run(invocation, definition, settings, stdout_fd)
    except RunHeld as held:
        if settings.lock != "skip":
            raise
        say(f"crewrun: {held}; skipped (--lock skip)")
        sys.exit(0)
    except OutputFailed as full:  # before the first row
        raise OutputFailed(f"{full}\nto go on: {again(invocation, settings)}") from full
    end(report, invocation, settings)


def _run(invocation: "Invocation", definition: "Definition", settings: "BatchSettings", stdout_fd: int) -> "Report":
    import gc

    from crewrun.batch.run import run_batch
    from crewrun.cli.display import choose_display
    from crewrun.cli.setup import run_loop

    display = choose_display(settings.progress, settings.quiet)
    # What was loaded so far lives to the end of the process: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return run_loop(run_batch, invocation, definition, settings, stdout_fd, display)


def end(report: "Report", invocation: "Invocation", settings: "BatchSettings") -> NoReturn:
    """Say how the run went and end the process with its exit code."""
    from crewrun.batch.summary import write_summary
    from crewrun.cli.report import say_report
    from crewrun.cli.setup import leave

    if not settings.quiet and not (report.stop and report.stop.kind == "closed"):
        say_report(report, again(invocation, settings), again(invocation, settings, replay=False))
    if settings.summary:
        write_summary(settings.summary, report.summary)
    leave(report.exit_code)


def again(invocation: "Invocation", settings: "BatchSettings", *, replay: bool = True) -> str:
    """The command that goes on with a run and does not begin anew; without `replay` it may send what --replay could
    not answer.
    """
    from crewrun.redaction.redactor import redact_value
    from crewrun.runs.manifest import without

    if invocation.again is not None:
        return invocation.again
    words = [redact_value(word) for word in without("fresh", invocation.command, is_set=settings.fresh)]
    return shlex.join(words if replay else without("replay", words, is_set=settings.replay))
