"""`crewrun gc`: lists run folders and deletes those that are no longer needed."""

import json
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from crewrun.batch.sink import StreamSink
    from crewrun.inspect.gc import FoundRun

_DAY_S = 86_400.0


def gc(
    folders: list[str] = typer.Argument(None, metavar="[DIR]…", help="Where to look. [default: here and below]"),
    delete: bool = typer.Option(False, "--delete", help="Delete those that are aside or orphan."),
    finished: bool = typer.Option(False, "--finished", help="With --delete: those that are finished, too."),
    with_jobs: bool = typer.Option(
        False, "--with-open-jobs", help="With --delete: those that have batch jobs at the provider, too."
    ),
    older_than: float | None = typer.Option(
        None, "--older-than", metavar="DAYS", min=0, help="Only runs in which nothing has happened for this long."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the list as JSON."),
) -> None:
    """List the run folders, and with --delete remove those that are no longer needed; never a results file.

    All rows of `finished` runs have succeeded, `aside` runs were moved by --fresh, and the results of `orphan` runs are
    gone. Runs that are running, unfinished (failed rows can run again) or damaged stay. A run whose folder is deleted
    cannot be continued: the next batch of a finished one is refused (exit 2), or with --fresh pays for every row again.
    A run with batch jobs that have not ended stays too, unless --with-open-jobs is given: what they answer is billed.
    Exit codes: 0 done; 2 a DIR is not a folder, or something could not be deleted.
    """
    from crewrun.cli.setup import open_stdout
    from crewrun.inspect.gc import NEEDLESS

    stdout = open_stdout()
    runs = _find(folders or ["."], older_than)
    needless = NEEDLESS | {"finished"} if finished else NEEDLESS
    deletion = _delete([run for run in runs if run.state in needless], with_jobs=with_jobs) if delete else None
    _print(stdout, runs, deletion, as_json=as_json)
    raise typer.Exit(2 if deletion is not None and deletion.has_failed else 0)


class _Deletion(NamedTuple):
    paths: "set[Path]"
    freed_bytes: int
    has_failed: bool


def _find(folders: list[str], older_than_days: float | None) -> "list[FoundRun]":
    """The runs in and below `folders`, each once, in which nothing has happened for that many days."""
    import time
    from pathlib import Path

    from crewrun.inspect.gc import find_runs

    by_path = {run.folder.path.resolve(): run for folder in folders for run in find_runs(Path(folder))}
    now = time.time()
    return [
        run for run in by_path.values() if older_than_days is None or now - run.active_at >= older_than_days * _DAY_S
    ]


def _delete(runs: "list[FoundRun]", *, with_jobs: bool) -> _Deletion:
    from crewrun.cli.setup import run_loop
    from crewrun.errors import CrewrunError
    from crewrun.inspect.gc import delete
    from crewrun.terminal import say

    paths, freed_bytes, has_failed = set(), 0, False
    for run in runs:
        if run.open_jobs and not with_jobs:
            say(
                f"{run.folder.path}: not deleted: {_jobs(run)} may still be at the provider, and what they answer is "
                "billed; --with-open-jobs deletes it all the same"
            )
            continue
        try:
            freed_bytes += run_loop(delete, run)
            paths.add(run.folder.path)
        except CrewrunError as refused:
            say(f"crewrun: {refused}")
            has_failed = True
    return _Deletion(paths, freed_bytes, has_failed)


def _print(stdout: "StreamSink", runs: "list[FoundRun]", deletion: _Deletion | None, *, as_json: bool) -> None:
    from crewrun.cli.setup import put_data, tell
    from crewrun.cli.wording import size
    from crewrun.inspect.gc import SCHEMA

    deleted = deletion.paths if deletion else set()
    freed_bytes = deletion.freed_bytes if deletion else 0
    if as_json:
        entries = [run.to_json(deleted=run.folder.path in deleted) for run in runs]
        put_data(stdout, json.dumps({"schema": SCHEMA, "runs": entries, "freed_bytes": freed_bytes}, indent=2))
        return
    lines = [_line(run, deleted=run.folder.path in deleted) for run in runs] or ["no run folders"]
    tell(stdout, [*lines, *([f"freed {size(freed_bytes)}"] if deletion else _prospects(runs))])


def _line(run: "FoundRun", *, deleted: bool) -> str:
    from crewrun.cli.wording import count, size
    from crewrun.inspect.status import when
    from crewrun.inspect.view import nearby

    rows = "rows unknown" if run.rows is None else count(run.rows, "row")
    state = f"{run.state}, deleted" if deleted else run.state
    problem = f": {' '.join(run.problem.split())}" if run.problem else ""
    jobs = f", {_jobs(run)} open" if run.open_jobs else ""
    return f"{nearby(run.folder.path)}: {state}, {rows}{jobs}, {size(run.size_bytes)}, {when(run.active_at)}{problem}"


def _jobs(run: "FoundRun") -> str:
    from crewrun.cli.wording import count

    return count(run.open_jobs, "batch job")


def _prospects(runs: "list[FoundRun]") -> list[str]:
    from crewrun.cli.wording import size
    from crewrun.inspect.gc import NEEDLESS

    closed = [run for run in runs if not run.open_jobs]
    room = sum(run.size_bytes for run in closed if run.state in NEEDLESS)
    more = sum(run.size_bytes for run in closed if run.state == "finished")
    lines = [f"--delete would free {size(room)}"] if room else []
    return lines + ([f"--delete --finished would free {size(room + more)}"] if more else [])
