"""Rows with ids from a field whose content has changed since they were done."""

import anyio.to_thread

from crewrun.batch.source import Source
from crewrun.row import Row
from crewrun.runs.state import RunState


async def remove_changed_rows(source: Source, state: RunState) -> None:
    """Read `source` to its end, and remove the lines of rows that have changed from the results, all at once.

    Otherwise the old line would stay next to the new one until the row ends, and for good where only part of the input
    runs. Raises OutputFailed.
    """
    positions: list[int] = []

    def see(row: Row) -> None:
        if (position := state.find_changed(row)) is not None:
            positions.append(position)

    await source.visit(see)
    await anyio.to_thread.run_sync(state.results.take_out, positions)
