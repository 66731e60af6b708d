"""`find_scores` and `open_scores`: the scores of a run, for `report`, `compare` and others."""

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from crewrun.errors import UsageError
from crewrun.expect.field_path import FieldPath, field_of_output
from crewrun.inspect.view import View
from crewrun.journal.done_index import Positions
from crewrun.journal.keys import row_key
from crewrun.references import is_reference
from crewrun.runs.folder import folder_of
from crewrun.runs.manifest import Manifest, read_manifest
from crewrun.score.figures import ScoreCollector, ScoreFigures
from crewrun.score.names import SUFFIX, base_of, name_in, stem_of
from crewrun.score.scored_rows import DIGEST, FIELD, digest_of
from crewrun.score.values import ONLY, numbers_in
from crewrun.tables.writing.columns import decoded


@dataclass(frozen=True, slots=True)
class RowScore:
    """The scores of one row by name, with true as 1. `digest` tells what was judged, of which `field` of the output."""

    scores: Mapping[str, float]
    digest: str
    field: FieldPath | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "RowScore":
        """From a line of scores."""
        own = record["input"]
        field = field_of_output(own[FIELD]) if isinstance(own.get(FIELD), str) else None
        return cls(numbers_in(record["output"]), str(own.get(DIGEST)), field)

    def is_of(self, result: Mapping[str, Any]) -> bool:
        """Whether the output and the input of `result` are those that were judged."""
        return result.get("status") == "ok" and self.digest == digest_of(result, self.field)


@dataclass(frozen=True, slots=True)
class ScoreSet:
    """The scores in one file. `label` is its `--name`, else the function's name or `judge`; `by` is what judged, None
    where the file has no run folder.
    """

    path: Path
    label: str
    by: str | None

    def figures(self) -> list[ScoreFigures]:
        """Mean, interval, distribution and worst rows of each score."""
        collector = ScoreCollector()
        for record in self._records():
            collector.add(record["id"], record["output"])
        return collector.figures()

    def rows(self) -> Iterator[tuple[str, RowScore]]:
        """The id of each row that has scores, with them."""
        return ((record["id"], RowScore.of(record)) for record in self._records())

    def column(self, name: str) -> str:
        """What a column with the score `name` is called: the label, or `LABEL.NAME` of several."""
        return self.column_of(self.label, name)

    @staticmethod
    def column_of(label: str, name: str) -> str:
        """As `column`, of the scores with this label."""
        return label if name == ONLY else f"{label}.{name}"

    def missed_rows(self) -> tuple[int, int]:
        """How many rows have a score that is false, such as an expectation that they missed; and how many there are."""
        missed = [any(value is False for value in record["output"].values()) for record in self._records()]
        return sum(missed), len(missed)

    def _records(self) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            yield from filter(None, map(_record, file))


class OpenScores:
    """The scores of a set by the rows that they judge: 24 bytes per row."""

    def __init__(self, scores: ScoreSet, file: BinaryIO) -> None:
        self.set = scores
        self._file = file
        self._keys, self._starts, self._sizes = array("q"), array("q"), array("q")
        start = 0
        for line in file:
            if (record := _record(line)) is not None:
                self._keys.append(row_key(record["id"]))
                self._starts.append(start)
                self._sizes.append(len(line))
            start += len(line)
        self._by_key = Positions(self._keys, len(self._keys))

    def of(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The scores of a result by their names, and possibly a `reason`; None without any, and when the output or the
        input is another one now than what was judged.
        """
        number = self._by_key.find(row_key(str(record.get("id"))))
        if number is None:
            return None
        line = _record(os.pread(self._file.fileno(), self._sizes[number], self._starts[number]))
        output: Mapping[str, Any] | None = line["output"] if line and RowScore.of(line).is_of(record) else None
        return output


@contextmanager
def open_scores(run: str, view: View | None) -> Iterator[Sequence[OpenScores]]:
    """The scores of `run`, as from `find_scores`, open for reading. Those that cannot be read are
    left out.
    """
    with ExitStack() as files:
        sets = []
        for scores in find_scores(run, view):
            with suppress(OSError):
                file = files.enter_context(scores.path.open("rb"))
                sets.append(OpenScores(scores, file))
        yield sets


def find_scores(run: str, view: View | None) -> list[ScoreSet]:
    """The scores of `run`, which is open as `view` if it has a run folder, by name.

    Scores of other results with a similar name are left out.
    """
    base = base_of(run, view)
    sets = []
    for path in sorted(base.parent.glob(f"{escape(stem_of(base))}*{SUFFIX}")):
        manifest = _manifest(path)
        if manifest is None and name_in(path, base) is not None:
            continue
        if manifest is not None and Path(manifest.inputs).name != base.name:
            continue
        label = name_in(path, base) or (_label(manifest) if manifest is not None else ONLY)
        sets.append(ScoreSet(path, label, manifest.crew if manifest is not None else None))
    return sets


def _record(line: bytes) -> dict[str, Any] | None:
    """A line of scores, None for any other line, and for that of a row without scores."""
    try:
        record = decoded(line)
    except ValueError:
        return None
    is_ours = isinstance(record, dict) and isinstance(record.get("id"), str) and isinstance(record.get("input"), dict)
    return record if is_ours and record.get("status") == "ok" and numbers_in(record.get("output")) else None


def _manifest(path: Path) -> Manifest | None:
    try:
        return read_manifest(folder_of(path).manifest)
    except UsageError:
        return None


def _label(manifest: Manifest) -> str:
    """The function's name, or `judge`."""
    return manifest.crew.rpartition(":")[2].rpartition(".")[2] if is_reference(manifest.crew) else "judge"
