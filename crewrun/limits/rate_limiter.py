"""When the next request to one model may go out: as fast as its provider permits, and no faster.

Here are the queue, how many are in flight (`concurrency_limit`), and the waits that the provider asks for; how many go
out in a minute is decided by `minute_limits`. `retry` decides when a failed call is sent again.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import anyio

from crewrun.errors import CallError, CallTimedOut, NetworkError, RateLimited, ServerError
from crewrun.limits.concurrency_limit import ConcurrencyLimit
from crewrun.limits.minute_limits import MinuteHold, MinuteLimits
from crewrun.limits.permit import Permit
from crewrun.limits.rate_headers import LONGEST_RESET_S
from crewrun.limits.shared_limits import SharedLimits
from crewrun.limits.waits import Wait, WaitKind
from crewrun.messages import RateLimits

# The longest single wait: if the provider asks for it, and if it refuses without saying how long. The first is ten
# minutes, as limits per minute never ask for more; a longer wait, as for a day's quota, is decided by the circuit
# breaker. The second is that of `retry.RetryPolicy.cap_s`.
LONGEST_ASKED_S = 600.0
_LONGEST_VAIN_S = 30.0
# Directly after a reset something is left, or the headers are wrong; this many requests decide.
_FIRST_AFTER = 2
BlockHold = Literal["asked", "in vain"]
Hold = Literal["at once"] | BlockHold | MinuteHold


@dataclass(slots=True, eq=False)
class _Waiter:
    """A waiting request. `until` is when it checks again if it is not woken."""

    tokens: int
    until: float = inf
    woken: anyio.Event = field(default_factory=anyio.Event)


class RateLimiter:
    """The rate of requests to one model at one endpoint. For one event loop.

    At most `ceiling` requests are in flight, `start` of them at first, and fewer after refusals. `rpm` and `tpm` are
    limits of requests and tokens per minute, which headers can lower but never raise. With `shared`, other processes
    have part in the provider's limits, and what is remembered of them holds from the start.
    """

    def __init__(
        self,
        ceiling: int,
        *,
        start: int | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
        shared: SharedLimits | None = None,
    ) -> None:
        self._shared = shared
        remembered = 0 if shared is None else shared.begin(anyio.current_time())
        self._concurrency_limit = ConcurrencyLimit(ceiling, start and max(start, remembered))
        self._minute = MinuteLimits(rpm, tpm, shared)
        self._queue: deque[_Waiter] = deque()
        # Whether anything but the number in flight may delay a request.
        self.is_timed = shared is not None or self._minute.is_known
        self._hold: Hold | None = None
        self._in_flight = 0
        # Refusals of requests that were sent in an earlier episode are already taken into account.
        self._episode = 0
        self._blocked_until = 0.0
        self._blocked_by: BlockHold = "asked"
        self._in_vain = 0
        self._believes_zero = True
        # The last request before all waited for a reset, and before the previous such wait.
        self._zero_after: int | None = None
        self._zero_before: int | None = None

    @property
    def remembered(self) -> str | None:
        """What was known of the limits before the first request, in words."""
        return None if self._shared is None else self._shared.remembered

    @property
    def in_flight(self) -> int:
        """How many requests are out."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """How many requests wait to go out."""
        return len(self._queue)

    @property
    def is_blocked(self) -> bool:
        """Whether nothing may go out now because the provider asked to wait."""
        return self._blocked_until > anyio.current_time()

    @property
    def wait(self) -> Wait | None:
        """What the next request waits for; None if none waits, or only for the ceiling.

        What the provider asked to wait is one also while no request is here: those that it refused are yet to return.
        """
        if self.is_blocked:
            self._hold = self._blocked_by
        elif not self._queue:
            return None
        calls, at_once = len(self._queue), int(self._concurrency_limit.now)
        left_s = self.next_s
        match self._hold:
            case "asked" | "in vain":
                kind = WaitKind.RESET if self._hold == "asked" else WaitKind.REFUSALS
                return Wait(kind, calls=calls, left_s=max(0.0, self._blocked_until - anyio.current_time()))
            case "requests" | "tokens" | "rate":
                return self._minute.wait(self._hold, calls, left_s)
        if self._hold is None or at_once >= self._concurrency_limit.ceiling:
            return None
        kind = WaitKind.CONCURRENCY if self._concurrency_limit.cuts else WaitKind.SLOW_START
        return Wait(kind, calls=calls, limit=at_once)

    @property
    def next_s(self) -> float | None:
        """Seconds until the next waiting request goes out; None if none waits, or for a request in flight to end."""
        if not self._queue or self._queue[0].until == inf:
            return None
        return max(0.0, self._queue[0].until - anyio.current_time())

    def admit_nowait(self, tokens: int) -> Permit | None:
        """A permit for a request of an estimated `tokens` now; None if it has to wait."""
        if self._queue or self._in_flight + 1 > self._concurrency_limit.now:
            return None
        if not self.is_timed:
            return self._take(tokens)
        now = anyio.current_time()
        return self._take(tokens, now) if self._earliest(tokens, now) <= now else None

    async def admit(self, tokens: int) -> Permit:
        """Wait for a permit for a request of an estimated `tokens`: first come, first served.

        A request of more tokens than the limit per minute goes out alone. Without a wait this is no checkpoint.
        """
        return self.admit_nowait(tokens) or await self._wait(tokens)

    async def admit_unqueued(self, tokens: int) -> Permit:
        """As `admit`, ahead of waiting requests and whatever the number in flight; limits per minute hold."""
        while True:
            now = anyio.current_time()
            at = self._earliest_by_time(tokens, now)
            if at <= now:
                return self._take(tokens, now)
            await anyio.sleep_until(at)

    def close(self) -> None:
        """No more requests go out: give back what is set aside of limits that are shared."""
        self._minute.close()

    def settle(
        self, permit: Permit, tokens: int | None, error: CallError | None = None, limits: RateLimits | None = None
    ) -> None:
        """The request has ended, with `error` if it failed, and used `tokens`, if known. Its reply had `limits`."""
        self._in_flight -= 1
        self._minute.settle(permit, tokens)
        self._minute.follow(limits, permit)
        self.is_timed = self.is_timed or self._minute.is_known
        if limits is not None and (error is None or error.retry_after_s is None):  # that is more precise than a reset
            self._heed_resets(limits, permit)
        if error is None:
            self._in_vain = 0
            self._minute.succeeded(permit)
            self._concurrency_limit.grow(self._in_flight + 1, blind=not self._minute.is_known)
        else:
            self._heed(error, permit)
        if self._queue:
            self._wake()

    def drop(self, permit: Permit) -> None:
        """The request was cancelled: it frees its place, counts as sent, and says nothing about the provider."""
        self._in_flight -= 1
        if self._queue:
            self._wake()

    async def _wait(self, tokens: int) -> Permit:
        waiter = _Waiter(tokens)
        self._queue.append(waiter)
        try:
            while True:
                if self._queue[0] is waiter:
                    now = anyio.current_time()
                    waiter.until = self._earliest(tokens, now)
                    if waiter.until <= now:
                        return self._take(tokens, now)
                waiter.woken = anyio.Event()
                with anyio.CancelScope(deadline=waiter.until):
                    await waiter.woken.wait()
        finally:
            self._queue.remove(waiter)
            if self._queue:
                self._wake()

    def _wake(self) -> None:
        """Have the first waiting request check again, if it may go sooner than it planned."""
        first = self._queue[0]
        if self._earliest(first.tokens, anyio.current_time()) < first.until:
            first.woken.set()

    def _earliest(self, tokens: int, now: float) -> float:
        """When one more may go out as far as is known now; infinity if another request has to end first."""
        if self._in_flight + 1 > self._concurrency_limit.now:
            self._hold = "at once"
            return inf
        return self._earliest_by_time(tokens, now)

    def _earliest_by_time(self, tokens: int, now: float) -> float:
        if self._blocked_until > now:
            self._hold = self._blocked_by
            return self._blocked_until
        at = self._minute.earliest(tokens, self._next_in_queue(), now)
        self._hold = self._minute.hold
        if self._minute.asked_until > at:  # by another process, which has learned that just now
            at = min(self._minute.asked_until, now + LONGEST_ASKED_S)
            self._blocked_until, self._blocked_by, self._hold = at, "asked", "asked"
        if self._hold is None:
            self.is_timed = self._shared is not None or self._minute.is_known
        return at

    def _next_in_queue(self) -> int:
        """How many requests could go out together, as far as it depends on how many are in flight."""
        return 1 + min(len(self._queue), max(0, int(self._concurrency_limit.now) - self._in_flight - 1))

    def _take(self, tokens: int, now: float | None = None) -> Permit:
        """Issue a permit. `now` is None if no limit needs it: reading a clock costs more than the rest of this."""
        self._minute.count(tokens)
        self._in_flight += 1
        permit = Permit(self._minute.sent, self._episodes)
        if now is not None:
            self._minute.take(permit, tokens, now)
        if self._shared is not None:
            self._shared.at_once = min(int(self._concurrency_limit.now), max(self._shared.at_once, self._in_flight))
        return permit

    @property
    def _episodes(self) -> int:
        """How often a limit was cut."""
        return self._episode + self._minute.lowered

    def _heed(self, error: CallError, permit: Permit) -> None:
        """Let a failure slow down all requests, if it says something about the provider's limits."""
        asked_s = error.retry_after_s
        if isinstance(error, RateLimited) and error.is_concurrency and self._in_flight:
            # The provider takes as many as are out now: the next one goes as soon as one of them has ended.
            self._concurrency_limit.cap(min(self._in_flight, error.at_once or self._in_flight))
            return
        if asked_s and asked_s > LONGEST_ASKED_S:
            return
        if asked_s and isinstance(error, RateLimited):
            self.block(asked_s)  # the wait of a 5xx is for its own call, or for an outage: one row may cause it
        if not isinstance(error, RateLimited):
            if isinstance(error, ServerError | CallTimedOut | NetworkError):
                self._concurrency_limit.pause()
            return
        now = anyio.current_time()
        is_new = permit.episode == self._episodes
        if is_new:
            self._episode += 1
            self._concurrency_limit.cut(self._in_flight + 1)
        if asked_s == 0:
            return  # "again, at once" says nothing about a limit
        self._in_vain += is_new
        if self._in_vain > 1 and asked_s is None:
            self.block(min(_LONGEST_VAIN_S, 2.0 ** min(self._in_vain - 3, 10)), "in vain")
        self._minute.refused(permit, now, in_vain=self._in_vain > 2)
        self.is_timed = self.is_timed or self._minute.is_known

    def block(self, wait_s: float, by: BlockHold = "asked") -> None:
        """Send nothing for `wait_s` seconds."""
        now = anyio.current_time()
        if now + wait_s > self._blocked_until:
            self._blocked_until, self._blocked_by = now + wait_s, by
            self.is_timed = True
            # Of a longer wait each run decides by itself, as it may be beyond its deadline.
            if by == "asked" and wait_s <= LONGEST_ASKED_S:
                self._minute.block(now + wait_s, now)

    def _heed_resets(self, limits: RateLimits, permit: Permit) -> None:
        """Wait for the resets of what is used up."""
        for left, reset_s in (
            (limits.remaining_requests, limits.reset_requests_s),
            (limits.remaining_tokens, limits.reset_tokens_s),
        ):
            if left == 0 and reset_s and reset_s <= LONGEST_RESET_S:
                self._heed_zero(reset_s, permit)

    def _heed_zero(self, reset_s: float, permit: Permit) -> None:
        """Nothing is left until the reset, unless this provider says so in every reply."""
        if not self._believes_zero:
            return
        if self._blocked_until <= anyio.current_time():
            self._zero_before, self._zero_after = self._zero_after, self._minute.sent
        if self._zero_before is not None and 0 < permit.number - self._zero_before <= _FIRST_AFTER:
            self._believes_zero = False
        else:
            self.block(reset_s)
