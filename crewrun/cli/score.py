"""`crewrun score`: has the outputs of a run judged, by a function or by a model. The scoring is a batch."""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crewrun.cli import flags
from crewrun.errors import UsageError

if TYPE_CHECKING:
    from crewrun.batch.settings import BatchSettings
    from crewrun.batch.sink import StreamSink
    from crewrun.score.conditions import ScoreConditions
    from crewrun.score.judges import Judge
    from crewrun.score.score_sets import ScoreSet
    from crewrun.score.scoring import Scoring

_PANEL = "Judging"  # of the command's own flags
_FLAGS = (
    *("limit", "model", "base_url", "replay", "cache", "cache_size", "ordered", "progress", "quiet", "summary"),
    *("notify", "log_prompts", "max_concurrent", "rpm", "tpm", "retries", "call_timeout", "row_timeout"),
    *("outage_patience", "deadline", "grace", "fail_fast", "max_failures", "budget", "row_budget", "price"),
    *("canary", "max_forecast", "same_endpoint", "fresh", "lock"),
)


@flags.takes_flags(*_FLAGS)
def score(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    *,
    by: str | None = typer.Option(
        None,
        "--by",
        metavar="JUDGE",
        help="A function, module:function or file.py:function, or a sentence.",
        rich_help_panel=_PANEL,
    ),
    expect: bool = typer.Option(
        False,
        "--expect",
        help="Check the outputs against `expect:` of the crew as it is now, into x.expect.scores.jsonl.",
        rich_help_panel=_PANEL,
    ),
    crew: str | None = typer.Option(
        None,
        "--crew",
        metavar="CREW",
        help="With --expect: the crew whose `expect:` is checked. [default: the run's own, else that in the working "
        "directory]",
        rich_help_panel=_PANEL,
    ),
    field: str | None = typer.Option(
        None,
        "--field",
        metavar="FIELD",
        help="Judge only this field of the output, such as items[0].price.",
        rich_help_panel=_PANEL,
    ),
    name: str | None = typer.Option(
        None,
        "--name",
        metavar="NAME",
        help="Write x.NAME.scores.jsonl, beside other scores of the same run.",
        rich_help_panel=_PANEL,
    ),
    fail_if: list[str] = typer.Option(
        None,
        "--fail-if",
        metavar="CONDITION",
        help="End with exit code 3 if this holds: 'missed>0', 'label<95%', 'tone<0.8'. May be repeated.",
        rich_help_panel=_PANEL,
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON.", rich_help_panel=_PANEL),
    **values: Any,
) -> None:
    """Judge the outputs of the rows of RUN that are ok, by a function or by a model, into x.scores.jsonl beside them.

    The function gets what its parameters name of output, input, row and result, and returns a number, True or False, or
    a mapping of names to these. A sentence is judged by a model, from 0 to 1 with a reason. --expect checks what
    `expect:` in the crew says now. Repeating the command goes on, and scores rows again whose output has changed.
    Prints mean, 90 % interval, distribution and the worst rows. --fail-if compares the mean of a score (label.low: the
    lower end of its interval), in percent if it is from 0 to 1, or the rows that missed an expectation (missed).

    Exit codes are those of crewrun batch: 0 all rows have scores; 2 RUN, JUDGE or a flag is wrong; 3 the judge failed
    on some rows, or a condition holds; 75 a process is working on RUN.
    """
    from crewrun.batch.sink import StreamSink
    from crewrun.cli.batch import report_end
    from crewrun.cli.batch import run as run_scoring
    from crewrun.cli.notify import Notice
    from crewrun.cli.setup import claim_stdout, exit_now, load_env, run_loop, warn_of_variables
    from crewrun.score.conditions import ScoreConditions
    from crewrun.score.score_sets import ScoreSet
    from crewrun.score.scoring import prepare_scoring
    from crewrun.terminal import say_all

    load_env()
    warn_of_variables()
    stdout = StreamSink(claim_stdout())
    judge = _expectations(run, by, field, crew) if expect else _judge(run, by, field, crew)
    name = name or (judge.label if expect else None)
    label = name or judge.label
    conditions = ScoreConditions.parse(fail_if or (), label, judge.scores)
    settings = _settings(values)
    with ExitStack() as resources, Notice(settings.notify, run) as notice:
        command = ["crewrun", *sys.argv[1:]]
        scoring = run_loop(prepare_scoring, run, judge, name, settings, command, resources)
        say_all(scoring.notes)
        notice.learn(scoring.request)
        report = run_scoring(scoring.request)
        report_end(report, scoring.request, notice)
    code = report.exit_code
    if scoring.path.exists():
        scores = ScoreSet(scoring.path, label, judge.by)
        code = _print(stdout, scoring, judge, scores, conditions, code, as_json=as_json)
    exit_now(code)


def _judge(run: str, by: str | None, field: str | None, crew: str | None) -> "Judge":
    """The judge, whose modules are looked for here and in the folder of the results."""
    from crewrun.cli.setup import load_env
    from crewrun.score.judges import judge_by

    if crew is not None:
        raise UsageError("--crew says whose expect: is checked; give --expect with it, and no --by")
    if by is None:
        raise UsageError(
            'what judges is missing: --by module:function, or a sentence such as --by "The answer is polite."'
        )
    folder = os.path.dirname(os.path.realpath(run))
    load_env(Path(folder))
    return judge_by(by, field, [os.getcwd(), folder])


def _expectations(run: str, by: str | None, field: str | None, crew: str | None) -> "Judge":
    """The judge by what the crew expects: that of --crew, else the run's own, else the one in the working directory."""
    from crewrun.cli.setup import load_crew
    from crewrun.inspect.results_file import find_results_file
    from crewrun.inspect.view import open_run
    from crewrun.score.judges import judge_by_expectations

    if by is not None or field is not None:
        raise UsageError(
            f"--expect {'--by' if by is not None else '--field'}: expect: says what is checked; leave one out"
        )
    if crew is None and find_results_file(run) is None:
        with open_run(run) as view:
            crew = os.path.relpath(os.path.join(view.manifest.cwd, view.manifest.crew))
    return judge_by_expectations(load_crew(crew, "-"))


def _settings(values: dict[str, Any]) -> "BatchSettings":
    """The flags over the project file's defaults. Raises UsageError."""
    from crewrun.batch.settings import BatchSettings
    from crewrun.definitions.project_file import find_defaults

    defaults = {name: value for name, value in find_defaults().batch.items() if name in _FLAGS}
    settings = BatchSettings.merge(values, defaults)
    settings.check()
    return settings


def _print(
    stdout: "StreamSink",
    scoring: "Scoring",
    judge: "Judge",
    scores: "ScoreSet",
    conditions: "ScoreConditions",
    exit_code: int,
    *,
    as_json: bool,
) -> int:
    """Print the figures, and whether the conditions hold if all rows were judged. Returns the exit code."""
    from crewrun.cli.score_report import condition_lines, lines
    from crewrun.cli.setup import put_data, run_loop, tell
    from crewrun.score.inputs_of_rows import inputs_of

    figures = scores.figures()
    if not as_json:
        inputs = run_loop(inputs_of, scoring.run, {row.id for one in figures for row in one.worst})
        tell(stdout, lines(scores, figures, inputs))
    checks = conditions.check(scores, figures) if exit_code in (0, 3) else []
    code = exit_code or (3 if any(check.holds for check in checks) else 0)
    if not as_json:
        if checks:
            tell(stdout, condition_lines(checks))
        return code
    record = {
        "schema": "crewrun.score/1",
        "run": scoring.request.invocation.inputs,
        "results": scoring.request.settings.output,
        "by": judge.by,
        "label": scores.label,
        "field": judge.field.text if judge.field is not None else None,
        "exit_code": code,
        "scores": [one.to_json() for one in figures],
        "conditions": [check.to_json() for check in checks],
    }
    put_data(stdout, json.dumps(record, indent=2))
    return code
