"""The values that limits are made of, each by itself: windows, quotas, the rate estimator, bounds, suspicions."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from crewrun.errors import AuthRefused
from crewrun.limits.learned_bounds import NOTHING_LEARNED, LearnedBounds
from crewrun.limits.permit import CallPrice
from crewrun.limits.probes import Suspicion
from crewrun.limits.quotas import TokenQuota
from crewrun.limits.rate_estimator import RateEstimator
from crewrun.limits.rate_headers import span_s
from crewrun.limits.windows import WINDOW_S, RequestWindow

T = TypeVar("T")


def on_a_virtual_clock(main: Callable[[], Awaitable[T]]) -> T:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Windows and quotas


def fits(places: list[float], at: float, per_min: int) -> bool:
    taken = sorted([*places, at])
    return all(taken[k + per_min] - taken[k] >= WINDOW_S for k in range(len(taken) - per_min))


# Quarters of a second, so that no sum is rounded; a step above 100 gives back the place of a request that still waits.
@given(per_min=st.integers(1, 4), steps=st.lists(st.one_of(st.integers(0, 90), st.integers(100, 140)), max_size=40))
def test_a_request_takes_the_first_place_that_fits(per_min: int, steps: list[int]) -> None:
    """By looking at all places there are: also where requests that were cancelled have left a gap."""
    window, places, now = RequestWindow(per_min), list[float](), 0.0
    for step in steps:
        ahead = [at for at in places if at > now]
        if step >= 100 and ahead:
            given_back = ahead[step % len(ahead)]
            window.give_back(given_back)
            places.remove(given_back)
            continue
        now += step / 4
        first = min(at for at in (now, *(p + WINDOW_S for p in places)) if at >= now and fits(places, at, per_min))
        assert window.earliest(now) == first
        window.take(first, now)
        places.append(first)


def test_a_gap_is_used_by_the_next_request() -> None:
    """One a minute; the one at 60.25 s is cancelled, and the one after the next gap goes behind all others."""
    window = RequestWindow(1)
    for minute in range(4):
        window.take(window.earliest(0.0), 0.0)
        assert window.earliest(0.0) == (minute + 1) * WINDOW_S
    window.give_back(WINDOW_S)
    assert window.earliest(0.0) == WINDOW_S
    assert window.earliest(WINDOW_S + 1) == 4 * WINDOW_S
    window.give_back(5.0)  # nobody's place
    assert window.earliest(0.0) == 4 * WINDOW_S


@pytest.mark.parametrize(
    ("tokens", "next_at"),
    [
        pytest.param(50, 12.05 + 30 * 0.6025, id="more than estimated"),
        pytest.param(20, 12.05, id="as estimated"),
        pytest.param(15, 12.05 - 5 * 0.6025, id="less than estimated"),
    ],
)
def test_what_a_request_came_to_moves_the_next_one(tokens: int, next_at: float) -> None:
    """100 a minute: a token more or less is 0.6025 s. In the second half of the window, where they go out evenly."""
    quota = TokenQuota(100)
    quota.take(40, 0.0)
    entry = quota.take(20, 0.0)
    quota.settle(entry, tokens)
    assert quota.earliest(10, 0.0) == pytest.approx(next_at)


def test_tokens_of_a_minute_ago_hold_nobody_up() -> None:
    """However many they came to; more than the limit count as the limit."""
    quota = TokenQuota(100)
    quota.take(40, 0.0)
    entry = quota.take(20, 0.0)
    quota.take(50, 30.0)
    quota.settle(entry, 10**9)
    assert quota.earliest(10, WINDOW_S) == WINDOW_S


def test_late_news_does_not_put_off_what_waits_for_later_tokens() -> None:
    """Three halves of a minute's tokens went out at once, so the next are due at 90.375 s."""
    quota = TokenQuota(100)
    first, *_ = [quota.take(50, 0.0) for _ in range(3)]
    quota.take(60, 50.0)
    due = 90.375 + 36.15
    quota.settle(first, 80)
    assert quota.earliest(10, 70.0) == pytest.approx(due)
    quota.settle(first, 60)
    assert quota.earliest(10, 70.0) == pytest.approx(due - 12.05)


# The rate estimator


