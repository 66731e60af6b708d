"""Excel workbooks and their relatives, through python-calamine, an extra: one sheet, its first row being the header.

The library reads a sheet whole.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from crewrun.errors import UsageError, suggest
from crewrun.tables.reading.header import read_header
from crewrun.tables.reading.input_format import OLE_MAGIC
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.records import Record, missing_extra

_GROUP: Final = 256
_SAMPLE: Final = 100
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")


class ExcelReader:
    """A record per row of a sheet. Raises UsageError when the file is no workbook, or has no such sheet."""

    def __init__(self, file: Any, name: str, options: InputOptions) -> None:
        """`file` is a binary file that can seek, at its beginning."""
        self.is_cut = False
        book = _open(file, name)
        sheet_name, note = _choose(book, name, options.sheet)
        sheet = book.get_sheet_by_name(sheet_name)
        self._total = sheet.total_height
        self._line = 0
        self._merged = _Merged(sheet)
        self._rows = self._lines(sheet)
        line, cells = next(((line, row) for line, row in self._rows if any(row)), (1, []))
        sample = [row for _, row in zip(range(_SAMPLE), self._lines(sheet), strict=False)] if cells else []
        place = f"{name}, sheet {sheet_name!r}, row {line}"
        names = [str(cell) for cell in cells]
        below = [row for row_line, row in sample if row_line > line]
        self._header = read_header(names, below, place, "the header", options.fields) if names else None
        merged = ["merged cells each have the value that they share"] if self._merged.ranges else []
        self.notes: Sequence[str] = [*note, *(self._header.notes if self._header else ()), *merged]

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""
        return self._header.columns if self._header else []

    def share(self) -> float | None:
        """The share of the rows that has been read."""
        return self._line / self._total if self._total else None

    def take(self) -> list[Record]:
        """The next rows that have a value."""
        records: list[Record] = []
        for line, row in self._rows:
            self._line = line
            if any(cell != "" for cell in row):
                records.append(self._record(line, row))
                if len(records) >= _GROUP:
                    break
        return records

    def _lines(self, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
        """The rows with their numbers, from 1."""
        for line, row in enumerate(sheet.iter_rows(), 1):
            yield line, [_value(cell) for cell in self._merged.fill(line - 1, row)]

    def _record(self, line: int, row: list[Any]) -> Record:
        size_bytes = sum(len(cell) if isinstance(cell, str) else 8 for cell in row)
        header = self._header
        if header is None:
            return Record(line, b"", None, 0)
        for i in header.blanks:
            if row[i] != "":
                problem = f"{str(row[i])[:40]!r} is in column {i + 1}, which has no name in the header"
                return Record(line, "\x1f".join(map(str, row)).encode(), problem, size_bytes)
        pairs = zip(header.names, row, strict=True)
        return Record(line, {name: cell for name, cell in pairs if name is not None}, None, size_bytes)


class _Merged:
    """Cells that are merged have their value in the first one only; people see it in all of them."""

    def __init__(self, sheet: Any) -> None:
        self.ranges = sheet.merged_cell_ranges or []
        self._first_column = sheet.start[1] if sheet.start else 0
        self._by_row: dict[int, list[tuple[int, int, int]]] = {}
        for (top, left), (bottom, right) in self.ranges:
            for row in range(top, bottom + 1):
                self._by_row.setdefault(row, []).append((top, left, right))
        self._values: dict[tuple[int, int], Any] = {}

    def fill(self, index: int, row: list[Any]) -> list[Any]:
        """The row at `index`, from 0, with the values of the cells that its cells are merged with."""
        for top, left, right in self._by_row.get(index, ()):
            first = left - self._first_column
            if not 0 <= first < len(row):
                continue
            if index == top:
                self._values[top, left] = row[first]
            value = self._values.get((top, left), "")
            for column in range(first, min(right - self._first_column + 1, len(row))):
                row[column] = value
        return row


def _open(file: Any, name: str) -> Any:
    try:
        import python_calamine as calamine
    except ImportError:
        raise missing_extra(name, "Excel", "python-calamine", "excel") from None
    start = file.read(1 << 20)
    file.seek(0)
    if start.startswith(OLE_MAGIC) and _ENCRYPTED in start:
        raise UsageError(f"{name}: is protected by a password; save it in Excel without one")
    try:
        return calamine.load_workbook(file)
    except calamine.PasswordError:
        raise UsageError(f"{name}: is protected by a password; save it in Excel without one") from None
    except (calamine.CalamineError, OSError, ValueError) as wrong:
        raise UsageError(f"{name}: is no Excel workbook, or damaged: {wrong}") from None


def _choose(book: Any, name: str, sheet: str | None) -> tuple[str, list[str]]:
    """The name of the sheet to read, and a note if that was a choice. Raises UsageError."""
    names = list(book.sheet_names)
    if sheet is not None:
        if sheet in names:
            return sheet, []
        if sheet.isdecimal() and 1 <= int(sheet) <= len(names):
            return names[int(sheet) - 1], []
        raise UsageError(
            f"{name}: --sheet {sheet}: there is no such sheet{suggest(sheet, names)}; there {_listed(names)}"
        )
    visible = [meta.name for meta in book.sheets_metadata if "Hidden" not in str(meta.visible)] or names
    if not visible:
        raise UsageError(f"{name}: has no sheet")
    others = [other for other in visible[1:] if book.get_sheet_by_name(other).start is not None]
    note = [f"sheet {visible[0]!r}; others are {', '.join(map(repr, others))} (--sheet)"] if others else []
    return visible[0], note


def _listed(names: Sequence[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(map(repr, names))}"


def _value(cell: Any) -> Any:
    """A cell as JSON has it: whole numbers without a fraction, dates and times as ISO text."""
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() and abs(cell) < 1 << 53 else cell
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        hours, rest = divmod(round(cell.total_seconds()), 3600)
        return f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
    return cell
