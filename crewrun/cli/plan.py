"""`crewrun plan`: what a batch would take, before it begins."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from crewrun.batch.plan import Plan, Range
    from crewrun.batch.settings import BatchSettings
    from crewrun.definitions.definition import Definition


def plan(context: typer.Context) -> None:
    """Say what `crewrun batch` would do, cost and take, without a call: the same as `crewrun batch --dry-run`.

    Takes what `batch` takes, and --json. Crew, keys, prices and rows are checked; calls, tokens, cost and time are
    estimated. Exit codes: 0 it would start; 2 it would not.
    """
    from crewrun.cli.batch import batch

    # `batch` under another name: its arguments, its flags and their variables, with this help and usage.
    own = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    own.command(help=plan.__doc__, context_settings={"help_option_names": ["-h", "--help"]})(batch)
    own(["--dry-run", *context.args], prog_name=context.command_path, standalone_mode=False)


def show_plan(
    inputs: str, definition: "Definition", settings: "BatchSettings", stdout_fd: int, *, as_json: bool
) -> None:
    """Print the plan of a batch."""
    from crewrun.batch.plan import plan_batch
    from crewrun.batch.sink import StreamSink
    from crewrun.cli.setup import put_data, run_loop, tell

    made = run_loop(plan_batch, inputs, definition, settings)
    stdout = StreamSink(stdout_fd)
    if as_json:
        put_data(stdout, json.dumps(made.to_json(), indent=2))
    else:
        tell(stdout, lines(made))


def lines(plan: "Plan") -> list[str]:
    """The plan for a person to read."""
    from crewrun.cli.wording import count, duration, money

    done = f", {plan.done:,} {'is' if plan.done == 1 else 'are'} done" if plan.done else ""
    said = [f"{count(plan.rows, 'row')} to run{done}"]
    if plan.shard is not None:
        said.append(f"shard {plan.shard}: {plan.elsewhere:,} rows belong to other shards")
    if plan.failing_count:
        said.append(f"{count(plan.failing_count, 'row')} would fail before their first call:")
        said += [f"  {problem}" for problem in plan.failing]
        if plan.failing_count > len(plan.failing):
            said.append(f"  … and {plan.failing_count - len(plan.failing):,} more")
    said += [f"model {model['name']}{'' if model['price_known'] else ': price not known'}" for model in plan.models]
    if plan.calls and plan.prompt_tokens and plan.completion_tokens and plan.duration_s:
        said.append(f"calls: {_range(plan.calls, _whole)}")
        tokens = f"{_range(plan.prompt_tokens, _whole)} in, {_range(plan.completion_tokens, _whole)} out"
        said.append(f"tokens: {tokens}")
        said.append(f"cost: {_range(plan.cost_usd, money) if plan.cost_usd else 'unknown'}")
        said.append(f"time: {_range(plan.duration_s, duration)}")
        last = f"taken from the last {plan.answers_known:,} of this run" if plan.answers_known else "a guess"
        said.append(f"the length of answers is {last}; --canary 100 measures it")
    said += plan.notes
    return [*said, "no model was called"]


def _range(amount: "Range", words: Callable[[Any], str]) -> str:
    low, mean, high = words(amount.low), words(amount.mean), words(amount.high)
    return mean if low == high else f"about {mean} ({low} to {high})"


def _whole(amount: float) -> str:
    return f"{round(amount):,}"
