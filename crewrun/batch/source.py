"""Rows out of a file or a pipe: JSONL, JSONL in gzip, CSV. Streamed; what is not a row becomes a row with a problem.

Reading happens ahead of the engine in `Source.fill`, bounded by bytes, off the event loop where it could block.
"""

import codecs
import csv
import gzip
import io
import json
import os
import stat
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import anyio
import anyio.to_thread

from crewrun.batch.identity import RowIds
from crewrun.batch.lines import MAX_LINE_BYTES, Line, LineSplitter
from crewrun.errors import UsageError
from crewrun.row import Row

STDIN = "-"
_CHUNK_BYTES = 128 * 1024
_CSV_GROUP = 256
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Record:
    """One line or CSV record before it is a row: content, or why there is none. `size_bytes` is what it occupied."""

    line: int
    content: bytes | dict[str, Any]
    problem: str | None
    size_bytes: int


class Reader(Protocol):
    """A format: groups of records in input order, and how much of the input has been read, 0 to 1."""

    def groups(self) -> AsyncIterator[list[Record]]: ...

    def close(self) -> None: ...


class Source:
    """The rows of one input. Run `fill` beside whoever calls `read`."""

    def __init__(self, reader: Reader, name: str, size_bytes: int | None, offset: int = 0, limit: int | None = None):
        self.name = name
        self._reader = reader
        self._size_bytes = size_bytes
        self._skip = offset
        self._last = None if limit is None else offset + limit
        self._ready: deque[Record] = deque()
        self._ready_bytes = self._taken_bytes = 0
        self._index = 0
        self._ended = False
        self._more = anyio.Event()
        self._hungry = anyio.Event()
        self._filling = anyio.CancelScope()
        self._ids = RowIds()

    @property
    def fraction(self) -> float | None:
        """The share of the input that has been handed out, None when its length is not known."""
        if self._last is not None and self._size_bytes is None:
            return min(1.0, max(0, self._index - self._skip) / max(1, self._last - self._skip))
        return min(1.0, self._taken_bytes / self._size_bytes) if self._size_bytes else None

    async def fill(self) -> None:
        """Read ahead until the input or `close` ends it."""
        with self._filling:
            async for group in self._reader.groups():
                self._ready.extend(group)
                self._ready_bytes += sum(record.size_bytes for record in group)
                self._wake()
                while self._ready_bytes > _CHUNK_BYTES:
                    self._hungry = anyio.Event()
                    await self._hungry.wait()
        self._ended = True
        self._wake()

    async def read(self) -> Row | None:
        """The next row, None when there is none. Any number of callers; each row goes to one of them."""
        while self._last is None or self._index < self._last:
            while not self._ready:
                if self._ended:
                    return None
                await self._more.wait()
            row = self._row(self._ready.popleft())
            if row is not None and row.index >= self._skip:
                return row
        self.close()
        return None

    def close(self) -> None:
        """Hand out nothing more; whoever waits in `read` gets None."""
        self._filling.cancel()
        self._ready.clear()
        self._ended = True
        self._wake()

    def release(self) -> None:
        """Close files. `fill` has ended."""
        self._reader.close()
        self._ids.close()

    def _wake(self) -> None:
        self._more.set()
        self._more = anyio.Event()

    def _row(self, record: Record) -> Row | None:
        """The row in `record`, None for a blank line."""
        self._taken_bytes += record.size_bytes
        self._ready_bytes -= record.size_bytes
        if self._ready_bytes <= _CHUNK_BYTES:
            self._hungry.set()
        content, problem = record.content, record.problem
        if isinstance(content, bytes):
            if not problem and not content.strip():
                return None
            parsed, problem = (None, problem) if problem else parse_object(content)
            content = content if parsed is None else parsed
        if problem:
            problem = f"line {record.line}: {problem}"
        index = self._index
        self._index += 1
        inputs = content if isinstance(content, dict) else None
        return Row(index, record.line, self._ids.name(content), inputs, problem)


def open_source(inputs: str, *, offset: int = 0, limit: int | None = None) -> Source:
    """The source for what the user named, `-` for standard input.

    Raises UsageError when the input cannot be read.
    """
    raw = _open(inputs)
    suffix = Path(inputs).suffix.lower()
    pollable = _is_stream(raw)
    size_bytes = None if pollable else os.fstat(raw.fileno()).st_size
    if inputs != STDIN and suffix == ".csv":
        return Source(CsvReader(raw, inputs), inputs, None, offset, limit)
    if inputs != STDIN and suffix == ".gz":
        if Path(inputs).with_suffix("").suffix.lower() == ".csv":
            raise UsageError(f"{inputs}: a .csv.gz is not read; unpack it, or give .csv or .jsonl.gz")
        return Source(JsonLines(gzip.GzipFile(fileobj=raw), raw, in_thread=True), inputs, None, offset, limit)
    return Source(JsonLines(raw, raw, in_thread=not pollable), inputs, size_bytes, offset, limit)


def _open(inputs: str) -> BinaryIO:
    try:
        if inputs == STDIN:
            return os.fdopen(os.dup(0), "rb", buffering=0)
        raw: BinaryIO = open(inputs, "rb", buffering=0)  # noqa: SIM115  (the source closes it)
        if stat.S_ISDIR(os.fstat(raw.fileno()).st_mode):  # pragma: no cover  (open refuses first on POSIX)
            raise IsADirectoryError(21, "Is a directory")
    except FileNotFoundError:
        raise UsageError(
            f"{inputs}: no such file; INPUTS is a .jsonl, .jsonl.gz or .csv file, or - for stdin"
        ) from None
    except IsADirectoryError:
        raise UsageError(f"{inputs}: is a directory; INPUTS is a .jsonl, .jsonl.gz or .csv file") from None
    except OSError as refused:
        raise UsageError(f"{inputs}: cannot be read: {refused.strerror}") from None
    _check_start(raw, inputs)
    return raw


