"""How many requests of one model may be in flight: additive growth, multiplicative cut, as in TCP.

Slow start, congestion avoidance and one cut per episode: https://www.rfc-editor.org/rfc/rfc5681#section-3. A limit that
is not used does not grow: https://www.rfc-editor.org/rfc/rfc7661.
"""

import anyio

# No growth for this long after a server error or a limit on calls at once: a server that has just failed under its load
# gets time to recover. Longer would leave capacity unused after a single 500.
_PAUSE_S = 10.0
# Doubling ends with as many requests refused as got through. If no known limit prevents that, growth from this number
# on is a quarter per round trip instead: 1,000 at once are reached after 20 round trips, not 7.
_BLIND_FROM = 32
_BLIND_STEP = 0.25


class ConcurrencyLimit:
    """`now` requests may be in flight, `ceiling` at most. `cuts` counts the episodes of refusals so far."""

    __slots__ = ("_before", "_most", "_paused_until", "_round", "_starting", "ceiling", "cuts", "now")

    def __init__(self, ceiling: int, start: int | None) -> None:
        self.ceiling = max(1, ceiling)
        self.now = float(self.ceiling if start is None else max(1, min(start, ceiling)))
        self.cuts = 0
        self._starting = True
        self._round = self._most = self._before = 0
        self._paused_until = 0.0

    def grow(self, in_flight: int, *, blind: bool) -> None:
        """A request succeeded while `in_flight` were out, with this one. `blind`: no limit is known."""
        if self.now >= self.ceiling or 2 * self._peak(in_flight) < self.now:
            return
        if self._paused_until:
            if anyio.current_time() < self._paused_until:
                return
            self._paused_until = 0.0
        step = 1 / self.now if not self._starting else _BLIND_STEP if blind and self.now >= _BLIND_FROM else 1.0
        self.now = min(float(self.ceiling), self.now + step)

    def _peak(self, in_flight: int) -> int:
        """The most in flight in this round trip and the one before."""
        self._round -= 1
        if self._round < 0:
            self._before, self._most, self._round = self._most, in_flight, in_flight
        elif in_flight > self._most:
            self._most = in_flight
        return max(self._before, self._most)

    def cut(self, in_flight: int) -> None:
        """A request sent after the last cut was refused while `in_flight` were out, with this one."""
        # Cutting the unused part of a high limit would change nothing, so the cut starts from what is in use.
        self.now = max(1.0, min(self.now / 2, in_flight))
        self._starting = False
        self.cuts += 1

    def cap(self, in_flight: int) -> None:
        """The provider says that it takes no more than `in_flight` at once; one more is tried now and then."""
        self.now = max(1.0, min(self.now, in_flight))
        self._starting = False
        self.cuts += 1
        self.pause()

    def pause(self) -> None:
        """Do not grow for a while."""
        self._paused_until = anyio.current_time() + _PAUSE_S
