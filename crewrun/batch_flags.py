"""The flags of a batch, each declared once, as a field.

`cli.flags` makes Typer's parameters from these fields, `definitions.batch_section` the keys of crew.yaml's `batch:`,
and `definitions.schema` their descriptions in the JSON Schema. `batch.settings` interprets the values.
To add a flag, add a field here, under the heading of its panel, and its meaning there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from crewrun.flag_fields import Flag, FlagField, Kind, Panel, flag_fields
from crewrun.messages import PromptCacheUse, Tier

InputFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "xlsx"]
ResultsFormat = Literal["jsonl", "csv", "tsv", "parquet", "xlsx"]
ProgressStyle = Literal["auto", "rich", "plain", "json", "none"]


@dataclass(frozen=True, slots=True)
class BatchFlags:
    """One field per flag; times are in seconds. The values here are the defaults that `--help` shows.

    Values with a form of their own, such as `rpm`, stay as the user wrote them.
    """

    # Input
    limit: Annotated[
        int | None, Flag(Panel.INPUT, Kind.COUNT, "Run at most N rows.", in_file="Run at most this many rows.")
    ] = None
    offset: Annotated[
        int,
        Flag(Panel.INPUT, Kind.COUNT, "Skip the first N rows.", in_file="Skip this many rows at the beginning."),
    ] = 0
    shard: Annotated[
        str | None,
        Flag(
            Panel.INPUT,
            Kind.TEXT,
            "Run part I of N of the rows, divided by their ids, after --limit and --offset. See `merge`.",
            in_file="Run only this part of the rows, such as 1/4: they are divided by their ids.",
            metavar="I/N",
        ),
    ] = None
    format: Annotated[
        InputFormat | None,
        Flag(Panel.INPUT, Kind.CHOICE, "What INPUTS is.", default="what its name or else its content says"),
    ] = None
    delimiter: Annotated[
        str | None,
        Flag(
            Panel.INPUT,
            Kind.TEXT,
            "What separates the fields of a CSV or TSV: one character, or tab.",
            default="detected, one of , ; tab |",
            metavar="CHAR",
        ),
    ] = None
    encoding: Annotated[
        str | None,
        Flag(
            Panel.INPUT,
            Kind.TEXT,
            "The encoding of a text file, such as cp1252 or utf-16.",
            default="detected where that is safe",
            metavar="NAME",
        ),
    ] = None
    sheet: Annotated[
        str | None,
        Flag(
            Panel.INPUT,
            Kind.TEXT,
            "The sheet of a workbook, by its name or number.",
            default="the first visible one",
            metavar="NAME|N",
        ),
    ] = None
    no_rows: Annotated[
        Literal["fail", "warn"], Flag(Panel.INPUT, Kind.CHOICE, "When INPUTS has no rows; fail exits with 2.")
    ] = "warn"
    id_field: Annotated[
        str | None,
        Flag(Panel.INPUT, Kind.TEXT, "The field that is a row's id.", default="made of all fields", metavar="NAME"),
    ] = None
    input: Annotated[
        Mapping[str, Any],
        Flag(
            Panel.INPUT,
            Kind.INPUTS,
            "An input for all rows, as text, or @FILE with a JSON object of several; a row's own fields come first. "
            "May be repeated.",
            in_file="Inputs for all rows, below a row's own fields and above the crew's `inputs`.",
            short="-i",
            metavar="NAME=VALUE|@FILE",
        ),
    ] = field(default_factory=dict)
    map: Annotated[
        Mapping[str, str],
        Flag(
            Panel.INPUT,
            Kind.COLUMN_MAP,
            "Fill a placeholder from a column of another name; a.b is a field of an object. May be repeated.",
            in_file="The columns of placeholders that have other names: {topic: Subject}.",
            metavar="PLACEHOLDER=COLUMN",
        ),
    ] = field(default_factory=dict)
    fields: Annotated[
        Sequence[str] | None,
        Flag(
            Panel.INPUT,
            Kind.COLUMNS,
            "The columns that make a row's id and that its result repeats as `input`.",
            default="all",
            metavar="A,B",
        ),
    ] = None
    strict: Annotated[bool, Flag(Panel.INPUT, Kind.SWITCH, "Refuse to start if any row cannot be run.")] = False
    # Crew and models
    engine: Annotated[
        Literal["crewrun", "crewai"],
        Flag(
            Panel.MODELS,
            Kind.CHOICE,
            "Whose classes `crewai` means in the crew's files; crewai: those of the installed library, which calls "
            "models by itself, past limits, budgets and the journal.",
            in_file="Who runs the crew; only crewrun reads this file.",
            choices_in_file=("crewrun",),
        ),
    ] = "crewrun"
    model: Annotated[
        str | None,
        Flag(
            Panel.MODELS,
            Kind.NAME,
            "The model of every agent; `offline` calls none.",
            short="-m",
            metavar="MODEL",
            concerns_calls=True,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        Flag(
            Panel.MODELS, Kind.TEXT, "The address of an OpenAI-compatible server.", metavar="URL", concerns_calls=True
        ),
    ] = None
    replay: Annotated[
        bool, Flag(Panel.MODELS, Kind.SWITCH, "Send nothing: answer from the journal alone.", concerns_calls=True)
    ] = False
    cache: Annotated[
        str | None,
        Flag(
            Panel.MODELS,
            Kind.TEXT,
            "Answer requests that any run made before from this folder, and keep new answers there.",
            metavar="DIR",
            concerns_calls=True,
        ),
    ] = None
    cache_size: Annotated[
        str | float,
        Flag(
            Panel.MODELS,
            Kind.TEXT,
            "How large it may get.",
            in_file="How large the folder of `cache` may get.",
            metavar="SIZE",
        ),
    ] = "1GB"
    missing_tool_keys: Annotated[
        Literal["fail", "warn"],
        Flag(
            Panel.MODELS,
            Kind.CHOICE,
            "When a tool lacks a key in the environment.",
            in_file="What to do when a tool lacks a key in the environment: fail, or warn and go on.",
        ),
    ] = "fail"
    # Output
    output: Annotated[
        str | None,
        Flag(
            Panel.OUTPUT,
            Kind.TEXT,
            "Where results go, - for stdout.",
            short="-o",
            metavar="FILE",
            default="INPUTS' name with .results.jsonl; stdout for stdin",
        ),
    ] = None
    output_format: Annotated[
        ResultsFormat | None,
        Flag(
            Panel.OUTPUT,
            Kind.CHOICE,
            "The format of the results. Only jsonl grows during the run; other files are written when it ends or "
            "stops, and so are streams (except csv and tsv with --columns).",
            default="by the suffix: .csv, .tsv, .parquet, .xlsx, .gz after it; else jsonl",
        ),
    ] = None
    columns: Annotated[
        Sequence[str] | None,
        Flag(
            Panel.OUTPUT,
            Kind.COLUMNS,
            "Only these columns, in this order, such as id,input.topic,output.",
            default="all; whole rows in jsonl",
            metavar="A,B",
        ),
    ] = None
    formula_guard: Annotated[
        bool,
        Flag(
            Panel.OUTPUT,
            Kind.SWITCH,
            "In csv and tsv, put an apostrophe before text that a spreadsheet would take for a formula.",
            default="on",
        ),
    ] = True
    ordered: Annotated[
        bool, Flag(Panel.OUTPUT, Kind.SWITCH, "Results in input order.", default="as they end", off="--unordered")
    ] = False
    progress: Annotated[ProgressStyle, Flag(Panel.OUTPUT, Kind.CHOICE, "How progress is shown on stderr.")] = "auto"
    quiet: Annotated[bool, Flag(Panel.OUTPUT, Kind.SWITCH, "No progress and no summary.", short="-q")] = False
    summary: Annotated[
        str | None,
        Flag(
            Panel.OUTPUT,
            Kind.TEXT,
            "Write the summary there as JSON.",
            in_file="Write the summary to this file as JSON.",
            metavar="FILE",
        ),
    ] = None
    report: Annotated[
        str | None,
        Flag(
            Panel.OUTPUT,
            Kind.TEXT,
            "Write the page of crewrun report there when the run ends or stops.",
            in_file="Write the page of crewrun report to this file when the run ends or stops.",
            metavar="FILE",
        ),
    ] = None
    notify: Annotated[
        str | None,
        Flag(
            Panel.OUTPUT,
            Kind.TEXT,
            "Run this shell command when the run ends, however it ends; it reads the summary as JSON on its stdin.",
            in_file="Run this shell command when the run ends; it reads the summary as JSON on its standard input.",
            metavar="CMD",
        ),
    ] = None
    log_prompts: Annotated[
        bool,
        Flag(Panel.OUTPUT, Kind.SWITCH, "Write prompts and replies into the run's log.jsonl.", concerns_calls=True),
    ] = False
    otel: Annotated[
        bool | None,
        Flag(
            Panel.OUTPUT,
            Kind.SWITCH,
            "Send a trace of each row, and metrics, to an OpenTelemetry collector.",
            default="if OTEL_EXPORTER_OTLP_ENDPOINT is set",
        ),
    ] = None
    metrics: Annotated[
        str | int | None,
        Flag(
            Panel.OUTPUT,
            Kind.ADDRESS,
            "Serve metrics for Prometheus at this port while the run goes on, here only or at HOST.",
            metavar="[HOST:]PORT",
        ),
    ] = None
    # Limits
    max_concurrent: Annotated[
        int | Literal["auto"],
        Flag(
            Panel.LIMITS,
            Kind.ROWS_OR_AUTO,
            "Rows at once; auto finds as many as the providers take.",
            short="-j",
            metavar="N|auto",
        ),
    ] = 8
    rpm: Annotated[
        Any,
        Flag(
            Panel.LIMITS,
            Kind.PER_MODEL,
            "Requests per minute, of each model or of one.",
            in_file="Requests per minute for each model, or by model: {gpt-4.1-mini: 500}.",
            default="what its provider says",
            metavar="[MODEL=]N",
            concerns_calls=True,
        ),
    ] = None
    tpm: Annotated[
        Any,
        Flag(
            Panel.LIMITS,
            Kind.PER_MODEL,
            "Tokens per minute, likewise.",
            in_file="Tokens per minute for each model, or by model.",
            metavar="[MODEL=]N",
            concerns_calls=True,
        ),
    ] = None
    shared_limits: Annotated[
        bool,
        Flag(
            Panel.LIMITS,
            Kind.SWITCH,
            "Keep an account's limits together with other processes of this machine, and remember them.",
            default="on",
            concerns_calls=True,
        ),
    ] = True
    retries: Annotated[
        int, Flag(Panel.LIMITS, Kind.COUNT, "Attempts after a failed first one.", concerns_calls=True)
    ] = 5
    call_timeout: Annotated[
        float | None,
        Flag(Panel.LIMITS, Kind.POSITIVE, "Seconds for one attempt of one call.", default="120", concerns_calls=True),
    ] = None
    row_timeout: Annotated[
        float | None, Flag(Panel.LIMITS, Kind.POSITIVE, "Seconds for one row.", default="no limit")
    ] = None
    outage_patience: Annotated[
        str | float | None,
        Flag(
            Panel.LIMITS,
            Kind.DURATION,
            "How long to wait for a provider that does not answer.",
            default="5m, and 10s if it never has",
            metavar="TIME",
            concerns_calls=True,
        ),
    ] = None
    deadline: Annotated[
        str | float | None,
        Flag(
            Panel.LIMITS, Kind.DURATION, "Start no more rows after 6h, at 06:30, or at a date and time.", metavar="TIME"
        ),
    ] = None
    grace: Annotated[float, Flag(Panel.LIMITS, Kind.NOT_NEGATIVE, "Seconds a stop waits for rows in flight.")] = 20.0
    fail_fast: Annotated[bool, Flag(Panel.LIMITS, Kind.SWITCH, "Stop at the first failed row.")] = False
    max_failures: Annotated[
        str | None,
        Flag(
            Panel.LIMITS,
            Kind.ROWS_OR_PERCENT,
            "Stop when N rows, or P percent of the finished ones (from 20 on), have failed.",
            in_file="Stop when this many rows, or this share of the finished ones, have failed: 10, or 5%.",
            metavar="N|P%",
        ),
    ] = None
    # Money
    budget: Annotated[
        str | float | None,
        Flag(
            Panel.MONEY,
            Kind.DOLLARS,
            "The most that the run may cost, all its sessions together.",
            in_file="US dollars that the run may cost, all its sessions together.",
            metavar="USD",
            concerns_calls=True,
        ),
    ] = None
    row_budget: Annotated[
        str | float | None,
        Flag(
            Panel.MONEY,
            Kind.DOLLARS,
            "Fail a row that has cost this much before its next call; it may cost one call more.",
            in_file="US dollars that one row may cost.",
            metavar="USD",
            concerns_calls=True,
        ),
    ] = None
    price: Annotated[
        Any,
        Flag(
            Panel.MONEY,
            Kind.PRICES,
            "US dollars per million tokens, for a model whose price is not published, or in place of that; CACHED is "
            "the price of cache reads, WRITTEN of cache writes, that of other input unless given.",
            in_file="US dollars per million tokens by model, in, out, from the cache, into it: {my-model: [0.4, 1.6]}.",
            metavar="MODEL=IN,OUT[,CACHED[,WRITTEN]]",
            concerns_calls=True,
        ),
    ] = None
    tier: Annotated[
        Tier,
        Flag(
            Panel.MONEY,
            Kind.CHOICE,
            "The service tier of calls: flex is slower and sometimes full, batch takes up to a day for each step of a "
            "crew; both cost half with most providers.",
            in_file="The service tier of calls whose agent and llm name none.",
            concerns_calls=True,
        ),
    ] = "standard"
    tier_patience: Annotated[
        str | float | None,
        Flag(
            Panel.MONEY,
            Kind.DURATION,
            "How long a call waits for room at flex, or for its batch job, before it goes at the standard tier.",
            default="10m at flex, no limit for batch jobs",
            metavar="TIME",
            concerns_calls=True,
        ),
    ] = None
    prompt_cache: Annotated[
        PromptCacheUse,
        Flag(
            Panel.MONEY,
            Kind.CHOICE,
            "Have providers cache the beginnings that prompts share: auto where that is known to cost less, always at "
            "any server, never.",
            concerns_calls=True,
        ),
    ] = "auto"
    wave: Annotated[
        int,
        Flag(
            Panel.MONEY,
            Kind.COUNT,
            "Rows at once whose calls go in batch jobs.",
            metavar="N",
            concerns_calls=True,
        ),
    ] = 10_000
    batch_delay: Annotated[
        str | float,
        Flag(
            Panel.MONEY,
            Kind.DURATION,
            "A batch job goes when every row waits for one, or when no further call has come for this long.",
            metavar="TIME",
            concerns_calls=True,
        ),
    ] = "1m"
    poll: Annotated[
        str | float,
        Flag(
            Panel.MONEY,
            Kind.DURATION,
            "How often to look at a batch job, at most; up to ten times rarer while nothing changes.",
            metavar="TIME",
            concerns_calls=True,
        ),
    ] = "30s"
    detach: Annotated[
        bool,
        Flag(
            Panel.MONEY,
            Kind.SWITCH,
            "Do not wait for batch jobs: once all that can be sent is sent, exit with 7; the same command goes on.",
            concerns_calls=True,
        ),
    ] = False
    cancel_jobs: Annotated[
        bool,
        Flag(
            Panel.MONEY,
            Kind.SWITCH,
            "When a signal stops the run, cancel its batch jobs at the provider; else they go on there. Also "
            "cancel, once all rows wait or have ended, those of models that the crew does not call any more.",
            concerns_calls=True,
        ),
    ] = False
    canary: Annotated[
        int | None,
        Flag(
            Panel.MONEY,
            Kind.COUNT,
            "Run N rows first, drawn at random, and say what all will cost and take; 100 is a good number.",
            in_file="Run this many rows first, drawn at random, and say what all will cost and take.",
            metavar="N",
        ),
    ] = None
    max_forecast: Annotated[
        str | float | None,
        Flag(
            Panel.MONEY,
            Kind.DOLLARS,
            "Stop after the canary if all rows would cost more.",
            in_file="Stop after the canary if all rows would cost more US dollars than this.",
            metavar="USD",
            concerns_calls=True,
        ),
    ] = None
    # State
    same_endpoint: Annotated[
        bool,
        Flag(
            Panel.STATE,
            Kind.SWITCH,
            "Ignore the models' addresses: what was done at another base_url stays done.",
            in_file="Ignore the models' addresses; the same as `identity: {base_url: ignore}`.",
            concerns_calls=True,
        ),
    ] = False
    fresh: Annotated[
        bool, Flag(Panel.STATE, Kind.SWITCH, "Start over: move the results and the state of an earlier run aside.")
    ] = False
    run_dir: Annotated[
        str | None,
        Flag(
            Panel.STATE,
            Kind.TEXT,
            "The run's state.",
            in_file="Where the run's state is kept.",
            default="OUTPUT.crewrun",
            metavar="DIR",
        ),
    ] = None
    lock: Annotated[
        Literal["fail", "wait", "skip"],
        Flag(
            Panel.STATE,
            Kind.CHOICE,
            "When another process has this run.",
            in_file="What to do when another process has the run: fail, wait, or skip.",
        ),
    ] = "fail"
    # Where it runs
    executor: Annotated[
        str,
        Flag(
            Panel.PLACE,
            Kind.NAME,
            "Where rows run: here, on a Ray cluster, or by your own executor.",
            in_file="Where rows run: inline, ray, ray://HOST:PORT, or module:attr.",
            metavar="inline|ray|ray://HOST:PORT|MODULE:ATTR",
        ),
    ] = "inline"
    workers: Annotated[
        int | Literal["auto"],
        Flag(
            Panel.PLACE,
            Kind.WORKERS_OR_AUTO,
            "Workers of --executor; auto: as many as its CPUs hold.",
            metavar="N|auto",
        ),
    ] = "auto"
    worker_cpus: Annotated[
        float,
        Flag(
            Panel.PLACE,
            Kind.POSITIVE,
            "CPUs that each reserves.",
            in_file="CPUs that each worker reserves.",
            metavar="N",
        ),
    ] = 1.0
    env: Annotated[
        Sequence[str],
        Flag(
            Panel.PLACE,
            Kind.NAMES,
            "A variable of the environment that workers get.",
            in_file="The variables of the environment that workers get.",
            metavar="NAME",
        ),
    ] = ()


@cache
def batch_flags() -> Mapping[str, FlagField]:
    """The flags of a batch by field name, in the order of `--help`."""
    return flag_fields(BatchFlags)
