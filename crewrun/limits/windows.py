"""How much may go out per minute, as true sliding windows: `RequestWindow` and `TokenWindow`.

`admit` waits for the windows of a crew and its agents: a request takes the next free place at once, and sleeps until
its time comes. A provider's limits are in `rate_limiter`, which has windows of its own.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

import anyio

from crewrun.limits.waits import Wait, WaitKind

# A little longer than a minute: requests that leave 60 s apart may arrive closer together, by the jitter of a network.
WINDOW_S = 60.25


class RequestWindow:
    """At most `per_min` requests in any 60 seconds, over all rows and loops of the process."""

    def __init__(self, per_min: int) -> None:
        self.per_min = per_min
        self._places: list[float] = []  # sorted, with past ones as long as they count
        self._has_gaps = False  # whether a place was given back

    def earliest(self, at: float) -> float:
        """The earliest time from `at` on at which one more request fits."""
        places, n = self._places, self.per_min
        end = max(at, places[-n] + WINDOW_S) if len(places) >= n else at
        end = max(end, places[-1]) if places else end
        if not self._has_gaps or end == at:
            return end
        times = sorted({at, *(place + WINDOW_S for place in places)})
        earliest = next((t for t in times if at <= t < end and self._fits(t)), end)
        self._has_gaps = earliest != end
        return earliest

    def used(self, now: float) -> int:
        """How many places still count at `now`."""
        return len(self._places) - bisect_left(self._places, now - WINDOW_S)

    def _fits(self, at: float) -> bool:
        """Whether one more request at `at` leaves no window with more than `per_min`."""
        i = bisect_left(self._places, at)
        near = [*self._places[max(0, i - self.per_min) : i], at, *self._places[i : i + self.per_min]]
        return all(near[k + self.per_min] - near[k] >= WINDOW_S for k in range(len(near) - self.per_min))

    def take(self, at: float, now: float) -> None:
        """Take the place at `at`."""
        past = bisect_left(self._places, now - WINDOW_S)
        if past * 4 > len(self._places):  # each deletion moves all that remain
            del self._places[:past]
        insort(self._places, at)

    def give_back(self, at: float) -> None:
        """The request that had the place at `at` is not made."""
        i = bisect_left(self._places, at)
        if i < len(self._places) and self._places[i] == at:
            del self._places[i]
            self._has_gaps = True


@dataclass(slots=True)
class TokenEntry:
    """The tokens of one request in a window, estimated until they are settled. `counts` until it leaves the window."""

    at: float
    tokens: int
    counts: bool = True


class TokenWindow:
    """At most `per_min` tokens in any 60 seconds, as estimated when a request goes out."""

    def __init__(self, per_min: int) -> None:
        self.per_min = per_min
        self._entries: deque[TokenEntry] = deque()
        self._used = 0

    def used(self, now: float) -> int:
        """The tokens that still count at `now`."""
        entries = self._entries
        while entries and entries[0].at <= now - WINDOW_S:
            gone = entries.popleft()
            gone.counts = False
            self._used -= gone.tokens
        return self._used

    def earliest(self, tokens: int, now: float) -> float:
        """The earliest time from `now` on at which `tokens` more fit. More than `per_min` need an empty window."""
        excess = self.used(now) + min(tokens, self.per_min) - self.per_min
        if excess <= 0:
            return now
        for entry in self._entries:
            excess -= entry.tokens
            if excess <= 0:
                return entry.at + WINDOW_S
        return now

    def take(self, tokens: int, at: float) -> TokenEntry:
        """Enter `tokens` at `at`, which is not before any other entry."""
        entry = TokenEntry(at, tokens)
        self._entries.append(entry)
        self._used += tokens
        return entry

    def settle(self, entry: TokenEntry, tokens: int) -> None:
        """An estimate turned out to be `tokens`."""
        if entry.counts:
            self._used += tokens - entry.tokens
        entry.tokens = tokens


# Protects the windows' places: kickoffs in several threads each have a loop of their own.
_lock = Lock()


async def admit(windows: Sequence[RequestWindow], wait: Callable[[float, Wait], Awaitable[None]]) -> None:
    """Wait until all of `windows` permit one more request, which takes the same place in each.

    `wait` does the waiting, as `Limiter.back_off` does.
    """
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
        per_min = min(window.per_min for window in windows)
        await wait(at - now, Wait(WaitKind.MAX_RPM, limit=per_min, is_own=True))
    except BaseException:
        with _lock:
            for window in windows:
                window.give_back(at)
        raise


_windows: WeakKeyDictionary[object, RequestWindow] = WeakKeyDictionary()


def share_window(owner: object, other: object, per_min: int) -> None:
    """`other` is a copy of the agent or crew `owner`: requests of either count for both."""
    _windows[other] = window_of(owner, per_min)


def window_of(owner: object, per_min: int) -> RequestWindow:
    """The window of `owner`, a crew or an agent: the same one for all its runs."""
    window = _windows.get(owner)
    if window is None or window.per_min != per_min:
        window = _windows[owner] = RequestWindow(per_min)
    return window
