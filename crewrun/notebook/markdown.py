"""A card as Markdown. Texts of models are in code blocks: as Markdown they could have a page fetch images."""

import re
from collections.abc import Iterator

from crewrun.notebook.card import MOST_CELL_CHARS, MOST_CHARS, MOST_ROWS, Card, Grid
from crewrun.notebook.short_repr import beginning, line

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#+!|~$&:@-]")


def as_markdown(card: Card) -> str:
    """`card` and its parts, each under a line in bold."""
    return "\n\n".join(_blocks(card))


def _blocks(card: Card) -> Iterator[str]:
    yield " · ".join([f"**{_words(card.title)}**", *(_words(fact) for fact in card.facts if fact)])
    if card.text:
        text = beginning(card.text, MOST_CHARS)
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        yield f"{fence}text\n{text}\n{fence}"
    yield from map(_table, card.grids)
    for part in card.parts[:MOST_ROWS]:
        yield from _blocks(part)


def _table(grid: Grid) -> str:
    rows = [grid.heads, *grid.rows[:MOST_ROWS]]
    lines = [f"| {' | '.join(map(_words, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(grid.heads), *lines[1:]])


def _words(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", line(text, MOST_CELL_CHARS))
