"""`TurnCounter`: whether a turn with tools is likely to be followed by another one, by those of other rows.

The next turn sends all of this one again. Writing it to the cache costs a quarter more, and reading it saves nine
tenths, so it pays if more than about one in five turns is followed by another.
"""

from collections import Counter
from typing import Final

from crewrun.messages import MarkedTurn

# A little more than what pays, as the share is measured with few calls.
_LEAST_SHARE: Final = 0.3
# Calls at a depth before they are taken to be typical.
_LEAST_CALLS: Final = 10


class TurnCounter:
    """Counts the calls at each depth: how many turns of the model a conversation has so far."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[bytes, int]] = Counter()

    def see(self, scope: bytes, depth: int) -> MarkedTurn:
        """Count a call, and return behind which of its turns a breakpoint belongs. Calls of other scopes say nothing.

        One that is likely to be followed by another has it at its end: what was written there before is found from
        there too. The last one has it where the turn before it ended, to read what that has written.
        """
        turn: MarkedTurn = ""
        if self._is_followed(scope, depth):
            turn = "latest"
        elif depth and self._is_followed(scope, depth - 1):
            turn = "previous"
        self._calls[scope, depth] += 1
        return turn

    def _is_followed(self, scope: bytes, depth: int) -> bool:
        """Whether calls at this depth are likely to be followed by another turn. One that is under way counts as one
        that is not, so the first rows of a run are not enough.
        """
        here, after = self._calls[scope, depth], self._calls[scope, depth + 1]
        return here >= _LEAST_CALLS and after >= _LEAST_SHARE * here
