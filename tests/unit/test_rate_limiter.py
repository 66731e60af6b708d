"""How fast requests go out: against a provider that counts, by its headers, by its refusals, and by what it asks.

Everything runs on a virtual clock, so hours of pacing take seconds, to the millisecond the same each time.
"""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun.errors import CallError, CallTimedOut, NetworkError, QuotaExhausted, RateLimited, ServerError
from crewrun.limits import rate_headers
from crewrun.limits.permit import Permit
from crewrun.limits.rate_limiter import RateLimiter
from crewrun.limits.waits import Wait
from crewrun.llm.transports.retry_after import retry_after
from crewrun.messages import RateLimits
from crewrun.mock import rate_limits as mock_limits


def text_of(wait: Wait | None) -> str | None:
    return None if wait is None else str(wait)


def on_a_virtual_clock(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# --- against a provider -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A provider with true token buckets, and the requests that it gets. Times are seconds."""

    mean_tokens: int = 100
    latency: tuple[float, float] = (0.5, 2.0)
    refusal: tuple[float, float] = (0.03, 0.15)
    tells: bool = True
    asks: bool = True
    lasts: float = 300.0
    halved_at: float | None = None
    rpm: int = 600
    tpm: int = 100_000
    rows: int = 300


@dataclass(slots=True)
class Run:
    """What the provider saw: when, how many tokens, whether it let that through."""

    case: Case
    seen: list[tuple[float, int, bool]] = field(default_factory=list)

    def used(self, start: float, end: float, share: float = 1.0) -> float:
        """The part of the limit that was used in that time: of the one that was used more."""
        through = [tokens for at, tokens, ok in self.seen if ok and start <= at < end]
        minutes = (end - start) / 60 * share
        return max(len(through) / self.case.rpm, sum(through) / self.case.tpm) / minutes

    def refused(self) -> float:
        return sum(not ok for _, _, ok in self.seen) / len(self.seen)


def simulate(
    case: Case, seed: int = 1, rate_limiter: Callable[[], RateLimiter] = lambda: RateLimiter(1000, start=8)
) -> Run:
    """As many rows as wanted ask one after another for as long as the case lasts."""
    dice, run = random.Random(seed), Run(case)

    async def main() -> None:
        limits = mock_limits.MockLimits(case.rpm, case.tpm, trio.current_time(), has_headers=case.tells)
        paced = rate_limiter()

        async def send(tokens: int) -> CallError | None:
            permit = await paced.admit(max(1, int(tokens * dice.uniform(0.7, 1.3))))
            await anyio.sleep(dice.uniform(0.01, 0.05))
            now = trio.current_time()
            answer = limits.admit(tokens, now)
            run.seen.append((now, tokens, not answer.refused_by))
            error = None
            if answer.refused_by:
                error = RateLimited("slow", retry_after_s=answer.wait_s if case.asks else None)
            await anyio.sleep(dice.uniform(*(case.refusal if error else case.latency)))
            paced.settle(permit, None if error else tokens, error, rate_headers.read(answer.headers))
            return error

        async def row() -> None:
            while True:
                tokens, failures = max(10, int(dice.lognormvariate(0, 0.5) * case.mean_tokens * 0.88)), 0
                while error := await send(tokens):
                    failures += 1
                    await anyio.sleep((error.retry_after_s or 0) + dice.uniform(0, min(30, 0.5 * 2**failures)))

        with anyio.move_on_after(case.lasts):
            async with anyio.create_task_group() as group:
                for _ in range(case.rows):
                    group.start_soon(row)
                if case.halved_at:
                    await anyio.sleep(case.halved_at)
                    limits.change({"rpm": case.rpm // 2, "tpm": case.tpm // 2}, trio.current_time())

    on_a_virtual_clock(main)
    return run


def show(request: pytest.FixtureRequest, run: Run) -> None:
    """The figures, for who runs this with -s -n0."""
    used, steady = run.used(0, run.case.lasts), run.used(60, run.case.lasts)
    print(f"\n{request.node.callspec.id}: used {used:.1%}, from the second minute on {steady:.1%}, ", end="")
    print(f"429s {run.refused():.2%} of {len(run.seen)} requests")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(), id="requests bind"),
        pytest.param(Case(mean_tokens=1000, latency=(2, 6), lasts=900), id="tokens bind"),
        pytest.param(Case(mean_tokens=166), id="both bind"),
        pytest.param(Case(latency=(0, 0.001), refusal=(0, 0.001)), id="instant replies"),
    ],
)
def test_a_limit_that_headers_tell_is_used_and_not_run_into(case: Case, request: pytest.FixtureRequest) -> None:
    """Nothing is known at first; at least 95 % is used over all and after the first minute, at most 1 % is refused."""
    run = simulate(case)
    show(request, run)
    assert run.used(0, case.lasts) >= 0.95
    assert run.used(60, case.lasts) >= 0.95
    assert run.refused() <= 0.01


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(halved_at=150, lasts=390), id="requests halved"),
        pytest.param(Case(halved_at=5, lasts=245), id="halved during the first burst"),
        pytest.param(Case(mean_tokens=1000, latency=(2, 6), halved_at=150, lasts=990), id="tokens halved"),
    ],
)
def test_a_limit_that_is_halved_is_kept_within_two_windows(case: Case, request: pytest.FixtureRequest) -> None:
    """From then on no minute has more than the new limit, which is used, and hardly anything was refused on the way."""
    run = simulate(case)
    show(request, run)
    settled = (case.halved_at or 0) + 120
    through = [(at, tokens) for at, tokens, ok in run.seen if ok]
    for start, _ in through:
        if start >= settled - 60:
            minute = [tokens for at, tokens in through if start <= at < start + 60]
            assert len(minute) <= case.rpm / 2
            # Estimates are off by up to 30 %, for what is in flight.
            assert sum(minute) <= case.tpm / 2 * 1.05
    assert run.used(settled, case.lasts, share=0.5) >= 0.95
    assert run.refused() <= 0.01


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(tells=False, asks=False, lasts=600), id="nothing told"),
        pytest.param(Case(tells=False, asks=False, lasts=600, refusal=(0.5, 2.0)), id="nothing told, slowly"),
        pytest.param(Case(tells=False, lasts=600), id="Retry-After only"),
        pytest.param(
            Case(mean_tokens=1000, latency=(2, 6), tells=False, asks=False, lasts=900), id="nothing told, tokens bind"
        ),
        pytest.param(Case(tells=False, asks=False, lasts=600, halved_at=300, rows=100), id="nothing told, halved"),
    ],
)
def test_a_limit_that_nobody_tells_is_found(case: Case, request: pytest.FixtureRequest) -> None:
    """From refusals alone: at least 80 % is used, at most 3 % is refused."""
    run = simulate(case)
    show(request, run)
    share = 0.75 if case.halved_at else 1.0
    assert run.used(0, case.lasts, share) >= 0.8
    assert run.used(60, case.lasts, share) >= 0.8
    assert run.refused() <= 0.03


