"""JSON objects in an array or one behind another, over any lines: streamed, each is a record."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from crewrun.tables.reading.byte_input import ByteInput
from crewrun.tables.reading.decompressor import errors
from crewrun.tables.reading.encodings import UNDECODED, TextEncoding, decoder_of
from crewrun.tables.reading.json_object import scan_object
from crewrun.tables.reading.json_table import rows_in
from crewrun.tables.reading.line_splitter import MAX_LINE_BYTES
from crewrun.tables.reading.records import CHUNK_BYTES, TOO_LONG, Record, unreadable

_BLANK: Final = re.compile(r"[ \t\r\n\ufeff]*")


class JsonValuesReader:
    """A record for each element of an array, or for each value of a text of several. Its line is where it begins."""

    columns: Sequence[str] | None = None

    def __init__(self, source: ByteInput, encoding: TextEncoding) -> None:
        self.is_cut = False
        self.notes: Sequence[str] = [] if encoding.is_expected else [encoding.label]
        self._source = source
        self._decoder = decoder_of(encoding.name)
        self._text = ""
        self._at = 0  # up to here the text has been taken
        self._line = 1
        self._is_array: bool | None = None
        self._needs_comma = self._has_ended = self._is_done = self._is_damaged = False
        self._count = 0
        self._label = encoding.label

    def share(self) -> float | None:
        """The share of the file that has been read."""
        return self._source.raw.share()

    def take(self) -> list[Record]:
        """The values that end in what is read next."""
        records: list[Record] = []
        try:
            while not self._is_done and (not records or not self._is_spent()):
                record = self._next()
                if record is not None:
                    records.append(record)
                    self._count += 1
            if self._count == len(records) == 1 and not self._is_array and self._source.raw.is_seekable:
                records = [_alone(records[0])] if not self._look() else records
        except _Malformed as wrong:
            records.append(self._cut(f"not JSON: {wrong}"))
        except RecursionError:
            records.append(self._cut("nested too deep"))
        except errors() as broken:
            records.append(self._cut(broken))
        return records

    def _cut(self, broken: Exception | str) -> Record:
        self.is_cut = self._is_done = True
        return unreadable(self._line, broken)

    def _is_spent(self) -> bool:
        """Whether there may be no whole value in what has been read."""
        return len(self._text) - self._at < CHUNK_BYTES // 4

    def _next(self) -> Record | None:
        """The next value; None when there was something else."""
        sign = self._look()
        if self._is_array is None:
            self._is_array = sign == "["
            self._at += int(self._is_array)
            self._is_done = not sign
            return None
        if not sign:
            if self._is_array:
                raise _Malformed("the array is not closed; the rest is cut off")
            self._is_done = True
            return None
        if self._is_array and sign == "]":
            self._end_array()
            return None
        if self._is_array and self._needs_comma:
            if sign != ",":
                raise _Malformed("a comma is missing between two elements")
            self._at += 1
            self._needs_comma = False
            return None
        return self._value()

    def _end_array(self) -> None:
        self._at += 1
        if self._look():
            raise _Malformed("there is more behind the end of the array")
        self._is_done = True

    def _value(self) -> Record:
        content, problem, end = self._scan()
        start, line = self._at, self._line
        self._advance(end)
        self._needs_comma = True
        if self._is_damaged and UNDECODED.search(self._text, start, end):
            content, problem = None, f"not {self._label} (--encoding)"
        if content is not None and end - start <= MAX_LINE_BYTES:
            return Record(line, content, None, end - start)
        data = self._text[start:end].encode("utf-8", "surrogateescape")
        return Record(line, data, problem or TOO_LONG, end - start)

    def _scan(self) -> tuple[dict[str, Any] | None, str | None, int]:
        """The value that begins here, what is wrong with it, and where it ends. Raises _Malformed."""
        while True:
            try:
                content, problem, end = scan_object(self._text, self._at)
            except json.JSONDecodeError as wrong:
                # Errors other than at the end of what has been read could be raised at once; they are rare.
                if self._has_ended or len(self._text) - self._at > MAX_LINE_BYTES:
                    line = self._line + self._text.count("\n", self._at, wrong.pos)
                    raise _Malformed(f"{wrong.msg} in line {line}") from None
            else:
                if end < len(self._text) or self._has_ended:  # else a number may go on
                    return content, problem, end
            self._read_more(len(self._text) - self._at)

    def _look(self) -> str:
        """The next character that is not blank, which is not taken; none at the end."""
        while True:
            end = _end_of_blanks(self._text, self._at)
            self._advance(end)
            if end < len(self._text):
                return self._text[end]
            if self._has_ended:
                return ""
            self._read_more(0)

    def _advance(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _read_more(self, at_least: int) -> None:
        """Read as much again as is there, at least a chunk, so that a large value is scanned a few times only."""
        parts = [self._text[self._at :]]
        self._at, size = 0, 0
        while not self._has_ended and size <= at_least:
            chunk = self._source.read(CHUNK_BYTES)
            self._has_ended = not chunk
            parts.append(self._decoder.decode(chunk, not chunk))
            size += len(parts[-1])
            self._is_damaged = self._is_damaged or UNDECODED.search(parts[-1]) is not None
        self._text = "".join(parts)


class _Malformed(Exception):
    """What is no JSON; what follows cannot be told apart."""


def _alone(record: Record) -> Record:
    """The only value of a text that is no array. It is no row when it is there to hold the rows."""
    if isinstance(record.content, dict) and (rows := rows_in(record.content)):
        problem = f"one object, {rows}; if it is one row, put it into an array: [{{…}}]"
        return record._replace(content=json.dumps(record.content).encode(), problem=problem)
    return record


def _end_of_blanks(text: str, at: int) -> int:
    match: Any = _BLANK.match(text, at)
    return int(match.end())
