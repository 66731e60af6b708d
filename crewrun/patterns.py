"""`Pattern`: a regular expression of the user, which is searched for within a time limit.

The standard library's search cannot be interrupted: on some texts `(a|aa)+$` takes hours, in which the event loop
answers no signal. https://pypi.org/project/regex has the same syntax, and a limit.
"""

from functools import lru_cache
from typing import Any, Final

LONGEST_S: Final = 1.0


class PatternTooSlow(Exception):
    """A search was given up after `LONGEST_S`. The message says so, for users."""


class Pattern:
    """A regular expression. Raises ValueError if `source` is not a valid one."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._compiled = _compiled(source)

    def occurs_in(self, text: str) -> bool:
        """Whether a part of `text` matches. Raises PatternTooSlow."""
        try:
            return self._compiled.search(text, timeout=LONGEST_S) is not None
        except TimeoutError:
            raise PatternTooSlow(
                f"the search for {self.source!r} was given up after {LONGEST_S:g} s; a simpler expression is faster"
            ) from None


@lru_cache(maxsize=512)
def _compiled(source: str) -> Any:
    import regex

    try:
        return regex.compile(source)
    except (regex.error, RecursionError, OverflowError) as wrong:
        raise ValueError(str(wrong)) from None
