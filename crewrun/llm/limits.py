"""How many requests go out per minute: `RequestWindow`, a true sliding window.

A request takes its place when it asks, and sleeps until that place comes: first come, first sent, and nobody polls.
"""

from collections import deque
from threading import Lock
from weakref import WeakKeyDictionary

import anyio

# The window is kept a little longer than a minute: requests that leave 60 s apart may arrive nearer to each other.
WINDOW_S = 60.25


class RequestWindow:
    """At most `per_min` requests in any 60 seconds, over all rows and loops of the process."""

    def __init__(self, per_min: int) -> None:
        self.per_min = per_min
        self._places: deque[float] = deque(maxlen=per_min)
        # Protects `_places`: kickoffs in several threads each have a loop of their own.
        self._lock = Lock()

    async def admit(self) -> None:
        """Wait until one more request may go out."""
        now = anyio.current_time()
        with self._lock:
            place = max(now, self._places[0] + WINDOW_S) if len(self._places) == self.per_min else now
            place = max(place, self._places[-1]) if self._places else place
            self._places.append(place)
        if place > now:
            await anyio.sleep_until(place)


_windows: WeakKeyDictionary[object, RequestWindow] = WeakKeyDictionary()


def window_of(owner: object, per_min: int) -> RequestWindow:
    """The window of `owner`, a crew or an agent: the same one for all its runs."""
    window = _windows.get(owner)
    if window is None or window.per_min != per_min:
        window = _windows[owner] = RequestWindow(per_min)
    return window
