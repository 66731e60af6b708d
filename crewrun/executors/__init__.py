"""Where rows run: an `Executor` per place. `inline` is this event loop."""

from typing import Protocol

from crewrun.row import Outcome, Row


class Executor(Protocol):
    """Runs rows somewhere. Any number of `run` may be under way at once; none raises."""

    async def run(self, row: Row) -> Outcome:
        """Run one row to its outcome. Cancelling it abandons the row."""
        ...