def test_a_very_low_limit_that_nobody_tells_is_found(request: pytest.FixtureRequest) -> None:
    """5 requests a minute, as free accounts have: most requests are not in vain."""
    run = simulate(Case(rpm=5, tells=False, lasts=1200, rows=20), rate_limiter=lambda: RateLimiter(8))
    assert run.used(0, 1200) >= 0.8
    assert run.refused() <= 0.2


def refusing(
    rows: int, refuses: Callable[[int, int], bool], rate_limiter: RateLimiter, latency: float = 0.5
) -> tuple[float, int]:
    """Have `rows` rows ask until they are let through: how long that took, and how many requests.

    `refuses` gets the request's number and how many are in flight.
    """
    sent = 0
    dice = random.Random(1)

    async def row() -> None:
        nonlocal sent
        for failures in range(100):
            permit = await rate_limiter.admit(1)
            sent += 1
            error = RateLimited("no") if refuses(sent, rate_limiter.in_flight) else None
            await anyio.sleep(0.05 if error else latency)
            rate_limiter.settle(permit, 1, error)
            if error is None:
                return
            await anyio.sleep(dice.uniform(0, min(30, 0.5 * 2**failures)))

    async def main() -> float:
        async with anyio.create_task_group() as group:
            for _ in range(rows):
                group.start_soon(row)
        return trio.current_time()

    return on_a_virtual_clock(main), sent


