"""`Verification`: a run's results, journal and input held against each other.

The results and the journal are compared here; rows of the input are given to `see` by who can read it.
"""

import json
import sqlite3
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from crewrun.inspect.view import View
from crewrun.journal.done_index import DoneIndex, is_among
from crewrun.journal.keys import line_digest, row_key, unpack_id
from crewrun.row import Row
from crewrun.runs.results import is_result, lines_of

_EXAMPLES: Final = 5

# What can differ, and how it is said of a number of them.
KINDS: Final = {
    "journal": "faults in the journal",
    "torn": "lines that are not whole",
    "edited": "lines that are not as they were written",
    "unknown": "lines that the journal does not know",
    "doubled": "lines that stand there twice",
    "outdated": "lines of which the journal has a later one",
    "missing": "rows that are done and have no line",
    "without_result": "rows of the input without a result",
    "not_in_input": "results whose rows are not in the input",
    "input": "inputs that cannot be read",
}


@dataclass(slots=True)
class Differences:
    """What was found: of each kind how many, and the first ones. `notes` say what could not be compared, and why."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, example: str) -> None:
        """Count one."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            examples.append(example)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        entries = [
            {"kind": kind, "count": self.counts[kind], "examples": self.examples[kind]}
            for kind in KINDS
            if kind in self.counts
        ]
        return {"ok": not entries, "differences": entries, "not_compared": self.notes}


class Verification:
    """One comparison: `read_results`, then `see` for every row of the input and `end`, or `end_without_input`."""

    def __init__(self, view: View, differences: Differences) -> None:
        self._view = view
        self._differences = differences
        self._done = DoneIndex.load(view.db, view.definition())
        self._edited = array("q")

    def read_results(self) -> None:
        """Hold each line of the results against the journal."""
        path = self._view.results
        if path is None:
            self._differences.notes.append("results: they went to a stream")
            return
        if not path.is_file():
            return  # every row that is done will be found missing
        ids: array[int] | None = None
        others = self._digests()
        for number, line in enumerate(lines_of(path), 1):
            if not line.endswith(b"\n"):
                self._differences.add("torn", f"line {number}")
                continue
            digest = line_digest(line)
            position = self._done.find_line(digest)
            if position is None:
                if is_among(others, digest):
                    self._differences.add("outdated", f"line {number}")
                    continue
                ids = self._ids() if ids is None else ids
                self._judge(number, line, ids)
            elif self._done.written[position]:
                self._differences.add("doubled", f"line {number}")
            else:
                self._done.written[position] = 1
        self._edited = array("q", sorted(self._edited))
        self._done.forget_search()

    def see(self, row: Row, *, wanted: bool) -> None:
        """A row of the input, and whether the run was asked for it."""
        position = self._done.find(row)
        if position is None:
            if wanted:
                self._differences.add("without_result", f"line {row.line}: {row.id}")
            return
        self._done.see(position, row.index)
        if wanted and not self._done.written[position] and not self._is_edited(row.id):
            self._lack(row.id)

    def end(self) -> None:
        """The input has no more rows."""
        if self._view.results is None:
            return
        for position in range(len(self._done)):
            if self._done.written[position] and not self._done.seen[position]:
                self._differences.add("not_in_input", self._view.row_id(self._done.seq(position)))

    def end_without_input(self) -> None:
        """The input cannot be read."""
        for position in surely_missing(self._view, self._done):
            row_id = self._view.row_id(self._done.seq(position))
            if not self._is_edited(row_id):
                self._lack(row_id)

    def _lack(self, row_id: str) -> None:
        if self._view.results is not None:
            self._differences.add("missing", row_id)

    def _judge(self, number: int, line: bytes, ids: "array[int]") -> None:
        """A line that the journal has no digest of."""
        try:
            record = json.loads(line)
            is_ours = is_result(record)
            row_id = str(record["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            self._differences.add("unknown", f"line {number}: is no result")
            return
        if is_ours and is_among(ids, row_key(row_id)):
            self._edited.append(row_key(row_id))
            self._differences.add("edited", f"line {number}: {row_id}")
        else:
            self._differences.add("unknown", f"line {number}: {row_id}")

    def _is_edited(self, row_id: str) -> bool:
        return is_among(self._edited, row_key(row_id))

    def _digests(self) -> "array[int]":
        """The digests of all lines that were ever written, sorted."""
        return array("q", (digest for (digest,) in self._view.db.execute("select digest from rows order by digest")))

    def _ids(self) -> "array[int]":
        """The keys of all rows that have ended, sorted."""
        rows = self._view.db.execute("select id from rows")
        return array("q", sorted(array("q", (row_key(unpack_id(packed)) for (packed,) in rows))))


def surely_missing(view: View, done: DoneIndex) -> Iterator[int]:
    """The rows without a line that should have one, as far as can be known without the input.

    A row that is done and was not in the results when a later session had read its whole input may have been taken out
    of it: only those of later sessions are surely missing.
    """
    (whole,) = view.db.execute(
        "select coalesce(max(id), 0) from sessions where ended_at is not null and stopped is null"
    ).fetchone()
    for position in range(len(done)):
        if not done.written[position]:
            (session,) = view.db.execute("select session from rows where seq = ?", (done.seq(position),)).fetchone()
            if session >= whole:
                yield position


def check_journal(view: View, differences: Differences) -> bool:
    """Whether the journal can be trusted. What SQLite finds wrong with it is added to `differences`."""
    try:
        fault = str(view.db.execute("pragma quick_check(1)").fetchone()[0])
    except (sqlite3.DatabaseError, UnicodeDecodeError) as damaged:
        fault = str(damaged)
    if fault != "ok":
        differences.add("journal", " ".join(fault.split()))
    return fault == "ok"
