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
    from crewrun.score.judges import Judge
    from crewrun.score.scoring import Scoring

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
        None, "--by", metavar="JUDGE", help="A function, module:function or file.py:function, or a sentence."
    ),
    expect: bool = typer.Option(
        False,
        "--expect",
        help="Check the outputs against `expect:` of the crew as it is now, into x.expect.scores.jsonl.",
    ),
    crew: flags.CrewOfRun = None,
    field: str | None = typer.Option(
        None, "--field", metavar="FIELD", help="Judge only this field of the output, such as items[0].price."
    ),
    name: str | None = typer.Option(
        None, "--name", metavar="NAME", help="Write x.NAME.scores.jsonl, beside other scores of the same run."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON."),
    **values: Any,
) -> None:
    """Judge the outputs of the rows of RUN that are ok, by a function or by a model, into x.scores.jsonl beside them.

    The function gets what its parameters name of output, input, row and result, and returns a number, True or False, or
    a mapping of names to these. A sentence is judged by a model, from 0 to 1 with a reason. --expect checks what
    `expect:` in the crew says now. Repeating the command goes on, and scores rows again whose output has changed.
    Prints mean, 90 % interval, distribution and the worst rows.

    Exit codes are those of crewrun batch: 0 all rows have scores; 2 RUN, JUDGE or a flag is wrong; 3 the judge failed
    on some rows; 75 a process is working on RUN.
    """
    from crewrun.batch.sink import StreamSink
    from crewrun.cli.batch import report_end
    from crewrun.cli.batch import run as run_scoring
    from crewrun.cli.notify import Notice
    from crewrun.cli.setup import claim_stdout, exit_now, load_env, run_loop, warn_of_variables
    from crewrun.score.scoring import prepare_scoring
    from crewrun.terminal import say_all

    load_env()
    warn_of_variables()
    stdout = StreamSink(claim_stdout())
    judge = _expectations(run, by, field, crew) if expect else _judge(run, by, field)
    name = name or (judge.label if expect else None)
    settings = _settings(values)
    with ExitStack() as resources, Notice(settings.notify, run) as notice:
        command = ["crewrun", *sys.argv[1:]]
        scoring = run_loop(prepare_scoring, run, judge, name, settings, command, resources)
        say_all(scoring.notes)
        notice.learn(scoring.request)
        report = run_scoring(scoring.request)
        report_end(report, scoring.request, notice)
    if scoring.path.exists():
        _print(stdout, scoring, judge, report.exit_code, as_json=as_json)
    exit_now(report.exit_code)


def _judge(run: str, by: str | None, field: str | None) -> "Judge":
    """The judge, whose modules are looked for here and beside the results."""
    from crewrun.cli.setup import load_env
    from crewrun.score.judges import judge_by

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


def _print(stdout: "StreamSink", scoring: "Scoring", judge: "Judge", exit_code: int, *, as_json: bool) -> None:
    from crewrun.cli.score_report import lines
    from crewrun.cli.setup import put_data, tell
    from crewrun.score.score_sets import ScoreSet

    scores = ScoreSet(scoring.path, judge.label, judge.by)
    figures = scores.figures()
    if not as_json:
        tell(stdout, lines(scores, figures))
        return
    record = {
        "schema": "crewrun.score/1",
        "run": scoring.request.invocation.inputs,
        "results": scoring.request.settings.output,
        "by": judge.by,
        "field": judge.field.text if judge.field is not None else None,
        "exit_code": exit_code,
        "scores": [one.to_json() for one in figures],
    }
    put_data(stdout, json.dumps(record, indent=2))
