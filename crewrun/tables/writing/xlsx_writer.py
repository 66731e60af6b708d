"""Excel workbooks, with XlsxWriter: an extra, imported here only to write.

Texts are written as texts, never as formulas or links. What goes beyond Excel's limits is cut, with a note:
https://support.microsoft.com/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3
"""

import errno
import html
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from crewrun.tables.writing.cell_text import legal, text_of
from crewrun.tables.writing.columns import Column
from crewrun.tables.writing.fields import Null

_MOST_ROWS: Final = 1_048_576  # of a sheet, with the header
_MOST_COLUMNS: Final = 16_384
_MOST_UNITS: Final = 32_767  # of UTF-16, in a cell
_EXACT: Final = 10**15  # Excel keeps 15 digits and writes zeros for the others
_LEAST, _LARGEST = 2.2251e-308, 9.99999999999999e307
_NARROWEST, _WIDEST = 10, 40  # characters, by the names of the columns
_PIECE_BYTES: Final = 1 << 18


def xlsx_pieces(
    columns: Sequence[Column], rows: Iterable[Sequence[Any]], folder: str | None, notes: list[str]
) -> Iterator[bytes]:
    """A workbook of the rows, which is complete before its first piece. Temporary files go to `folder`.

    `notes` gets what Excel has no room for. Raises OSError.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        _write(columns, rows, file, folder, notes)
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _write(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any]],
    file: BinaryIO,
    folder: str | None,
    notes: list[str],
) -> None:
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import FileCreateError

    book = Workbook(file, {"constant_memory": True, "tmpdir": folder})
    book.use_zip64()
    sheets = _Sheets(book, [column.name for column in columns])
    for cells in rows:
        sheets.add(cells)
    sheets.end()
    notes += sheets.notes()
    try:
        book.close()
    except FileCreateError as failed:
        (cause,) = failed.args
        raise cause if isinstance(cause, OSError) else OSError(errno.EIO, str(failed)) from failed


class _Sheets:
    """The sheets of a workbook: further ones when the first is full."""

    def __init__(self, book: Any, names: Sequence[str]) -> None:
        self._book = book
        self._names = names
        self._bold = book.add_format({"bold": True})
        self._sheets = self._cut = 0
        self._begin()

    def add(self, cells: Sequence[Any]) -> None:
        """Add a row."""
        if self._row == _MOST_ROWS:
            self.end()
            self._begin()
        for place, value in enumerate(cells[:_MOST_COLUMNS]):
            if value is not None and value is not Null.NULL:
                self._put(place, value)
        self._row += 1

    def end(self) -> None:
        """Finish the sheet."""
        self._sheet.autofilter(0, 0, self._row - 1, min(len(self._names), _MOST_COLUMNS) - 1)

    def notes(self) -> list[str]:
        """What Excel has no room for."""
        notes = []
        if self._cut:
            cells = "1 cell is" if self._cut == 1 else f"{self._cut:,} cells are"
            notes.append(f"{cells} longer than the {_MOST_UNITS:,} characters that Excel takes, and cut off there")
        if self._sheets > 1:
            notes.append(f"the rows are on {self._sheets} sheets, since Excel takes {_MOST_ROWS:,} on one")
        if len(self._names) > _MOST_COLUMNS:
            more = len(self._names) - _MOST_COLUMNS
            notes.append(f"{more:,} columns are left out, since Excel takes {_MOST_COLUMNS:,}; --columns chooses them")
        return notes

    def _begin(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet("results" if self._sheets == 1 else f"results {self._sheets}")
        self._sheet.freeze_panes(1, 0)
        self._row = 0
        for place, name in enumerate(self._names[:_MOST_COLUMNS]):
            self._sheet.set_column(place, place, min(max(len(name) + 4, _NARROWEST), _WIDEST))
            self._sheet.write_string(0, place, self._text(name), self._bold)
        self._row = 1

    def _put(self, place: int, value: Any) -> None:
        if isinstance(value, bool):
            self._sheet.write_boolean(self._row, place, value)
        elif isinstance(value, int | float) and _is_exact(value):
            self._sheet.write_number(self._row, place, value)
        else:
            self._sheet.write_string(self._row, place, self._text(text_of(value)))

    def _text(self, text: str) -> str:
        """The text as XlsxWriter has to get it."""
        text = legal(text)
        if len(text) * 2 > _MOST_UNITS and len(units := text.encode("utf-16-le")) > 2 * _MOST_UNITS:
            text = units[: 2 * _MOST_UNITS].decode("utf-16-le", "ignore")
            self._cut += 1
        # XlsxWriter takes such a text for the XML of a formatted one, so it gets that.
        if text.startswith("<r>") and text.endswith("</r>"):
            formatted = f'<r><t xml:space="preserve">{html.escape(text, quote=False)}</t></r>'
            return formatted if len(formatted) <= _MOST_UNITS // 2 else f"{text} "
        return text


def _is_exact(value: float) -> bool:
    """Whether Excel has the number."""
    if isinstance(value, int):
        return -_EXACT < value < _EXACT
    return value == 0 or _LEAST <= abs(value) <= _LARGEST