class Trial:
    """Requests of one model, one after the other, on a clock that the test sets."""

    def __init__(self) -> None:
        self.estimator = RateEstimator()
        self.now = 0.0
        self.sent = 0

    def answered(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            self.estimator.succeeded(self.sent)

    def taken(self, count: int) -> None:
        """Requests that went out as soon as they might."""
        for _ in range(count):
            self.now = max(self.now, self.estimator.earliest(self.now))
            self.estimator.take(self.now)

    def refused(self, count: int = 1) -> None:
        for _ in range(count):
            self.sent += 1
            self.estimator.refused(self.sent, self.now, self.sent, self.sent, in_vain=False)

    def per_s(self) -> float:
        return self.estimator.per_s(self.now)


def limited() -> Trial:
    """120 were let through in a minute, then five refused: one a second."""
    trial = Trial()
    trial.answered(120)
    trial.now = 60.0
    trial.refused(4)
    assert not trial.estimator.is_set
    trial.refused()
    assert trial.estimator.is_set
    return trial


def test_the_first_rate_is_what_was_let_through_besides_a_full_bucket() -> None:
    """120 in 60 s, of which a minute's worth was there at first: one a second; and never below one in four seconds."""
    trial = limited()
    assert (trial.per_s(), trial.estimator.earliest(60.0)) == (1.0, 61.0)
    slow = Trial()
    slow.answered(2)
    slow.refused(5)
    assert slow.per_s() == 0.25


def test_a_search_that_is_refused_early_goes_back_and_on_at_half_the_speed() -> None:
    """Two requests after the start it is at 1.41 a second: back to the 120 in 122 s."""
    trial = limited()
    trial.taken(2)
    trial.now = 62.0
    assert trial.per_s() == pytest.approx(2**0.5)
    trial.refused()
    base = 120 / 122
    assert trial.per_s() == pytest.approx(base)
    trial.taken(8)
    trial.now = 90.0
    assert trial.per_s() == pytest.approx(2 * base)  # 8 requests for a doubling, no longer 4


def test_a_search_that_is_refused_early_does_not_fall_below_half_its_rate() -> None:
    """Where little was let through: half the rate at most, and no more than it began with."""
    trial = Trial()
    trial.answered(1)
    trial.now = 600.0
    trial.refused(5)
    trial.taken(8)
    assert trial.per_s() == pytest.approx(1.0)
    trial.refused()
    assert trial.per_s() == pytest.approx(0.25)
    trial.taken(2)
    rate = trial.per_s()
    assert 0.25 < rate < 0.5
    trial.refused()
    assert trial.per_s() == pytest.approx(rate / 2)


def test_a_rate_that_was_measured_is_what_was_let_through_and_approached_as_a_cube() -> None:
    """30 of 32 in 22 s, one before being refused: 0.85 of that, the whole of it 22 s later, then beyond."""
    trial = limited()
    trial.taken(2)
    trial.now = 62.0
    trial.refused()
    trial.taken(40)
    trial.answered(30)
    trial.now = 82.0
    trial.refused()
    rate = 30 / 22
    for after_s, part in ((0.0, 0.85), (11.0, 1 - 0.15 / 8), (22.0, 1.0), (33.0, 1 + 0.15 / 8), (44.0, 1.15)):
        trial.now = 82.0 + after_s
        assert trial.per_s() == pytest.approx(part * rate), after_s


@pytest.mark.parametrize(
    ("span_s", "count", "return_s"),
    [
        pytest.param(10.0, 40, 10.0, id="ten seconds"),
        pytest.param(300.0, 600, 60.0, id="a minute at most"),
        pytest.param(100.0, 25, 80.0, id="as long as twenty requests take"),
    ],
)
def test_how_soon_a_measured_rate_is_reached_again(span_s: float, count: int, return_s: float) -> None:
    """About as long as it was measured."""
    trial = limited()
    trial.taken(9)  # as many double it twice
    trial.answered(count)
    trial.now = 60.0 + span_s
    trial.refused()
    trial.now += return_s
    assert trial.per_s() == pytest.approx(count / span_s)


@pytest.mark.parametrize(
    ("span_s", "count"), [pytest.param(9.9, 40, id="too short"), pytest.param(30.0, 18, id="too few")]
)
def test_little_says_nothing_of_a_rate(span_s: float, count: int) -> None:
    """Less than ten seconds or twenty requests: the search goes on."""
    trial = limited()
    trial.taken(9)  # as many double it twice
    trial.answered(count)
    trial.now = 60.0 + span_s
    trial.refused()
    before = trial.per_s()
    trial.now += 600.0
    assert trial.per_s() == before  # a search grows by requests, a measured rate by time alone


def test_eight_refusals_right_after_a_change_say_that_it_is_not_the_rate() -> None:
    """The limit is dropped, and refusals are no evidence for a minute; the next time for two."""
    trial = limited()
    for rest_s in (60.0, 120.0, 240.0, 480.0, 960.0, 960.0):
        for refusals in range(1, 9):
            trial.now += 1
            trial.answered(7)
            assert trial.estimator.is_set
            trial.refused()
            assert trial.estimator.is_set == (refusals < 8)
        trial.now += rest_s - 0.1
        trial.refused(10)
        assert not trial.estimator.is_set
        trial.now += 0.1
        trial.refused(5)
        assert trial.estimator.is_set


def test_a_rate_that_is_right_is_refused_now_and_then_for_ever() -> None:
    """Ten seconds and ten requests after each change: none of that is in vain."""
    trial = limited()
    for _ in range(30):
        trial.answered(20)
        trial.taken(10)
        trial.now += 10.0
        trial.refused()
        assert trial.estimator.is_set


@pytest.mark.parametrize(
    ("after_s", "count"), [pytest.param(9.9, 10, id="too soon"), pytest.param(10.0, 9, id="too few")]
)
def test_a_refusal_is_early_by_time_or_by_count(after_s: float, count: int) -> None:
    """Before ten seconds, and before ten requests."""
    trial = limited()
    for refusals in range(1, 9):
        began = trial.now
        trial.answered(20)
        for _ in range(count):
            trial.estimator.take(trial.now)
        trial.now = began + after_s
        trial.refused()
        assert trial.estimator.is_set == (refusals < 8)


def test_a_third_refused_says_that_it_is_not_the_rate() -> None:
    """As soon as twelve outcomes are known, and not before."""
    trial = limited()
    for outcomes in (1, 4, 7, 10, 13):
        trial.now += 20.0
        trial.refused()
        assert trial.estimator.is_set == (outcomes < 13)
        trial.answered(2)


def test_evidence_of_a_lower_limit_starts_the_search_again_further_down() -> None:
    """Five refusals at a rate of two a second, where one in two seconds was let through: that, or half the rate."""
    for answered, per_s in ((15, 0.5), (40, 1.0), (0, 1 / 60)):
        trial = limited()
        trial.taken(4)
        trial.answered(answered)
        trial.now = 90.0
        assert trial.per_s() == pytest.approx(2.0)
        # Refusals of one moment: those before the last are corrections, which the answers to later requests take back.
        trial.estimator._score = 4.0
        trial.refused()
        assert trial.per_s() == pytest.approx(per_s)
        trial.now += 4.0
        assert trial.per_s() == pytest.approx(per_s)


def test_refusals_in_a_row_count_for_several_when_they_are_in_vain() -> None:
    """The fifth in a row says as much as three; with an early one before them that is eight, and no search begins."""
    trial = limited()
    trial.refused()
    trial.answered(2)
    trial.now += 1.0
    trial.refused(4)
    assert trial.estimator.is_set
    trial.refused()
    assert not trial.estimator.is_set


def test_refusals_of_what_was_sent_before_a_change_have_had_their_effect() -> None:
    """However late they come."""
    trial = limited()
    before = trial.sent
    for number in range(before - 20, before + 1):
        trial.estimator.refused(number, 61.0, before, before, in_vain=False)
    assert (trial.estimator.is_set, trial.per_s()) == (True, 1.0)


def test_refusals_while_nothing_is_let_through_are_no_matter_of_how_fast() -> None:
    """An account that is used up refuses all, at any rate."""
    trial = limited()
    for _ in range(8):
        trial.sent += 1
        trial.estimator.refused(trial.sent, trial.now, trial.sent, trial.sent, in_vain=True)
    assert trial.per_s() == 1.0


def test_two_answers_to_later_requests_outweigh_a_refusal() -> None:
    """Those to requests that were sent before the refused one say nothing."""
    trial = Trial()
    trial.answered(100)
    for _ in range(20):
        trial.refused()
        trial.answered(2)
    trial.refused(4)
    for _ in range(20):
        trial.estimator.succeeded(trial.sent - 4)
    assert not trial.estimator.is_set
    trial.refused()
    assert trial.estimator.is_set


def test_a_rate_that_sixteenfold_is_not_refused_is_no_limit() -> None:
    """The search ends, and nothing waits any more."""
    for count, is_limited in ((15, True), (16, False)):
        trial = limited()
        trial.taken(count)
        trial.now += 10.0
        assert trial.estimator.earliest(trial.now) == trial.now
        assert trial.estimator.is_set == is_limited


# What a provider says, and what it counts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("999999999", 999_999_999.0),
        ("1000000000", 0.0),
        ("0" * 99 + "s", 0.0),
        ("0" * 100 + "s", None),
        ("1d2h3m4.5s6ms", 93_784.506),
        ("-1s", None),
    ],
)
def test_a_span_is_read_within_bounds(text: str | None, seconds: float | None) -> None:
    """A billion seconds is a time and no span; what is longer than a header's value is not read."""
    assert span_s(text) == seconds


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
def test_a_span_until_a_time_is_counted_from_now(unit: int) -> None:
    """Since 1970, as some providers give it."""
    seconds = span_s(str(round((time.time() + 30) * unit)))
    assert seconds == pytest.approx(30, abs=5)


