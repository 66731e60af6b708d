"""How fast requests may go out when a provider refuses without stating its limit: measured by what it lets through.

A limit per minute is a bucket: what was let through between two moments when it was empty is what flowed in, so that
count over that time is the limit, whatever happened in between. Near the measured rate the approach is cubic, as
in https://www.rfc-editor.org/rfc/rfc9438: up to it, long near it, then ever faster beyond it.

How many may be in flight is `concurrency_limit`'s; limits that are known are windows in `limits`.
"""

from collections.abc import Mapping
from math import inf
from typing import Any

# All values were chosen against the marks of tests/unit/test_rate_limiter.py, which compares with a true token bucket
# on a virtual clock. Where a value comes from elsewhere, that is said.

# After a first refusal each further one adds 1 to a score and each success takes _RELIEF away. At _EVIDENCE the
# refusals count as a limit and no longer as chance.
_EVIDENCE = 5.0
_RELIEF = 0.5
# In slow start the rate doubles in _DOUBLING_S, as TCP's does in a round trip, but not within fewer requests than
# these.
_DOUBLING_S = 2.0
_DOUBLING_COUNT = 4
# A search that has multiplied the rate by this without a refusal shows that there was no limit.
_ESCAPE = 16
# A refusal cuts the rate to this share (RFC 9438 has 0.7; a bucket's own measurement needs less). It is back at the
# whole rate after about as long as the rate was measured, within these bounds.
_CUT = 0.85
_SHORTEST_RETURN_S = 10.0
_LONGEST_RETURN_S = 60.0
# A measurement over less time or fewer requests than this is too rough to use.
_LEAST_SPAN_S = 10.0
_LEAST_COUNT = 20
_FIRST_PER_S = 0.25
_LOWEST_PER_S = 1 / 60
_UNLIMITED_PER_S = 1000.0
# A right rate that was just cut is not refused again within _QUIET_S or _QUIET_COUNT requests. After _IN_VAIN cuts
# that did not help, the rate was not the cause: no rate is kept for _REST_S, then for twice as long each time. A new
# _EVIDENCE counts as _EVIDENCE_ANEW of these.
_QUIET_S = 10.0
_QUIET_COUNT = 10
_IN_VAIN = 8
_EVIDENCE_ANEW = 3
# If this share of what was sent since a cut is refused, the refusal counts as an early one, however long after the cut.
_MOSTLY = 0.25
# If more than this share of recent requests is refused, after at least _TRIAL_COUNT of them, the rate is not the cause
# either: a rate that is about right is refused rarely. _MEMORY is the length of that moving average.
_USELESS = 0.25
_TRIAL_COUNT = 12
_MEMORY = 8
_REST_S = 60.0
_LONGEST_REST_S = 960.0


