"""The input of a run, read once more: for those who look at the run from outside."""

from collections.abc import Callable

import anyio

from crewrun.batch.source import open_source
from crewrun.errors import UsageError
from crewrun.row import Row
from crewrun.runs.manifest import Manifest
from crewrun.runs.verify import Differences, Verification, check_journal
from crewrun.runs.view import View


async def visit_rows(manifest: Manifest, visit: Callable[[Row], bool | None]) -> None:
    """Give `visit` each row of the run's input, also those that --limit and --offset leave out, until it returns True.

    Raises UsageError when the input came through a pipe, or cannot be read any more.
    """
    path = manifest.input_file
    if path is None:
        raise UsageError(f"{manifest.inputs}: the rows came through a pipe, which cannot be read again")
    source = open_source(str(path), id_field=manifest.options.get("id_field"))
    try:
        async with anyio.create_task_group() as reading:
            reading.start_soon(source.fill)
            while (row := await source.read()) is not None:
                if visit(row):
                    break
            reading.cancel_scope.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        source.release()


async def verify(view: View) -> Differences:
    """Hold the results, the journal and the input of a run against each other. Raises JournalDamaged."""
    found = Differences()
    if not check_journal(view, found):
        found.notes.append("results and input: the journal is damaged")
        return found
    verification = Verification(view, found)
    verification.read_results()
    manifest = view.manifest
    first, limit = manifest.options.get("offset", 0), manifest.options.get("limit")

    def see(row: Row) -> None:
        wanted = row.index >= first and (limit is None or row.index < first + limit)
        verification.see(row, wanted=wanted)

    if manifest.input_file is None:
        found.notes.append("input: the rows came through a pipe, which cannot be read again")
        verification.end_without_input()
        return found
    try:
        await visit_rows(manifest, see)
    except UsageError as gone:
        found.add("input", str(gone))
        verification.end_without_input()
    else:
        verification.end()
    return found