def test_a_limit_of_how_many_at_once_is_found_without_slowing_down() -> None:
    """Ten at once at half a second each are 20 requests a second: 1,000 take 50 s, and not much longer."""
    took_s, sent = refusing(1000, lambda _, in_flight: in_flight > 10, RateLimiter(1000, start=8))
    assert took_s < 100
    assert sent <= 1050


def test_refusals_by_chance_do_not_bring_a_run_to_a_crawl() -> None:
    """Of every ten requests one is refused, however slowly they come."""
    took_s, sent = refusing(1000, lambda number, _: number % 10 == 0, RateLimiter(8), latency=0.01)
    assert took_s < 60
    assert sent == 1111


def test_an_outage_of_refusals_is_waited_out_and_forgotten() -> None:
    """While nothing at all comes through only a few requests are sent; after it the pace is what it was."""
    rate_limiter = RateLimiter(8)
    took_s, sent = refusing(1000, lambda _, __: 20 < trio.current_time() < 140, rate_limiter)
    assert took_s < 20 + 120 + 30 + 60
    assert sent < 1050


# --- never more than the limit ----------------------------------------------------------------------------------------

ERRORS = (None, RateLimited("slow"), ServerError("broken"), NetworkError("gone"))
REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 40),  # seconds since the one before
        st.integers(0, 150),  # estimated tokens
        st.none() | st.integers(0, 200),  # what it comes to
        st.floats(0, 90),  # how long it takes
        st.sampled_from(ERRORS),
        st.none() | st.floats(0, 100),  # when its row loses patience
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.integers(1, 12), st.integers(50, 400), st.integers(1, 20))
def test_no_minute_has_more_than_the_limits(requests: list[Any], rpm: int, tpm: int, ceiling: int) -> None:
    """Over random arrivals, estimates, failures and cancellations; everything that waits gets its turn."""
    sent: list[list[Any]] = []  # when, and the tokens as far as they are known
    left = []

    async def one(
        rate_limiter: RateLimiter,
        estimate: int,
        real: int | None,
        lasts: float,
        error: CallError | None,
        patience: float | None,
    ) -> None:
        with anyio.move_on_after(float("inf") if patience is None else patience) as scope:
            permit = await rate_limiter.admit(estimate)
            now = trio.current_time()
            window = [tokens for at, tokens in sent if at > now - 60]
            assert len(window) + 1 <= rpm
            assert sum(window) + estimate <= tpm or not any(window)
            entry: list[Any] = [now, estimate]
            sent.append(entry)
            try:
                await anyio.sleep(lasts)
            except trio.Cancelled:
                rate_limiter.drop(permit)
                raise
            entry[1] = estimate if real is None else real
            rate_limiter.settle(permit, real, error)
        if scope.cancelled_caught:
            left.append(estimate)

    async def main() -> tuple[int, int]:
        rate_limiter = RateLimiter(ceiling, rpm=rpm, tpm=tpm)
        async with anyio.create_task_group() as group:
            for pause, *request in requests:
                await anyio.sleep(pause)
                group.start_soon(one, rate_limiter, *request)
        return rate_limiter.in_flight, rate_limiter.waiting

    assert on_a_virtual_clock(main) == (0, 0)
    assert len(sent) >= len(requests) - len(left)


# --- one thing at a time ----------------------------------------------------------------------------------------------


def take(rate_limiter: RateLimiter, count: int, tokens: int = 1) -> list[Permit]:
    """So many that go out without waiting."""
    permits = [rate_limiter.admit_nowait(tokens) for _ in range(count)]
    assert all(permits)
    return [permit for permit in permits if permit]


