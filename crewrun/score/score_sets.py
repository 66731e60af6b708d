"""`find_scores`: the scores beside a run's results, for `report`, `compare` and others that show them."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from crewrun.errors import UsageError
from crewrun.expect.field_path import FieldPath, field_of_output
from crewrun.inspect.view import View
from crewrun.runs.folder import folder_of
from crewrun.runs.manifest import Manifest, read_manifest
from crewrun.runs.results import lines_of
from crewrun.score.figures import ScoreFigures, summarise
from crewrun.score.names import SUFFIX, base_of, name_in, stem_of
from crewrun.score.scored_rows import DIGEST, FIELD, digest_of
from crewrun.score.values import ONLY, REASON, numbers_in
from crewrun.tables.writing.columns import decoded


@dataclass(frozen=True, slots=True)
class RowScore:
    """The scores of one row by name, with true as 1, and the reason if there is one. `digest` is what was judged."""

    scores: Mapping[str, float]
    reason: str | None
    digest: str
    field: FieldPath | None

    def is_of(self, record: Mapping[str, Any]) -> bool:
        """Whether `record`, the row's result now, is what was judged."""
        return self.digest == digest_of(record, self.field)


@dataclass(frozen=True, slots=True)
class ScoreSet:
    """The scores in one file. `label` is its `--name`, else the function's name or `judge`; `by` is what judged, None
    where the file has no run folder.
    """

    path: Path
    label: str
    by: str | None

    def rows(self) -> Iterator[tuple[str, RowScore]]:
        """The id of each row that has scores, with them."""
        for record in self._records():
            scores = numbers_in(record.get("output"))
            own = record.get("input")
            if not scores or not isinstance(own, Mapping):
                continue
            reason, field = record["output"].get(REASON), own.get(FIELD)
            path = field_of_output(field) if isinstance(field, str) else None
            yield str(record.get("id")), RowScore(scores, reason, str(own.get(DIGEST)), path)

    def figures(self) -> list[ScoreFigures]:
        """Mean, interval, distribution and worst rows of each score."""
        return summarise(self._records())

    def column(self, name: str) -> str:
        """What a column with the score `name` is called: the label, or `LABEL.NAME` of several."""
        return self.label if name == ONLY else f"{self.label}.{name}"

    def _records(self) -> Iterator[dict[str, Any]]:
        for line in lines_of(self.path):
            with suppress(ValueError):
                record = decoded(line)
                if record.get("status") == "ok":
                    yield record


def find_scores(run: str, view: View | None) -> list[ScoreSet]:
    """The scores beside the results of `run`, which is open as `view` if it has a run folder, by name.

    Scores of other results with a similar name are left out.
    """
    base = base_of(run, view)
    pattern = f"{escape(stem_of(base))}*{SUFFIX}"
    sets = []
    for path in sorted(base.parent.glob(pattern)):
        manifest = _manifest(path)
        if manifest is None and name_in(path, base) is not None:
            continue
        if manifest is not None and Path(manifest.inputs).name != base.name:
            continue
        label = name_in(path, base) or (_label(manifest) if manifest is not None else ONLY)
        sets.append(ScoreSet(path, label, manifest.crew if manifest is not None else None))
    return sets


def _manifest(path: Path) -> Manifest | None:
    try:
        return read_manifest(folder_of(path).manifest)
    except UsageError:
        return None


def _label(manifest: Manifest) -> str:
    """The function's name, or `judge`."""
    from crewrun.references import is_reference

    return manifest.crew.rpartition(":")[2].rpartition(".")[2] if is_reference(manifest.crew) else "judge"
