"""`compare_runs`: two runs that are open, compared; or why they cannot be."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from crewrun.batch.run_input import settings_of
from crewrun.batch.run_results import RunResults
from crewrun.compare.comparison import Comparison, Sampling, compare
from crewrun.compare.row_changes import RowCounts
from crewrun.compare.scores import compare_scores
from crewrun.errors import UsageError
from crewrun.inspect.view import nearby

SCHEMA: Final = "crewrun.compare/1"

_MOST_NAMES: Final = 8


@dataclass(frozen=True, slots=True)
class Side:
    """A run: its name, how many results it has, their models, and whether a process is still working on it."""

    run: str
    rows: int
    models: Sequence[str]
    snapshot: bool

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it."""
        return {"run": self.run, "rows": self.rows, "models": list(self.models), "snapshot": self.snapshot}


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """The comparison of `a` with `b`. `notes` say what is incomplete in them, a sentence each."""

    a: Side
    b: Side
    comparison: Comparison
    notes: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` prints it, without conditions."""
        sides = {"a": self.a.to_json(), "b": self.b.to_json()}
        return {"schema": SCHEMA, **sides, **self.comparison.to_json(), "notes": list(self.notes)}


def compare_runs(a: RunResults, b: RunResults, sampling: Sampling) -> ComparedRuns:
    """Compare two runs. Raises UsageError when they are the same one or have no row in common."""
    _refuse_same(a, b)
    comparison = compare(a.lines, b.lines, sampling)
    _refuse_unjoined(comparison.rows, a, b)
    notes = [f"{nearby(run.name)}: is still running; these are its results so far" for run in (a, b) if run.is_going]
    notes += [note for run in (a, b) for note in run.notes]
    scores = compare_scores(a, b, sampling.seed)
    comparison = replace(comparison, metrics=[*comparison.metrics, *scores.metrics])
    notes += scores.notes
    return ComparedRuns(_side(a, comparison.models_a), _side(b, comparison.models_b), comparison, notes)


def _side(results: RunResults, models: Iterable[str]) -> Side:
    return Side(nearby(results.name), len(results.lines), sorted(models), results.is_going)


def _refuse_same(a: RunResults, b: RunResults) -> None:
    """A comparison of a run with itself would pass every condition."""
    places = [results.view.folder.path if results.view else results.name for results in (a, b)]
    if os.path.samefile(*places):
        raise UsageError(
            f"{nearby(a.name)} and {nearby(b.name)} are the same run; name two: a run with --fresh leaves the one "
            "before it as NAME.1.jsonl, and -o puts one elsewhere"
        )


def _refuse_unjoined(rows: RowCounts, a: RunResults, b: RunResults) -> None:
    for results in (a, b):
        if not len(results.lines):
            raise UsageError(f"{nearby(results.name)}: has no results that could be compared")
    if not rows.joined:
        raise UsageError(
            f"{nearby(a.name)} and {nearby(b.name)} have no row in common; rows are the same if their ids are. "
            f"In {nearby(a.name)} {_ids(a)}; in {nearby(b.name)} {_ids(b)}. Give both runs the same --id-field"
        )


def _ids(results: RunResults) -> str:
    """What the ids of a run are made of."""
    record = next(results.records())
    such_as = f", such as {record['id']!r}"
    if results.view is None:
        return f"ids are of an unknown field, since there is no run folder{such_as}"
    field = settings_of(results.view.manifest).id_field
    if field is not None:
        return f"they are the field {field!r} (--id-field){such_as}"
    inputs = record.get("input")
    names = ", ".join(list(inputs)[:_MOST_NAMES]) if isinstance(inputs, dict) else "the whole line"
    return f"they are made of all inputs ({names}){such_as}"
