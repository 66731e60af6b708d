"""The results of a run for other programs: those lines that the journal knows, as JSONL or CSV.

Where they are not in a results file any more they come from a spool, made again from the journal and the input.
"""

import csv
import io
import json
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal

from crewrun.row import Row
from crewrun.runs import journal
from crewrun.runs.done import DoneRows
from crewrun.runs.view import View

Format = Literal["jsonl", "csv"]
Status = Literal["ok", "failed"]

# What every row has, and between these two halves a column for each of its inputs.
_FIRST: Final = ("id", "index", "status")
_LAST: Final = (
    *("output", "error.category", "error.message", "cost_usd", "prompt_tokens", "completion_tokens", "duration_s"),
    "models",
)
# In a text of JSON the quotes would have backslashes: only the line's own key is written so.
_INDEX = re.compile(rb',"index":(\d+),')
_GROUP_BYTES = 1 << 18


@dataclass(slots=True)
class LeftOut:
    """Lines of the results that are not exported, by what is wrong with them."""

    torn: int = 0
    strange: int = 0
    doubled: int = 0

    def __str__(self) -> str:
        parts = (
            f"{self.torn} not whole" if self.torn else "",
            f"{self.strange} not as the journal has them" if self.strange else "",
            f"{self.doubled} standing there twice" if self.doubled else "",
        )
        return ", ".join(part for part in parts if part)


class Lines:
    """Result lines in a file, by where they begin and end: an array each, so a million rows take a few megabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts, self._ends, self._places = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, line: bytes) -> None:
        """A line that begins at `start`."""
        self._starts.append(start)
        self._ends.append(start + len(line))
        found = _INDEX.search(line)
        self._places.append(int(found[1]) if found else 0)

    def sort(self) -> None:
        """Put them in the input's order."""
        order = array("q", sorted(range(len(self)), key=self._places.__getitem__))
        self._starts = array("q", (self._starts[i] for i in order))
        self._ends = array("q", (self._ends[i] for i in order))

    def __iter__(self) -> Iterator[bytes]:
        position = -1
        for start, end in zip(self._starts, self._ends, strict=True):
            if start != position:
                self._file.seek(start)
            position = end
            yield self._file.read(end - start)


def known_lines(view: View, file: BinaryIO, status: Status | None, left_out: LeftOut) -> Lines:
    """The lines of a results file that are its rows' last ones; what else stands in it is counted in `left_out`."""
    # A run commits its rows before it writes them: all lines that were there before the journal is read are known.
    size_bytes = os.fstat(file.fileno()).st_size
    done = DoneRows.load(view.db, view.definition())
    lines = Lines(file)
    start = 0
    while start < size_bytes and (line := file.readline(size_bytes - start)):
        position = done.find_line(journal.line_digest(line))
        if not line.endswith(b"\n"):
            left_out.torn += 1
        elif position is None:
            left_out.strange += 1
        elif done.written[position]:
            left_out.doubled += 1
        else:
            done.written[position] = 1
            if status is None or done.is_ok(position) == (status == "ok"):
                lines.add(start, line)
        start += len(line)
    return lines


class Spool:
    """Result lines made again: a temporary file of those rows of the input that are done."""

    def __init__(self, view: View, file: BinaryIO, status: Status | None) -> None:
        self._view = view
        self._file = file
        self._status = status
        self._done = DoneRows.load(view.db, view.definition())
        self._position = 0
        self.lines = Lines(file)

    def add(self, row: Row) -> None:
        """A row of the input."""
        position = self._done.find(row)
        if position is None or not (self._status is None or self._done.is_ok(position) == (self._status == "ok")):
            return
        line = self._view.outcome(self._done.seq(position), row).to_line()
        self._file.write(line)
        self.lines.add(self._position, line)
        self._position += len(line)


def written(lines: Lines, form: Format) -> Iterator[bytes]:
    """The export, in pieces of some hundred kilobytes."""
    pieces: list[bytes] = []
    size_bytes = 0
    for piece in _as_csv(lines) if form == "csv" else lines:
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes >= _GROUP_BYTES:
            yield b"".join(pieces)
            pieces, size_bytes = [], 0
    if pieces:
        yield b"".join(pieces)


def _as_csv(lines: Lines) -> Iterator[bytes]:
    """A header, and a record for each line, as RFC 4180 has them."""
    names: dict[str, None] = {}
    for line in lines:
        names.update(dict.fromkeys(json.loads(line)["input"] or ()))
    yield _record([*_FIRST, *(f"input.{name}" for name in names), *_LAST])
    for line in lines:
        yield _record(_cells(json.loads(line), list(names)))


def _cells(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    inputs, error, usage = row["input"] or {}, row["error"] or {}, row["usage"]
    given = [_cell(inputs[name]) if name in inputs else "" for name in names]
    output = "" if row["output"] is None else _cell(row["output"])
    return [
        *(str(row[name]) for name in _FIRST),
        *given,
        *(output, error.get("category", ""), error.get("message", "")),
        *("" if row["cost_usd"] is None else _cell(row["cost_usd"]), str(usage["prompt_tokens"])),
        *(str(usage["completion_tokens"]), _cell(row["duration_s"]), ", ".join(row["models"])),
    ]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _record(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    # JSON may have lone surrogates, UTF-8 has none.
    return text.getvalue().encode("utf-8", "backslashreplace")
