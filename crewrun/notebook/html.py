"""A card as HTML. All styles are inline, and colours come from the page, so that it fits any notebook's theme."""

from collections.abc import Iterator
from html import escape

from crewrun.notebook.card import MOST_CELL_CHARS, MOST_CHARS, MOST_ROWS, Card, Grid
from crewrun.notebook.short_repr import beginning, line

_RULE = "1px solid rgba(128,128,128,.4)"
_BOX = f"border:{_RULE};border-radius:6px;padding:8px 12px;margin:4px 0;max-width:100%;overflow-x:auto"
_PRE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:6px 0;padding:0;background:transparent;color:inherit"
_TABLE = "border-collapse:collapse;font-size:inherit;color:inherit;margin:6px 0;background:transparent"
_CELL = f"text-align:left;vertical-align:top;padding:2px 12px 2px 0;border-bottom:{_RULE};background:transparent"
_PICTURE = "display:block;max-width:100%;max-height:36em;margin:6px 0;border-radius:6px"


def as_html(card: Card) -> str:
    """`card` as one `<div>`."""
    return f'<div style="{_BOX}">{"".join(_inside(card))}</div>'


def _inside(card: Card) -> Iterator[str]:
    yield f"<div>{_head(card)}</div>"
    yield from _body(card)


def _head(card: Card) -> str:
    facts = "".join(f' <span style="opacity:.75">· {_words(fact)}</span>' for fact in card.facts if fact)
    return f"<b>{_words(card.title)}</b>{facts}"


def _body(card: Card) -> Iterator[str]:
    if card.picture:
        yield f'<img style="{_PICTURE}" alt="" src="{escape(card.picture)}">'
    if card.text:
        yield f'<pre dir="auto" style="{_PRE}">{escape(beginning(card.text, MOST_CHARS))}</pre>'
        if (more := len(card.text) - MOST_CHARS) > 0:
            yield f'<div style="opacity:.75">{more:,} more characters</div>'
    for grid in card.grids:
        yield from _table(grid)
    for part in card.parts[:MOST_ROWS]:
        inside = "".join(_body(part))
        yield f'<details style="margin:4px 0"><summary>{_head(part)}</summary>{inside}</details>'


def _table(grid: Grid) -> Iterator[str]:
    yield f'<table style="{_TABLE}">'
    if any(grid.heads):
        heads = "".join(f'<th style="{_CELL}">{_words(head)}</th>' for head in grid.heads)
        yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    for row in grid.rows[:MOST_ROWS]:
        yield "<tr>"
        yield from (f'<td dir="auto" style="{_CELL}">{_words(cell)}</td>' for cell in row)
        yield "</tr>"
    yield "</tbody></table>"
    if (more := len(grid.rows) - MOST_ROWS) > 0:
        yield f'<div style="opacity:.75">{more:,} more rows</div>'


def _words(text: str) -> str:
    return escape(line(text, MOST_CELL_CHARS))
