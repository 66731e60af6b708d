"""The two runs of a comparison: what they are called, and whether they can be compared at all."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crewrun.batch.run_input import settings_of
from crewrun.batch.run_results import RunResults
from crewrun.compare.row_changes import RowCounts
from crewrun.errors import UsageError
from crewrun.inspect.view import nearby

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


def side_of(results: RunResults, models: Iterable[str]) -> Side:
    """One side of a comparison; `models` are those of the rows that were joined."""
    return Side(nearby(results.name), len(results.lines), sorted(models), results.is_going)


def refuse_same(a: RunResults, b: RunResults) -> None:
    """Raise UsageError when both are the same run: a comparison in CI would never fail."""
    places = [results.view.folder.path if results.view else results.name for results in (a, b)]
    if os.path.samefile(*places):
        raise UsageError(
            f"{nearby(a.name)} and {nearby(b.name)} are the same run; name two: a run with --fresh leaves the one "
            "before it as NAME.1.jsonl, and -o puts one elsewhere"
        )


def refuse_unjoined(rows: RowCounts, a: RunResults, b: RunResults) -> None:
    """Raise UsageError when no row is in both runs, with what their ids are made of."""
    for results in (a, b):
        if not len(results.lines):
            raise UsageError(f"{nearby(results.name)}: has no results that could be compared")
    if not rows.joined:
        raise UsageError(
            f"{nearby(a.name)} and {nearby(b.name)} have no row in common; rows are the same if their ids are. "
            f"In A {_ids(a)}; in B {_ids(b)}. Give both runs the same --id-field"
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
