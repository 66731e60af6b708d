"""Runs rows in this process, on this event loop."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from crewrun.executors.run_spec import RunSpec
from crewrun.row import Outcome, Row
from crewrun.worker import Worker


class InlineExecutor:
    """Runs every row with one worker, which the caller opens and closes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def run(self, row: Row) -> Coroutine[Any, Any, Outcome]:
        """Run one row here."""
        return self._worker.run(row)


@asynccontextmanager
async def open_inline(run_spec: RunSpec) -> AsyncIterator[InlineExecutor]:
    """An executor for the rows of `run_spec`, open during the block."""
    async with run_spec.worker:
        yield InlineExecutor(run_spec.worker)
