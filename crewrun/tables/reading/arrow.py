"""Parquet and Arrow files through pyarrow, an extra: in batches of rows, so that memory stays flat."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from crewrun.errors import UsageError
from crewrun.tables.reading.arrow_values import converter_of
from crewrun.tables.reading.header import read_header
from crewrun.tables.reading.input_format import ARROW_MAGIC, ENCRYPTED_PARQUET_MAGIC, FEATHER_1_MAGIC
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.line_splitter import MAX_LINE_BYTES
from crewrun.tables.reading.records import TOO_LONG, Record, missing_extra, unreadable

_ROWS: Final = 512  # of a batch
# Of each column, instead of its whole part of a row group. Twice as much takes 7 MB more (pyarrow 26.0, 100,000 rows).
_BUFFER_BYTES: Final = 1 << 16


class ArrowReader:
    """A record per row, with values as JSON has them. Raises UsageError when the file cannot be opened."""

    def __init__(self, file: Any, name: str, options: InputOptions, *, is_parquet: bool) -> None:
        """`file` is a binary file that can seek, at its beginning."""
        self.is_cut = False
        self._row = 0
        self._ready: Iterator[Any] | None
        batches = _parquet if is_parquet else _arrow
        try:
            schema, self.rows, self._batches = batches(file, name)
        except (OSError, ValueError) as wrong:  # pyarrow's errors are both
            what = "Parquet" if is_parquet else "Arrow"
            raise UsageError(f"{name}: is no {what} file, or damaged: {_first_line(wrong)}") from None
        self._header = read_header(list(schema.names), [], name, "the schema", options.fields) if schema.names else None
        self._converters = [converter_of(field.type) for field in schema]
        self.notes: Sequence[str] = []

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""
        return self._header.columns if self._header else []

    def share(self) -> float | None:
        """The share of the rows that has been read."""
        return self._row / self.rows if self.rows else None

    def take(self) -> list[Record]:
        """The rows of the next batch that has any."""
        try:
            batch = next((batch for batch in self._batches if batch.num_rows), None)
            return [] if batch is None else self._records(batch)
        except (OSError, ValueError, ArithmeticError) as broken:
            self.is_cut = True
            self._batches = iter(())
            return [unreadable(self._row + 1, _first_line(broken))]

    def _records(self, batch: Any) -> list[Record]:
        names = self._header.names if self._header else []
        wanted = [(i, name) for i, name in enumerate(names) if name is not None]
        keys = [name for _, name in wanted]
        columns = [self._converters[i](batch.column(i)) for i, _ in wanted]
        size_bytes = batch.nbytes // batch.num_rows + 1
        first = self._row + 1
        self._row += batch.num_rows
        rows = zip(*columns, strict=True) if columns else iter([()] * batch.num_rows)
        records = [Record(n, dict(zip(keys, row, strict=True)), None, size_bytes) for n, row in enumerate(rows, first)]
        return records if batch.nbytes <= MAX_LINE_BYTES else [_limited(record) for record in records]


def _limited(record: Record) -> Record:
    """The record, or a failing one if its texts are longer than a line may be."""
    values = record.content.values() if isinstance(record.content, dict) else ()
    if sum(len(value) for value in values if isinstance(value, str)) <= MAX_LINE_BYTES:
        return record
    return Record(record.line, f"row:{record.line}".encode(), TOO_LONG, record.size_bytes)


def _parquet(file: Any, name: str) -> tuple[Any, int | None, Iterator[Any]]:
    """The schema, how many rows there are, and batches of them."""
    pa = _import(name, "Parquet")
    import pyarrow.parquet as pq

    start = file.read(4)
    file.seek(0)
    if start == ENCRYPTED_PARQUET_MAGIC:
        raise UsageError(f"{name}: is an encrypted Parquet file; write it without encryption")
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())  # which gives memory back: 7 MB less than by mimalloc
    try:
        parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    finally:
        pa.set_memory_pool(before)
    return parquet.schema_arrow, parquet.metadata.num_rows, parquet.iter_batches(_ROWS, use_threads=False)


def _arrow(file: Any, name: str) -> tuple[Any, int | None, Iterator[Any]]:
    """As above, for Arrow's file format, Feather of version 2, and for a stream of its messages."""
    ipc = _import(name, "Arrow").ipc
    start = file.read(6)
    file.seek(0)
    if start[:4] == FEATHER_1_MAGIC:
        raise UsageError(f"{name}: is Feather of version 1; write it in version 2, or as Parquet")
    if start == ARROW_MAGIC:
        reader = ipc.open_file(file)
        numbers = range(reader.num_record_batches)
        return reader.schema, None, _slices(reader.get_batch(n) for n in numbers)
    stream = ipc.open_stream(file)
    return stream.schema, None, _slices(stream)


def _slices(batches: Iterator[Any]) -> Iterator[Any]:
    """Batches of a few rows each: the values of a row take more memory in Python than in Arrow."""
    for batch in batches:
        for first in range(0, batch.num_rows, _ROWS):
            yield batch.slice(first, _ROWS)


def _import(name: str, what: str) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError:
        raise missing_extra(name, what, "pyarrow", "parquet") from None
    return pa


def _first_line(wrong: Exception) -> str:
    return str(wrong).partition("\n")[0]
