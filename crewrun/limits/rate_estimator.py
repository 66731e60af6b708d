"""How fast requests may go out when a provider refuses without saying its limit: found out by AIMD, as in TCP.

A search doubles the rate until a request is refused (slow start); from then on the rate grows by the same amount each
second and is cut by a factor at each refusal: https://www.rfc-editor.org/rfc/rfc5681#section-3.1. Requests that were
sent before a cut say nothing of the rate after it. Refusals that no rate ends, those by chance or of an overloaded
provider, are recognised by that, and the rate is let alone for a while.

Measured against true token buckets (tests/unit/test_rate_limiter.py; 600 requests a minute, nothing told, 10 minutes),
beside the estimator before, which counted what flowed into the bucket between two refusals and came back to that rate
along a cubic:

                                       AIMD                         counting, cubic
    used after the first minute        99 %                         100 %
    refused                            0.2 % (slow replies 1.6 %)   0.2 % (1.8 %)
    5 requests a minute, refused       12 %                         10 %
    6,000 requests a minute, used      91 %                         100 %
    600 requests, 8 at once, refused
    by chance: one in five             131 s                        43 s
               one in three            294 s                        188 s

How many may be in flight is `concurrency_limit`'s; limits that are known are windows in `windows`.
"""

from math import inf
from typing import Final

# A score of outcomes after a first refusal, +1 for each refusal and -1/2 for each success: this much is a limit rather
# than chance. Refusals of fewer than one in three lower it more than they raise it.
_EVIDENCE: Final = 5.0
_RELIEF: Final = 0.5
# While it searches, the rate doubles in this time, and in no fewer requests than these.
_DOUBLING_S: Final = 2.0
_DOUBLING_COUNT: Final = 4
# That much more without a refusal, and there was no such limit.
_ESCAPE: Final = 16
# A refusal leaves this part of the rate, and each second adds this part of what it left: back in three minutes. Twice
# as fast has 16 % refused at 5 requests a minute in place of 12 %; half of the rate, as TCP leaves, uses 1 to 5 % less.
_CUT: Final = 0.85
_GROWTH_PER_S: Final = 0.001
# So many seconds of growth for each request that waited for the rate: one that nobody waits for is no trial of it.
_TRIAL_S: Final = 60.0
_FIRST_PER_S: Final = 0.25
_LOWEST_PER_S: Final = 1 / 60
_UNLIMITED_PER_S: Final = 1000.0
# A rate that was just cut is not refused within so few requests, unless it was not the rate: at 5 requests a minute the
# next refusal comes after 12. That often in a row, and the rate is let alone, for so long at first.
_QUIET_COUNT: Final = 8
_MOST_EARLY: Final = 5
_REST_S: Final = 60.0
_LONGEST_REST_S: Final = 960.0


class RateEstimator:
    """The rate of one model's requests, which are numbered in the order in which they were sent, from 1.

    Times are seconds of one clock that never goes back; the caller reads it.
    """

    __slots__ = (
        "_base",
        "_early",
        "_from",
        "_judged",
        "_next_at",
        "_pressed",
        "_rest_s",
        "_rests_until",
        "_score",
        "_searches",
        "_suspect",
        "_taken",
        "_through",
        "began",
        "is_set",
    )

    def __init__(self) -> None:
        self.is_set = False
        self.began = 0.0  # when the first request went out
        self._through = 0  # how many the provider let through
        # The rate after the last change, when that was, and what was sent since: all, and what had waited for the rate.
        self._base, self._from = _UNLIMITED_PER_S, 0.0
        self._taken = self._pressed = 0
        self._searches = True
        self._next_at = 0.0
        self._judged = 0  # refusals up to this number have had their effect
        self._score = 0.0
        self._suspect = 0  # the first request that counts in the score
        self._early = 0  # changes in a row that were followed by a refusal at once
        self._rest_s, self._rests_until = _REST_S, -inf

    def per_s(self, now: float) -> float:
        """The rate at `now`, in requests a second."""
        passed_s = max(0.0, now - self._from)
        if self._searches:
            return float(self._base * 2 ** min(passed_s / _DOUBLING_S, self._pressed / _DOUBLING_COUNT, 60))
        return self._base * (1 + _GROWTH_PER_S * min(passed_s, _TRIAL_S * self._pressed))

    def earliest(self, now: float) -> float:
        """The first time from `now` on at which the next request may go."""
        if self.per_s(now) >= (_ESCAPE * self._base if self._searches else _UNLIMITED_PER_S):
            self.is_set = False
            return now
        return max(now, self._next_at)

    def take(self, now: float) -> None:
        """A request goes out."""
        gap_s = 1 / self.per_s(now)
        self._taken += 1
        self._pressed += now <= self._next_at + gap_s
        self._next_at = now + gap_s

    def succeeded(self, number: int) -> None:
        """The provider let this one through."""
        self._through += 1
        if self._score and number > self._suspect:
            self._score = max(0.0, self._score - _RELIEF)

    def refused(self, number: int, now: float, sent: int, *, in_vain: bool) -> None:
        """The provider refused this one, when `sent` were sent; `in_vain` while it lets nothing through at all."""
        if number <= self._judged or now < self._rests_until:
            return
        if in_vain:  # that is not a matter of how fast
            self.forget(sent)
        elif self.is_set:
            self._cut(now, sent)
        else:
            self._suspect = self._suspect if self._score else number
            self._score += 1
            if self._score >= _EVIDENCE:
                self._change(max(self._overall_per_s(now), _FIRST_PER_S), now, sent, searches=True)

    def forget(self, sent: int) -> None:
        """Nothing is known of the rate: refusals of what was sent up to now are no evidence of one."""
        self.is_set, self._judged, self._score, self._early = False, sent, 0.0, 0

    def _cut(self, now: float, sent: int) -> None:
        self._early = self._early + 1 if self._taken < _QUIET_COUNT else 0
        if self._early >= _MOST_EARLY:
            self.forget(sent)
            self._rests_until = now + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
            return
        per_s = _CUT * self.per_s(now)
        if self._searches:  # it may have doubled since the limit was passed
            per_s = min(self.per_s(now) / 2, self._overall_per_s(now))
        self._change(max(per_s, _LOWEST_PER_S), now, sent, searches=False)

    def _change(self, per_s: float, now: float, sent: int, *, searches: bool) -> None:
        self.is_set, self._searches, self._taken, self._pressed = True, searches, 0, 0
        self._base, self._from, self._judged, self._score = per_s, now, sent, 0.0
        self._next_at = now + 1 / per_s

    def _overall_per_s(self, now: float) -> float:
        """The rate if the bucket was full at first: a minute's worth was let through besides what flowed in."""
        return self._through / (now - self.began + 60)