def room(rate_limiter: RateLimiter) -> int:
    """How many more may go out right now; they are given up again."""
    permits: list[Permit] = []
    while permit := rate_limiter.admit_nowait(0):
        permits.append(permit)
    for permit in permits:
        rate_limiter.drop(permit)
    return len(permits)


def test_what_comes_first_goes_first_and_who_gives_up_leaves_its_place() -> None:
    """Three wait for one place; the second one loses patience. Nobody overtakes, not even without waiting."""
    went: list[tuple[int, float]] = []

    async def one(rate_limiter: RateLimiter, number: int, patience: float) -> None:
        with anyio.move_on_after(patience):
            permit = await rate_limiter.admit(1)
            went.append((number, trio.current_time()))
            await anyio.sleep(10)
            rate_limiter.settle(permit, 1)

    async def main() -> None:
        rate_limiter = RateLimiter(1)
        async with anyio.create_task_group() as group:
            for number, patience in enumerate([100, 100, 5, 100]):
                group.start_soon(one, rate_limiter, number, patience)
                await anyio.sleep(0.1)
            assert (rate_limiter.in_flight, rate_limiter.waiting, rate_limiter.admit_nowait(1)) == (1, 3, None)

    on_a_virtual_clock(main)
    assert went == [(0, 0.0), (1, pytest.approx(10)), (3, pytest.approx(20))]


def test_the_first_one_that_waits_may_give_up_too() -> None:
    """It waits for tokens that the one behind it does not need."""

    async def main() -> None:
        rate_limiter = RateLimiter(10, tpm=100)
        take(rate_limiter, 1, 80)
        async with anyio.create_task_group() as group:

            async def impatient() -> None:
                with anyio.move_on_after(3):
                    await rate_limiter.admit(50)

            group.start_soon(impatient)
            await anyio.sleep(1)
            await rate_limiter.admit(10)
            assert trio.current_time() == pytest.approx(3 + 48.2 - 3, abs=1)  # evenly behind the 80

    on_a_virtual_clock(main)


