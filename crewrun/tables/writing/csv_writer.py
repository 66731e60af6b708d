"""CSV as in RFC 4180, and TSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from crewrun.tables.writing.cell_text import text_of

# A spreadsheet takes text that begins so for a formula, and may run it:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA: Final = frozenset("=+-@\t\r")
_PIECE_CHARS: Final = 1 << 16  # that are encoded together
_AS_WRITTEN: Final = frozenset({int, float, type(None)})  # `csv` writes them as JSON does, and None as an empty cell


class CsvWriter:
    """Makes records of rows. Each value that is no text is JSON; a cell is empty where the row has no value.

    With `guards_formulas`, text that a spreadsheet would take for a formula gets an apostrophe in front; numbers of the
    row never do.
    """

    def __init__(self, delimiter: str, *, guards_formulas: bool) -> None:
        self._text = io.StringIO()
        # As RFC 4180 ends lines; tools that split TSV at tabs take a carriage return for part of the last cell.
        end = "\n" if delimiter == "\t" else "\r\n"
        self._writer = csv.writer(self._text, delimiter=delimiter, lineterminator=end)
        self._quoting_writer = csv.writer(self._text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
        self._is_tsv = delimiter == "\t"
        self._guards = guards_formulas

    def records(self, rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
        """The rows as records, several at a time."""
        for cells in rows:
            row = list(map(self._cell, cells))
            # Before Python 3.13 `csv` quotes a carriage return only where lines end in one.
            is_broken = self._is_tsv and any(type(cell) is str and "\r" in cell for cell in row)
            (self._quoting_writer if is_broken else self._writer).writerow(row)
            if self._text.tell() >= _PIECE_CHARS:
                yield self._take()
        if self._text.tell():
            yield self._take()

    def _take(self) -> bytes:
        # JSON may contain lone surrogates, which UTF-8 cannot encode.
        data = self._text.getvalue().encode("utf-8", "backslashreplace")
        self._text.seek(0)
        self._text.truncate()
        return data

    def _cell(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return f"'{value}" if self._guards and value[:1] in _FORMULA else value
        return value if kind in _AS_WRITTEN else text_of(value)
