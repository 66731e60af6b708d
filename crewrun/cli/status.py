"""`crewrun status`: how far a run is, and with --verify whether its files agree."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from crewrun.errors import UsageError

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink
    from crewrun.inspect.status import Status, WaitingJob
    from crewrun.inspect.verify import Differences
    from crewrun.inspect.view import View

_EXAMPLE_CHARS = 300


def status(
    runs: list[str] = typer.Argument(..., metavar="RUN...", help="The results file of a run, or its run folder."),
    as_json: bool = typer.Option(False, "--json", help="Print the status as JSON."),
    check: bool = typer.Option(
        False, "--verify", help="Compare results, journal and input; only when it is not running."
    ),
    is_watched: bool = typer.Option(
        False, "--watch", "-w", help="Follow the run until it ends, then print its status."
    ),
) -> None:
    """Say how far a run has got, what it has spent and what failed, while it runs and afterwards.

    Of several runs, such as the shards of an input, each in turn; with --json one object a line. With --watch the exit
    code is that of the run, the highest of several, or 130 after Ctrl-C, which ends the watching only.

    Exit codes: 0 it was shown; 2 RUN is not a run, or cannot be read; 3 --verify found a difference; 75 --verify, and
    a process is working on the run.
    """
    from crewrun.cli.setup import open_stdout

    if is_watched:
        from crewrun.cli.watch import watch

        if check:
            raise UsageError("--watch --verify: only a run that is not running can be verified; leave one of them out")
        stdout = open_stdout()
        number = watch(stdout, runs, as_json=as_json)
        if number is not None:
            raise typer.Exit(128 + number)
        codes = [_show(stdout, run, as_json=as_json, check=False, indent=None).last_code for run in runs]
        raise typer.Exit(max(codes))
    stdout = open_stdout()
    shown = [_show(stdout, run, as_json=as_json, check=check, indent=None if runs[1:] else 2) for run in runs]
    raise typer.Exit(3 if any(run.is_different for run in shown) else 0)


class _Shown(NamedTuple):
    """What a run's status was: whether --verify found a difference, and the exit code of its last session.

    A session that has not recorded one has died: 1.
    """

    is_different: bool
    last_code: int


def _show(stdout: "StreamSink", run: str, *, as_json: bool, check: bool, indent: int | None) -> _Shown:
    """Print the status of a run."""
    from crewrun.cli.setup import put_data, tell
    from crewrun.inspect.status import SCHEMA, read_status
    from crewrun.inspect.view import open_run

    with open_run(run) as view:
        differences = _verify(run, view) if check else None
        is_readable = differences is None or "journal" not in differences.counts
        shown = read_status(view) if is_readable else None
        commands = view.command, view.fresh_command
    if as_json:
        record: dict[str, Any] = shown.to_json() if shown else {"schema": SCHEMA, "run": run}
        verified = {"verify": differences.to_json()} if differences else {}
        put_data(stdout, json.dumps(record | verified, indent=indent))
    else:
        status_lines = lines(shown) if shown else []
        tell(stdout, status_lines + (verify_lines(differences, *commands) if differences else []))
    code = shown.session.exit_code if shown and shown.session else None
    return _Shown(bool(differences and differences.counts), 1 if code is None else code)


def _verify(run: str, view: "View") -> "Differences":
    from crewrun.batch.run_input import verify
    from crewrun.cli.setup import run_loop
    from crewrun.errors import RunHeld
    from crewrun.runs.lock import describe_holder, is_held

    if is_held(view.folder.lock):
        holder = describe_holder(view.folder.lock)
        raise RunHeld(f"{run}: {holder} is working on this run; use --verify when that has ended")
    return run_loop(verify, view)


def lines(status: "Status") -> list[str]:
    """The status for a person to read."""
    from crewrun.cli.wording import count, shared_calls, shortened
    from crewrun.inspect.view import nearby

    report = [f"{nearby(status.results or status.run)}: {_state(status)}", _rows(status), *_waits(status)]
    if status.shard:
        others = "the other" if status.elsewhere is None else f"{status.elsewhere:,}"
        report.append(f"shard {status.shard}: {others} rows belong to other shards")
    if status.spent:
        report.append(f"{'this' if status.is_going else 'the latest'} session: {spent(status.spent)}{_time(status)}")
        report += _tiers(status.spent)
    if status.sessions > 1:
        report += [f"in all {status.sessions} sessions: {spent(status.in_all)}", *_tiers(status.in_all)]
    report += map(_job, status.jobs)
    for group in status.failures:
        message = shortened(" ".join(group.message.split()), _EXAMPLE_CHARS)
        report.append(f"  {group.count:,} × {group.category}: {group.id}: {message}")
    for failing in status.tool_failures:
        error = shortened(" ".join(failing.error.split()), _EXAMPLE_CHARS)
        how = f"{failing.reason} in task {failing.task}"
        report.append(f"  {count(failing.count, 'call')} of tool {failing.tool!r} failed ({how}): {error}")
    if status.shared_tool_calls:
        report.append(f"  {shared_calls(status.shared_tool_calls)}")
    for one in status.expectations:
        missed = f"; {one.id}: {shortened(one.reason or '', _EXAMPLE_CHARS)}" if one.missed else ""
        report.append(f"  expected {one.name!r}: {one.missed:,} of {count(one.checked, 'row')} missed it{missed}")
    if status.results and not os.path.exists(status.results):
        name = nearby(status.results)
        if status.state != "running":
            report.append(f"{name}: no longer exists; to restore it: {status.command}")
        else:
            report.append(f"{name}: is written at the end" if status.is_table else f"{name}: no longer exists")
    if status.state in ("stopped", "died"):
        report.append(f"to go on: {status.command}")
    elif status.state == "finished" and status.failed:
        report.append(f"to run what failed again: {status.redo}")
    return report


def verify_lines(differences: "Differences", command: str, fresh_command: str | None) -> list[str]:
    """The differences for a person to read, with the command that repairs the results or starts over."""
    from crewrun.inspect.verify import KINDS

    report = [f"not compared: {note}" for note in differences.notes] + difference_lines(differences, KINDS)
    if not differences.counts:
        return [*report, "verified: no difference"]
    if "journal" in differences.counts:
        return [*report, "the run cannot go on" + (f"; start over with: {fresh_command}" if fresh_command else "")]
    if differences.counts.keys() == {"input"}:
        return report  # the run's own command cannot repair its input
    return [*report, f"to repair the results: {command}"]


def difference_lines(differences: "Differences", kinds: "Mapping[str, str]") -> list[str]:
    """The differences by kind: how many, in the words of `kinds`, and the first examples."""
    report = []
    for kind, words in kinds.items():
        if kind in differences.counts:
            examples, count = differences.examples[kind], differences.counts[kind]
            more = ", …" if count > len(examples) else ""
            report.append(f"  {count:,} × {words}: {', '.join(examples)}{more}")
    return report


def spent(record: dict[str, Any]) -> str:
    """Calls, tokens and money in words."""
    from crewrun.cli.wording import count, may_be_owed, money, tokens

    usage = record["usage"]
    return f"{count(usage['calls'], 'call')}, {tokens(usage)}, {money(record['cost_usd'])}{may_be_owed(record)}"


def _tiers(record: dict[str, Any]) -> list[str]:
    from crewrun.cli.wording import tiers

    return [f"  by tier: {by_tier}"] if (by_tier := tiers(record)) else []


def _state(status: "Status") -> str:
    from crewrun.inspect.status import when

    session = status.session
    if status.state == "running":
        return f"running, by {status.holder}" if status.is_going else f"{status.holder} is about to continue it"
    if session is None:
        return "died before its first row"
    if status.state == "died":
        return f"died without saying why; its last sign of life was at {when(session.updated_at)}"
    why = f"stopped: {session.stopped}" if status.state == "stopped" else "finished"
    return f"{why} (exit code {session.exit_code}) at {when(session.ended_at or session.updated_at)}"


def _rows(status: "Status") -> str:
    from crewrun.cli.live_line import duration_left
    from crewrun.cli.wording import rate

    parts = [f"{status.ok:,} ok", f"{status.failed:,} failed"]
    if status.is_going:
        parts.append(f"{status.in_flight:,} in flight")
        parts += [f"{status.share:.0%} done"] if status.share is not None else []
        parts += [rate(status.rows_per_s)] if status.rows_per_s else []
        parts += [f"{duration_left(status.eta_s)} left"] if status.eta_s is not None else []
    return f"rows: {', '.join(parts)}"


def _job(job: "WaitingJob") -> str:
    """A batch job that is waited for."""
    from crewrun.cli.live_line import duration_left
    from crewrun.cli.wording import count

    name = f"batch job {job.id} of {job.model}" if job.id else f"a batch job of {job.model} that may have been created"
    age = f"begun {duration_left(max(0.0, time.time() - job.begun_at))} ago"
    if job.looked_at is None:
        return f"{name}: {count(job.requests, 'request')}, {age}"
    looked = f"{job.ended:,} ended {duration_left(max(0.0, time.time() - job.looked_at))} ago"
    return f"{name}: {count(job.requests, 'request')}, {looked}; {age}"


def _waits(status: "Status") -> list[str]:
    """What the rows of a live run wait for."""
    from crewrun.cli.live_line import counts_from, waiting
    from crewrun.inspect.live import look_at
    from crewrun.runs.folder import RunFolder

    progress = look_at(RunFolder(Path(status.run))).progress if status.is_going else None
    return [] if progress is None else [waiting(wait) for wait in counts_from(progress).waits]


def _time(status: "Status") -> str:
    from crewrun.cli.wording import duration, rate

    speed = f", {rate(status.rows_per_s)}" if status.rows_per_s and not status.is_going else ""
    return f" in {duration(status.elapsed_s)}{speed}"
