"""CSV as in RFC 4180, and TSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from crewrun.tables.text import text_of

# A spreadsheet takes text that begins so for a formula, and may run it:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA: Final = frozenset("=+-@\t\r")
_GROUP_ROWS: Final = 64  # that are encoded together
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
        rows = iter(rows)
        while group := [[self._cell(value) for value in cells] for cells in islice(rows, _GROUP_ROWS)]:
            self._writer.writerows(group)
            if self._is_tsv and "\r" in self._text.getvalue():
                # Before Python 3.13 `csv` quotes a carriage return only where lines end in one.
                self._clear()
                self._quoting_writer.writerows(group)
            # JSON may contain lone surrogates, which UTF-8 cannot encode.
            yield self._text.getvalue().encode("utf-8", "backslashreplace")
            self._clear()

    def _clear(self) -> None:
        self._text.seek(0)
        self._text.truncate()

    def _cell(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return f"'{value}" if self._guards and value[:1] in _FORMULA else value
        return value if kind in _AS_WRITTEN else text_of(value)
