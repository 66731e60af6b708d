"""`Card`: what a notebook shows of an object."""

from dataclasses import dataclass

# More than a page of text, and of rows, is not read in a notebook.
MOST_CHARS, MOST_CELL_CHARS, MOST_ROWS = 10_000, 300, 50


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: a head for each column, and rows of texts."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """What is shown of an object. Texts are raw: `html` and `markdown` escape, redact and cut them.

    `title` and the words of `facts` are its first line. Below it `picture`, the address of an image; `text`, which
    keeps its line breaks; `grids`; and `parts`, cards of what it consists of, folded.
    """

    title: str
    facts: tuple[str, ...] = ()
    picture: str = ""
    text: str = ""
    grids: tuple[Grid, ...] = ()
    parts: tuple["Card", ...] = ()
