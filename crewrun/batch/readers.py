"""Reads a table in threads, since files and pipes can block. `crewrun.tables` has the formats."""

import errno
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import anyio
import anyio.to_thread

from crewrun.batch.row_count import Stream, count_csv_records, count_json_lines
from crewrun.errors import UsageError
from crewrun.tables.reading.byte_input import RawInput
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.open_table import OpenTable, open_table
from crewrun.tables.reading.records import Record, unreadable

# How long a run waits for a pipe before it begins: what is wrong with the input is then said before it has a state.
BEGIN_S = 0.5
_COUNTS: Mapping[str, Callable[[Stream], int]] = {
    "jsonl": count_json_lines,
    "csv": count_csv_records,
    "tsv": count_csv_records,
}


class Reader(Protocol):
    """Groups of records in input order. `is_cut` is as in a TableReader."""

    @property
    def is_cut(self) -> bool: ...

    def groups(self) -> AsyncIterator[list[Record]]: ...

    def close(self) -> None: ...


class Table(Reader, Protocol):
    """A reader that says more about its rows, some of it once `open` has waited for the first of them.

    A call of `when_open` follows if it is opened later than a run begins. `notes` say how it is read, where that is not
    what its name says; `columns` are None where each record names its own.
    """

    when_open: Callable[[], None] | None

    @property
    def has_rows(self) -> bool: ...

    @property
    def notes(self) -> Sequence[str]: ...

    @property
    def columns(self) -> Sequence[str] | None: ...

    async def has_begun(self) -> bool:
        """Whether the first rows come within a moment."""
        ...

    async def open(self) -> None:
        """Wait for the first rows. Raises UsageError."""
        ...

    def total_bytes(self, read_bytes: int) -> float | None:
        """What all records take, when those that were read take `read_bytes`; None where that cannot be told."""
        ...

    def count_rows(self) -> int:
        """How many rows and blank lines there are; may block. Raises OSError where that cannot be told."""
        ...


class TableInput:
    """The table in `raw`, which it closes. Closing ends a thread that waits for a pipe."""

    def __init__(self, raw: RawInput, path: str, name: str, options: InputOptions) -> None:
        self._raw = raw
        self._arguments = path, name, options
        self._table: OpenTable | None = None
        self._first: list[Record] = []
        self._has_rows = self._is_lost = False
        self.when_open: Callable[[], None] | None = None

    def open_now(self) -> OpenTable:
        """The open table, with its first records read. Blocks until a pipe has delivered them. Raises UsageError."""
        if self._table is None:
            table = open_table(self._raw, *self._arguments)
            while group := table.reader.take():
                self._first += group
                if any(record.is_row for record in group):
                    self._has_rows = True
                    break
            self._table = table
        return self._table

    async def has_begun(self) -> bool:
        """Whether a pipe delivers within a moment; a file always does."""
        if self._raw.is_stream:
            with anyio.move_on_after(BEGIN_S) as waiting:
                await anyio.wait_readable(self._raw.file.fileno())
            return not waiting.cancelled_caught
        return True

    async def open(self) -> None:
        """Open the table, if it is not open yet."""
        if self._table is None:
            await anyio.to_thread.run_sync(self.open_now, abandon_on_cancel=True)

    @property
    def has_rows(self) -> bool:
        """Whether there are rows, once the table is open."""
        return self._has_rows

    @property
    def is_cut(self) -> bool:
        """Whether the input could not be read to its end."""
        return self._is_lost or (self._table is not None and self._table.reader.is_cut)

    @property
    def notes(self) -> Sequence[str]:
        """How the table is read, where that is not what its name says."""
        return self._table.notes if self._table is not None else ()

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns of the table, None where each record names its own."""
        return self._table.reader.columns if self._table is not None else None

    def total_bytes(self, read_bytes: int) -> float | None:
        """What the records of the table take, when those that were read take `read_bytes`; None for a pipe."""
        if self._table is None or self._raw.size_bytes is None:
            return None
        if self._table.is_exact:
            return self._raw.size_bytes
        share = self._table.reader.share()
        return read_bytes / share if share else None

    def count_rows(self) -> int:
        """How many rows and blank lines there are, by a look at the whole file. Raises OSError where that cannot be
        told, and what reading raises.
        """
        path, table = self._arguments[0], self._table
        if table is not None and table.rows is not None:
            return table.rows
        count = _COUNTS.get(table.format) if table is not None else None
        # To open what is in /dev again may move the place that is read from.
        if table is None or count is None or not self._raw.is_seekable or path == "-" or path.startswith("/dev/"):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        with open(path, "rb", buffering=0) as file:
            return count(table.text_again(RawInput(file)))

    async def groups(self) -> AsyncIterator[list[Record]]:
        """What is read at once. `when_open` is called before, if the table is not open yet."""
        if self._table is None:
            try:
                await self.open()
            except UsageError as refused:
                self._is_lost = True
                yield [unreadable(1, str(refused))]
                return
            if self.when_open is not None:
                self.when_open()
        reader = self.open_now().reader
        if self._first:
            yield self._first
        self._first = []
        while group := await anyio.to_thread.run_sync(reader.take, abandon_on_cancel=True):
            yield group

    def close(self) -> None:
        """Close the input."""
        self._raw.close()
        if self._table is not None:
            self._table.close()
