"""CSV, TSV and their relatives: below a header, a record per line, or over several lines in quotes."""

import csv
from collections.abc import Sequence
from typing import Final

from crewrun.errors import UsageError
from crewrun.tables.reading.byte_input import ByteInput
from crewrun.tables.reading.decompressor import errors
from crewrun.tables.reading.dialect import Dialect, check_fit, find_dialect, has_sep_line, parse_delimiter, parser_of
from crewrun.tables.reading.encodings import UNDECODED, TextEncoding, decoder_of
from crewrun.tables.reading.header import Header, read_header
from crewrun.tables.reading.input_options import InputOptions
from crewrun.tables.reading.line_splitter import MAX_LINE_BYTES
from crewrun.tables.reading.records import TOO_LONG, Record, unreadable
from crewrun.tables.reading.text_lines import Overlong, TextLines

_UNCLOSED: Final = "not CSV: a quote that opens here is never closed; what follows it is lost"


class DelimitedReader:
    """A record per record of the file; its values are texts.

    Raises UsageError for a header that cannot be used, or a delimiter that is not certain.
    """

    def __init__(
        self, source: ByteInput, head: bytes, name: str, encoding: TextEncoding, options: InputOptions, *, tabs: bool
    ) -> None:
        """`head` is the beginning of `source`, unread. `tabs`: the format's name says that tabs separate fields."""
        csv.field_size_limit(MAX_LINE_BYTES)
        self.is_cut = False
        self._encoding = encoding
        self._raw = source.raw
        text = decoder_of(encoding.name).decode(head).lstrip("\ufeff")
        self._dialect = _dialect_of(text, name, options, tabs=tabs)
        self._texts = TextLines(source, encoding.name)
        self._start_parser(0)
        line, self._cells = self._read_cells(name)
        self._header = self._read_header(text, f"{name}:{line}", options)
        names = self._header.names
        # Without columns that are left out, `zip` alone makes a row.
        self._all_names = self._header.columns if None not in names else None
        is_usual = options.delimiter is not None or self._dialect.delimiter == ("\t" if tabs else ",")
        self.notes: Sequence[str] = [
            *([] if is_usual else [self._dialect.label]),
            *([] if encoding.is_expected else [encoding.label]),
            *self._header.notes,
        ]

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""
        return self._header.columns

    def share(self) -> float | None:
        """The share of the file that has been read."""
        return self._raw.share()

    def take(self) -> list[Record]:
        """The records that end in what is read next."""
        records: list[Record] = []
        try:
            while not records or self._texts.has_lines:
                record = self._next()
                if record is None:
                    break
                records.append(record)
        except errors() as broken:
            self.is_cut = True
            records.append(unreadable(self._line, broken))
            self._parser = parser_of(self._dialect, ())
        return records

    @property
    def _line(self) -> int:
        """The line behind the last record, from 1."""
        return int(self._lines_before + self._parser.line_num + 1)

    def _start_parser(self, lines_before: int) -> None:
        """Parse from here on, with a parser that has not seen the `lines_before`."""
        self._lines_before = lines_before
        self._parser = parser_of(self._dialect, self._texts.lines())

    def _next(self) -> Record | None:
        """The next record, which may be blank; None at the end."""
        line = self._line
        try:
            fields = next(self._parser, None)
        except csv.Error as wrong:
            return self._not_csv(line, str(wrong))
        except Overlong:
            return self._skip_overlong(line, self._line - line)
        if fields is None:
            return None
        return self._record(line, fields) if fields else Record(line, b"", None, 1)

    def _record(self, line: int, fields: list[str]) -> Record:
        names = self._header.names
        if len(fields) > len(names) and not any(fields[len(names) :]):
            del fields[len(names) :]
        problem = None
        if len(fields) != len(names):
            self.is_cut = self.is_cut or self._line > line + 1  # a stray quote may have swallowed rows
            problem = f"{len(fields)} fields where the header has {len(names)}"
        elif self._texts.is_odd:
            problem = self._odd_problem(fields)
        if problem is None and self._header.blanks:
            problem = self._nameless_problem(fields)
        if problem:
            content = "\x1f".join(fields).encode("utf-8", "surrogateescape")
            return Record(line, content, problem, len(content))
        if len(fields) > 1 and not any(fields):
            return Record(line, b"", None, len(fields))
        size_bytes = sum(map(len, fields)) + len(fields)
        if self._all_names is not None:
            return Record(line, dict(zip(self._all_names, fields, strict=True)), None, size_bytes)
        pairs = zip(names, fields, strict=True)
        return Record(line, {name: value for name, value in pairs if name is not None}, None, size_bytes)

    def _odd_problem(self, fields: list[str]) -> str | None:
        """What is wrong with a record, in a text that has characters that are in no sound one."""
        fields[0] = fields[0].lstrip("\ufeff")
        for name, value in zip(self._header.names, fields, strict=True):
            if "\0" in value:
                return f"column {name!r} has a NUL, which no text has: the file is damaged"
            if not value.isascii() and UNDECODED.search(value):
                return f"column {name!r} is not {self._encoding.label} (--encoding)"
        return "repeats the header, as when two files are put together" if fields == self._cells else None

    def _nameless_problem(self, fields: list[str]) -> str | None:
        for i in self._header.blanks:
            if fields[i].strip():
                return f"{fields[i][:40]!r} is in column {i + 1}, which has no name in the header"
        return None

    def _not_csv(self, line: int, why: str) -> Record:
        if "field limit" in why:
            return self._skip_overlong(line, self._line - line - 1)
        if "unexpected end of data" in why:
            self.is_cut = True
            return _failing(line, _UNCLOSED)
        self.is_cut = self.is_cut or self._line > line + 1  # as above
        return _failing(line, f"not CSV: {why}")

    def _skip_overlong(self, line: int, whole: int) -> Record:
        """A failing record for one that is too long, of which the parser has read `whole` lines. Its end is looked for
        without keeping it.
        """
        count, is_closed = self._texts.skip_record(is_quoted=whole > 0)
        self._start_parser(line - 1 + whole + count)
        self.is_cut = self.is_cut or not is_closed
        return _failing(line, TOO_LONG if is_closed else _UNCLOSED)

    def _read_cells(self, name: str) -> tuple[int, list[str]]:
        """The header: the first record that is not blank, and its line. No cells where there is none."""
        try:
            fields: list[str] | None = []
            line = self._line
            while fields == [] or (fields and self._is_sep_line(line)):
                line = self._line
                fields = next(self._parser, None)
        except csv.Error as wrong:
            raise UsageError(f"{name}:{line}: not a CSV header: {wrong}") from None
        except Overlong:
            raise UsageError(f"{name}:{line}: not a CSV header: {TOO_LONG}") from None
        except errors() as broken:
            raise UsageError(f"{name}: cannot be read: {broken}") from None
        return line, fields or []

    def _is_sep_line(self, line: int) -> bool:
        return self._dialect.has_sep_line and line == 1

    def _read_header(self, text: str, place: str, options: InputOptions) -> Header:
        cells = self._cells
        if not cells:
            return Header((), (), ())
        if any(UNDECODED.search(cell) for cell in cells):
            raise UsageError(f"{place}: the CSV header is not {self._encoding.label} (--encoding)")
        if any("\0" in cell for cell in cells):
            raise UsageError(f"{place}: the CSV header has NULs: it is damaged, or in UTF-16 (--encoding)")
        sample: list[list[str]] = []
        if not cells[0].strip() or not cells[-1].strip():
            sample = self._dialect.reads(text)[1 + self._dialect.has_sep_line : -1]
        return read_header(cells, sample, place, "the CSV header", options.fields)


def _failing(line: int, problem: str) -> Record:
    return Record(line, f"csv:{line}".encode(), problem, 1)


def _dialect_of(text: str, name: str, options: InputOptions, *, tabs: bool) -> Dialect:
    """What `--delimiter` says, else what the beginning of the text shows. Raises UsageError."""
    if options.delimiter is not None:
        return Dialect(parse_delimiter(options.delimiter), has_sep_line(text))
    if any("\\N" in fields for fields in Dialect("\t").reads(text) if len(fields) > 1):
        raise UsageError(
            f"{name}: has \\N for missing values, as the text format of PostgreSQL and MySQL does; export CSV (in "
            "PostgreSQL COPY … TO … WITH (FORMAT csv, HEADER)), or have \\N taken as it stands: --delimiter tab"
        )
    dialect = find_dialect(text, name, tabs=tabs)
    check_fit(text, dialect, name)
    return dialect
