"""`crewrun runs`: the runs below a folder."""

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from crewrun.inspect.runs import RunEntry


def runs(
    folder: str = typer.Argument(".", metavar="[DIR]", help="Where to look, and below."),
    as_json: bool = typer.Option(False, "--json", help="Print the list as JSON."),
) -> None:
    """List the runs in a folder and below: state, rows, cost and when something last happened, the newest first.

    A run is running, finished, stopped (by a signal or a limit), died (killed, and not continued) or unreadable, with
    the reason. Rows and cost are those of all its sessions. Folders of version control, packages and virtual
    environments are not searched. Exit codes: 0 they are listed; 2 DIR is not a folder; 141 stdout was closed.
    """
    from pathlib import Path

    from crewrun.cli.setup import open_stdout, put_data
    from crewrun.cli.terminal_table import Column, print_table
    from crewrun.inspect.runs import SCHEMA, list_runs
    from crewrun.terminal import say

    stdout = open_stdout()
    entries = list_runs(Path(folder))
    if as_json:
        put_data(stdout, json.dumps({"schema": SCHEMA, "runs": [entry.to_json() for entry in entries]}, indent=2))
        return
    columns = [
        Column("RUN", most=60),
        Column("STATE", 4),
        Column("OK", 5, is_right=True),
        Column("FAILED", 6, is_right=True),
        Column("COST", 3, is_right=True),
        Column("STARTED", 0),
        Column("ACTIVE", 2),
        Column("NOTE", 1, is_text=True),
    ]
    print_table(stdout, columns, map(_cells, entries), has_head=True)
    if not entries:
        say(f"crewrun: no runs in {folder} or below")


def _cells(entry: "RunEntry") -> tuple[str, ...]:
    from crewrun.cli.wording import local_minute, money
    from crewrun.inspect.view import nearby

    status = entry.status
    started_at = entry.started_at
    return (
        nearby(entry.results),
        entry.state,
        f"{status.ok:,}" if status else "-",
        f"{status.failed:,}" if status else "-",
        money(status.in_all["cost_usd"]) if status else "-",
        local_minute(started_at) if started_at is not None else "-",
        local_minute(entry.active_at),
        _note(entry),
    )


def _note(entry: "RunEntry") -> str:
    """What else there is to know, in a few words."""
    from crewrun.cli.wording import duration

    status = entry.status
    if status is None:
        return entry.problem or "-"
    notes = [f"shard {status.shard}"] if status.shard else []
    if status.share is not None:
        left = f", {duration(status.eta_s)} left" if status.eta_s is not None else ""
        notes.append(f"{status.share:.0%}{left}")
    if entry.state == "stopped" and status.session and status.session.stopped:
        notes.append(status.session.stopped)
    return "; ".join(notes) or "-"
