"""The header of a table: which of its names become inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

from crewrun.errors import UsageError

_SHOWN = 5
# The share of the records that may have values beside the table, each of which fails: notes that somebody has made.
_STRAY = 0.5


@dataclass(frozen=True, slots=True)
class Header:
    """The names of columns; None for one that is left out. `blanks` are the positions of columns that have no name and
    must have no values.
    """

    names: Sequence[str | None]
    blanks: Sequence[int]
    notes: Sequence[str]

    @property
    def columns(self) -> list[str]:
        """The names of the columns that are inputs."""
        return [name for name in self.names if name is not None]


def read_header(
    cells: Sequence[str], sample: Sequence[Sequence[object]], place: str, what: str, fields: Sequence[str] | None
) -> Header:
    """The header in `cells`. `sample` are the first records below it, `place` and `what` begin a message:
    `in.csv:1: the CSV header`. `fields` are the inputs that the user wants, None for all.

    Columns at the end without a name and without values are left out, and so is a first one that counts the rows, as
    pandas writes it. Raises UsageError for others without a name, or of one name, unless `fields` leave them out.
    """
    last = next((i for i in range(len(cells), 0, -1) if cells[i - 1].strip()), 0)
    names: list[str | None] = [*cells[:last], *([None] * (len(cells) - last))]
    blanks = list(range(last, len(cells)))
    notes = [_dropped(blanks)] if blanks else []
    if not last:
        raise UsageError(f"{place}: {what} names no column")
    if not cells[0].strip() and _counts_rows([record[0] for record in sample if record]):
        names[0] = None
        notes.append("column 1, which has no name and counts the rows, is left out")
    if fields is not None:
        blanks = []  # the user knows which columns there are
        names = [name if name in fields or _is_clear(name, names) else None for name in names]
    _check_named([*names[:last], *(_nameless(sample, blanks))], place, what)
    _check_unique(names, place, what)
    return Header(names, blanks, notes)


def _nameless(sample: Sequence[Sequence[object]], blanks: Sequence[int]) -> list[str | None]:
    """An empty name for each column without one that has values in most records, else None: few are strays."""
    counts = [sum(i < len(record) and str(record[i]).strip() != "" for record in sample) for i in blanks]
    return ["" if count > len(sample) * _STRAY else None for count in counts]


def _is_clear(name: str | None, names: Sequence[str | None]) -> bool:
    return name is not None and name.strip() != "" and names.count(name) == 1


def _check_named(names: Sequence[str | None], place: str, what: str) -> None:
    nameless = [i + 1 for i, name in enumerate(names) if name is not None and not name.strip()]
    if nameless:
        raise UsageError(
            f"{place}: {what} has no name for column{'s' if len(nameless) > 1 else ''} {_listed(nameless)}; "
            "name it, or take the columns that you need: --fields NAME,NAME"
        )


def _check_unique(names: Sequence[str | None], place: str, what: str) -> None:
    seen: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if name is not None:
            seen.setdefault(name, []).append(i + 1)
    twice = {name: positions for name, positions in seen.items() if len(positions) > 1}
    if not twice:
        return
    name, positions = next(iter(twice.items()))
    times = "twice" if len(positions) == 2 else f"{len(positions)} times"
    more = f", and {len(twice) - 1} more likewise" if len(twice) > 1 else ""
    raise UsageError(
        f"{place}: {what} names the column {name!r} {times} (columns {_listed(positions)}){more}; "
        "rename them, or take the columns that you need, without these: --fields NAME,NAME"
    )


def _counts_rows(values: Sequence[object]) -> bool:
    """Whether a column is pandas' index: 0, 1, 2 and so on."""
    return bool(values) and [str(value) for value in values] == [str(n) for n in range(len(values))]


def _dropped(blanks: Sequence[int]) -> str:
    if len(blanks) == 1:
        return f"column {blanks[0] + 1}, which has no name, is left out"
    return f"columns {blanks[0] + 1} to {blanks[-1] + 1}, which have no names, are left out"


def _listed(positions: Sequence[int]) -> str:
    if len(positions) > _SHOWN:
        return f"{', '.join(map(str, positions[:_SHOWN]))}, …"
    return " and ".join(map(str, positions)) if len(positions) < 3 else ", ".join(map(str, positions))