def test_a_wait_is_one_sleep() -> None:
    """A minute of waiting, with others behind, wakes nobody up: there is no polling."""
    steps = 0

    class Count(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal steps
            steps += 1

    async def main() -> None:
        rate_limiter = RateLimiter(100, rpm=1)
        take(rate_limiter, 1)
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(rate_limiter.admit, 1)
            await anyio.sleep(1)
            trio.lowlevel.add_instrument(counter := Count())
            await anyio.sleep(59)
            trio.lowlevel.remove_instrument(counter)
            group.cancel_scope.cancel()

    on_a_virtual_clock(main)
    assert steps <= 2  # this test's own


def test_half_a_minute_goes_at_once_and_the_rest_evenly() -> None:
    """So a short run does not wait, and a long one is not stop and go."""
    sent: list[float] = []

    async def main() -> None:
        rate_limiter = RateLimiter(1000, rpm=60)
        for _ in range(180):
            rate_limiter.settle(await rate_limiter.admit(1), 1)
            sent.append(trio.current_time())

    on_a_virtual_clock(main)
    assert sent[29] == 0
    gaps = [later - one for one, later in pairwise(sent[30:])]
    assert sum(0.9 < gap < 1.1 for gap in gaps) > 0.95 * len(gaps)
    assert sent[-1] == pytest.approx(180, abs=2)


def test_a_row_of_more_tokens_than_the_limit_goes_alone() -> None:
    """Rather than never: when nothing else counts any more, and nothing goes out beside it."""
    went: dict[int, float] = {}

    async def main() -> None:
        rate_limiter = RateLimiter(10, tpm=100)

        async def one(tokens: int) -> None:
            rate_limiter.settle(await rate_limiter.admit(tokens), tokens)
            went[tokens] = trio.current_time()

        for tokens in (20, 5000, 30):
            await one(tokens)

    on_a_virtual_clock(main)
    assert went == {20: 0, 5000: pytest.approx(60.25), 30: pytest.approx(120.5)}


def test_what_is_settled_counts_as_it_was() -> None:
    """A reply that was shorter than estimated frees the rest, an absurd one counts for no longer than a minute."""

    async def main() -> None:
        rate_limiter = RateLimiter(10, tpm=100)
        [first] = take(rate_limiter, 1, 60)
        assert rate_limiter.admit_nowait(60) is None
        rate_limiter.settle(first, 10)
        rate_limiter.settle((take(rate_limiter, 1, 60))[0], 10**15)
        began = trio.current_time()
        rate_limiter.settle(await rate_limiter.admit(10), -5)
        assert trio.current_time() - began == pytest.approx(60.25)

    on_a_virtual_clock(main)


def test_slow_start_doubles_with_each_round_trip() -> None:
    """8, 16, 32; where no limit is told it goes on more carefully; a ceiling is a ceiling."""

    async def main(limits: RateLimits | None) -> list[int]:
        rate_limiter = RateLimiter(150, start=8)
        sizes = []
        for _ in range(6):
            sizes.append(room(rate_limiter))
            for permit in take(rate_limiter, sizes[-1]):
                rate_limiter.settle(permit, 1, None, limits)
        return sizes

    assert on_a_virtual_clock(partial(main, RateLimits(10**6))) == [8, 16, 32, 64, 128, 150]
    assert on_a_virtual_clock(partial(main, None)) == [8, 16, 32, 40, 50, 62]


def test_what_is_not_used_does_not_grow() -> None:
    """One request after another is no reason to allow more at once."""

    async def main() -> int:
        rate_limiter = RateLimiter(100, start=8)
        for _ in range(50):
            rate_limiter.settle((take(rate_limiter, 1))[0], 1)
        return room(rate_limiter)

    assert on_a_virtual_clock(main) == 8


def test_refusals_of_one_episode_cut_once() -> None:
    """All that were in flight together are one episode; then it grows by one per round trip."""

    async def main() -> list[int]:
        rate_limiter = RateLimiter(64)
        refused = RateLimited("slow", retry_after_s=0)
        sizes = [room(rate_limiter)]
        for permit in take(rate_limiter, 64):
            rate_limiter.settle(permit, None, refused)
        sizes.append(room(rate_limiter))
        permits = take(rate_limiter, 32)
        for permit in permits[:16]:
            rate_limiter.settle(permit, None, refused)
        sizes.append(room(rate_limiter) + rate_limiter.in_flight)
        for permit in permits[16:]:
            rate_limiter.settle(permit, 1)
        for _ in range(2):
            for permit in take(rate_limiter, room(rate_limiter)):
                rate_limiter.settle(permit, 1)
            sizes.append(room(rate_limiter))
        return sizes

    assert on_a_virtual_clock(main) == [64, 32, 16, 17, 18]


def test_a_ceiling_that_nobody_comes_near_is_cut_to_what_is_in_flight() -> None:
    """Of 1,000 allowed and 8 sent, half of what is sent is the second cut."""

    async def main() -> list[int]:
        rate_limiter, sizes = RateLimiter(1000), []
        for _ in range(2):
            for permit in take(rate_limiter, 8):
                rate_limiter.settle(permit, None, RateLimited("slow", retry_after_s=0))
            sizes.append(room(rate_limiter))
        return sizes

    assert on_a_virtual_clock(main) == [8, 4]


@pytest.mark.parametrize(
    "error", [ServerError("x"), CallTimedOut("x"), NetworkError("x")], ids=lambda e: type(e).__name__
)
def test_failures_pause_growth_and_cut_nothing(error: CallError) -> None:
    """A provider in trouble is not given more; ten seconds later it may be."""

    async def main() -> list[int]:
        rate_limiter, sizes = RateLimiter(100, start=8), []
        for failure in (error, None, None):
            for i, permit in enumerate(take(rate_limiter, room(rate_limiter))):
                rate_limiter.settle(permit, 1, None if i else failure)
            sizes.append(room(rate_limiter))
            await anyio.sleep(6)
        return sizes

    assert on_a_virtual_clock(main) == [8, 8, 16]


def test_an_empty_account_cuts_nothing() -> None:
    """It is no matter of how fast."""

    async def main() -> int:
        rate_limiter = RateLimiter(8)
        for permit in take(rate_limiter, 8):
            rate_limiter.settle(permit, None, QuotaExhausted("pay"))
        return room(rate_limiter)

    assert on_a_virtual_clock(main) == 8


@pytest.mark.parametrize(
    ("asked", "waits"),
    [([20.0], 20.0), ([5.0, 30.0, 10.0], 30.0), ([86_400.0], 0.0), ([0.0], 0.0)],
    ids=["once", "the longest counts", "a day", "at once"],
)
def test_what_the_provider_asks_to_wait_holds_for_all(asked: list[float], waits: float) -> None:
    """Nothing goes out before, unless it asks for more patience than there is."""

    async def main() -> tuple[str | None, float]:
        rate_limiter = RateLimiter(20)
        said: list[str | None] = []
        for permit, asked_s in zip(take(rate_limiter, len(asked)), asked, strict=True):
            rate_limiter.settle(permit, None, RateLimited("later", retry_after_s=asked_s))
        async with anyio.create_task_group() as group:
            group.start_soon(rate_limiter.admit, 1)
            await trio.testing.wait_all_tasks_blocked()
            said.append(text_of(rate_limiter.wait))
        return said[0], trio.current_time()

    words = f"Retry-After: {waits:g} s left" if waits else None
    assert on_a_virtual_clock(main) == (words, pytest.approx(waits))


def test_headers_lower_what_was_given_and_teach_what_was_not() -> None:
    """A given limit is never raised; a learned one is followed both ways, at once."""

    async def main() -> list[int]:
        rate_limiter, sizes = RateLimiter(1000, rpm=100), []
        for told in (RateLimits(600), RateLimits(40), RateLimits(80)):
            rate_limiter.settle((take(rate_limiter, 1))[0], 1, None, told)
            sizes.append(room(rate_limiter))
            await anyio.sleep(61)
        return sizes

    # What goes at once is half of the limit, one of it was the request that told.
    assert on_a_virtual_clock(main) == [49, 19, 39]


def test_an_older_request_tells_no_news() -> None:
    """A slow reply that still names the limit of before does not bring it back."""

    async def main() -> int:
        rate_limiter = RateLimiter(100)
        old, new = take(rate_limiter, 2)
        rate_limiter.settle(new, 1, None, RateLimits(10))
        rate_limiter.settle(old, 1, None, RateLimits(1000))
        return room(rate_limiter)

    assert on_a_virtual_clock(main) == 3


def test_what_was_sent_before_a_limit_was_known_counts() -> None:
    """Eight went out, then the reply says ten a minute: there is no window with more than that."""
    sent: list[float] = []

    async def main() -> None:
        rate_limiter = RateLimiter(100, start=8)
        permits = take(rate_limiter, 8)
        sent.extend([0.0] * 8)
        await anyio.sleep(1)
        for permit in permits:
            rate_limiter.settle(permit, 1, None, RateLimits(10))
        for _ in range(20):
            rate_limiter.settle(await rate_limiter.admit(1), 1, None, RateLimits(10))
            sent.append(trio.current_time())

    on_a_virtual_clock(main)
    assert max(sum(at <= other < at + 60 for other in sent) for at in sent) == 10


def test_nothing_left_waits_for_the_reset() -> None:
    """Remaining 0 holds all requests until then, and is no longer believed when it is said each time."""
    went: list[float] = []

    async def main() -> None:
        rate_limiter = RateLimiter(1)
        for _ in range(4):
            permit = await rate_limiter.admit(1)
            went.append(trio.current_time())
            rate_limiter.settle(permit, 1, None, RateLimits(600, None, 0, None, 30.0))

    on_a_virtual_clock(main)
    assert went == [0, pytest.approx(30), pytest.approx(30), pytest.approx(30)]


@pytest.mark.parametrize(
    ("rate_limiter", "fill", "error", "words"),
    [
        pytest.param(lambda: RateLimiter(9, rpm=1200), 600, None, "1,200 requests/min", id="requests"),
        pytest.param(lambda: RateLimiter(9, tpm=100_000), 500, None, "100,000 tokens/min", id="tokens"),
        pytest.param(lambda: RateLimiter(24), 24, RateLimited("x", retry_after_s=0), "429s: 12 at once", id="cut"),
        pytest.param(lambda: RateLimiter(24, start=8), 0, None, "8 at once so far", id="slow start"),
        pytest.param(lambda: RateLimiter(24), 0, None, None, id="the ceiling"),
    ],
)
def test_it_says_what_limits(
    rate_limiter: Callable[[], RateLimiter], fill: int, error: CallError | None, words: str | None
) -> None:
    """For a progress line: the limit, the cut, or nothing when only the user's own ceiling does."""

    async def main() -> tuple[str | None, str | None]:
        paced = rate_limiter()
        assert paced.wait is None
        if error:
            for permit in take(paced, fill):
                paced.settle(permit, None, error)
        else:
            for _ in range(fill):
                paced.settle((take(paced, 1, 100))[0], 100)
        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(paced.admit, 100)
            await trio.testing.wait_all_tasks_blocked()
            said = text_of(paced.wait)
            group.cancel_scope.cancel()
        return said, text_of(paced.wait)

    assert on_a_virtual_clock(main) == (words, None)


# --- headers ----------------------------------------------------------------------------------------------------------


def openai(**fields: str) -> dict[str, str]:
    return {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in fields.items()}


def anthropic(**fields: str) -> dict[str, str]:
    return {f"anthropic-ratelimit-{name.replace('_', '-')}": value for name, value in fields.items()}


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"content-type": "application/json", "x-request-id": "1"}, None, id="others"),
        pytest.param(
            openai(
                limit_requests="600",
                limit_tokens="100000",
                remaining_requests="599",
                remaining_tokens="99000",
                reset_requests="100ms",
                reset_tokens="6m0s",
            ),
            RateLimits(600, 100_000, 599, 99_000, 0.1, 360.0),
            id="OpenAI",
        ),
        pytest.param(
            openai(remaining_requests="79", remaining_tokens="61353"),
            RateLimits(None, None, 79, 61_353),
            id="Azure, without limits",
        ),
        pytest.param(
            openai(limit_tokens="-1", remaining_tokens="-1", reset_tokens="0"),
            RateLimits(reset_tokens_s=0.0),
            id="Azure's -1",
        ),
        pytest.param(
            openai(limit_tokens="1000", remaining_tokens="0", reset_tokens="55"),
            RateLimits(None, 1000, None, 0, None, 55.0),
            id="bare seconds",
        ),
        pytest.param(
            openai(
                limit_requests="14400",
                limit_tokens="18000",
                remaining_requests="14370",
                remaining_tokens="17997",
                reset_requests="2m59.56s",
                reset_tokens="7.66s",
            ),
            RateLimits(None, 18_000, 14_370, 17_997, 179.56, 7.66),
            id="Groq, requests a day",
        ),
        pytest.param(
            openai(limit_tokens_minute="60000", remaining_tokens_minute="5", reset_tokens_minute="11.38")
            | openai(limit_requests_day="900", remaining_requests_day="0", reset_requests_day="33011.4"),
            RateLimits(None, 60_000, None, 5, None, 11.38),
            id="Cerebras",
        ),
        pytest.param(
            anthropic(requests_limit="50", requests_remaining="49", requests_reset="2020-01-01T00:00:00Z")
            | anthropic(tokens_limit="96000", tokens_remaining="95000", input_tokens_limit="80000"),
            RateLimits(50, 96_000, 49, 95_000, 0.0),
            id="Anthropic",
        ),
        pytest.param(
            anthropic(input_tokens_limit="80000", output_tokens_limit="16000", output_tokens_remaining="0"),
            RateLimits(None, 96_000, None, 0),
            id="Anthropic, no output left",
        ),
        pytest.param({"ratelimit-limit": "100"}, RateLimits(100), id="IETF"),
        pytest.param(
            {"ratelimit-limit": "10, 10;w=1, 5000;w=86400", "ratelimit-remaining": "3", "ratelimit-reset": "1"},
            RateLimits(600, None, 3, None, 1.0),
            id="IETF, a second",
        ),
        pytest.param(
            {"ratelimit-limit": "5000;w=3600", "ratelimit-remaining": "7"}, RateLimits(None, None, 7), id="an hour"
        ),
        pytest.param(
            openai(limit_requests="0", remaining_requests="0", reset_requests="60s"), None, id="nothing at all"
        ),
        pytest.param(openai(limit_requests="-600"), None, id="negative"),
        pytest.param(openai(limit_requests="many", limit_tokens="1e99"), None, id="garbage"),
        pytest.param(openai(limit_requests="9" * 15), None, id="absurd"),
        pytest.param(
            openai(limit_requests="10", remaining_requests="11"), RateLimits(10), id="more left than there is"
        ),
        pytest.param(openai(limit_requests="10", reset_requests="soon"), RateLimits(10), id="a reset of garbage"),
    ],
)
def test_headers_say_the_limits(headers: dict[str, str], limits: RateLimits | None) -> None:
    """Each dialect, and only what can be."""
    assert rate_headers.read(headers) == limits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m", 3720),
        ("1h2m3.5s", 3723.5),
        ("2d", 172_800),
        ("17µs", 0),
        ("12", 12),
    ],
)
def test_resets_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    """In all units, one or several of them."""
    limits = rate_headers.read(openai(limit_tokens="10", reset_tokens=text))
    assert limits is not None
    assert limits.reset_tokens_s == pytest.approx(seconds)


