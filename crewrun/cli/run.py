"""`crewrun run`: one kickoff, whose answer goes to standard output."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewrun.cli import flags
from crewrun.cli.inputs import read_inputs

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink
    from crewrun.confinement.own_files import OwnFiles
    from crewrun.definitions.definition import Definition
    from crewrun.limits.unknown_bills import Owed
    from crewrun.llm.options import GatewayOptions
    from crewrun.row import Outcome
    from crewrun.target import Target


Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE|@FILE",
        help="One input, as text, or @FILE with a JSON object of several. May be repeated.",
    ),
]


def run(
    words: list[str] = typer.Argument(
        [], metavar="[CREW] [NAME=VALUE]...", help="What to run, as --crew takes it, and inputs, as -i takes them."
    ),
    crew: flags.CrewOfRun = None,
    pairs: Inputs = None,
    inputs: str | None = typer.Option(
        None, "--inputs", metavar="JSON|@FILE", help="All inputs as a JSON object, or @FILE that holds one."
    ),
    engine: flags.Engine = None,
    model: flags.Model = None,
    base_url: flags.BaseUrl = None,
    retries: flags.Retries = None,
    call_timeout: flags.CallTimeout = None,
    tier: flags.Tier = None,
    tier_patience: flags.TierPatience = None,
    missing_tool_keys: flags.MissingToolKeys = None,
    as_json: bool = typer.Option(False, "--json", help="Print the whole result row instead of the answer."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Run a crew once and print its answer.

    Exit codes: 0 it succeeded; 2 usage, crew or inputs are wrong and nothing was sent; 3 it failed; 130 and 143
    interrupted, by SIGINT and SIGTERM.
    """
    from crewrun.cli.setup import defaulted, load_crew, load_env, open_stdout, run_loop

    load_env()
    stdout = open_stdout()
    named, more = _split(words)
    values = read_inputs([*more, *(pairs or ())], inputs)
    definition = load_crew(named or crew, "-", engine=engine)
    settings = defaulted(model=model, base_url=base_url, retries=retries, call_timeout=call_timeout)
    settings |= defaulted(tier=tier, tier_patience=tier_patience)
    options = _options(definition.target, settings)
    own_files = _own_files(definition, inputs, pairs or ())
    checks_tools = (missing_tool_keys or definition.batch.get("missing_tool_keys")) != "warn"
    outcome = run_loop(_kickoff, definition, options, values, quiet, checks_tools, own_files)
    _print(stdout, outcome, as_json=as_json)
    raise typer.Exit(0 if outcome.error is None else 3)


def _options(target: "Target", settings: Mapping[str, Any]) -> "GatewayOptions":
    """How models are called. Raises UsageError for flags that have no effect on the target."""
    from crewrun.batch.amounts import seconds
    from crewrun.batch.unsupported import check_flags_supported
    from crewrun.limits.capacity import Patience
    from crewrun.limits.retry import RetryPolicy
    from crewrun.llm.options import GatewayOptions

    check_flags_supported(target, {f"--{name.replace('_', '-')}": value for name, value in settings.items()})
    retries, patience = settings["retries"], settings["tier_patience"]
    return GatewayOptions(
        RetryPolicy() if retries is None else RetryPolicy(retries=retries),
        settings["call_timeout"],
        settings["model"],
        settings["base_url"],
        tier=settings["tier"] or "standard",
        patience=Patience() if patience is None else Patience(seconds("--tier-patience", patience)),
    )


def _own_files(definition: "Definition", inputs: str | None, pairs: Sequence[str]) -> "OwnFiles":
    """The files that no tool may read or change at a model's request, including those of the crew's batches."""
    from crewrun.confinement.own_files import OwnFiles

    of_batches = map(definition.batch.get, ("output", "summary", "cache"))
    own_files = OwnFiles().with_inputs(*(word[1:] for word in (inputs, *pairs) if word and word.startswith("@")))
    return own_files.with_crew(definition.path, definition.files).keeping(*of_batches)


