"""Estimates how much room text takes, without measuring a font: rather too much than too little."""

import textwrap
import unicodedata
from html import escape

from crewrun.diagram.model import Node
from crewrun.terminal import visible

# Font sizes as in the page's style sheet, and the space around and between lines of these sizes.
TITLE_PX, LINE_PX, TAG_PX = 13.0, 12.0, 10.0
PADDING_PX = 14.0
TITLE_HEIGHT, LINE_HEIGHT, TAG_HEIGHT = 18.0, 15.0, 14.0
# Width of a narrow character in units of the font size: 0.6 in common monospaced fonts, which titles use, and a little
# more than the average of system fonts for the others; tags are in capitals and spaced out.
_TITLE_EM, _LINE_EM, _TAG_EM = 0.61, 0.58, 0.72
# Boxes of at most about 300 pixels, so that five fit into a row.
_MOST_TITLE_CELLS, _LINE_CELLS, _MOST_LINES = 34, 34, 2


def size_of(node: Node) -> tuple[float, float]:
    """The width and height of `node` as drawn, in pixels."""
    if node.shape == "join":
        return 40.0, 22.0
    if node.shape == "label":
        return cells(short(node.title)) * LINE_PX * _TITLE_EM + 20, 22.0
    width = max(
        cells(short(node.title)) * TITLE_PX * _TITLE_EM,
        cells(node.tag) * TAG_PX * _TAG_EM,
        *(cells(line) * LINE_PX * _LINE_EM for line in node.lines),
    )
    height = 18 + TITLE_HEIGHT + (TAG_HEIGHT if node.tag else 0) + len(node.lines) * LINE_HEIGHT
    return round(max(width + 2 * PADDING_PX, 96), 1), height


def short(title: str) -> str:
    """A title shortened to fit. The middle of a long one is left out, since names differ at their ends."""
    title = visible(title)
    if cells(title) <= _MOST_TITLE_CELLS:
        return title
    half = _MOST_TITLE_CELLS // 2 - 1
    head, tail = title[:half], title[-half:]
    while cells(head) > half:
        head = head[:-1]
    while cells(tail) > half:
        tail = tail[1:]
    return f"{head}…{tail}"


def wrapped(text: str) -> tuple[str, ...]:
    """`text` in at most two lines, with an ellipsis if it does not fit."""
    words = visible(" ".join(text.split()))
    wide = cells(words) > len(words)
    return tuple(
        textwrap.wrap(words, _LINE_CELLS // 2 if wide else _LINE_CELLS, max_lines=_MOST_LINES, placeholder=" …")
    )


def cells(text: str) -> int:
    """The width of `text` in narrow characters."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def markup(text: str) -> str:
    """`text` escaped for HTML or SVG, attributes included."""
    return escape(visible(text, keep="\t\n"))
