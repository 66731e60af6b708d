"""A provider's limits per minute, of requests and of tokens, for one model's `rate_limiter`.

The first half of a window goes out at once, the second half evenly. So a short run does not wait, and a long one does
not stop and go: half a minute's worth stays in reserve in case the provider counts differently, or halves the limit.
"""

from crewrun.limits.windows import WINDOW_S, RequestWindow, TokenEntry, TokenWindow

# Timers fire late; up to this much delay is made up for. A burst after a longer stall would look like twice the rate.
CATCH_UP_S = 0.5


class _MinuteQuota:
    """A limit per minute; `per_min` is None as long as none is known."""

    __slots__ = ("_next_at", "_user_limit", "per_min")

    def __init__(self, user_limit: int | None) -> None:
        self._user_limit = user_limit
        self._next_at = 0.0
        self.per_min: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether the limit is the user's, and not a lower one of the provider's."""
        return self._user_limit is not None and self.per_min == self._user_limit

    def allowed(self, limit: int) -> int:
        """The limit when the provider says `limit`: it can lower the user's, but not raise it."""
        return limit if self._user_limit is None else min(limit, self._user_limit)

    def _spread(self, amount: int, per_min: int, used: int, now: float) -> None:
        gap_s = WINDOW_S * min(amount, per_min) / per_min
        start = max(self._next_at, now - CATCH_UP_S) if 2 * used >= per_min else now
        self._next_at = start + gap_s


class RequestQuota(_MinuteQuota):
    """The limit of requests per minute."""

    __slots__ = ("_window",)

    def __init__(self, user_limit: int | None) -> None:
        super().__init__(user_limit)
        self._window = RequestWindow(user_limit or 1)
        self.per_min = user_limit

    def begin(self, per_min: int, sent: int, since: float, now: float) -> None:
        """The limit is `per_min` from now on, of which `sent` were used, evenly since `since`."""
        if self.per_min is None:
            n = min(sent, per_min)
            for i in range(n):
                self._window.take(since + (now - since) * (i + 1) / n, now)
        self._window.per_min = self.per_min = per_min

    def forget(self) -> None:
        """Only the user's limit holds from now on."""
        self.per_min = self._user_limit
        self._window.per_min = self._user_limit or 1

    def earliest(self, now: float) -> float:
        """The earliest time from `now` on at which one more request may go out."""
        at = self._window.earliest(now)
        return max(at, self._next_at) if 2 * self._window.used(now) >= self._window.per_min else at

    def take(self, now: float) -> None:
        """A request goes out."""
        self._spread(1, self._window.per_min, self._window.used(now), now)
        self._window.take(now, now)


class TokenQuota(_MinuteQuota):
    """The limit of tokens per minute."""

    __slots__ = ("_window",)

    def __init__(self, user_limit: int | None) -> None:
        super().__init__(user_limit)
        self._window = TokenWindow(user_limit or 1)
        self.per_min = user_limit

    def begin(self, per_min: int, sent: int, since: float, now: float) -> None:
        """The limit is `per_min` from now on, of which `sent` were used, evenly since `since`."""
        if self.per_min is None:
            sent, parts = min(sent, per_min), 16
            for i in range(parts):
                self._window.take(sent * (i + 1) // parts - sent * i // parts, since + (now - since) * (i + 1) / parts)
        self._window.per_min = self.per_min = per_min

    def forget(self) -> None:
        """Only the user's limit holds from now on."""
        self.per_min = self._user_limit
        self._window.per_min = self._user_limit or 1

    def earliest(self, tokens: int, now: float) -> float:
        """The earliest time from `now` on for a request of `tokens`; one of more than the limit goes out alone."""
        at = self._window.earliest(tokens, now)
        return max(at, self._next_at) if 2 * self._window.used(now) >= self._window.per_min else at

    def take(self, tokens: int, now: float) -> TokenEntry:
        """A request of an estimated `tokens` goes out."""
        self._spread(tokens, self._window.per_min, self._window.used(now), now)
        return self._window.take(tokens, now)

    def settle(self, entry: TokenEntry, tokens: int) -> None:
        """The request used `tokens`."""
        per_min = self._window.per_min
        gap_s = WINDOW_S * (min(tokens, per_min) - min(entry.tokens, per_min)) / per_min
        # Nothing from more than a window ago delays a request.
        latest = entry.at + WINDOW_S
        if gap_s < 0 or self._next_at < latest:
            self._next_at = min(self._next_at + gap_s, max(latest, self._next_at))
        self._window.settle(entry, tokens)