class RateEstimator:
    """The rate of one model's requests. Their numbers increase in the order in which they were sent, and the caller
    says which is the newest: in one process they are counted, and between processes they are times.

    Times are seconds of a monotonic clock, which the caller reads.
    """

    __slots__ = (
        "_base",
        "_care",
        "_empty_at",
        "_from",
        "_in_vain",
        "_judged",
        "_next_at",
        "_pressed",
        "_refused",
        "_refused_since",
        "_rest_s",
        "_rests_until",
        "_return_s",
        "_score",
        "_searches",
        "_sent",
        "_share",
        "_suspect",
        "_taken",
        "_through",
        "_tried",
        "began",
        "is_set",
    )

    def __init__(self) -> None:
        self.is_set = False
        self.began = 0.0  # when the first request went out
        self._through = 0
        self._base = _UNLIMITED_PER_S
        self._searches = True
        self._care = 1
        self._return_s = _LONGEST_RETURN_S
        self._taken = 0
        self._pressed = 0
        self._from = 0.0
        self._next_at = 0.0
        # When the provider's bucket was last known to be empty, what had been sent by then, what was refused since.
        self._empty_at = 0.0
        self._sent = 0
        self._refused = 0
        self._refused_since = 0  # since the last change of the rate
        self._judged = 0.0  # refusals up to this number were taken into account
        self._score = 0.0
        self._suspect = 0.0
        self._in_vain = 0
        self._rest_s = _REST_S
        self._rests_until = -inf
        self._tried = 0  # outcomes since there is a rate; `_share` is the moving average of refusals among them
        self._share = 0.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RateEstimator":
        """What `to_json` made."""
        estimator = cls()
        for name in cls.__slots__:
            setattr(estimator, name, values[name])
        return estimator

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON; numbers may be infinite."""
        return {name: getattr(self, name) for name in self.__slots__}

    def resumed(self, now: float, sent: int, newest: float) -> "RateEstimator":
        """What was learned, for requests after a pause: a little below that rate, and on from there."""
        estimator = RateEstimator()
        estimator.began = now
        if self.is_set:
            estimator._care = self._care
            estimator._restart(self._base, now, newest, searches=self._searches)
            estimator._from -= 0 if self._searches else estimator._return_s / 2
            estimator._empty(now, sent)
        return estimator

    @property
    def free_per_min(self) -> float:
        """How many requests of a minute may go without a pause: as with a stated limit, half of them once the rate was
        measured. What the provider has let gather while nobody called would else be left.
        """
        return 0.0 if self._searches else 30 * self._base

    @property
    def base_per_s(self) -> float:
        """The rate that was measured last, or that the search started from."""
        return self._base

    @property
    def judged(self) -> float:
        """Refusals of requests up to this number are taken into account."""
        return self._judged

    def per_s(self, now: float) -> float:
        """The rate at `now`, in requests a second."""
        passed_s = max(0.0, now - self._from)
        if self._searches:
            return float(
                self._base
                * 2 ** min(passed_s / _DOUBLING_S / self._care, self._pressed / _DOUBLING_COUNT / self._care, 60)
            )
        return float(self._base * (1 + (1 - _CUT) * (passed_s / self._return_s - 1) ** 3))

    def earliest(self, now: float) -> float:
        """The first time from `now` on at which the next request may go."""
        if self.per_s(now) >= (_ESCAPE * self._base if self._searches else _UNLIMITED_PER_S):
            self.is_set = False
            return now
        return max(now, self._next_at)

    def take(self, now: float, count: int = 1) -> None:
        """A request goes out, or `count` of them."""
        gap_s = count / self.per_s(now)
        self._taken += count
        self._pressed += count * (now <= self._next_at + gap_s)  # a rate that no request waits for is not tested
        self._next_at = now + gap_s

    def give_back(self, at: float, count: int, now: float) -> None:
        """`count` requests that were to go out at `at` do not."""
        if self.is_set and at > now and count:
            self._taken -= count
            self._next_at = max(now, self._next_at - count / self.per_s(at))

    def succeeded(self, number: float) -> None:
        """The provider let request `number` through."""
        self._through += 1
        self._note(0.0)
        if self._score and number > self._suspect:
            self._score = max(0.0, self._score - _RELIEF)

    def refused(self, number: float, now: float, sent: int, newest: float, *, in_vain: bool) -> None:
        """The provider refused request `number` when `sent` had been sent, up to `newest`; `in_vain` while it lets
        nothing through.
        """
        if number <= self._judged or now < self._rests_until:
            return
        self._refused += 1
        self._refused_since += 1
        self._note(1.0)
        if in_vain:
            return  # a lower rate would not help
        self._suspect = self._suspect if self._score else number
        self._score += 1
        if self._score >= _EVIDENCE:
            self._suppose(now, sent, newest)
        elif self.is_set:
            self._correct(now, sent, newest)

    def forget(self, newest: float) -> None:
        """The provider has stated a limit: refusals of what was sent before, up to `newest`, are not evidence of
        another one.
        """
        self.is_set, self._judged, self._score, self._in_vain = False, newest, 0.0, 0
        self._tried, self._share = 0, 0.0

    def _suppose(self, now: float, sent: int, newest: float) -> None:
        """Most requests are refused: start the search for a rate, or restart it further down."""
        if not self.is_set:
            per_s = max(self._overall_per_s(now), _FIRST_PER_S)
        else:
            self._in_vain += _EVIDENCE_ANEW
            per_s = max(min(self.per_s(now) / 2, self._through_per_s(now, sent)), _LOWEST_PER_S)
        if self._gives_up(now, newest):
            return
        self._care, self._score = 1, 0.0
        self._restart(per_s, now, newest, searches=True)
        self._empty(now, sent)

    def _correct(self, now: float, sent: int, newest: float) -> None:
        """A request was refused at a rate that is about right."""
        is_early = now - self._from < _QUIET_S or self._taken < max(_QUIET_COUNT, self._refused_since / _MOSTLY)
        self._in_vain = self._in_vain + 1 if is_early else 0
        if self._gives_up(now, newest):
            return
        per_s, span_s = self.per_s(now), now - self._empty_at
        if span_s < _LEAST_SPAN_S or sent - self._sent < _LEAST_COUNT:
            self._care *= 2
            per_s = max(min(_CUT * per_s, self._overall_per_s(now)), min(per_s / 2, self._base), _LOWEST_PER_S)
            self._restart(per_s, now, newest, searches=self._searches)
            return
        per_s = max(min(per_s, self._through_per_s(now, sent)), _LOWEST_PER_S)
        self._return_s = max(min(span_s, _LONGEST_RETURN_S), _SHORTEST_RETURN_S, _LEAST_COUNT / per_s)
        self._restart(per_s, now, newest, searches=False)
        self._empty(now, sent)

    def _gives_up(self, now: float, newest: float) -> bool:
        """Whether the rate is not what causes refusals; then no rate is kept for a while."""
        if self._in_vain < _IN_VAIN and not (self._tried >= _TRIAL_COUNT and self._share > _USELESS):
            return False
        self.forget(newest)
        self._rests_until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        return True

    def _note(self, refused: float) -> None:
        if self.is_set:
            self._tried += 1
            self._share += (refused - self._share) / _MEMORY

    def _overall_per_s(self, now: float) -> float:
        """The rate if the bucket was full at first: a minute's worth was let through on top of what flowed in."""
        return self._through / (now - self.began + 60)

    def _through_per_s(self, now: float, sent: int) -> float:
        return (sent - self._sent - self._refused) / max(now - self._empty_at, 1.0)

    def _empty(self, now: float, sent: int) -> None:
        self._empty_at, self._sent, self._refused = now, sent, 0

    def _restart(self, per_s: float, now: float, newest: float, *, searches: bool) -> None:
        self.is_set, self._searches, self._taken, self._pressed, self._refused_since = True, searches, 0, 0, 0
        self._base, self._from, self._judged = per_s, now, newest
        self._next_at = now + 1 / self.per_s(now)
