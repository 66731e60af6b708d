"""`MinuteLimits`: how many requests and tokens of one model may go out in a minute, for its `rate_limiter`.

Limits that the user sets and that replies state are kept as windows (`quotas`); where none is stated, the rate is found
out from refusals (`rate_estimator`). With `shared_limits`, what is stated and what is found out hold for all processes
of the account, and the user's own limits for each of them.
"""

from typing import Literal

import anyio

from crewrun.limits.permit import Permit
from crewrun.limits.quotas import RequestQuota, TokenQuota
from crewrun.limits.rate_estimator import RateEstimator
from crewrun.limits.shared_limits import SharedLimits
from crewrun.limits.shared_state import SharedState
from crewrun.limits.waits import Wait, WaitKind
from crewrun.messages import RateLimits

MinuteHold = Literal["requests", "tokens", "rate"]
# This many replies without limits show that a provider which once stated them no longer does.
_SILENT_REPLIES = 20


class MinuteLimits:
    """The limits per minute of one model. `rpm` and `tpm` are the user's, which headers can lower but never raise.

    Attributes:
        sent: how many requests have gone out.
        lowered: how often a stated limit was lowered.
        is_known: whether there is any limit.
        hold: what the last `earliest` had to wait for, None if nothing.
    """

    def __init__(self, rpm: int | None, tpm: int | None, shared: SharedLimits | None) -> None:
        self._requests, self._tokens = RequestQuota(rpm), TokenQuota(tpm)
        self._learned = RateEstimator()
        self._shared = shared
        self._adopted: SharedState | None = None
        self.sent = 0
        self._sent_tokens = 0
        self._began = 0.0
        self.lowered = 0
        self.is_known = bool(rpm or tpm)
        self.hold: MinuteHold | None = None
        self._followed: RateLimits | None = None
        self._changed_by = 0  # the newest request whose reply changed a limit
        # How many replies have not stated the limits that are remembered; None if one did, or none are.
        self._silent_replies: int | None = None
        if shared is not None:
            self._adopt(shared.state)
            self._silent_replies = 0 if self._requests.per_min or self._tokens.per_min else None

    @property
    def asked_until(self) -> float:
        """When the provider asked another process to wait until."""
        return 0.0 if self._shared is None else self._shared.state.blocked_until

    def wait(self, hold: MinuteHold, calls: int, left_s: float | None) -> Wait:
        """The wait of `calls` for the limit `hold`."""
        now = anyio.current_time()
        others = 0 if self._shared is None else self._shared.others(now)
        if hold == "rate":
            learned = self._learned if self._shared is None else self._shared.state.estimator
            per_min: int | None = round(learned.per_s(now) * 60)
            return Wait(WaitKind.RATE, calls=calls, left_s=left_s, limit=per_min, others=others)
        quota = self._requests if hold == "requests" else self._tokens
        kind, per_min = WaitKind(hold), quota.per_min
        return Wait(kind, calls=calls, left_s=left_s, limit=per_min, is_own=quota.is_own, others=others)

    def earliest(self, tokens: int, most: int, now: float) -> float:
        """When a request of `tokens` may go out. Up to `most` like it would go with it."""
        at, self.hold = now, None
        if self._requests.per_min and (later := self._requests.earliest(now)) > at:
            at, self.hold = later, "requests"
        if self._tokens.per_min and (later := self._tokens.earliest(tokens, now)) > at:
            at, self.hold = later, "tokens"
        if self._learned.is_set and (later := self._learned.earliest(now)) > at:
            at, self.hold = later, "rate"
        if self._shared is not None and at <= now:
            at, self.hold = self._shared.earliest(tokens, most, now)
            if self._shared.state is not self._adopted:
                self._adopt(self._shared.state)
        if self.hold is None:
            self.is_known = bool(
                self._requests.per_min
                or self._tokens.per_min
                or self._learned.is_set
                or (self._shared is not None and self._shared.state.is_limiting)
            )
        return at

    def count(self, tokens: int) -> None:
        """A request of an estimated `tokens` goes out."""
        if not self.sent:
            self._began = self._learned.began = anyio.current_time()
        self.sent += 1
        self._sent_tokens += tokens

    def take(self, permit: Permit, tokens: int, now: float) -> None:
        """The request, which was counted, is held by limits."""
        if self._shared is not None:
            permit.at = self._shared.take(tokens, now)
        if self._requests.per_min:
            self._requests.take(now)
        if self._tokens.per_min:
            permit.tokens = self._tokens.take(tokens, now)
        if self._learned.is_set:
            self._learned.take(now)

    def settle(self, permit: Permit, tokens: int | None) -> None:
        """The request used `tokens`, if that is known."""
        if permit.tokens is not None and tokens is not None and tokens >= 0:
            if self._shared is not None:
                self._shared.settle(tokens - permit.tokens.tokens, permit.tokens.at)
            self._tokens.settle(permit.tokens, tokens)

    def succeeded(self, permit: Permit) -> None:
        """The provider let the request through."""
        self._learned.succeeded(permit.number)
        if self._shared is not None:
            self._shared.succeeded(permit.at)

    def refused(self, permit: Permit, now: float, *, in_vain: bool) -> None:
        """The provider refused the request; `in_vain` while it lets nothing through."""
        if self._shared is not None:
            self._shared.refused(permit.at, now, in_vain=in_vain)
            self.is_known = self.is_known or self._shared.state.is_limiting
        else:
            self._learned.refused(permit.number, now, self.sent, self.sent, in_vain=in_vain)
            self.is_known = self.is_known or self._learned.is_set

    def block(self, until: float, now: float) -> None:
        """The provider asked to wait until then, which other processes are to do as well."""
        if self._shared is not None:
            self._shared.block(until, now)

    def follow(self, limits: RateLimits | None, permit: Permit) -> None:
        """Apply limits from headers. Replies come out of order, so those of older requests are ignored."""
        if limits is None or limits is self._followed or permit.number < self._changed_by:
            if limits is None and self._silent_replies is not None:
                self._doubt_remembered()
            return
        rpm, tpm = limits.requests_per_min, limits.tokens_per_min
        if rpm or tpm:
            self._silent_replies = None
        self._apply(rpm, tpm, permit.number)
        if self._shared is not None:
            self._shared.tell(rpm, tpm, permit.at, anyio.current_time())
        # The same object will mean the same again, as it has no remaining counts.
        self._followed = limits if limits.remaining_requests is limits.remaining_tokens is None else None

    def close(self) -> None:
        """No more requests go out."""
        if self._shared is not None:
            self._shared.close(anyio.current_time())

    def _adopt(self, state: SharedState) -> None:
        """Apply limits that were stated to other processes, or to earlier ones."""
        self._adopted = state
        self._apply(state.requests.per_min, state.tokens.per_min, self.sent)

    def _apply(self, rpm: int | None, tpm: int | None, number: int) -> None:
        """Apply stated limits, where they differ; `number` is the request whose reply had them."""
        if rpm is not None and (allowed := self._requests.allowed(rpm)) != self._requests.per_min:
            self._change(self._requests, allowed, self.sent, number)
        if tpm is not None and (allowed := self._tokens.allowed(tpm)) != self._tokens.per_min:
            self._change(self._tokens, allowed, self._sent_tokens, number)

    def _change(self, quota: RequestQuota | TokenQuota, per_min: int, sent: int, number: int) -> None:
        now = anyio.current_time()
        age_s = now - self._began
        in_window = sent if age_s <= 60 else int(sent * 60 / age_s)
        if quota.per_min is not None and per_min < quota.per_min:
            self.lowered += 1  # requests in flight went out under the old limit
        self._learned.forget(self.sent)
        quota.begin(per_min, in_window, max(self._began, now - 60), now)
        self._changed_by = number
        self.is_known = True

    def _doubt_remembered(self) -> None:
        """Forget remembered limits that no reply states any longer."""
        self._silent_replies = (self._silent_replies or 0) + 1
        if self._silent_replies >= _SILENT_REPLIES and self._shared is not None:
            self._silent_replies = None
            self._shared.untell(anyio.current_time())
            self._requests.forget()
            self._tokens.forget()
