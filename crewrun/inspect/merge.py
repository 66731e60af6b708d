"""`MergedResults`: the best line of each row in several results files, and how these lines compare with the input.

A success is better than a failure, a later result better than an earlier one; the order of the files does not matter.
The positions of the lines are in a temporary SQLite file, so rows cost disk, not memory. The caller reads the input and
hands its rows to `see`.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from crewrun.errors import OutputFailed
from crewrun.inspect.verify import Differences
from crewrun.journal.keys import line_digest, row_key
from crewrun.row import Row, as_json, content_id
from crewrun.runs.manifest import write_pieces
from crewrun.runs.results import is_result
from crewrun.tables.writing.columns import Columns, decoded
from crewrun.tables.writing.output_format import OutputFormat
from crewrun.tables.writing.writers import TableOptions, table_pieces

# What can be wrong with merged results, worded for a number of rows.
KINDS: Final = {
    "failed": "rows that failed",
    "without_result": "rows of the input without a result",
    "changed": "results of rows whose input has changed",
    "differing": "rows that two runs have with different inputs",
    "not_in_input": "results whose rows are not in the input",
}
_EXAMPLES: Final = 5  # as many ids as fit on a line of the terminal
_MAX_PLACE: Final = 1 << 40  # larger than any row index
# 32 MiB of SQLite's pages: keys are digests, so lines arrive at random pages. More memory, fewer reads from the disk.
_CACHE_KIB: Final = 32_768


class ResultSummary(NamedTuple):
    """What merging needs of a result line. `content` is a digest of the inputs, `place` the row's index when it ran,
    `started_ms` a Unix time in milliseconds.
    """

    id: str
    content: int
    is_ok: bool
    started_ms: int
    place: int


def read_line(line: bytes) -> ResultSummary | None:
    """The summary of a line, None when it is not a result."""
    try:
        record = decoded(line)
        row_id, status, inputs, place = record["id"], record["status"], record["input"], record["index"]
        is_ours = is_result(record) and status in ("ok", "failed")
        if not is_ours or not isinstance(row_id, str) or not 0 <= place < _MAX_PLACE:
            return None
        started_ms = int(datetime.fromisoformat(record["started_at"]).timestamp() * 1000)
        return ResultSummary(row_id, _number(inputs), status == "ok", started_ms, int(place))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


class MergedResults:
    """The best line of each row. `files` are the results files; `add` refers to one by its index in them."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        self._files = files
        self.differences = Differences()
        # An empty name is a temporary database on disk, gone when closed: https://sqlite.org/inmemorydb.html
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            f"pragma cache_size = -{_CACHE_KIB}; pragma synchronous = off; pragma journal_mode = off;"
            "create table best (key integer primary key, ok integer, started_ms integer, digest integer, run integer,"
            " content integer, shared integer, differs integer, start integer, size_bytes integer, place integer,"
            " seen integer); begin;"
        )

    def add(self, run: int, start: int, line: bytes) -> bool:
        """Take a line that begins at `start` in the file with index `run`. False when it is not a result.

        Raises OutputFailed.
        """
        summary = read_line(line)
        if summary is None:
            return False
        key, rank = row_key(summary.id), (summary.is_ok, summary.started_ms, line_digest(line))
        stands = (start, len(line), summary.place)
        if self._execute(_ADD, (key, *rank, run, summary.content, False, False, *stands)).rowcount:
            return True
        *stored, before_run, content, shared, differs = self._execute(_GET, (key,)).fetchone()
        flags = (shared or run != before_run, differs or summary.content != content)
        if rank > tuple(stored):
            self._execute(_REPLACE, (key, *rank, run, summary.content, *flags, *stands))
        else:
            self._execute("update best set shared = ?, differs = ? where key = ?", (*flags, key))
        return True

    def see(self, row: Row) -> None:
        """Compare a row of the input with its line. Raises OutputFailed."""
        stored = self._execute(_SEE, (row.index, row_key(row.id))).fetchone()
        if stored is None:
            self.differences.add("without_result", f"line {row.line}: {row.id}")
        elif row.content and stored[0] != _number(json.loads(as_json(row.own))):
            self.differences.add("changed", f"line {row.line}: {row.id}")

    def end(self, *, checked: bool) -> Differences:
        """The differences, after every line was added. `checked` says that every row of the input was seen too."""
        for kind, condition in (("failed", "not ok"), ("differing", "differs"), ("not_in_input", "not seen")):
            if kind == "not_in_input" and not checked:
                continue
            (count,) = self._db.execute(f"select count(*) from best where {condition}").fetchone()  # noqa: S608  (conditions are ours)
            if count:
                first = self._lines(f"where {condition} order by place, key limit {_EXAMPLES}")
                self.differences.counts[kind] = count
                self.differences.examples[kind] = [summary.id for line in first if (summary := read_line(line))]
        return self.differences

    def count(self) -> tuple[int, int, int]:
        """How many rows there are, how many of them succeeded, and how many are in several runs."""
        columns = "count(*), coalesce(sum(ok), 0), coalesce(sum(shared), 0)"
        rows, ok, shared = self._db.execute(f"select {columns} from best").fetchone()  # noqa: S608  (columns are ours)
        return rows, ok, shared

    def write(self, path: Path, form: OutputFormat, *, ordered: bool) -> list[str]:
        """Write the lines to `path` in this format, all or nothing. Raises OutputFailed.

        Returns what could not be written as it is.
        """
        order = "order by seen desc, place, key" if ordered else "order by run, start"
        columns = None if form.name == "jsonl" else Columns(typed=form.name == "parquet")
        if columns is not None:
            for line in self._lines("order by run, start"):
                columns.see(line)
        options = TableOptions(folder=str(path.parent))
        write_pieces(path, table_pieces(self._lines(order), columns, form, options))
        return options.notes

    def close(self) -> None:
        """Close the temporary file, which removes it."""
        self._db.close()

    def _lines(self, which: str) -> Iterator[bytes]:
        for run, start, size_bytes in self._execute(f"select run, start, size_bytes from best {which}"):  # noqa: S608  (ours)
            self._files[run].seek(start)
            yield self._files[run].read(size_bytes)

    def _execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.OperationalError as full:
            raise OutputFailed(f"the temporary file of rows cannot be written: {full}") from full


_VALUES: Final = "into best values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
_ADD: Final = f"insert or ignore {_VALUES}"
_REPLACE: Final = f"insert or replace {_VALUES}"
_GET: Final = "select ok, started_ms, digest, run, content, shared, differs from best where key = ?"
_SEE: Final = "update best set seen = 1, place = ? where key = ? returning content"


def _number(inputs: object) -> int:
    """A digest of a row's inputs: 64 bits, signed."""
    content = inputs if isinstance(inputs, dict) else as_json(inputs)
    return int(content_id(content), 16) - (1 << 63)