def test_a_reset_at_a_time_counts_from_now() -> None:
    """RFC 3339, with the wall clock that it is about."""
    at = (datetime.now(UTC) + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
    limits = rate_headers.read(anthropic(requests_limit="5", requests_remaining="0", requests_reset=at))
    assert limits is not None
    assert (limits.requests_per_min, limits.remaining_requests) == (5, 0)
    assert limits.reset_requests_s == pytest.approx(30, abs=5)


NAMES = st.sampled_from(
    [
        *(f"x-ratelimit-{part}-{what}" for part in ("limit", "remaining", "reset") for what in ("requests", "tokens")),
        *(
            f"anthropic-ratelimit-{what}-{part}"
            for part in ("limit", "remaining", "reset")
            for what in ("requests", "tokens")
        ),
        *(f"ratelimit-{part}" for part in ("limit", "remaining", "reset")),
    ]
)
VALUES = st.text(max_size=30) | st.text("0123456789-.,;=wshmd:TZ+ ", max_size=30) | st.integers().map(str)


@given(st.dictionaries(NAMES, VALUES, max_size=9))
def test_headers_that_lie_stop_nothing(headers: dict[str, str]) -> None:
    """Whatever is in them: no error, and nothing that cannot be."""
    limits = rate_headers.read(headers)
    if limits is None:
        return
    for limit, left in (
        (limits.requests_per_min, limits.remaining_requests),
        (limits.tokens_per_min, limits.remaining_tokens),
    ):
        assert limit is None or limit > 0
        assert left is None or left >= 0
    assert all(reset is None or 0 <= reset < float("inf") for reset in (limits.reset_requests_s, limits.reset_tokens_s))


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), VALUES))
def test_a_retry_after_that_lies_stops_nothing(headers: dict[str, str]) -> None:
    """Garbage counts as not asked, the rest is a number of seconds."""
    seconds = retry_after(headers)
    assert seconds is None or 0 <= seconds < float("inf")


@given(st.integers(-(10**9), 7 * 86_400 - 10))
def test_a_retry_after_as_a_date_is_never_in_the_past(offset: int) -> None:
    """Also when the date is; more than a week ahead counts as not asked."""
    now = time.time()
    seconds = retry_after({"retry-after": formatdate(max(0, now + offset), usegmt=True)})
    assert seconds == pytest.approx(max(0, offset), abs=5)
