"""How many requests go out per minute: `RequestWindow`, a true sliding window, and `admit`, which waits for several.

A request takes its place when it asks, and sleeps until that place comes: nobody polls.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from threading import Lock
from weakref import WeakKeyDictionary

import anyio

# The window is kept a little longer than a minute: requests that leave 60 s apart may arrive nearer to each other.
WINDOW_S = 60.25


class RequestWindow:
    """At most `per_min` requests in any 60 seconds, over all rows and loops of the process."""

    def __init__(self, per_min: int) -> None:
        self.per_min = per_min
        self._places: list[float] = []  # sorted; past ones as long as they count
        self._has_gaps = False  # whether somebody gave a place back

    def earliest(self, at: float) -> float:
        """The first time from `at` on at which one more request fits."""
        places, n = self._places, self.per_min
        end = max(at, places[-n] + WINDOW_S) if len(places) >= n else at
        end = max(end, places[-1]) if places else end
        if not self._has_gaps or end == at:
            return end
        found = next((t for t in sorted({at, *(p + WINDOW_S for p in places)}) if at <= t < end and self._fits(t)), end)
        self._has_gaps = found != end
        return found

    def _fits(self, at: float) -> bool:
        """Whether no `per_min` + 1 requests would lie within a window, with one more at `at`."""
        i = bisect_left(self._places, at)
        near = [*self._places[max(0, i - self.per_min) : i], at, *self._places[i : i + self.per_min]]
        return all(near[k + self.per_min] - near[k] >= WINDOW_S for k in range(len(near) - self.per_min))

    def take(self, at: float, now: float) -> None:
        """Take the place at `at`."""
        del self._places[: max(0, bisect_left(self._places, now - WINDOW_S))]
        insort(self._places, at)

    def give_back(self, at: float) -> None:
        """The request that had the place at `at` is not made."""
        i = bisect_left(self._places, at)
        if i < len(self._places) and self._places[i] == at:
            del self._places[i]
            self._has_gaps = True


# Protects the windows' places: kickoffs in several threads each have a loop of their own.
_lock = Lock()


async def admit(windows: Sequence[RequestWindow]) -> None:
    """Wait until all of `windows` let one more request go out, which takes a place in each at the same time."""
    now = anyio.current_time()
    with _lock:
        at = now
        while (later := max(window.earliest(at) for window in windows)) > at:
            at = later
        for window in windows:
            window.take(at, now)
    if at <= now:
        return
    try:
        await anyio.sleep_until(at)
    except BaseException:
        with _lock:
            for window in windows:
                window.give_back(at)
        raise


_windows: WeakKeyDictionary[object, RequestWindow] = WeakKeyDictionary()


def window_of(owner: object, per_min: int) -> RequestWindow:
    """The window of `owner`, a crew or an agent: the same one for all its runs."""
    window = _windows.get(owner)
    if window is None or window.per_min != per_min:
        window = _windows[owner] = RequestWindow(per_min)
    return window
