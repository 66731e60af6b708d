"""How many rows of a run missed its crew's expectations, counted in its journal."""

from dataclasses import dataclass
from typing import Any

from crewrun.inspect.view import View

# The place of a row's expectations in what `codec.encode` writes.
_PLACE = "$[13]"


@dataclass(frozen=True, slots=True)
class ExpectationCount:
    """On how many rows an expectation was checked, how many missed it, and why the latest of these did."""

    name: str
    checked: int
    missed: int
    id: str | None
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        example = {"id": self.id, "reason": self.reason} if self.missed else None
        return {"name": self.name, "checked": self.checked, "missed": self.missed, "example": example}


def count_expectations(view: View, *, only: int | None = None) -> list[ExpectationCount]:
    """Those of the run's rows under its current definition, or of the session `only`, by what was said of each when it
    ran. Empty for a crew that expects nothing.
    """
    if not view.manifest.definition.get("expectations"):
        return []
    if only is None:
        rows, value = "select max(seq) as seq, record from rows where definition = ? group by id", view.definition()
    else:
        rows, value = "select seq, record from rows where session = ?", only
    groups = view.db.execute(
        "select one.key, count(*), sum(one.type != 'true'), max(case when one.type != 'true' then r.seq end) "  # noqa: S608  (texts of ours)
        f"from ({rows}) as r, json_each(cast(r.record as text), '{_PLACE}') as one "
        "group by one.key order by min(one.id)",
        (value,),
    ).fetchall()
    return [
        ExpectationCount(name, checked, missed, *(_example(view, name, latest) if latest else (None, None)))
        for name, checked, missed, latest in groups
    ]


def _example(view: View, name: str, seq: int) -> tuple[str, str]:
    """The id of the row in an entry, and why it missed the expectation."""
    with view.legible(seq):
        reason = view.db.execute(
            f"select one.value from rows, json_each(cast(record as text), '{_PLACE}') as one "  # noqa: S608  (a text of ours)
            "where seq = ? and one.key = ?",
            (seq, name),
        ).fetchone()
        return view.row_id(seq), str(reason[0])
