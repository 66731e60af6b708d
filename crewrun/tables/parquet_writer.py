"""Parquet, with pyarrow: an extra, imported here only to write."""

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, Final, cast

from crewrun.tables.columns import Column
from crewrun.tables.fields import Kind, Null
from crewrun.tables.pipe import Pipe
from crewrun.tables.text import legal, text_of

# A row group is held in memory: as many rows as readers like (DuckDB's default is 122,880), and fewer large ones.
_GROUP_ROWS: Final = 65_536
_GROUP_BYTES: Final = 8 << 20
# Rows are passed to Arrow in smaller batches: as Python objects they take several times the room.
_BATCH_ROWS: Final = 1024


def parquet_pieces(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A file with a typed column where all values agree, of text elsewhere: strings as they are, the rest as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {Kind.BOOL: pa.bool_(), Kind.INT: pa.int64(), Kind.FLOAT: pa.float64(), Kind.TEXT: pa.string()}
    schema = pa.schema([pa.field(legal(column.name), types[column.kind]) for column in columns])
    pipe = Pipe()

    def batch_of(group: Sequence[Sequence[Any]]) -> Any:
        arrays = [
            pa.array([_value(cells[i], column.kind) for cells in group], type=schema.field(i).type)
            for i, column in enumerate(columns)
        ]
        return pa.record_batch(arrays, schema=schema)

    with pq.ParquetWriter(cast("IO[bytes]", pipe), schema) as writer:
        batches, count, size_bytes = [], 0, 0
        for group in _grouped(rows, _BATCH_ROWS):
            batch = batch_of(group)
            batches.append(batch)
            count, size_bytes = count + len(group), size_bytes + batch.nbytes
            if count >= _GROUP_ROWS or size_bytes >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=count)
                batches, count, size_bytes = [], 0, 0
                yield pipe.take()
        if batches:
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=count)
    yield pipe.take()


def _value(value: Any, kind: Kind) -> Any:
    if value is None or value is Null.NULL:
        return None
    return legal(text_of(value)) if kind is Kind.TEXT else value


def _grouped(rows: Iterable[Sequence[Any]], size: int) -> Iterator[list[Sequence[Any]]]:
    group: list[Sequence[Any]] = []
    for cells in rows:
        group.append(cells)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
