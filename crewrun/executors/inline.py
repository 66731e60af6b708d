"""Rows in this process, on this event loop."""

from crewrun.row import Outcome, Row
from crewrun.worker import Worker


class InlineExecutor:
    """Hands every row to one worker, which whoever made it opens and closes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def run(self, row: Row) -> Outcome:
        """Run one row here."""
        return await self._worker.run(row)
