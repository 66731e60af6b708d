"""Parquet, with pyarrow: an extra, imported here only to write."""

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import IO, Any, Final, cast

from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.tables.writing.cell_text import legal, text_of
from crewrun.tables.writing.columns import Column
from crewrun.tables.writing.fields import Kind, Null

# A row group is held in memory: as many rows as readers like (DuckDB's default is 122,880), and fewer large ones.
_GROUP_ROWS: Final = 65_536
_GROUP_BYTES: Final = 8 << 20
# Rows are passed to Arrow in smaller batches: as Python objects they take several times the room.
_BATCH_ROWS: Final = 1024
_BATCH_CHARS: Final = 1 << 20


def parquet_pieces(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A file with a typed column where all values agree, of text elsewhere: strings as they are, the rest as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, pipe = _schema(columns), _Pipe()
    with pq.ParquetWriter(cast("IO[bytes]", pipe), schema) as writer:
        batches, count, size_bytes = [], 0, 0
        for group in _batches(columns, rows):
            batch = _record_batch(group, schema)
            batches.append(batch)
            count, size_bytes = count + len(group), size_bytes + batch.nbytes
            if count >= _GROUP_ROWS or size_bytes >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=count)
                batches, count, size_bytes = [], 0, 0
                yield pipe.take()
        if batches:
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=count)
    yield pipe.take()


def arrow_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Any:
    """The same as a `pyarrow.Table`. Raises UsageError where pyarrow is not installed."""
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(f"a table of Arrow needs pyarrow: {install_command('parquet')}") from None
    schema = _schema(columns)
    return pa.Table.from_batches([_record_batch(group, schema) for group in _batches(columns, rows)], schema)


def _schema(columns: Sequence[Column]) -> Any:
    import pyarrow as pa

    types = {Kind.BOOL: pa.bool_(), Kind.INT: pa.int64(), Kind.FLOAT: pa.float64(), Kind.TEXT: pa.string()}
    return pa.schema([pa.field(legal(column.name), types[column.kind]) for column in columns])


def _record_batch(group: Sequence[Sequence[Any]], schema: Any) -> Any:
    import pyarrow as pa

    arrays = [pa.array([values[i] for values in group], type=field.type) for i, field in enumerate(schema)]
    return pa.record_batch(arrays, schema=schema)


def _batches(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Iterator[list[list[Any]]]:
    """The rows as values of their columns' types, as many at a time as take little room."""
    are_texts = [column.kind is Kind.TEXT for column in columns]
    batch: list[list[Any]] = []
    chars = 0
    for cells in rows:
        values = [_text(value) if is_text else _plain(value) for value, is_text in zip(cells, are_texts, strict=True)]
        batch.append(values)
        chars += sum(map(len, filter(None, compress(values, are_texts))))
        if len(batch) == _BATCH_ROWS or chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _plain(value: Any) -> Any:
    return None if value is Null.NULL else value


def _text(value: Any) -> str | None:
    if type(value) is str and value.isascii():
        return value
    return None if value is None or value is Null.NULL else legal(text_of(value))


class _Pipe(io.RawIOBase):
    """A file for pyarrow: bytes that were written and not taken yet. It knows its place and cannot go back."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]  # no other buffers come
        piece = bytes(data)
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size_bytes

    def take(self) -> bytes:
        """The bytes since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
