"""How fast requests may go out when a provider refuses without saying its limit: found out from what it lets through.

A limit per minute is a bucket: what was let through between two moments when it was empty is what flowed in, so that
count over that time is the limit, whatever happened in between. Near the rate that was found the approach is cubic, as
in https://www.rfc-editor.org/rfc/rfc9438: up to it, long beside it, then ever faster beyond it.

How many may be in flight is `concurrency_limit`'s; limits that are known are windows in `limits`.
"""

from math import inf

# A score of outcomes after a first refusal, +1 for each refusal and -1/2 for each success: this much is a limit, not
# chance.
_EVIDENCE = 5.0
_RELIEF = 0.5
# While it searches, the rate doubles in this time, and in no fewer requests than these.
_DOUBLING_S = 2.0
_DOUBLING_COUNT = 4
# That much more without a refusal, and there was no such limit.
_ESCAPE = 16
# After a refusal: this part of the rate, and back at the whole of it after about as long as it was measured.
_CUT = 0.85
_SHORTEST_RETURN_S = 10.0
_LONGEST_RETURN_S = 60.0
# Less than this says nothing of a rate.
_LEAST_SPAN_S = 10.0
_LEAST_COUNT = 20
_FIRST_PER_S = 0.25
_LOWEST_PER_S = 1 / 60
_UNLIMITED_PER_S = 1000.0
# A rate that was cut is not refused again at once, unless it was not the rate. After so much of that it is let alone,
# for so long at first. Evidence anew counts as several refusals.
_QUIET_S = 10.0
_QUIET_COUNT = 10
_IN_VAIN = 8
_EVIDENCE_ANEW = 3
# Of what was sent since, so much refused is as good as at once.
_MOSTLY = 0.25
# So much refused of the last requests, after as many at least, and it is not the rate: one that is about right is
# refused now and then.
_USELESS = 0.25
_TRIAL_COUNT = 12
_MEMORY = 8
_REST_S = 60.0
_LONGEST_REST_S = 960.0


class RateEstimator:
    """The rate of one model's requests, which are numbered in the order in which they were sent, from 1.

    Times are seconds of one clock that never goes back; the caller reads it.
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
        # Since the provider's bucket was last known to be empty: when, what was sent by then, what was refused since.
        self._empty_at = 0.0
        self._sent = 0
        self._refused = 0
        self._refused_since = 0  # the last change
        self._judged = 0  # refusals up to this number have had their effect
        self._score = 0.0
        self._suspect = 0
        self._in_vain = 0
        self._rest_s = _REST_S
        self._rests_until = -inf
        self._tried = 0  # outcomes since there is a rate, and how many of the last were refusals
        self._share = 0.0

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

    def take(self, now: float) -> None:
        """A request goes out."""
        gap_s = 1 / self.per_s(now)
        self._taken += 1
        self._pressed += now <= self._next_at + gap_s  # a rate that nobody waits for is no trial of it
        self._next_at = now + gap_s

    def succeeded(self, number: int) -> None:
        """The provider let this one through."""
        self._through += 1
        self._note(0.0)
        if self._score and number > self._suspect:
            self._score = max(0.0, self._score - _RELIEF)

    def refused(self, number: int, now: float, sent: int, *, in_vain: bool) -> None:
        """The provider refused this one, when `sent` were sent; `in_vain` while it lets nothing through at all."""
        if number <= self._judged or now < self._rests_until:
            return
        self._refused += 1
        self._refused_since += 1
        self._note(1.0)
        if in_vain:
            return  # that is not a matter of how fast
        self._suspect = self._suspect if self._score else number
        self._score += 1
        if self._score >= _EVIDENCE:
            self._suppose(now, sent)
        elif self.is_set:
            self._correct(now, sent)

    def forget(self, sent: int) -> None:
        """The provider has said a limit: refusals of what was sent before are no evidence of another one."""
        self.is_set, self._judged, self._score, self._in_vain = False, sent, 0.0, 0
        self._tried, self._share = 0, 0.0

    def _suppose(self, now: float, sent: int) -> None:
        """Most are refused: start the search for a rate, or start it again further down."""
        if not self.is_set:
            per_s = max(self._overall_per_s(now), _FIRST_PER_S)
        else:
            self._in_vain += _EVIDENCE_ANEW
            per_s = max(min(self.per_s(now) / 2, self._through_per_s(now, sent)), _LOWEST_PER_S)
        if self._gives_up(now, sent):
            return
        self._care, self._score = 1, 0.0
        self._restart(per_s, now, sent, searches=True)
        self._empty(now, sent)

    def _correct(self, now: float, sent: int) -> None:
        """One was refused at a rate that is about right."""
        is_early = now - self._from < _QUIET_S or self._taken < max(_QUIET_COUNT, self._refused_since / _MOSTLY)
        self._in_vain = self._in_vain + 1 if is_early else 0
        if self._gives_up(now, sent):
            return
        per_s, span_s = self.per_s(now), now - self._empty_at
        if span_s < _LEAST_SPAN_S or sent - self._sent < _LEAST_COUNT:
            self._care *= 2
            per_s = max(min(_CUT * per_s, self._overall_per_s(now)), min(per_s / 2, self._base), _LOWEST_PER_S)
            self._restart(per_s, now, sent, searches=self._searches)
            return
        per_s = max(min(per_s, self._through_per_s(now, sent)), _LOWEST_PER_S)
        self._return_s = max(min(span_s, _LONGEST_RETURN_S), _SHORTEST_RETURN_S, _LEAST_COUNT / per_s)
        self._restart(per_s, now, sent, searches=False)
        self._empty(now, sent)

    def _gives_up(self, now: float, sent: int) -> bool:
        if self._in_vain < _IN_VAIN and not (self._tried >= _TRIAL_COUNT and self._share > _USELESS):
            return False
        self.forget(sent)
        self._rests_until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        return True

    def _note(self, refused: float) -> None:
        if self.is_set:
            self._tried += 1
            self._share += (refused - self._share) / _MEMORY

    def _overall_per_s(self, now: float) -> float:
        """The rate if the bucket was full at first: a minute's worth was let through besides what flowed in."""
        return self._through / (now - self.began + 60)

    def _through_per_s(self, now: float, sent: int) -> float:
        return (sent - self._sent - self._refused) / max(now - self._empty_at, 1.0)

    def _empty(self, now: float, sent: int) -> None:
        self._empty_at, self._sent, self._refused = now, sent, 0

    def _restart(self, per_s: float, now: float, sent: int, *, searches: bool) -> None:
        self.is_set, self._searches, self._taken, self._pressed, self._refused_since = True, searches, 0, 0, 0
        self._base, self._from, self._judged = per_s, now, sent
        self._next_at = now + 1 / self.per_s(now)
