"""The flags of a batch, each declared once, as a field.

`cli.flags` makes Typer's parameters from these fields, `definitions.batch_section` the keys of crew.yaml's `batch:`,
and `definitions.schema` their descriptions in the JSON Schema. `batch.settings` interprets the values.
To add a flag, add a field here and its meaning there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum, auto
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

ProgressStyle = Literal["auto", "rich", "plain", "json", "none"]


class Kind(Enum):
    """The kinds of values. On the command line most are text; a crew file also has numbers, lists and mappings."""

    TEXT = auto()
    NAME = auto()
    SWITCH = auto()
    CHOICE = auto()  # one of the words of the field's Literal
    COUNT = auto()  # a whole number from 0 up
    POSITIVE = auto()
    NOT_NEGATIVE = auto()
    ROWS_OR_AUTO = auto()
    WORKERS_OR_AUTO = auto()
    ROWS_OR_PERCENT = auto()
    DURATION = auto()  # 90, 5m, 1h30m
    DOLLARS = auto()
    PER_MODEL = auto()  # N, or MODEL=N for one model
    PRICES = auto()  # MODEL=IN,OUT
    NAMES = auto()
    INPUTS = auto()  # NAME=VALUE


@dataclass(frozen=True, slots=True)
class Flag:
    """What a field's name, type and default do not say.

    `help` is for the command line and, without `in_file`, for the crew file. `default` says in words what happens
    without the flag, where the field's own default does not. `off` is the opposite of a switch, by default `--no-…`.
    `choices_in_file` are the words that a crew file may use, by default all. A flag that `concerns_calls` cannot work
    for another library's crew, which calls models itself.
    """

    kind: Kind
    help: str
    in_file: str | None = None
    default: str | None = None
    short: str | None = None
    metavar: str | None = None
    off: str | None = None
    choices_in_file: tuple[str, ...] | None = None
    concerns_calls: bool = False


@dataclass(frozen=True, slots=True)
class BatchFlags:
    """One field per flag; times are in seconds. The values here are the defaults that `--help` shows.

    Values with a form of their own, such as `rpm`, stay as the user wrote them.
    """

    output: Annotated[
        str | None,
        Flag(
            Kind.TEXT,
            "Where results go, - for stdout.",
            short="-o",
            default="INPUTS' name with .results.jsonl; stdout for stdin",
        ),
    ] = None
    max_concurrent: Annotated[
        int | Literal["auto"],
        Flag(
            Kind.ROWS_OR_AUTO,
            "Rows at once; auto finds out what the providers take.",
            short="-j",
            metavar="N|auto",
        ),
    ] = 8
    engine: Annotated[
        Literal["crewrun", "crewai"],
        Flag(
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
            Kind.NAME,
            "The model of every agent; `offline` calls none.",
            short="-m",
            concerns_calls=True,
        ),
    ] = None
    base_url: Annotated[
        str | None, Flag(Kind.TEXT, "The address of an OpenAI-compatible server.", concerns_calls=True)
    ] = None
    ordered: Annotated[bool, Flag(Kind.SWITCH, "Results in input order.", default="as they end", off="--unordered")] = (
        False
    )
    retries: Annotated[int, Flag(Kind.COUNT, "Attempts after a failed first one.", concerns_calls=True)] = 5
    call_timeout: Annotated[
        float | None,
        Flag(Kind.POSITIVE, "Seconds for one attempt of one call.", default="120", concerns_calls=True),
    ] = None
    row_timeout: Annotated[float | None, Flag(Kind.POSITIVE, "Seconds for one row.", default="no limit")] = None
    grace: Annotated[float, Flag(Kind.NOT_NEGATIVE, "Seconds a stop waits for rows in flight.")] = 20.0
    limit: Annotated[int | None, Flag(Kind.COUNT, "Run at most N rows.", in_file="Run at most this many rows.")] = None
    offset: Annotated[
        int, Flag(Kind.COUNT, "Leave out the first N rows.", in_file="Leave out this many of the first rows.")
    ] = 0
    shard: Annotated[
        str | None,
        Flag(
            Kind.TEXT,
            "Run part I of N of what --limit and --offset leave, divided by the rows' ids. `merge` unites them.",
            in_file="Run only this part of the rows, such as 1/4: they are divided by their ids.",
            metavar="I/N",
        ),
    ] = None
    fail_fast: Annotated[bool, Flag(Kind.SWITCH, "Stop at the first failed row.")] = False
    max_failures: Annotated[
        str | None,
        Flag(
            Kind.ROWS_OR_PERCENT,
            "Stop when N rows, or P percent of the finished ones (from 20 on), have failed.",
            in_file="Stop when this many rows, or this share of the finished ones, have failed: 10, or 5%.",
            metavar="N|P%",
        ),
    ] = None
    strict: Annotated[bool, Flag(Kind.SWITCH, "Refuse to start if any row cannot be run.")] = False
    progress: Annotated[ProgressStyle, Flag(Kind.CHOICE, "How progress is shown on stderr.")] = "auto"
    quiet: Annotated[bool, Flag(Kind.SWITCH, "No progress and no summary.", short="-q")] = False
    summary: Annotated[
        str | None,
        Flag(
            Kind.TEXT,
            "Write the summary there as JSON.",
            in_file="Write the summary to this file as JSON.",
            metavar="FILE",
        ),
    ] = None
    fresh: Annotated[bool, Flag(Kind.SWITCH, "Start over: move the results and the state of an earlier run aside.")] = (
        False
    )
    run_dir: Annotated[
        str | None,
        Flag(
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
            Kind.CHOICE,
            "When another process has this run.",
            in_file="What to do when another process has the run: fail, wait, or skip.",
        ),
    ] = "fail"
    id_field: Annotated[str | None, Flag(Kind.TEXT, "The field that names a row.", default="all", metavar="NAME")] = (
        None
    )
    replay: Annotated[bool, Flag(Kind.SWITCH, "Send nothing: answer from the journal alone.", concerns_calls=True)] = (
        False
    )
    log_prompts: Annotated[
        bool, Flag(Kind.SWITCH, "Write prompts and replies into the run's log.jsonl.", concerns_calls=True)
    ] = False
    rpm: Annotated[
        Any,
        Flag(
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
            Kind.PER_MODEL,
            "Tokens per minute, likewise.",
            in_file="Tokens per minute for each model, or by model.",
            metavar="[MODEL=]N",
            concerns_calls=True,
        ),
    ] = None
    outage_patience: Annotated[
        str | float | None,
        Flag(
            Kind.DURATION,
            "How long to wait for a provider that does not answer.",
            default="5m, and 10s if it never has",
            metavar="TIME",
            concerns_calls=True,
        ),
    ] = None
    deadline: Annotated[
        str | float | None,
        Flag(Kind.DURATION, "Start no more rows after 6h, at 06:30, or at a date and time.", metavar="TIME"),
    ] = None
    budget: Annotated[
        str | float | None,
        Flag(
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
            Kind.PRICES,
            "US dollars per million tokens, for a model whose price is not published, or in place of that; CACHED is "
            "the price of cache reads, WRITTEN of cache writes, that of other input unless given.",
            in_file="US dollars per million tokens by model, in, out, from the cache, into it: {my-model: [0.4, 1.6]}.",
            metavar="MODEL=IN,OUT[,CACHED[,WRITTEN]]",
            concerns_calls=True,
        ),
    ] = None
    canary: Annotated[
        int | None,
        Flag(
            Kind.COUNT,
            "Run N rows first, drawn at random, and say what all will cost and take; 100 is a good number.",
            in_file="Run this many rows first, drawn at random, and say what all will cost and take.",
            metavar="N",
        ),
    ] = None
    max_forecast: Annotated[
        str | float | None,
        Flag(
            Kind.DOLLARS,
            "Stop after the canary if all rows would cost more.",
            in_file="Stop after the canary if all rows would cost more US dollars than this.",
            metavar="USD",
            concerns_calls=True,
        ),
    ] = None
    cache: Annotated[
        str | None,
        Flag(
            Kind.TEXT,
            "Answer requests that any run made before from this folder, and keep new answers there.",
            metavar="DIR",
            concerns_calls=True,
        ),
    ] = None
    cache_size: Annotated[
        str | float,
        Flag(Kind.TEXT, "How large it may get.", in_file="How large the folder of `cache` may get.", metavar="SIZE"),
    ] = "1GB"
    executor: Annotated[
        str,
        Flag(
            Kind.NAME,
            "Where rows run: here, on a Ray cluster, or by your own executor.",
            in_file="Where rows run: inline, ray, ray://HOST:PORT, or module:attr.",
            metavar="inline|ray|ray://HOST:PORT|MODULE:ATTR",
        ),
    ] = "inline"
    workers: Annotated[
        int | Literal["auto"],
        Flag(
            Kind.WORKERS_OR_AUTO,
            "Workers of --executor; auto: as many as its CPUs hold.",
            metavar="N|auto",
        ),
    ] = "auto"
    worker_cpus: Annotated[
        float, Flag(Kind.POSITIVE, "CPUs that each reserves.", in_file="CPUs that each worker reserves.")
    ] = 1.0
    env: Annotated[
        Sequence[str],
        Flag(
            Kind.NAMES,
            "A variable of the environment that workers get.",
            in_file="The variables of the environment that workers get.",
            metavar="NAME",
        ),
    ] = ()
    missing_tool_keys: Annotated[
        Literal["fail", "warn"],
        Flag(
            Kind.CHOICE,
            "When a tool lacks a key in the environment.",
            in_file="What to do when a tool lacks a key in the environment: fail, or warn and go on.",
        ),
    ] = "fail"
    input: Annotated[
        Mapping[str, Any],
        Flag(
            Kind.INPUTS,
            "An input for all rows, as text, or @FILE with a JSON object of several; a row's own fields come first. "
            "May be repeated.",
            in_file="Inputs for all rows, below a row's own fields and above the crew's `inputs`.",
            short="-i",
            metavar="NAME=VALUE|@FILE",
        ),
    ] = field(default_factory=dict)


class FlagField(NamedTuple):
    """A flag, read from its field. `type` is the value's type; `default` is None where there is nothing to show."""

    name: str
    type: Any
    flag: Flag
    default: str | None

    @property
    def option(self) -> str:
        """The flag on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment variable for it."""
        return f"CREWRUN_{self.name.upper()}"

    @property
    def help(self) -> str:
        """The text for `--help`."""
        return self.flag.help if self.default is None else f"{self.flag.help} [default: {self.default}]"

    @property
    def description(self) -> str:
        """The text for the JSON Schema of crew.yaml."""
        text = self.flag.in_file or self.flag.help
        return text if self.default is None else f"{text} Default: {self.default}."


@cache
def batch_flags() -> Mapping[str, FlagField]:
    """The flags of a batch by field name, in the order of `--help`."""
    flags = {}
    for one in fields(BatchFlags):
        (flag,) = one.type.__metadata__  # type: ignore[union-attr]  # each is an Annotated
        flags[one.name] = FlagField(one.name, one.type.__origin__, flag, flag.default or _in_words(one.default))  # type: ignore[union-attr]  # as above
    return flags


def _in_words(default: Any) -> str | None:
    """A default to show, None for those of switches and for 0."""
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if default and isinstance(default, str | int) else None
