"""Results that are a table: what a session writes at its end, and streams of tables."""

import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import anyio
import anyio.to_thread

from crewrun.batch.sink import Sink
from crewrun.errors import OutputFailed, UsageError
from crewrun.runs.results_table import ResultsTable, TableReport
from crewrun.tables.writing.layout import Table, TableLayout


class WritingInterrupted(Exception):
    """A signal came while the table was written; the file is as it was before."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


async def write_table(table: ResultsTable, signals: AsyncIterator[signal.Signals]) -> TableReport:
    """Write the table of a session that has ended.

    Raises OutputFailed, and for a table that takes seconds WritingInterrupted at a signal.
    """
    if not table.is_large:
        return await anyio.to_thread.run_sync(table.write)
    async with _heeding(signals) as received:

        def check() -> None:
            if received.number is not None:
                raise WritingInterrupted(received.number)

        return await anyio.to_thread.run_sync(table.write, check)


@dataclass(slots=True)
class _Signal:
    """The signal that has come, None so far."""

    number: signal.Signals | None = None


@asynccontextmanager
async def _heeding(signals: AsyncIterator[signal.Signals]) -> AsyncIterator[_Signal]:
    """Note a signal that comes in the block, and give up what the block waits for.

    Raises WritingInterrupted when the block was given up.
    """
    received = _Signal()

    async def watch() -> None:
        async for received.number in signals:
            work.cancel()

    failure: Exception | None = None
    async with anyio.create_task_group() as watching:
        watching.start_soon(watch)
        with anyio.CancelScope() as work:
            try:
                yield received
            except Exception as failed:  # a task group would wrap it
                failure = failed
        watching.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if work.cancelled_caught and received.number is not None:
        raise WritingInterrupted(received.number)


class RowStream:
    """A sink that writes each row of a table to a stream at once: text, with columns that do not depend on the rows."""

    def __init__(self, stream: Sink, layout: TableLayout) -> None:
        from crewrun.tables.writing.columns import Columns

        self._stream = stream
        self._columns = Columns(layout.names)
        self._writer = layout.row_writer(self._columns)
        self.lines_written = 0

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write rows. Raises as `Sink.write` does."""
        for line in lines:
            self._columns.see(line)
        await self._stream.write(self._writer.rows(lines))
        self.lines_written += len(lines)

    async def finish(self, signals: AsyncIterator[signal.Signals]) -> list[str]:
        """Write the header if there was no row. Returns what is to be said about the table.

        Raises as `Sink.write` does, and WritingInterrupted at a signal.
        """
        async with _heeding(signals):
            await self._stream.write(self._writer.rows(()))
        return [f"warning: {warning}" for warning in self._columns.unknown()]

    def close(self) -> None:
        """Finish the stream."""
        self._stream.close()


class SpooledStream:
    """A sink that writes a table to a stream at the end, and until then lines to a temporary file."""

    def __init__(self, stream: Sink, layout: TableLayout) -> None:
        """Raises UsageError when there is no place for the temporary file."""
        self._stream = stream
        self._layout = layout
        self._spool = _temporary_file()
        self.lines_written = 0

    async def write(self, lines: Sequence[bytes]) -> None:
        """Keep lines. Raises OutputFailed."""
        with _reported():
            self._spool.writelines(lines)
        self.lines_written += len(lines)

    async def finish(self, signals: AsyncIterator[signal.Signals]) -> list[str]:
        """Write the table. Returns what is to be said about it.

        Raises as `Sink.write` does, and WritingInterrupted at a signal.
        """
        notes: list[str] = []
        pieces = Table("the table", self._layout, self._lines).pieces(None, notes)
        async with _heeding(signals):
            while (piece := await anyio.to_thread.run_sync(_next, pieces)) is not None:
                await self._stream.write([piece])
        return notes

    def close(self) -> None:
        """Finish the stream."""
        self._spool.close()
        self._stream.close()

    def _lines(self) -> Iterator[bytes]:
        self._spool.seek(0)
        yield from self._spool


TableStream = RowStream | SpooledStream


def table_stream(stream: Sink, layout: TableLayout) -> TableStream:
    """The sink of a table in a stream. Raises UsageError when there is no place for a temporary file."""
    return RowStream(stream, layout) if layout.is_written_at_once else SpooledStream(stream, layout)


def _next(pieces: Iterator[bytes]) -> bytes | None:
    with _reported():
        return next(pieces, None)


def _temporary_file() -> BinaryIO:
    try:
        return tempfile.TemporaryFile()
    except OSError as refused:
        raise UsageError(f"no temporary file can be made for the results: {refused.strerror}") from None


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except OSError as full:
        raise OutputFailed(f"the temporary file of results cannot be written: {full.strerror}") from full
