"""The look of all pages that crewrun writes: colours, type, tables and the parts of a diagram."""

from functools import cache
from importlib.resources import files


@cache
def look() -> str:
    """The style sheet. Colours are variables of `:root`, light or dark as the reader's system is.

    A page with a switch sets `data-theme` of its root element to `light` or `dark`.
    """
    return files(__package__).joinpath("look.css").read_text(encoding="utf-8")
