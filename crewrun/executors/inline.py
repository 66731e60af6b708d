"""Rows in this process, on this event loop."""

from collections.abc import Coroutine
from typing import Any

from crewrun.row import Outcome, Row
from crewrun.worker import Worker


class InlineExecutor:
    """Hands every row to one worker, which whoever made it opens and closes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def run(self, row: Row) -> Coroutine[Any, Any, Outcome]:
        """Run one row here."""
        return self._worker.run(row)
