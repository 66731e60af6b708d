"""Tables on a terminal, whose wide characters take two cells; in a pipe the same rows are lines with tabs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink

_GAP = 2
_FEWEST_CELLS = 12  # of a text
_CELL_CHARS = 1000  # of a text that is measured; no terminal is wider


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Where all do not fit, those with the lowest `rank` are left out first, None never.

    A `is_text` column takes what room there is. `most` is the most cells that any other takes.
    """

    name: str
    rank: int | None = None
    is_right: bool = False
    is_text: bool = False
    most: int = 40


def print_table(
    stdout: "StreamSink", columns: Sequence[Column], rows: Iterable[Sequence[str]], *, has_head: bool
) -> None:
    """Print rows: as a table as wide as the terminal, or in a pipe with tabs, in full and without a head."""
    from crewrun.cli.setup import tell

    lines = [[" ".join(cell.split()) for cell in row] for row in rows]
    if lines:
        width = stdout.columns
        tell(stdout, map("\t".join, lines) if width is None else table(columns, lines, width, has_head=has_head))


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, has_head: bool = True) -> list[str]:
    """Lines of at most `width` cells."""
    cut = [[cell[:_CELL_CHARS] for cell in row] for row in rows]
    head = [column.name for column in columns]
    widths = [max(cell_len(row[at]) for row in [head, *cut]) for at in range(len(columns))]
    widths = [w if column.is_text else min(w, column.most) for column, w in zip(columns, widths, strict=True)]
    shown = _those_that_fit(columns, widths, width)
    room = width - _GAP * (len(shown) - 1) - sum(widths[at] for at in shown if not columns[at].is_text)
    texts = [at for at in shown if columns[at].is_text]
    for number, at in enumerate(texts):
        others = texts[number + 1 :]
        fair = room // (len(others) + 1)  # an even share, or what the others leave
        widths[at] = max(1, min(widths[at], max(fair, room - sum(widths[other] for other in others))))
        room -= widths[at]
    return [
        (" " * _GAP).join(_fitted(row[at], widths[at], is_right=columns[at].is_right) for at in shown).rstrip()
        for row in [*([head] if has_head else []), *cut]
    ]


def aligned(rows: Sequence[Sequence[str]], sides: str) -> list[list[str]]:
    """The cells of a small table, as wide as their columns; `sides` has an l or an r for each: left or right."""
    widths = [max(cell_len(row[at]) for row in rows) for at in range(len(sides))]
    return [
        [_fitted(cell, width, is_right=side == "r") for cell, width, side in zip(row, widths, sides, strict=True)]
        for row in rows
    ]


def _those_that_fit(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """The places of the columns to show."""
    shown = list(range(len(columns)))
    for least in sorted((rank, at) for at in shown if (rank := columns[at].rank) is not None):
        needed = [min(widths[at], _FEWEST_CELLS) if columns[at].is_text else widths[at] for at in shown]
        if sum(needed) + _GAP * (len(shown) - 1) <= width:
            break
        shown.remove(least[1])
    return shown


def _fitted(text: str, width: int, *, is_right: bool) -> str:
    """`text` in exactly `width` cells, with … where it is cut off."""
    free = width - cell_len(text)
    if free < 0:
        return set_cell_size(text, width - 1) + "…"
    return " " * free + text if is_right else text + " " * free
