"""`Verification`: compares a run's results with its journal and its input.

The caller reads the input and passes its rows to `see`.
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

# What can differ, worded for a number of cases.
KINDS: Final = {
    "journal": "faults in the journal",
    "torn": "lines that are incomplete",
    "edited": "lines that were edited",
    "unknown": "lines that the journal does not know",
    "doubled": "lines that are duplicated",
    "outdated": "lines that are older than the journal's",
    "missing": "rows that are done but have no line",
    "without_result": "rows of the input without a result",
    "not_in_input": "results whose rows are not in the input",
    "input": "inputs that cannot be read",
}


@dataclass(slots=True)
class Differences:
    """Differences by kind: how many, and the first examples. `notes` say what could not be compared, and why."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, example: str) -> None:
        """Count one difference."""
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
    """One comparison: `read_results`, then `see` for every row of the input and `end`; or `end_without_input`."""

    def __init__(self, view: View, differences: Differences) -> None:
        self._view = view
        self._differences = differences
        self._done = DoneIndex.load(view.db, view.definition())
        self._edited = array("q")

    def read_results(self) -> None:
        """Compare each line of the results with the journal."""
        path = self._view.results
        if path is None:
            self._differences.notes.append("results: they went to a stream")
            return
        if not path.is_file():
            return  # every row that is done will count as missing
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
        """Take a row of the input into account; `wanted` says whether it belongs to the run."""
        position = self._done.find(row)
        if position is None:
            if wanted:
                self._differences.add("without_result", f"line {row.line}: {row.id}")
            return
        self._done.see(position, row.index)
        if wanted and not self._done.written[position] and not self._is_edited(row.id):
            self._lack(row.id)

    def end(self) -> None:
        """Note the results whose rows were not in the input, after its last row."""
        if self._view.results is None:
            return
        for position in range(len(self._done)):
            if self._done.written[position] and not self._done.seen[position]:
                self._differences.add("not_in_input", self._view.row_id(self._done.seq(position)))

    def end_without_input(self) -> None:
        """Note missing rows without the input, which cannot be read."""
        for position in surely_missing(self._view, self._done):
            row_id = self._view.row_id(self._done.seq(position))
            if not self._is_edited(row_id):
                self._lack(row_id)

    def _lack(self, row_id: str) -> None:
        if self._view.results is not None:
            self._differences.add("missing", row_id)

    def _judge(self, number: int, line: bytes, ids: "array[int]") -> None:
        """Tell whether a line that the journal has no digest of was edited or is unknown."""
        try:
            record = json.loads(line)
            is_ours = is_result(record)
            row_id = str(record["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            self._differences.add("unknown", f"line {number}: is not a result")
            return
        if is_ours and is_among(ids, row_key(row_id)):
            self._edited.append(row_key(row_id))
            self._differences.add("edited", f"line {number}: {row_id}")
        else:
            self._differences.add("unknown", f"line {number}: {row_id}")

    def _is_edited(self, row_id: str) -> bool:
        return is_among(self._edited, row_key(row_id))

    def _digests(self) -> "array[int]":
        """The digests of the lines of all entries, sorted."""
        return array("q", (digest for (digest,) in self._view.db.execute("select digest from rows order by digest")))

    def _ids(self) -> "array[int]":
        """The keys of all rows that have ended, sorted."""
        rows = self._view.db.execute("select id from rows")
        return array("q", sorted(array("q", (row_key(unpack_id(packed)) for (packed,) in rows))))


def surely_missing(view: View, done: DoneIndex) -> Iterator[int]:
    """The rows without a line that should certainly have one, judged without the input.

    A session that reads its whole input drops the lines of rows that are no longer in it. So a row that is done and has
    no line may have been taken out of the input, unless its session is at least as late as the last such session.
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
    """Whether SQLite finds the journal sound. What is wrong with it is added to `differences`."""
    try:
        fault = str(view.db.execute("pragma quick_check(1)").fetchone()[0])
    except (sqlite3.DatabaseError, UnicodeDecodeError) as damaged:
        fault = str(damaged)
    if fault != "ok":
        differences.add("journal", " ".join(fault.split()))
    return fault == "ok"
