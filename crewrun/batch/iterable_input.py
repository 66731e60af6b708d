"""`IterableInput`: the rows of a Python program, from a list, a DataFrame, a generator or any other iterable of dicts.

An iterator is read once, in a thread of its own, since it may block; so is anything else, except lists.
"""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from crewrun.aio.own_thread import OwnThread, result_of
from crewrun.batch.readers import BEGIN_S
from crewrun.errors import UsageError
from crewrun.tables.reading.python_values import NotJson, json_row
from crewrun.tables.reading.records import CHUNK_BYTES, Record, unreadable

# How long rows are gathered from an iterable before the first of them may run.
_GATHER_S: Final = 0.02
_FIELD_BYTES: Final = 16  # about what a number takes in JSON, with its name
_SLICE_ROWS: Final = 512  # of a DataFrame at once


@dataclass(slots=True)
class PythonRows:
    """Rows of a Python program: `begin` starts to iterate over them.

    `name` is what messages call them. `count` is how many there are, None where that is not known; `is_once` says that
    they can be read only once, `may_block` that reading them may take time, and `is_async` that they have to be
    awaited. `failure` is what the iterable raised.
    """

    name: str
    begin: Callable[[], Any]
    count: int | None = None
    is_once: bool = False
    may_block: bool = True
    is_async: bool = False
    failure: BaseException | None = None


def python_rows(rows: Any) -> PythonRows:
    """The rows in `rows`: an iterable or async iterable of mappings, a DataFrame of pandas or polars, or a table of
    Arrow. Raises UsageError for anything else.
    """
    kind = type(rows)
    name, library = f"inputs ({kind.__name__})", kind.__module__.partition(".")[0]
    if isinstance(rows, Mapping):
        raise UsageError(f"{name}: are the fields of one row; a list of rows is meant: [{{…}}]")
    if isinstance(rows, str | bytes | bytearray):
        raise UsageError(f"{name}: are no rows, but a text; give a list of dicts, or the path of a file")
    if library in ("pandas", "polars") and kind.__name__ == "Series":
        raise UsageError(f"{name}: is one column; give a DataFrame, as series.to_frame() makes one")
    if library == "pandas" and hasattr(rows, "iloc"):
        _check_columns(list(rows.columns), name)
        return PythonRows(name, lambda: _pandas_rows(rows), len(rows))
    if library == "polars":
        return PythonRows(name, lambda: _polars_rows(rows), None if hasattr(rows, "collect") else len(rows))
    if library == "pyarrow" and hasattr(rows, "schema"):
        _check_columns(rows.schema.names, name)
    if library == "pyarrow" and hasattr(rows, "to_batches"):
        return PythonRows(name, lambda: _arrow_rows(rows.to_batches()), getattr(rows, "num_rows", None))
    if library == "pyarrow" and hasattr(rows, "read_next_batch"):
        return PythonRows(name, lambda: _arrow_rows(rows), is_once=True)
    if isinstance(rows, AsyncIterable):
        return PythonRows(name, lambda: aiter(rows), is_once=True, is_async=True)
    if not isinstance(rows, Iterable) and not hasattr(rows, "__getitem__"):
        raise UsageError(f"{name}: cannot be iterated over; give a list of dicts, or the path of a file")
    is_once = isinstance(rows, Iterator)
    return PythonRows(name, lambda: iter(rows), _count(rows), is_once, may_block=not isinstance(rows, list | tuple))


def _count(rows: Any) -> int | None:
    """How many rows there are, None for those of a stream, some of which have a `__len__` that raises."""
    try:
        return len(rows)
    except (TypeError, NotImplementedError):
        return None


def _check_columns(columns: Sequence[Any], name: str) -> None:
    """Raise UsageError unless each column has a name of its own."""
    if any(isinstance(column, tuple) for column in columns):
        raise UsageError(
            f"{name}: its columns have a MultiIndex, and fields have one name each: "
            'frame.columns = [".".join(map(str, names)) for names in frame.columns]'
        )
    names = [str(column) for column in columns]
    twins = [column for column, count in Counter(names).items() if count > 1]
    if twins:
        raise UsageError(f"{name}: has {names.count(twins[0])} columns of the name {twins[0]!r}; rename them")


def _pandas_rows(frame: Any) -> Iterator[dict[Any, Any]]:
    names = list(frame.columns)
    for start in range(0, len(frame), _SLICE_ROWS):
        part = frame.iloc[start : start + _SLICE_ROWS]
        columns = [_pandas_values(part.iloc[:, i]) for i in range(len(names))]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def _pandas_values(column: Any) -> Iterable[Any]:
    """The values of a column; those of single precision as numpy has them, which says how many digits they have."""
    values: Iterable[Any] = column.to_numpy() if str(column.dtype) in ("float16", "float32") else column.tolist()
    return values


def _polars_rows(frame: Any) -> Iterator[dict[str, Any]]:
    import polars  # type: ignore[import-not-found,unused-ignore]  # it is there, since the frame is one of its

    whole = frame.collect() if hasattr(frame, "collect") else frame
    # As texts, numbers of single precision have the digits that they have.
    short = polars.col(polars.Float32).cast(polars.String).cast(polars.Float64)
    for start in range(0, len(whole), _SLICE_ROWS):
        yield from whole.slice(start, _SLICE_ROWS).with_columns(short).iter_rows(named=True)


