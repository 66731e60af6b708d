"""`crewrun gc`: the run folders on a disk, and room where they are not needed any more."""

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from crewrun.inspect.gc import FoundRun

_DAY_S = 86_400.0


def gc(
    folders: list[str] = typer.Argument(None, metavar="[DIR]…", help="Where to look. [default: here and below]"),
    delete: bool = typer.Option(False, "--delete", help="Delete those that are aside or orphan."),
    finished: bool = typer.Option(False, "--finished", help="With --delete: those that are finished, too."),
    older_than: float | None = typer.Option(
        None, "--older-than", metavar="DAYS", min=0, help="Only runs that nothing happened in for so long."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the list as JSON."),
) -> None:
    """List the run folders, and with --delete remove what is not needed any more; never a results file.

    Of `finished` runs all rows have succeeded, `aside` ones were moved by --fresh, of `orphan` ones the results are
    gone. What is running, unfinished (failed rows can run again) or damaged stays. A run whose folder is deleted cannot
    be continued: the next batch of a finished one is refused (exit 2), or with --fresh pays for every row again.
    Exit codes: 0 done; 2 a DIR is none, or something could not be deleted.
    """
    import time
    from pathlib import Path

    from crewrun.cli.setup import open_stdout, put_data, run_loop, tell
    from crewrun.cli.wording import size
    from crewrun.errors import CrewrunError
    from crewrun.inspect.gc import NEEDLESS, SCHEMA, find_runs
    from crewrun.inspect.gc import delete as delete_run
    from crewrun.terminal import say

    stdout = open_stdout()
    by_path = {run.folder.path.resolve(): run for top in folders or ["."] for run in find_runs(Path(top))}
    now = time.time()
    runs = [one for one in by_path.values() if older_than is None or now - one.active_at >= older_than * _DAY_S]
    needless = NEEDLESS | {"finished"} if finished else NEEDLESS
    freed, failed, deleted = 0, False, set()
    for run in runs if delete else ():
        if run.state in needless:
            try:
                freed += run_loop(delete_run, run)
                deleted.add(run.folder.path)
            except CrewrunError as kept:
                say(f"crewrun: {kept}")
                failed = True
    if as_json:
        listed = [run.to_json(deleted=run.folder.path in deleted) for run in runs]
        put_data(stdout, json.dumps({"schema": SCHEMA, "runs": listed, "freed_bytes": freed}, indent=2))
    else:
        said = [_line(run, deleted=run.folder.path in deleted) for run in runs] or ["no run folders"]
        tell(stdout, [*said, *([f"freed {size(freed)}"] if delete else _prospects(runs))])
    raise typer.Exit(2 if failed else 0)


def _line(run: "FoundRun", *, deleted: bool) -> str:
    from crewrun.cli.wording import count, size
    from crewrun.inspect.status import when
    from crewrun.inspect.view import nearby

    rows = "rows unknown" if run.rows is None else count(run.rows, "row")
    state = f"{run.state}, deleted" if deleted else run.state
    problem = f": {' '.join(run.problem.split())}" if run.problem else ""
    return f"{nearby(run.folder.path)}: {state}, {rows}, {size(run.size_bytes)}, {when(run.active_at)}{problem}"


def _prospects(runs: "list[FoundRun]") -> list[str]:
    from crewrun.cli.wording import size
    from crewrun.inspect.gc import NEEDLESS

    room = sum(run.size_bytes for run in runs if run.state in NEEDLESS)
    more = sum(run.size_bytes for run in runs if run.state == "finished")
    said = [f"--delete would free {size(room)}"] if room else []
    return said + ([f"--delete --finished would free {size(room + more)}"] if more else [])
