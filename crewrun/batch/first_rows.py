"""`read_first_rows`: what a file's first rows have, before anything is sent for one of them.

A column with another name than the placeholder would fail every row, and braces that nothing fills in would be paid for
in every row.
"""

import shlex
from dataclasses import dataclass, field

from crewrun.batch.source import Source
from crewrun.errors import UsageError, nearest
from crewrun.row import Row
from crewrun.target import Target

# Of so many rows one must have what the crew needs: more would delay the start, and a sparse column shows up by then.
FIRST_ROWS = 1000
# Rows in which braces that need no value may find one: a warning is not worth the time that more would take.
_ROWS_FOR_WARNINGS = 100
_MAX_NAMES = 12


@dataclass(slots=True)
class FirstRows:
    """The columns of the first `count` rows, and the placeholders that none of them fills in."""

    count: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    is_all: bool = True

    def check(self, inputs: str) -> None:
        """Raise UsageError if every row of `inputs` would fail."""
        if problem := self.problem(inputs):
            raise UsageError(problem)

    def problem(self, inputs: str) -> str | None:
        """The message that every row of `inputs` would fail, None if not."""
        if not self.missing or not self.count:
            return None
        named = ", ".join(f"{name!r} (needed by {place})" for name, place in self.missing.items())
        rows = f"{self.count:,} row{'s' if self.count > 1 else ''}"
        which = f"none of its {rows}" if self.is_all else f"none of its first {rows}"
        name, columns = next(iter(self.missing)), list(self.columns)
        near = nearest(name, columns)
        example = shlex.quote(f"{name}={near or 'COLUMN'}")
        return (
            f"{inputs}: {which} has {named}; {_in_words(columns)}; --map {example} fills {{{name}}} from a column, "
            f"-i {name}=… is the same for all rows"
        )


async def read_first_rows(source: Source, target: Target) -> FirstRows:
    """What the first rows of `source` have of the inputs of `target`, read no further than it takes to tell."""
    rows = FirstRows(missing=dict(target.placeholders))
    optional = set(target.named_inputs)

    def see(row: Row) -> bool:
        if row.inputs is None:
            return False
        if rows.count == FIRST_ROWS:
            rows.is_all = False
            return True
        rows.count += 1
        rows.columns.update(dict.fromkeys(row.columns))
        for name in [name for name in rows.missing if target.is_filled(name, row.inputs)]:
            del rows.missing[name]
        optional.difference_update([name for name in optional if target.is_filled(name, row.inputs)])
        return not rows.missing and (not optional or rows.count >= _ROWS_FOR_WARNINGS)

    await source.visit(see)
    return rows


def _in_words(columns: list[str]) -> str:
    if not columns:
        return "the rows have no fields"
    shown = ", ".join(map(repr, columns[:_MAX_NAMES]))
    more = len(columns) - _MAX_NAMES
    return f"the rows have {shown}{f' and {more:,} more' if more > 0 else ''}"