def _arrow_rows(batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The rows of batches, with values as those of Parquet files have them."""
    from crewrun.tables.reading.arrow_values import converter_of

    for whole in batches:
        converters = [converter_of(field.type) for field in whole.schema]
        for start in range(0, whole.num_rows, _SLICE_ROWS):
            batch = whole.slice(start, _SLICE_ROWS)
            columns = [convert(batch.column(i)) for i, convert in enumerate(converters)]
            for values in zip(*columns, strict=True):
                yield dict(zip(whole.schema.names, values, strict=True))


class IterableInput:
    """`rows`, read once from their start. `line` of a record counts rows from 1."""

    def __init__(self, rows: PythonRows) -> None:
        self.when_open: Callable[[], None] | None = None
        self.notes: Sequence[str] = ()
        self.columns: Sequence[str] | None = None
        self.is_cut = self.has_rows = False
        self._rows = rows
        self._line = 0
        self._first: list[Record] = []
        self._is_open = self._has_ended = False
        self._iterator: Any = None
        self._thread = OwnThread("crewrun-rows") if rows.may_block else None
        self._pending: Future[list[Record]] | None = None

    async def has_begun(self) -> bool:
        """Whether the first rows come within a moment. To stop waiting for an async iterable would break it off."""
        if not self._rows.is_once:
            return True
        if self._rows.is_async:
            return False
        with anyio.move_on_after(BEGIN_S) as waiting:
            await self.open()
        return not waiting.cancelled_caught

    async def open(self) -> None:
        """Wait for the first rows."""
        if not self._is_open:
            self._first = await self._next()
            self.has_rows = bool(self._first)
            self._is_open = True

    async def groups(self) -> AsyncIterator[list[Record]]:
        """What the iterable gives in a moment. `when_open` is called before, if the input is not open yet."""
        if not self._is_open:
            await self.open()
            if self.when_open is not None:
                self.when_open()
        while group := self._first or await self._next():
            self._first = []
            yield group

    def total_bytes(self, read_bytes: int) -> float | None:
        """What all rows take, when those that were read take `read_bytes`; None where that cannot be told."""
        count = self._rows.count
        return None if count is None or not self._line else read_bytes / self._line * max(count, self._line)

    def count_rows(self) -> int:
        """How many rows there are. Raises OSError where that cannot be told."""
        if self._rows.count is None:
            raise OSError
        return self._rows.count

    def close(self) -> None:
        """Read no more. What the iterable does at the moment is not waited for."""
        self._has_ended = True
        if self._thread is not None:
            self._thread.close()

    def _begin(self) -> Any:
        if self._iterator is None:
            self._iterator = self._rows.begin()
        return self._iterator

    async def _next(self) -> list[Record]:
        if self._rows.is_async:
            return await self._awaited()
        if self._thread is None:
            await checkpoint()
            return self._take()
        if self._pending is None:
            self._pending = self._thread.submit(self._take)
        group = await result_of(self._pending)
        self._pending = None
        return group

    async def _awaited(self) -> list[Record]:
        if self._has_ended:
            return []
        try:
            return [self._record(await anext(self._begin()))]
        except StopAsyncIteration:
            self._has_ended = True
            return []
        except Exception as failed:
            return [self._lost(failed)]

    def _take(self) -> list[Record]:
        """The next rows, none at the end. May block."""
        group: list[Record] = []
        size_bytes, until = 0, monotonic() + _GATHER_S
        while not self._has_ended and size_bytes < CHUNK_BYTES and (not group or monotonic() < until):
            try:
                record = self._record(next(self._begin()))
            except StopIteration:
                self._has_ended = True
            except Exception as failed:
                group.append(self._lost(failed))
            else:
                group.append(record)
                size_bytes += record.size_bytes
        return group

    def _record(self, row: Any) -> Record:
        self._line += 1
        if isinstance(row, Record):  # of a copy that was made to be read again
            self.is_cut = self.is_cut or row.is_unreadable_rest
            return row
        problem = f"is of the type {type(row).__name__}, not a dict"
        if isinstance(row, Mapping):
            try:
                content = json_row(row)
                return Record(self._line, content, None, _size_bytes(content))
            except NotJson as wrong:
                problem = str(wrong)
            except Exception as failed:  # of a class or a value of the program's: the rows after it can be read
                problem = f"cannot be read: {type(failed).__name__}: {failed}"
        return Record(self._line, f"row:{self._line}".encode(), problem, _FIELD_BYTES)

    def _lost(self, failed: Exception) -> Record:
        self.is_cut = self._has_ended = True
        self._rows.failure = failed
        return unreadable(self._line + 1, f"{self._rows.name} raised {type(failed).__name__}: {failed}")


def _size_bytes(content: Mapping[str, Any]) -> int:
    """About what a row takes in JSON, without a look into lists and objects."""
    return sum(len(value) if type(value) is str else 0 for value in content.values()) + _FIELD_BYTES * len(content) + 1
