"""`first_crew`: the crew of the first row, where each row has one that the user's code makes.

It says before the first call which models and keys there have to be. Where code kicks off by itself nothing is known
before: a key that is missing stops the run at its first call.
"""

from collections.abc import Callable

from crewrun.batch.source import Source
from crewrun.concurrency import call
from crewrun.crew.crew import Crew
from crewrun.errors import CrewrunError
from crewrun.row import Row
from crewrun.target import PerRowTarget, Target


class FirstRowFailed(Exception):
    """The user's code failed for the first row, as it will when that runs."""


async def first_crew(target: Target, open_rows: Callable[[], Source]) -> Crew | None:
    """The crew that `target` makes for the first row that fits; None when it makes none. Raises FirstRowFailed."""
    if not isinstance(target, PerRowTarget):
        return None
    rows: list[Row] = []

    def see(row: Row) -> bool:
        if row.inputs is not None and row.problem is None and target.problem(row.inputs) is None:
            rows.append(row)
        return bool(rows)

    await open_rows().visit(see)
    try:
        return await looked(target, rows[0]) if rows else None
    except CrewrunError as failed:
        raise FirstRowFailed(f"line {rows[0].line}: {failed}") from None


async def looked(target: PerRowTarget, row: Row) -> Crew | None:
    """See `PerRowTarget.look`: in a worker thread, for the user's code may block."""
    crew: Crew | None = await call(target.look, row.inputs or {})
    return crew