def _check_start(raw: BinaryIO, inputs: str) -> None:
    """Refuse at once what no line of could be read. Only files that can be rewound are looked into."""
    if not raw.seekable():
        return
    start = raw.read(4)
    raw.seek(-len(start), os.SEEK_CUR)
    gz = Path(inputs).suffix.lower() == ".gz"
    if start[:2] == b"\x1f\x8b" and not gz:
        raise UsageError(f"{inputs}: is compressed with gzip; name it .jsonl.gz, or unpack it")
    if gz and start and start[:2] != b"\x1f\x8b":
        raise UsageError(f"{inputs}: is not gzip data, whatever its name says")
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise UsageError(f"{inputs}: is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 {inputs}")


def _is_stream(raw: BinaryIO) -> bool:
    """Whether `raw` is something to wait for (a pipe, a socket, a terminal) and not a file on disk."""
    mode = os.fstat(raw.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(raw.fileno())


class JsonLines:
    """One record a line. `data` gives the bytes; `raw` is the file below it."""

    def __init__(self, data: Any, raw: BinaryIO, *, in_thread: bool) -> None:
        self._data = data
        self._raw = raw
        self._in_thread = in_thread

    async def groups(self) -> AsyncIterator[list[Record]]:
        """The lines of each chunk that was read."""
        splitter = LineSplitter()
        first = True
        try:
            while chunk := await self._read():
                text = chunk.removeprefix(codecs.BOM_UTF8) if first else chunk
                first = False
                yield [_line_record(line) for line in splitter.feed(text)]
            yield [_line_record(line) for line in splitter.end()]
        except (OSError, EOFError, zlib.error) as broken:
            at = splitter.lines + 1
            yield [Record(at, b"", f"the input cannot be read further: {broken}", 0)]

    async def _read(self) -> bytes:
        if self._in_thread:
            read: Callable[[int], bytes] = self._data.read
            return await anyio.to_thread.run_sync(read, _CHUNK_BYTES, abandon_on_cancel=True)
        await anyio.wait_readable(self._raw.fileno())
        return os.read(self._raw.fileno(), _CHUNK_BYTES)

    def close(self) -> None:
        """Close the file."""
        self._data.close()
        self._raw.close()


def _line_record(line: Line) -> Record:
    problem = f"longer than {MAX_LINE_BYTES >> 20} MiB" if line.too_long else None
    return Record(line.number, line.text, problem, len(line.text) + 1)


class CsvReader:
    """One record a CSV record; the header row names the inputs, values are strings."""

    def __init__(self, raw: BinaryIO, name: str) -> None:
        csv.field_size_limit(MAX_LINE_BYTES)
        self._raw = raw
        text = io.TextIOWrapper(io.BufferedReader(raw), "utf-8-sig", errors="surrogateescape", newline="")  # type: ignore[type-var,unused-ignore]  # FileIO is a RawIOBase
        self._text = text
        self._csv = csv.reader(text, strict=True)
        try:
            self._header = next(self._csv, [])
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
        """Some hundred records at a time, read in a thread."""
        while group := await anyio.to_thread.run_sync(self._take, _CSV_GROUP, abandon_on_cancel=True):
            yield group

    def _take(self, count: int) -> list[Record]:
        """The next records, at least one unless the file has ended."""
        records: list[Record] = []
        while len(records) < count:
            try:
                fields = next(self._csv, None)
            except csv.Error as wrong:
                at = self._csv.line_num
                records.append(Record(at, f"csv:{at}".encode(), f"not CSV: {wrong}", 1))
                continue
            if fields is None:
                break
            if fields:
                records.append(self._record(fields))
        return records

    def _record(self, fields: list[str]) -> Record:
        problem = None
        if len(fields) != len(self._header):
            problem = f"{len(fields)} fields where the header has {len(self._header)}"
        elif damaged := [name for name, v in zip(self._header, fields, strict=True) if _is_damaged(v)]:
            problem = f"column {damaged[0]!r} is not UTF-8"
        if problem:
            content = "\x1f".join(fields).encode("utf-8", "surrogateescape")
            return Record(self._csv.line_num, content, problem, len(content))
        return Record(
            self._csv.line_num, dict(zip(self._header, fields, strict=True)), None, sum(map(len, fields)) + len(fields)
        )

    def close(self) -> None:
        """Close the file."""
        self._text.close()


def _is_damaged(text: str) -> bool:
    """Whether decoding left bytes that are not UTF-8."""
    return any("\udc80" <= c <= "\udcff" for c in text) if not text.isascii() else False


def parse_object(line: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """The JSON object in `line`, or None and what is wrong with it."""
    try:
        value = _decoder.decode(line.decode())
    except UnicodeDecodeError as wrong:
        return None, f"byte {wrong.start + 1}: not UTF-8"
    except json.JSONDecodeError as wrong:
        return None, f"column {wrong.colno}: not JSON: {wrong.msg}"
    except RecursionError:
        return None, f"nested deeper than {_MAX_DEPTH} levels"
    except ValueError as wrong:
        return None, str(wrong)
    if not isinstance(value, dict):
        return None, f"{_kind(value)}, where a JSON object is needed"
    if _is_deep(value):
        return None, f"nested deeper than {_MAX_DEPTH} levels"
    return value, None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return value


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a number of {len(text)} digits is too long") from None


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float, parse_int=_int)


def _kind(value: object) -> str:
    names = {list: "a JSON array", str: "a JSON string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
