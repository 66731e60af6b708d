"""Reads a table in threads, since files and pipes can block. `crewrun.tables` has the formats."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import anyio.to_thread

from crewrun.tables.byte_input import RawInput
from crewrun.tables.formats import OpenTable, open_table
from crewrun.tables.options import InputOptions
from crewrun.tables.records import Record


class Reader(Protocol):
    """Groups of records in input order. `is_cut` is as in a TableReader."""

    @property
    def is_cut(self) -> bool: ...

    def groups(self) -> AsyncIterator[list[Record]]: ...

    def close(self) -> None: ...


class TableInput:
    """The table in `raw`, which it closes. Closing ends a thread that waits for a pipe."""

    def __init__(self, raw: RawInput, path: str, name: str, options: InputOptions) -> None:
        self._raw = raw
        self._arguments = path, name, options
        self._table: OpenTable | None = None
        self._first: list[Record] = []

    def open_now(self) -> OpenTable:
        """The open table, with its first records read. Blocks until a pipe has delivered them. Raises UsageError."""
        if self._table is None:
            table = open_table(self._raw, *self._arguments)
            self._first = table.reader.take()
            self._table = table
        return self._table

    async def open(self) -> None:
        """Open the table, if it is not open yet."""
        if self._table is None:
            await anyio.to_thread.run_sync(self.open_now, abandon_on_cancel=True)

    @property
    def has_rows(self) -> bool:
        """Whether there is a first record. Only before `groups`."""
        return bool(self._first)

    @property
    def is_cut(self) -> bool:
        """Whether the input could not be read to its end."""
        return self._table is not None and self._table.reader.is_cut

    @property
    def notes(self) -> Sequence[str]:
        """How the table is read, where that is not what its name says."""
        return self._table.reader.notes if self._table is not None else ()

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

    async def groups(self) -> AsyncIterator[list[Record]]:
        """What is read at once."""
        await self.open()
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
