"""Streams rows from a file or a pipe, whatever its format. An invalid line becomes a row with a problem.

`Source.fill` reads ahead of the engine, bounded by bytes, and off the event loop where reading could block.
"""

import fcntl
import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import anyio
import anyio.to_thread

from crewrun.batch.readers import Reader, Table, TableInput
from crewrun.batch.row_count import Count, RowCount
from crewrun.batch.row_fields import RowFields
from crewrun.batch.row_ids import RowIds
from crewrun.errors import UsageError
from crewrun.row import Row, content_id
from crewrun.tables.reading.byte_input import RawInput
from crewrun.tables.reading.decompressor import errors
from crewrun.tables.reading.input_format import WHAT_INPUTS_ARE
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.json_object import parse_object
from crewrun.tables.reading.records import CHUNK_BYTES, Record

STDIN = "-"
_AS_IT_IS = InputOptions()
_stdin_fd = 0  # the descriptor from which rows on stdin are read


class Source:
    """The rows of one input: `visit` them all, or run `fill` in a task of its own and call `read`."""

    def __init__(
        self,
        reader: Reader,
        size_bytes: int | None,
        offset: int = 0,
        limit: int | None = None,
        options: InputOptions = _AS_IT_IS,
        count: Count | None = None,
    ) -> None:
        """`count` counts the rows of the whole input; it may block."""
        self._count = count
        self._counted: int | None = None
        self._records = self._record_bytes = self._blanks = 0
        self._reader = reader
        self._fields = RowFields(options)
        self._id_field = options.id_field
        self._is_exhausted = False
        self._size_bytes = size_bytes
        self._skip = offset
        self._last = None if limit is None else offset + limit
        self._ready: deque[Record] = deque()
        self._ready_bytes = self._taken_bytes = self._skipped_bytes = 0
        self._index = 0
        self._ended = False
        self._more = anyio.Event()
        self._hungry = anyio.Event()
        self._filling = anyio.CancelScope()
        self._ids = RowIds()

    @property
    def total(self) -> RowCount | None:
        """How many rows there are between offset and limit, as far as that is known or can be estimated."""
        if self._counted is not None:
            count = RowCount(max(self._counted - self._blanks, self._index))
        elif self._record_bytes and (total_bytes := self._total_bytes()):
            per_byte = (self._records - self._blanks) / self._record_bytes
            count = RowCount(round(per_byte * total_bytes), is_about=True)
        else:
            return None
        return count.between(self._skip, self._last)

    async def count(self) -> None:
        """Count the rows in a thread, unless all are read before that; `total` is exact from then on."""
        if self._count is None or self._counted is not None:
            return
        with suppress(*errors()):  # reading the rows will say what is wrong
            rows = await anyio.to_thread.run_sync(self._count, abandon_on_cancel=True)
            if not self._is_exhausted:
                self._counted = rows

    @property
    def fraction(self) -> float | None:
        """The share of the input that has been handed out, None when its length is unknown."""
        left = (self._total_bytes() or 0) - self._skipped_bytes
        by_bytes = (self._taken_bytes - self._skipped_bytes) / left if left > 0 else None
        if self._last is None:
            return None if by_bytes is None else min(1.0, by_bytes)
        by_rows = max(0, self._index - self._skip) / max(1, self._last - self._skip)
        return min(1.0, max(by_rows, by_bytes or 0.0))

    def _total_bytes(self) -> float | None:
        """What the records of the whole input take, None when that is unknown."""
        return self._size_bytes

    # Whether those who read wait for rows in flight, and not for the input.
    is_holding = False

    @property
    def is_drained(self) -> bool:
        """Whether there are no more rows: the whole input, or the part up to the limit, has been handed out."""
        at_limit = self._last is not None and self._index >= self._last
        return at_limit or (self._ended and not self._ready)

    @property
    def is_whole(self) -> bool:
        """Whether every row of the input was handed out: none was skipped, cut off by a limit, or unreadable."""
        return self._is_exhausted and not self._skip and not self._reader.is_cut

    async def fill(self) -> None:
        """Read ahead until the input or `close` ends it."""
        with self._filling:
            async for group in self._reader.groups():
                self._ready.extend(group)
                size_bytes = sum(record.size_bytes for record in group)
                self._ready_bytes += size_bytes
                self._records += len(group)
                self._record_bytes += size_bytes
                self._wake()
                while self._ready_bytes > CHUNK_BYTES:
                    self._hungry = anyio.Event()
                    await self._hungry.wait()
            self._is_exhausted = True
            self._counted = self._records
        self._ended = True
        self._wake()

    async def read(self) -> Row | None:
        """The next row, None at the end. There may be any number of callers; each row goes to one of them."""
        while True:
            if self._last is not None and self._index >= self._last:
                self.close()
            if self._ready:
                row = self._row(self._ready.popleft())
                if row is not None and row.index >= self._skip:
                    return row
            elif self._ended:
                return None
            else:
                await self._more.wait()

    async def visit(self, see: Callable[[Row], bool | None]) -> None:
        """Pass each row to `see` until it returns True, then release the source. Raises what `see` raises, and
        OutputFailed when the temporary file of row ids cannot grow.
        """
        try:
            async with anyio.create_task_group() as reading:
                reading.start_soon(self.fill)
                while (row := await self.read()) is not None:
                    if see(row):
                        break
                reading.cancel_scope.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            self.release()

    def close(self) -> None:
        """Hand out nothing more; callers that wait in `read` get None."""
        self._filling.cancel()
        self._is_exhausted = self._is_exhausted and not self._ready
        self._ready.clear()
        self._ended = True
        self._wake()

    def release(self) -> None:
        """Close files, after `fill` has ended."""
        self._reader.close()
        self._ids.close()

    def _wake(self) -> None:
        self._more.set()
        self._more = anyio.Event()

    def _row(self, record: Record) -> Row | None:
        """The row in `record`, None for a blank line."""
        self._taken_bytes += record.size_bytes
        self._ready_bytes -= record.size_bytes
        if self._ready_bytes <= CHUNK_BYTES:
            self._hungry.set()
        content, problem = record.content, record.problem
        if isinstance(content, bytes):
            if not problem and not content.strip():
                self._blanks += 1
                return None
            parsed, problem = (None, problem) if problem else parse_object(content)
            content = content if parsed is None else parsed
        if problem:
            problem = f"line {record.line}: {problem}"
        if record.is_unreadable_rest:
            self._index = max(self._index, self._skip)  # the rows behind the offset may be in it
        index = self._index
        self._index += 1
        if index < self._skip:
            self._skipped_bytes = self._taken_bytes
        if isinstance(content, dict):
            own = self._fields.own(content)
            if self._id_field is None:
                row = Row(index, record.line, self._ids.name(own), own, problem)
            else:
                row = self._named_row(index, record.line, content, self._id_field, own)
            return self._fields.complete(row, content)
        return Row(index, record.line, self._ids.name(content), None, problem)

    def _named_row(self, index: int, line: int, content: dict[str, Any], field: str, own: dict[str, Any]) -> Row:
        """The row of the fields in `own`, whose id is in the `field` of its `content`.

        A missing id, or one that another row has, becomes its problem.
        """
        row_id = content.get(field)
        problem = None
        if field not in content:
            problem = f"has no {field!r}, which is the id (--id-field)"
        elif isinstance(row_id, bool) or not isinstance(row_id, str | int) or row_id == "":
            problem = f"its id, {field!r}, must be a text or a whole number, not {json.dumps(row_id)[:80]} (--id-field)"
        elif first := self._ids.claim(str(row_id), line):
            problem = f"has the id {row_id!r} ({field!r}), which line {first} has already (--id-field)"
        if problem:
            return Row(index, line, self._ids.name(own), own, f"line {line}: {problem}")
        return Row(index, line, str(row_id), own, content=content_id(own))