@pytest.mark.parametrize(
    ("is_bound", "counted", "beyond"),
    [
        pytest.param(True, (120, 75), LearnedBounds(20, 1.5), id="both"),
        pytest.param(True, (80, 25), NOTHING_LEARNED, id="within"),
        pytest.param(True, (100, 50), NOTHING_LEARNED, id="exactly"),
        pytest.param(False, (101, 75), LearnedBounds(1, 1.0), id="an answer without a bound"),
    ],
)
def test_how_far_a_call_was_counted_beyond_its_bounds(
    is_bound: bool, counted: tuple[int, int], beyond: LearnedBounds
) -> None:
    """100 tokens of prompt and 50 of answer at most; a guess is no bound."""
    assert CallPrice("kind", 100, 1e-6, 50, 2e-6, is_bound).beyond(*counted) == beyond


# Suspicions


def test_a_probe_without_an_answer_is_followed_at_doubling_intervals_and_six_are_the_most() -> None:
    """Then nothing is suspected any more, and what is met later is looked into at once."""

    async def main() -> list[float]:
        suspicion, error, sent_at = Suspicion(), AuthRefused("401"), list[float]()
        for _ in range(6):
            assert await suspicion.join(error)
            sent_at.append(trio.current_time())
            suspicion.put_off()
        assert not suspicion.is_open
        assert await suspicion.join(error)
        assert not suspicion.meet()  # nobody has answered anything
        return [at - sent_at[0] for at in [*sent_at, trio.current_time()]]

    assert on_a_virtual_clock(main) == [0, 1, 3, 7, 15, 31, 31]


