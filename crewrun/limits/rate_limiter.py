"""When the next request to one model may go out: as fast as its provider permits, and no faster.

Known limits are kept: requests and tokens per minute (`quotas`), set by the user or read from headers, and the waits
that the provider asks for. Unknown ones are found out from refusals: how many at once (`concurrency_limit`), and how
many per minute (`rate_estimator`). `retry` decides when a failed call is sent again.

With `shared_limits`, all of these but the number at once are the account's, whatever processes use it. The user's own
limits hold for each process.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import anyio

from crewrun.errors import CallError, CallTimedOut, NetworkError, RateLimited, ServerError
from crewrun.limits.concurrency_limit import ConcurrencyLimit
from crewrun.limits.permit import Permit
from crewrun.limits.quotas import RequestQuota, TokenQuota
from crewrun.limits.rate_estimator import RateEstimator
from crewrun.limits.rate_headers import LONGEST_RESET_S
from crewrun.limits.shared_limits import SharedLimits
from crewrun.limits.shared_state import SharedState
from crewrun.limits.waits import Wait, WaitKind
from crewrun.messages import RateLimits

# The longest single wait: if the provider asks for it, and if it refuses without saying how long. The first is ten
# minutes, as limits per minute never ask for more; a longer wait, as for a day's quota, is decided by the circuit
# breaker. The second is that of `retry.RetryPolicy.cap_s`.
LONGEST_ASKED_S = 600.0
_LONGEST_VAIN_S = 30.0
# Directly after a reset something is left, or the headers are wrong; this many requests decide.
_FIRST_AFTER = 2
# So many replies without limits show that a provider which once stated them no longer does.
_SILENT_REPLIES = 20
Hold = Literal["at once", "asked", "in vain", "requests", "tokens", "rate"]


@dataclass(slots=True, eq=False)
class _Waiter:
    """A waiting request. `until` is when it checks again if it is not woken."""

    tokens: int
    until: float = inf
    woken: anyio.Event = field(default_factory=anyio.Event)


class RateLimiter:
    """The rate of requests to one model at one endpoint. For one event loop.

    At most `ceiling` requests are in flight, `start` of them at first, and fewer after refusals. `rpm` and `tpm` are
    limits of requests and tokens per minute, which headers can lower but never raise.
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
        remembered = None if shared is None else shared.begin(anyio.current_time())
        if start is not None and remembered is not None:
            start = max(start, remembered)
        self._concurrency_limit = ConcurrencyLimit(ceiling, start)
        self._requests, self._tokens = RequestQuota(rpm), TokenQuota(tpm)
        self._learned = RateEstimator()
        self._queue: deque[_Waiter] = deque()
        self.is_timed = bool(rpm or tpm)  # whether anything but the number in flight may delay a request
        self._hold: Hold | None = None
        self._in_flight = 0
        self._sent = 0
        self._sent_tokens = 0
        self._began = 0.0
        # Refusals of requests that were sent in an earlier episode are already taken into account.
        self._episode = 0
        self._followed: RateLimits | None = None
        self._changed_by = 0  # the newest request whose reply changed a limit
        self._blocked_until = 0.0
        self._blocked_by: Hold = "asked"
        self._in_vain = 0
        self._believes_zero = True
        # The last request before all waited for a reset, and before the previous such wait.
        self._zero_after: int | None = None
        self._zero_before: int | None = None
        # How many replies have not stated the limits that are remembered; None if one did, or none are.
        self._silent_replies: int | None = None
        self._adopted: SharedState | None = None
        if shared is not None:
            self._adopt(shared, anyio.current_time())
            self._silent_replies = 0 if self._requests.per_min or self._tokens.per_min else None

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
            case "requests" | "tokens":
                quota = self._requests if self._hold == "requests" else self._tokens
                kind = WaitKind(self._hold)
                others = self._others
                return Wait(kind, calls=calls, left_s=left_s, limit=quota.per_min, is_own=quota.is_own, others=others)
            case "rate":
                learned = self._learned if self._shared is None else self._shared.state.estimator
                per_min = round(learned.per_s(anyio.current_time()) * 60)
                return Wait(WaitKind.RATE, calls=calls, left_s=left_s, limit=per_min, others=self._others)
        if self._hold is None or at_once >= self._concurrency_limit.ceiling:
            return None
        kind = WaitKind.CONCURRENCY if self._concurrency_limit.cuts else WaitKind.SLOW_START
        return Wait(kind, calls=calls, limit=at_once)

    @property
    def _others(self) -> int:
        """How many other processes share the limits."""
        return 0 if self._shared is None else self._shared.others(anyio.current_time())

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
        if not self.is_timed and self._shared is None:
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
        if self._shared is not None:
            self._shared.close(anyio.current_time())

    def settle(
        self, permit: Permit, tokens: int | None, error: CallError | None = None, limits: RateLimits | None = None
    ) -> None:
        """The request has ended, with `error` if it failed, and used `tokens`, if known. Its reply had `limits`."""
        self._in_flight -= 1
        if permit.tokens is not None and tokens is not None and tokens >= 0:
            if self._shared is not None:
                self._shared.settle(tokens - permit.tokens.tokens, permit.at)
            self._tokens.settle(permit.tokens, tokens)
        if limits is None and self._silent_replies is not None:
            self._doubt_remembered(error)
        elif limits is not None and limits is not self._followed:
            self._follow(limits, permit, error)
        if error is None:
            self._in_vain = 0
            self._learned.succeeded(permit.number)
            if self._shared is not None:
                self._shared.succeeded(permit.at)
            self._concurrency_limit.grow(self._in_flight + 1, blind=not self.is_timed)
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
        at, self._hold = now, None
        if self._blocked_until > at:
            at, self._hold = self._blocked_until, self._blocked_by
        if self._requests.per_min and (later := self._requests.earliest(now)) > at:
            at, self._hold = later, "requests"
        if self._tokens.per_min and (later := self._tokens.earliest(tokens, now)) > at:
            at, self._hold = later, "tokens"
        if self._learned.is_set and (later := self._learned.earliest(now)) > at:
            at, self._hold = later, "rate"
        if self._shared is not None and at <= now:
            at = self._earliest_shared(self._shared, tokens, now)
        if self._hold is None:
            is_limited = self._requests.per_min or self._tokens.per_min or self._learned.is_set
            self.is_timed = bool(is_limited or (self._shared is not None and self._shared.state.is_limiting))
        return at

    def _earliest_shared(self, shared: SharedLimits, tokens: int, now: float) -> float:
        """When one more may go by the limits of all processes of the account, and what others have learned of them."""
        room = max(0, int(self._concurrency_limit.now) - self._in_flight - 1)
        at, self._hold = shared.earliest(tokens, 1 + min(len(self._queue), room), now)
        if shared.state is not self._adopted:
            self._adopt(shared, now)
        if self._blocked_until > at:
            at, self._hold = self._blocked_until, self._blocked_by
        return at

    def _adopt(self, shared: SharedLimits, now: float) -> None:
        """Apply what other processes have learned, or earlier ones."""
        state = self._adopted = shared.state
        if state.blocked_until > max(now, self._blocked_until):
            self._blocked_until, self._blocked_by = min(state.blocked_until, now + LONGEST_ASKED_S), "asked"
            self.is_timed = True
        rpm, tpm = state.requests.per_min, state.tokens.per_min
        if rpm is not None and (allowed := self._requests.allowed(rpm)) != self._requests.per_min:
            self._change(self._requests, allowed, self._sent, self._sent)
        if tpm is not None and (allowed := self._tokens.allowed(tpm)) != self._tokens.per_min:
            self._change(self._tokens, allowed, self._sent_tokens, self._sent)

    def _doubt_remembered(self, error: CallError | None) -> None:
        """Forget remembered limits that no reply states any longer."""
        if error is not None or self._shared is None or self._silent_replies is None:
            return
        self._silent_replies += 1
        if self._silent_replies == _SILENT_REPLIES:
            self._silent_replies = None
            self._shared.untell(anyio.current_time())
            self._requests.forget()
            self._tokens.forget()

    def _take(self, tokens: int, now: float | None = None) -> Permit:
        """Issue a permit. `now` is None if no limit needs it: reading a clock costs more than the rest of this."""
        if not self._sent:
            self._began = self._learned.began = anyio.current_time()
        self._in_flight += 1
        self._sent += 1
        self._sent_tokens += tokens
        permit = Permit(self._sent, self._episode)
        if now is None:
            return permit
        if self._shared is not None:
            permit.at = now
            self._shared.take(tokens)
            self._shared.at_once = min(int(self._concurrency_limit.now), max(self._shared.at_once, self._in_flight))
        if self._requests.per_min:
            self._requests.take(now)
        if self._tokens.per_min:
            permit.tokens = self._tokens.take(tokens, now)
        if self._learned.is_set:
            self._learned.take(now)
        return permit

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
        is_new = permit.episode == self._episode
        if is_new:
            self._episode += 1
            self._concurrency_limit.cut(self._in_flight + 1)
        if asked_s == 0:
            return  # "again, at once" says nothing about a limit
        self._in_vain += is_new
        if self._in_vain > 1 and asked_s is None:
            self.block(min(_LONGEST_VAIN_S, 2.0 ** min(self._in_vain - 3, 10)), "in vain")
        in_vain = self._in_vain > 2
        if self._shared is not None:
            self._shared.refused(permit.at, now, in_vain=in_vain)
        else:
            self._learned.refused(permit.number, now, self._sent, self._sent, in_vain=in_vain)
        self.is_timed = self.is_timed or self._learned.is_set

    def block(self, wait_s: float, by: Hold = "asked") -> None:
        """Send nothing for `wait_s` seconds."""
        until = anyio.current_time() + wait_s
        if until > self._blocked_until:
            self._blocked_until, self._blocked_by = until, by
            self.is_timed = True
            # A longer wait is decided by each run: it may be beyond its deadline.
            if self._shared is not None and by == "asked" and wait_s <= LONGEST_ASKED_S:
                self._shared.block(until, anyio.current_time())

    def _follow(self, limits: RateLimits, permit: Permit, error: CallError | None) -> None:
        """Apply limits from headers. Replies come out of order, so those of older requests are ignored."""
        if limits.requests_per_min or limits.tokens_per_min:
            self._silent_replies = None
        if permit.number >= self._changed_by:
            rpm, tpm = limits.requests_per_min, limits.tokens_per_min
            if rpm is not None and (allowed := self._requests.allowed(rpm)) != self._requests.per_min:
                self._change(self._requests, allowed, self._sent, permit.number)
            if tpm is not None and (allowed := self._tokens.allowed(tpm)) != self._tokens.per_min:
                self._change(self._tokens, allowed, self._sent_tokens, permit.number)
            if self._shared is not None:
                self._shared.tell(rpm, tpm, permit.at, anyio.current_time())
            # The same object will mean the same again, as it has no remaining counts.
            self._followed = limits if limits.remaining_requests is limits.remaining_tokens is None else None
        if error is not None and error.retry_after_s is not None:
            return  # that is more precise than when the whole limit is free again
        for left, reset_s in (
            (limits.remaining_requests, limits.reset_requests_s),
            (limits.remaining_tokens, limits.reset_tokens_s),
        ):
            if left == 0 and reset_s and reset_s <= LONGEST_RESET_S:
                self._heed_zero(reset_s, permit)

    def _change(self, quota: RequestQuota | TokenQuota, per_min: int, sent: int, number: int) -> None:
        now = anyio.current_time()
        age_s = now - self._began
        in_window = sent if age_s <= 60 else int(sent * 60 / age_s)
        if quota.per_min is not None and per_min < quota.per_min:
            self._episode += 1  # requests in flight went out under the old limit
        self._learned.forget(self._sent)
        quota.begin(per_min, in_window, max(self._began, now - 60), now)
        self._changed_by = number
        self.is_timed = True

    def _heed_zero(self, reset_s: float, permit: Permit) -> None:
        """Nothing is left until the reset, unless this provider says so in every reply."""
        if not self._believes_zero:
            return
        if self._blocked_until <= anyio.current_time():
            self._zero_before, self._zero_after = self._zero_after, self._sent
        if self._zero_before is not None and 0 < permit.number - self._zero_before <= _FIRST_AFTER:
            self._believes_zero = False
        else:
            self.block(reset_s)