class TableSource(Source):
    """The rows of a table. A pipe is opened by `start`, or by `fill`, since it may have to be waited for."""

    def __init__(self, table: Table, offset: int, limit: int | None, options: InputOptions) -> None:
        super().__init__(table, None, offset, limit, options, table.count_rows)
        self._table = table

    async def start(self) -> None:
        """Wait until the input has said what it is. Raises UsageError."""
        await self._table.open()

    async def start_soon(self, started: Callable[[], None]) -> None:
        """As `start` if the input delivers within a moment, else when it does; then call `started`. What would raise
        UsageError by then is a failed row.
        """
        if await self._table.has_begun():
            await self.start()
            started()
        else:
            self._table.when_open = started

    async def visit(self, see: Callable[[Row], bool | None]) -> None:
        """As `Source.visit`; raises UsageError too."""
        try:
            await self.start()
        except BaseException:
            self.release()
            raise
        await super().visit(see)

    @property
    def has_rows(self) -> bool:
        """Whether there are rows, after `start`."""
        return self._table.has_rows

    @property
    def notes(self) -> Sequence[str]:
        """How the input is read, in a few words each, where that is not what its name says."""
        return self._table.notes

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns of a table, None where each row names its own."""
        return self._table.columns

    def _total_bytes(self) -> float | None:
        return self._table.total_bytes(self._record_bytes)


def open_source(
    inputs: str,
    options: InputOptions = _AS_IT_IS,
    *,
    offset: int = 0,
    limit: int | None = None,
    name: str | None = None,
) -> TableSource:
    """The source for an input as the user wrote it, `-` for standard input. `name` is what messages call it.

    Raises UsageError when the input cannot be read, or is not what it is said to be; for a pipe `start` does.
    """
    raw = _open(inputs)
    table = TableInput(raw, inputs, name or input_name(inputs), options)
    if raw.is_seekable:
        try:
            table.open_now()
        except BaseException:
            table.close()
            raise
    return TableSource(table, offset, limit, options)


def claimed(inputs: str) -> str:
    """`inputs`, with `-` for every name of standard input, which is reserved for rows: `input()` in user code gets
    EOF.
    """
    global _stdin_fd  # noqa: PLW0603  (the process has one)
    if inputs not in (STDIN, "/dev/stdin"):
        return inputs
    if not _stdin_fd:
        _stdin_fd = os.dup(0)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
    return STDIN


def openable(inputs: str) -> str | int:
    """What `open` takes for `inputs`: the path, or for standard input a new descriptor that the caller owns."""
    return os.dup(_stdin_fd) if inputs == STDIN else inputs


def source_path(inputs: str) -> str:
    """A path for `inputs`, also for standard input."""
    return f"/dev/fd/{_stdin_fd}" if inputs == STDIN else inputs


def stat_of(inputs: str) -> os.stat_result:
    """`os.stat` of `inputs`. Raises OSError."""
    return os.stat(_stdin_fd if inputs == STDIN else inputs)


def input_name(inputs: str) -> str:
    """What messages call an input."""
    return "standard input" if inputs == STDIN else inputs


def _open(inputs: str) -> RawInput:
    try:
        file: BinaryIO = open(openable(inputs), "rb", buffering=0)  # noqa: SIM115  (the source closes it)
    except FileNotFoundError:
        raise UsageError(f"{inputs}: no such file; INPUTS is {WHAT_INPUTS_ARE}, or - for stdin") from None
    except IsADirectoryError:
        raise UsageError(f"{inputs}: is a directory; INPUTS is {WHAT_INPUTS_ARE}") from None
    except OSError as refused:
        raise UsageError(f"{inputs}: cannot be read: {refused.strerror}") from None
    if fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        raise UsageError("standard input is closed; there are no rows to read")
    return RawInput(file)
