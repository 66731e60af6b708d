"""`crewrun compare`: two runs, row by row. What it prints is in `compare_report`."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink
    from crewrun.compare.comparison import Sampling
    from crewrun.compare.conditions import Condition
    from crewrun.compare.runs import ComparedRuns
    from crewrun.score.inequality import Check


def compare(
    a: str = typer.Argument(..., metavar="A", help="The run to compare with, such as that of last week."),
    b: str = typer.Argument(..., metavar="B", help="The other run, such as that of a changed crew."),
    fail_if: list[str] = typer.Option(
        None,
        "--fail-if",
        metavar="CONDITION",
        help="End with exit code 3 if this holds: 'changed>5%', 'broken>0', 'cost>10%', 'output.city<95%'. May be "
        "repeated.",
    ),
    sample: int = typer.Option(
        3, "--sample", metavar="N", min=0, help="Show N broken and N changed rows, drawn at random."
    ),
    seed: int = typer.Option(0, "--seed", metavar="N", help="Draw other rows, also for the intervals. [default: 0]"),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Compare two runs: which rows were fixed, broke or changed, in which fields, and what they cost.

    A and B are results files or run folders; A is the older. Rows are joined by their ids. Fixed rows failed in A and
    are ok in B, broken ones the other way round; changed rows are ok in both and have another output, as JSON values.
    Shares are of the rows that are in both. Cost, tokens and time have 90 % intervals. --fail-if compares a number or
    share of rows (fixed, broken, changed, same, only_a, only_b), the change of cost, tokens or time (10%: by a tenth;
    cost.low: the lower end of its interval) or of the rows that met an expectation (expect.NAME), or the equal share of
    a field. Exit codes: 0 they were compared; 2 a condition or a run cannot be read, or no row is in both; 3 a
    condition holds; 141 stdout was closed.
    """
    from crewrun.cli.setup import open_stdout, run_loop
    from crewrun.compare.comparison import Sampling
    from crewrun.compare.conditions import parse_condition

    stdout = open_stdout()
    conditions = [parse_condition(text) for text in fail_if or ()]
    checks = run_loop(_compare, a, b, conditions, Sampling(sample, seed), stdout, as_json)
    raise typer.Exit(3 if any(check.holds for check in checks) else 0)


async def _compare(
    a: str, b: str, conditions: "Iterable[Condition]", sampling: "Sampling", stdout: "StreamSink", as_json: bool
) -> "list[Check]":
    """Compare the runs and print the result. Returns the conditions with their values."""
    from crewrun.batch.run_results import open_results
    from crewrun.cli.compare_report import lines_of
    from crewrun.cli.spans import print_lines
    from crewrun.compare.runs import compare_runs
    from crewrun.terminal import say

    async with open_results(a) as old, open_results(b) as new:
        runs = compare_runs(old, new, sampling)
        for note in runs.notes:
            say(f"crewrun: {note}")
        checks = [condition.check(runs.comparison) for condition in conditions]
    if as_json:
        await _print_json(stdout, runs, checks)
    else:
        await print_lines(stdout, lines_of(runs, checks))
    return checks


async def _print_json(stdout: "StreamSink", runs: "ComparedRuns", checks: "Sequence[Check]") -> None:
    """Print the comparison for programs, and for people which conditions hold."""
    from crewrun.row import as_json
    from crewrun.terminal import say

    record = runs.to_json() | {"conditions": [check.to_json() for check in checks]}
    text = json.dumps(json.loads(as_json(record)), indent=2)  # without what is no JSON: 1e400 is null
    await stdout.write([f"{text}\n".encode()])
    for check in checks:
        if check.holds:
            say(f"crewrun: --fail-if {check.condition.text!r} holds: it is {check.value_in_words}")