def test_a_call_that_joins_while_a_probe_is_put_off_waits_for_the_next() -> None:
    """It sends that one when the first call is cancelled, and not before it is due."""

    async def main() -> float:
        suspicion, error = Suspicion(), AuthRefused("401")
        began = trio.current_time()
        assert await suspicion.join(error)
        suspicion.put_off()
        with anyio.move_on_after(0.5):
            await suspicion.join(error)
        assert not suspicion.is_open  # nobody was left
        assert await suspicion.join(error)
        assert trio.current_time() - began == 0.5
        suspicion.put_off()
        async with anyio.create_task_group() as calls:
            calls.start_soon(suspicion.join, error)
            await anyio.sleep(0.25)
            with anyio.move_on_after(0.1):
                await suspicion.join(error)
            assert suspicion.is_open
        return trio.current_time() - began

    assert on_a_virtual_clock(main) == 1.5


def test_what_an_answered_probe_cleared_is_the_calls_own_once_a_minute() -> None:
    """The first after it; a second one without an answer between them is looked into, as is one a minute later."""

    async def main() -> list[bool]:
        suspicion = Suspicion()
        own = [suspicion.meet()]
        suspicion.settle()
        own += [suspicion.meet(), suspicion.meet()]
        suspicion.answered()
        own.append(suspicion.meet())
        suspicion.answered()
        await anyio.sleep(59.9)
        own.append(suspicion.meet())
        suspicion.answered()
        await anyio.sleep(0.1)
        return [*own, suspicion.meet()]

    assert on_a_virtual_clock(main) == [False, True, False, True, True, False]
