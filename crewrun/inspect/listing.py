"""The rows of a run as a list: those of the input in its order, each with how it ended, whether it has or not.

`show` has one row with all its calls.
"""

import json
import os
import random
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from crewrun.errors import Category
from crewrun.inspect.view import View
from crewrun.journal.done_index import DoneIndex
from crewrun.journal.keys import line_digest
from crewrun.journal.schema import category_of
from crewrun.row import Row
from crewrun.tables.writing.columns import decoded

# `unfinished`: the run has it to do, and its present definition has no outcome of it.
RowStatus = Literal["ok", "failed", "unfinished"]
# What JSON and regular expressions take as it is. K and S are left out: ignoring case, \u212a and \u017f equal them.
_PLAIN = re.compile(r"[A-JL-RT-Za-jl-rt-z0-9 _-]+")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows to list: by status, category of failure, a pattern in input, output or error, and an expectation that
    they `missed`; then at most `limit` of them (None: all), or `sample` of them drawn at random by `seed`.
    """

    status: RowStatus | None = None
    category: Category | None = None
    pattern: re.Pattern[str] | None = None
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    missed: str | None = None

    @property
    def plain(self) -> re.Pattern[bytes] | None:
        """The pattern for undecoded lines of results, if it is a text without signs of expressions or escapes: a line
        in which it does not occur need not be decoded.
        """
        if self.pattern is None or not _PLAIN.fullmatch(self.pattern.pattern):
            return None
        return re.compile(self.pattern.pattern.encode(), re.IGNORECASE)

    @property
    def reads_all(self) -> bool:
        """Whether probably most results have to be read."""
        is_by_content = self.pattern is not None or self.missed is not None
        return is_by_content or (self.limit is None and self.sample is None)


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A row of the list. `line` counts lines of the input from 1, `index` rows from 0; None where the input cannot be
    read or does not have the row any more. `record` is its result, None for an unfinished row.
    """

    line: int | None
    index: int | None
    id: str
    status: RowStatus
    input: dict[str, Any] | None
    record: dict[str, Any] | None

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it failed."""
        return self.record["error"] if self.record else None

    def value(self, name: str) -> Any:
        """A value of its result, None without one."""
        return self.record.get(name) if self.record else None

    def missed(self, expectation: str) -> str | None:
        """Why it missed an expectation, None if it met it or was not checked."""
        reason = (self.value("expectations") or {}).get(expectation)
        return reason if isinstance(reason, str) else None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        error, expectations = self.error, self.value("expectations")
        return {
            "line": self.line,
            "index": self.index,
            "id": self.id,
            "status": self.status,
            "category": error["category"] if error else None,
            "input": self.input,
            "output": self.value("output"),
            "error": error["message"] if error else None,
            "cost_usd": self.value("cost_usd"),
            "duration_s": self.value("duration_s"),
            "started_at": self.value("started_at"),
            **({"expectations": expectations} if expectations else {}),
        }


class _Results:
    """Where each done row's line is in the results: 17 bytes per row. `may_match` marks those that have `plain`."""

    def __init__(self, file: BinaryIO, done: DoneIndex, plain: re.Pattern[bytes] | None) -> None:
        self._fd = file.fileno()
        self._starts, self._sizes = (array("q", bytes(8 * len(done))) for _ in range(2))
        self.may_match = bytearray(b"\1" * len(done))
        start = 0
        for line in file:
            position = done.find_line(line_digest(line)) if line.endswith(b"\n") else None
            if position is not None:
                self._starts[position], self._sizes[position] = start, len(line)
                done.written[position] = 1
                self.may_match[position] = plain is None or plain.search(line) is not None
            start += len(line)
        done.forget_search()

    def record(self, position: int) -> dict[str, Any] | None:
        """A row's result, None when the results do not have its line."""
        if not self._sizes[position]:
            return None
        record: dict[str, Any] = decoded(os.pread(self._fd, self._sizes[position], self._starts[position]))
        return record


