"""`first_crew`: the first row's crew, for targets whose code makes a crew for each row.

It shows before the first call which models and keys are needed. Where the code calls kickoff itself, nothing is known
in advance, and a missing key stops the run at its first call.
"""

from collections.abc import Callable
from warnings import warn

from crewrun.aio.concurrency import call
from crewrun.batch.source import Source
from crewrun.errors import CrewrunError, CrewrunWarning
from crewrun.row import Row
from crewrun.target import Target

_PATIENCE_S = 10  # how long the user's code may delay the start of the run


class FirstCrewFailed(Exception):
    """The user's code failed for the first row, and will fail again when that row runs."""


async def first_crew(target: Target, open_rows: Callable[[], Source]) -> Target | None:
    """The crew that `target` makes for the first valid row; None when it does not make crews. Raises
    FirstCrewFailed.
    """
    if not target.makes_crews:
        return None
    rows: list[Row] = []

    def see(row: Row) -> bool:
        if row.inputs is not None and row.problem is None and target.problem(row.inputs) is None:
            rows.append(row)
        return bool(rows)

    await open_rows().visit(see)
    return await make_crew(target, rows[0]) if rows else None


async def make_crew(target: Target, row: Row) -> Target | None:
    """The crew that `target` makes for `row`, in a worker thread, since the user's code may block.

    None where the code runs the crew itself, or takes longer than ten seconds, which warns. Raises FirstCrewFailed.
    """
    try:
        crew: Target | None = await call(target.crew_of_row, row.inputs or {}, timeout_s=_PATIENCE_S)
    except CrewrunError as failed:
        raise FirstCrewFailed(f"line {row.line}: {failed}") from None
    except TimeoutError:
        why = f"takes longer than {_PATIENCE_S} s for the first row, so models and keys are not known before it runs"
        warn(f"{target.name} {why}", CrewrunWarning, stacklevel=2)
        return None
    return crew
