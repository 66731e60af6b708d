"""Rows that have their ids from a field, and say something else than when they were done."""

import anyio.to_thread

from crewrun.batch.source import Source
from crewrun.row import Row
from crewrun.runs.state import RunState


async def remove_changed_rows(source: Source, state: RunState) -> None:
    """Read `source` to its end, and take the lines out of the results that it has other rows for, all at once.

    A new line is written when its row ends: the old one would be a second one of the same id until then, and
    for good where a part of the input is all that is run. Raises OutputFailed.
    """
    positions: list[int] = []

    def see(row: Row) -> None:
        if (position := state.find_changed(row)) is not None:
            positions.append(position)

    await source.visit(see)
    await anyio.to_thread.run_sync(state.results.take_out, positions)