class Listing:
    """Passes the selected rows to `show`, in the input's order: `see` takes each row of the input, then `end` the rest.

    `file` is the results file, None without one: what is not there is decoded from the journal, which takes longer.
    Memory is about 70 bytes per row that is done.
    """

    def __init__(
        self, view: View, selection: Selection, file: BinaryIO | None, show: Callable[[ListedRow], None]
    ) -> None:
        self._view = view
        self._selection = selection
        self._show = show
        self._done = DoneIndex.load(view.db, view.definition())
        self._results = (
            _Results(file, self._done, selection.plain) if file is not None and selection.reads_all else None
        )
        self._file = file
        self._random = random.Random(selection.seed)  # noqa: S311  (no secret)
        self._sample: list[tuple[int, ListedRow]] = []
        self.matching = self.shown = 0

    def expected(self) -> int | None:
        """How many rows the selection probably has; None when that is not known without reading all."""
        selection, done = self._selection, self._done
        if selection.pattern is not None or selection.missed is not None or selection.status == "unfinished":
            return None
        return sum(1 for position in range(len(done)) if self._is_selected(position))

    def see(self, row: Row, *, wanted: bool) -> bool:
        """Take a row of the input; `wanted` says whether the run has it to do. True when the list is full."""
        position = self._done.find(row)
        if position is not None:
            self._done.see(position, row.index)
        if (position is None and not wanted) or not self._is_selected(position):
            return False
        self._take(row, position)
        return self._selection.limit is not None and self.shown >= self._selection.limit

    def end(self) -> None:
        """Take the results whose rows the input does not have, or which cannot be read; then show the sample."""
        if self._selection.limit is None or self.shown < self._selection.limit:
            for position in self._unseen():
                if self._is_selected(position):
                    self._take(None, position)
                    if self._selection.limit is not None and self.shown >= self._selection.limit:
                        break
        for _, listed in sorted(self._sample, key=lambda one: one[0]):
            self._emit(listed)
        self._sample.clear()

    def _unseen(self) -> Iterator[int]:
        """The rows in the results that no row of the input is, in the order in which they were done."""
        if self._file is None or all(self._done.seen):
            return
        if self._results is None:
            self._file.seek(0)
            self._results = _Results(self._file, self._done, None)
        yield from (at for at, seen in enumerate(self._done.seen) if not seen and self._done.written[at])

    def _is_selected(self, position: int | None) -> bool:
        """Whether a row is selected by how it ended; None is a row that has not."""
        status, category = self._selection.status, self._selection.category
        if position is None:
            return status in (None, "unfinished") and category is None
        ended = category_of(self._done.ended(position))
        if category is not None:
            return ended is category
        return status is None or status == ("ok" if ended is None else "failed")

    def _take(self, row: Row | None, position: int | None) -> None:
        """Count a selected row if its texts match, and show it or draw it for the sample."""
        if not self._matches(row, position):
            return
        self.matching += 1
        if self._selection.sample is None:
            self._emit(self._listed(row, position))
        elif len(self._sample) < self._selection.sample:
            self._sample.append((self.matching, self._listed(row, position)))
        elif (place := self._random.randrange(self.matching)) < self._selection.sample:  # Vitter's algorithm R
            self._sample[place] = (self.matching, self._listed(row, position))

    def _matches(self, row: Row | None, position: int | None) -> bool:
        pattern, missed = self._selection.pattern, self._selection.missed
        if missed is not None and self._listed(row, position).missed(missed) is None:
            return False
        if pattern is None:
            return True
        if position is not None and self._results is not None and not self._results.may_match[position]:
            return False
        return pattern.search("\n".join(_texts(self._listed(row, position)))) is not None

    def _emit(self, listed: ListedRow) -> None:
        self.shown += 1
        self._show(listed)

    def _listed(self, row: Row | None, position: int | None) -> ListedRow:
        if position is None:
            if row is None:
                raise ValueError("a row that is not done is a row of the input")
            return ListedRow(row.line, row.index, row.id, "unfinished", row.own, None)
        record = self._results.record(position) if self._results else None
        if record is None:
            seq = self._done.seq(position)
            record = self._view.outcome(seq, row or Row(-1, -1, self._view.row_id(seq), None)).to_json()
        if row is None:
            return ListedRow(None, None, record["id"], record["status"], record["input"], record)
        return ListedRow(row.line, row.index, row.id, record["status"], row.own, record)


def _texts(listed: ListedRow) -> Iterator[str]:
    """The texts that a pattern is looked for in."""
    yield from _leaves(listed.input)
    yield from _leaves(listed.value("output"))
    if listed.error:
        yield f"{listed.error['category']}: {listed.error['message']}"


def _leaves(value: Any) -> Iterator[str]:
    """The texts and numbers in a value of any depth."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += reversed(one.values())
        elif isinstance(one, list):
            left += reversed(one)
        elif one is not None:
            yield one if isinstance(one, str) else json.dumps(one)
