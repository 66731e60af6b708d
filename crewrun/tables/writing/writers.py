"""`table_pieces`: result lines as a file of any format, piece by piece. `columns` says what is in a row.

CSV, Parquet and Excel have a file each.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from crewrun.tables.suffixes import Compression
from crewrun.tables.writing.columns import Column, Columns, decoded
from crewrun.tables.writing.compressor import open_compressor
from crewrun.tables.writing.csv_writer import CsvWriter
from crewrun.tables.writing.fields import Null
from crewrun.tables.writing.output_format import OutputFormat

# Larger pieces save few system calls; a piece is all that is held in memory.
_PIECE_BYTES: Final = 1 << 18

Rows = Iterable[Sequence[Any]]


@dataclass(slots=True)
class TableOptions:
    """How a table is written.

    With `guards_formulas`, text in CSV and TSV that a spreadsheet would take as a formula gets an apostrophe in front.
    `folder` is where temporary files go, None for the system's place. `notes` gets what could not be written as it is.
    """

    guards_formulas: bool = True
    folder: str | None = None
    notes: list[str] = field(default_factory=list)


def table_pieces(
    lines: Iterable[bytes], columns: Columns | None, form: OutputFormat, options: TableOptions
) -> Iterator[bytes]:
    """The file of these result lines. `columns` has seen them all, or knows its columns; None: the lines as they are.

    Raises OSError when a temporary file cannot be written.
    """
    pieces: Iterable[bytes] = lines
    if columns is not None:
        rows = (columns.cells(decoded(line)) for line in lines)
        pieces = _pieces(columns.all(), rows, form, options)
    return _compressed(grouped(pieces), form.compression) if form.compression else grouped(pieces)


def grouped(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines joined into pieces of about 256 KiB."""
    pieces: list[bytes] = []
    size_bytes = 0
    for piece in lines:
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes >= _PIECE_BYTES:
            yield b"".join(pieces)
            pieces, size_bytes = [], 0
    if pieces:
        yield b"".join(pieces)


class RowWriter:
    """Writes the rows of a table one by one, in a text format and with columns that are known before they are."""

    def __init__(self, columns: Columns, form: OutputFormat, options: TableOptions) -> None:
        self._columns = columns
        self._names = [column.name for column in columns.all()]
        self._csv = None if form.name == "jsonl" else _csv_writer(form, options)
        self._is_begun = False

    def rows(self, lines: Iterable[bytes]) -> list[bytes]:
        """The rows of these lines; the first time after a header, where the format has one."""
        rows = [self._columns.cells(decoded(line)) for line in lines]
        if self._csv is None:
            return list(_json_pieces(self._names, rows))
        header, self._is_begun = [] if self._is_begun else [self._names], True
        return list(self._csv.records([*header, *rows]))


def _pieces(columns: Sequence[Column], rows: Rows, form: OutputFormat, options: TableOptions) -> Iterator[bytes]:
    if form.name == "parquet":
        from crewrun.tables.writing.parquet_writer import parquet_pieces

        return parquet_pieces(columns, rows)
    if form.name == "xlsx":
        from crewrun.tables.writing.xlsx_writer import xlsx_pieces

        return xlsx_pieces(columns, rows, options.folder, options.notes)
    if form.name == "jsonl":
        return _json_pieces([column.name for column in columns], rows)
    return _csv_writer(form, options).records(chain([[column.name for column in columns]], rows))


def _csv_writer(form: OutputFormat, options: TableOptions) -> CsvWriter:
    return CsvWriter("," if form.name == "csv" else "\t", guards_formulas=options.guards_formulas)


def _json_pieces(names: Sequence[str], rows: Rows) -> Iterator[bytes]:
    """An object for each row, without the columns that the row has no value for."""
    for cells in rows:
        record = {
            name: None if value is Null.NULL else value
            for name, value in zip(names, cells, strict=True)
            if value is not None
        }
        yield _line(record)


def _line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, as the escape that it came as
        return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _compressed(pieces: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    compressor = open_compressor(compression)
    for piece in pieces:
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()
