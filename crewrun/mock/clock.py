"""`MockClock`: the mock's own time, which passes as usual and can be moved forward with `POST /clock`.

Batch jobs and limits go by it, so that a test of a job that takes a day takes no time.
"""

import math
import time
from typing import Any

import anyio

from crewrun.mock.request_body import read_object

_MOST_S = 10 * 366 * 86_400.0


class MockClock:
    """Real time and what it was moved by."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._moved = anyio.Event()

    @property
    def unix_s(self) -> float:
        """Unix seconds."""
        return time.time() + self._ahead_s

    @property
    def monotonic_s(self) -> float:
        """Seconds of a clock that is never set back."""
        return time.monotonic() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward; whoever sleeps until then wakes up."""
        self._ahead_s += seconds
        self._moved.set()
        self._moved = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        """Return when the clock is `seconds` further."""
        until_s = self.monotonic_s + seconds
        while (rest_s := until_s - self.monotonic_s) > 0:
            with anyio.move_on_after(rest_s):
                await self._moved.wait()

    def report(self) -> dict[str, Any]:
        """The reply to `GET /clock`."""
        return {"unix_s": self.unix_s, "ahead_s": self._ahead_s}


def read_advance(body: bytes) -> float:
    """The seconds in the body of a `POST /clock`. Raises ValueError with what is wrong."""
    request = read_object(body)
    seconds = request.get("advance_s")
    if set(request) != {"advance_s"} or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError('the body is an object such as {"advance_s": 3600}')
    if not (math.isfinite(seconds) and 0 <= seconds <= _MOST_S):
        raise ValueError(f"advance_s: {seconds!r} is no number of seconds from 0 to ten years")
    return float(seconds)