def _print(stdout: "StreamSink", outcome: "Outcome", *, as_json: bool) -> None:
    """Print the answer or the result row on standard output, and a failure on standard error."""
    from crewrun.cli.setup import run_loop
    from crewrun.row import as_json as to_json
    from crewrun.terminal import complain

    if as_json:
        text = outcome.to_line()
    elif outcome.error is None:
        is_text = isinstance(outcome.output, str)
        text = (outcome.output.encode("utf-8", "replace") if is_text else to_json(outcome.output)) + b"\n"
    else:
        text = b""
    if outcome.error is not None:
        task = f"task {outcome.error.task!r}: " if outcome.error.task else ""
        complain(f"{task}{outcome.error.message} ({outcome.error.category})")
    if text:
        run_loop(stdout.write, [text])


def _split(words: list[str]) -> tuple[str | None, list[str]]:
    """Split `words` into the crew, an optional first word, and the inputs. Raises UsageError."""
    from crewrun.errors import UsageError

    named, pairs = (words[0], words[1:]) if words and "=" not in words[0] else (None, words)
    for word in pairs:
        if not word.partition("=")[0] or "=" not in word:
            raise UsageError(f"{word!r}: an input is written NAME=VALUE, as in topic=AI; what to run comes first")
    return named, pairs


async def _kickoff(
    definition: "Definition",
    options: "GatewayOptions",
    values: dict[str, Any],
    quiet: bool,
    checks_tools: bool,
    own_files: "OwnFiles",
) -> "Outcome":
    from crewrun.errors import UsageError
    from crewrun.limits.local_limiters import LocalLimiters
    from crewrun.llm.gateway import Gateway
    from crewrun.row import Row, content_id
    from crewrun.terminal import say
    from crewrun.worker import Worker, check_models, check_tools, model_hints

    limiters = LocalLimiters()
    gateway = Gateway(options, limiters=limiters)
    worker = Worker(definition.target, gateway, own_files=own_files)
    row = Row(0, 1, content_id(values), values)
    if problem := worker.problem(row):
        raise UsageError(f"{problem.removeprefix('line 1: ')}; give it with -i NAME=VALUE or --inputs")
    endpoints = await check_models(definition.target, gateway)
    if any(endpoint.tier == "batch" for endpoint in endpoints):
        raise UsageError("batch jobs are for many rows: crewrun batch makes them; here say --tier standard or flex")
    for warning in check_tools(definition.target, endpoints, refuses=checks_tools):
        say(warning)
    for hint in model_hints(endpoints):
        say(f"warning: {hint}")
    async with worker:
        outcome = await worker.run(row)
    if not quiet:
        _say_usage(outcome, limiters.unknown_bills.owed)
    return outcome


def _say_usage(outcome: "Outcome", owed: "Owed") -> None:
    """Print what each task and all of them took; `owed` is what attempts with an unknown bill may cost."""
    from crewrun.cli.wording import may_be_owed, money, tiers
    from crewrun.terminal import say

    for task in outcome.tasks:
        by = f" ({task.agent})" if task.agent else ""  # a flow's method has none
        say(f"{task.name}{by}: {task.usage.total_tokens:,} tokens, {json.dumps(task.output[:60])}")
    for failed in outcome.tool_failures:
        error = " ".join(failed.error.split())
        say(f"tool {failed.tool!r} failed {failed.count} × ({failed.reason}): {error}")
    for name, reason in outcome.expectations.items():
        say(f"expected {name!r}: {'met' if reason is True else f'missed: {reason}'}")
    cost = money(outcome.cost_usd) + may_be_owed({"may_be_owed_usd": None if owed.unpriced else owed.usd})
    parts = [f"{outcome.duration_s:.1f} s", f"{outcome.usage.total_tokens:,} tokens", cost, tiers(outcome.to_json())]
    say(" · ".join(filter(None, parts)))
