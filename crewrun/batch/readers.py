"""Input formats: readers that turn bytes into groups of records. JSON lines, plain or gzipped, and CSV.

Files are read in threads, since a disk can block. Pipes are polled by the event loop: a blocked thread cannot be
stopped.
"""

import codecs
import csv
import io
import os
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO, NamedTuple, Protocol

import anyio
import anyio.to_thread

from crewrun.batch.lines import MAX_LINE_BYTES, Line, LineSplitter
from crewrun.errors import UsageError

# What is read at once, in a thread: the switch to the thread costs more than reading a small chunk.
CHUNK_BYTES = 128 * 1024
_CSV_GROUP = 256  # records, for the same reason


class Record(NamedTuple):
    """A line or CSV record of the input. `problem` says why it has no valid content, `size_bytes` is its input size."""

    line: int
    content: bytes | dict[str, Any]
    problem: str | None
    size_bytes: int


class Reader(Protocol):
    """A format: groups of records in input order. `is_cut` says that a damaged input could not be read to its end."""

    is_cut: bool

    def groups(self) -> AsyncIterator[list[Record]]: ...

    def close(self) -> None: ...


class JsonLines:
    """A record per line. `read(size)` returns the next bytes and may block; None for a pipe, which is polled."""

    def __init__(self, raw: BinaryIO, read: Callable[[int], bytes] | None) -> None:
        self.is_cut = False
        self._raw = raw
        self._blocking_read = read

    async def groups(self) -> AsyncIterator[list[Record]]:
        """The lines of each chunk."""
        splitter = LineSplitter()
        first = True
        try:
            while chunk := await self._read():
                text = chunk.removeprefix(codecs.BOM_UTF8) if first else chunk
                first = False
                yield [_line_record(line) for line in splitter.feed(text)]
            yield [_line_record(line) for line in splitter.end()]
        except (OSError, EOFError, zlib.error) as broken:
            self.is_cut = True
            yield [_cannot_read(splitter.lines + 1, broken)]

    async def _read(self) -> bytes:
        if self._blocking_read is not None:
            return await anyio.to_thread.run_sync(self._blocking_read, CHUNK_BYTES, abandon_on_cancel=True)
        await anyio.wait_readable(self._raw.fileno())
        return os.read(self._raw.fileno(), CHUNK_BYTES)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def _cannot_read(line: int, broken: Exception) -> Record:
    """A failing record for the unreadable rest of a damaged file, so that the run does not look complete."""
    return Record(line, b"", f"the input cannot be read further: {broken}", 0)


def _line_record(line: Line) -> Record:
    problem = f"longer than {MAX_LINE_BYTES >> 20} MiB" if line.too_long else None
    return Record(line.number, line.text, problem, len(line.text) + 1)


class CsvReader:
    """A record per CSV record. The header names the inputs; values are strings."""

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self.is_cut = False
        csv.field_size_limit(MAX_LINE_BYTES)
        self._raw = raw
        text = io.TextIOWrapper(io.BufferedReader(raw), "utf-8-sig", errors="surrogateescape", newline="")  # type: ignore[type-var,unused-ignore]  # FileIO is a RawIOBase
        self._text = text
        self._csv = csv.reader(text, strict=True)
        try:
            self._header = next((fields for fields in self._csv if fields), [])
        except csv.Error as wrong:
            raise UsageError(f"{name}:1: not a CSV header: {wrong}") from None
        self._check_header(name)

    def _check_header(self, name: str) -> None:
        names = self._header
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise UsageError(f"{name}:1: the CSV header names the column {twice!r} twice")
        if any(_is_damaged(column) for column in names):
            raise UsageError(f"{name}:1: the CSV header is not UTF-8")

    async def groups(self) -> AsyncIterator[list[Record]]:
        """A few hundred records at a time, read in a thread."""
        try:
            while group := await anyio.to_thread.run_sync(self._take, _CSV_GROUP, abandon_on_cancel=True):
                yield group
        except OSError as broken:
            self.is_cut = True
            yield [_cannot_read(self._csv.line_num + 1, broken)]

    def _take(self, count: int) -> list[Record]:
        """The next records, at least one unless the file has ended."""
        records: list[Record] = []
        while len(records) < count:
            line = self._csv.line_num + 1
            try:
                fields = next(self._csv, None)
            except csv.Error as wrong:
                records.append(Record(line, f"csv:{line}".encode(), f"not CSV: {wrong}", 1))
                continue
            if fields is None:
                break
            if fields:
                records.append(self._record(line, fields))
        return records

    def _record(self, line: int, fields: list[str]) -> Record:
        problem = None
        if len(fields) != len(self._header):
            problem = f"{len(fields)} fields where the header has {len(self._header)}"
        elif damaged := [name for name, v in zip(self._header, fields, strict=True) if _is_damaged(v)]:
            problem = f"column {damaged[0]!r} is not UTF-8"
        if problem:
            content = "\x1f".join(fields).encode("utf-8", "surrogateescape")
            return Record(line, content, problem, len(content))
        size_bytes = sum(map(len, fields)) + len(fields)
        return Record(line, dict(zip(self._header, fields, strict=True)), None, size_bytes)

    def close(self) -> None:
        """Close the file itself: the text layer may be locked by a thread that is still reading."""
        self._raw.close()


def _is_damaged(text: str) -> bool:
    """Whether the decoded text contains bytes that are not UTF-8."""
    return any("\udc80" <= c <= "\udcff" for c in text) if not text.isascii() else False
