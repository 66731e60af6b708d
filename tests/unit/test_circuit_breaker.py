"""When an endpoint counts as gone, what waits for it, and what does not: callers and a provider on a virtual clock."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import anyio
import pytest
import trio
import trio.testing
from support.transport_contract import request

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    NetworkError,
    OutageTooLong,
    RateLimited,
    ServerError,
)
from crewrun.limits.circuit_breaker import BreakerState, CircuitBreaker
from crewrun.limits.permit import FailureScope, Permit
from crewrun.limits.probes import Suspicion
from crewrun.limits.retry import RetryPolicy
from crewrun.limits.waits import Wait
from crewrun.llm.endpoints import resolve
from crewrun.llm.model import LLM

T = TypeVar("T")
DOWN_S = (10.0, 70.0)


def text_of(wait: Wait | None) -> str | None:
    return None if wait is None else str(wait)


def on_a_virtual_clock(main: Callable[[], Awaitable[T]]) -> T:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def refused() -> NetworkError:
    """A connection that is refused, as the direct transport words and raises it."""
    error = NetworkError("127.0.0.1:8000: cannot connect: Connection refused")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    return error


def broken() -> NetworkError:
    return NetworkError("127.0.0.1:8000: the connection broke before the reply was whole")


def status(number: int) -> ServerError:
    return ServerError(f"HTTP {number}: no", http_status=number)


@dataclass
class Provider:
    """Answers each call after `latency_s`, or fails it at once when `fault(row)` says so."""

    fault: Callable[[int], CallError | None]
    latency_s: tuple[float, float] = (0.5, 2.0)
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    sent_at: list[float] = field(default_factory=list)

    async def send(self, row: int) -> None:
        self.sent_at.append(trio.current_time())
        if fault := self.fault(row):
            await anyio.sleep(self.dice.uniform(0.001, 0.02))
            raise fault
        await anyio.sleep(self.dice.uniform(*self.latency_s))

    def sent_between(self, start_s: float, end_s: float) -> int:
        return sum(start_s <= at < end_s for at in self.sent_at)


@dataclass
class Run:
    """What became of a run's rows, how long it took, and how often it took the endpoint for gone."""

    ok: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    stopped: str | None = None
    took_s: float = 0.0
    outages: int = 0
    probes: int = 0


def run(
    rows: int, at_once: int, provider: Provider, *, patience_s: float = 300.0, retries: int = 5, seed: int = 1
) -> Run:
    """Rows of one call each, `at_once` in flight, sent as the gateway sends them."""
    result = Run()

    async def call(row: int, breaker: CircuitBreaker, policy: RetryPolicy) -> None:
        attempt = 0
        while True:
            attempt += 1
            sent = await breaker.ready()
            try:
                await provider.send(row)
            except CallError as error:
                error.attempts = attempt
                was_on = breaker.is_silent
                is_excused = breaker.failed(Permit(attempt=sent), error) is FailureScope.NONE
                result.outages += breaker.is_silent and not was_on
                if is_excused:
                    attempt -= 1
                    continue
                delay_s = policy.delay(error, attempt)
                if delay_s is None:
                    raise
                await anyio.sleep(delay_s)
            else:
                breaker.answered(Permit(attempt=sent))
                return

    async def main() -> Run:
        breaker = CircuitBreaker("openai/m", patience_s, rng=random.Random(seed))
        policy = RetryPolicy(retries=retries, rng=random.Random(seed))
        left = iter(range(rows))

        async def work() -> None:
            for row in left:
                try:
                    await call(row, breaker, policy)
                    result.ok.append(row)
                except OutageTooLong as gone:
                    result.pending.append(row)
                    result.stopped = result.stopped or str(gone)
                    return
                except CallError:
                    result.failed.append(row)

        async with anyio.create_task_group() as workers:
            for _ in range(at_once):
                workers.start_soon(work)
        result.took_s = trio.current_time()
        result.probes = breaker.probes
        assert breaker._evidence._out == 0 or result.stopped
        return result

    return on_a_virtual_clock(main)


def down_for_a_minute(error: Callable[[], CallError]) -> Callable[[int], CallError | None]:
    return lambda row: error() if DOWN_S[0] <= trio.current_time() < DOWN_S[1] else None


# --- outages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [2, 3, 5, 8, 32, 100])
@pytest.mark.parametrize(
    "error", [refused, broken, lambda: status(503), lambda: status(500)], ids=["refused", "broken", "503", "500"]
)
def test_a_minute_without_answers_fails_no_row(error: Callable[[], CallError], at_once: int) -> None:
    """Whatever the failure and however many calls are in flight: every row is answered in the end, after few probes."""
    provider = Provider(down_for_a_minute(error))
    done = run(15 * at_once, at_once, provider)
    assert (sorted(done.ok), done.failed, done.stopped) == (list(range(15 * at_once)), [], None)
    # What was in flight, and some of it again before the outage was known; then a probe now and then.
    assert provider.sent_between(*DOWN_S) <= 2 * at_once + 12
    assert provider.sent_between(DOWN_S[0] + 5, DOWN_S[1]) <= 8
    print(f"{at_once} at once: {provider.sent_between(*DOWN_S)} sent while down, {done.outages} outages")


@pytest.mark.parametrize(("error", "failed"), [(refused, 0), (lambda: status(503), 1)], ids=["refused", "503"])
def test_one_row_at_a_time_outlives_an_outage(error: Callable[[], CallError], failed: int) -> None:
    """A refused connection is no prompt's fault, so one call is enough to tell; a 503 takes two."""
    done = run(60, 1, Provider(down_for_a_minute(error)))
    assert (len(done.ok), len(done.failed), done.outages) == (60 - failed, failed, 1)


def test_one_attempt_a_call_is_enough_for_refused_connections_that_last() -> None:
    """Without retries those fail that were sent before the outage was known, no others."""
    done = run(400, 8, Provider(down_for_a_minute(refused)), retries=0)
    assert (len(done.ok), len(done.failed) <= 13, done.outages) == (400 - len(done.failed), True, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid"])
async def test_what_the_transport_says_of_a_server_that_is_not_there_is_understood(host: str) -> None:
    """Refused connections and unknown names, as the direct transport raises them: two attempts of one call tell."""
    from crewrun.llm.transports.openai import OpenAITransport

    transport, breaker = OpenAITransport(), CircuitBreaker("openai/m")
    try:
        for attempt in (1, 2):
            sent = await breaker.ready()
            with pytest.raises(NetworkError) as raised:
                await transport.send(request(resolve(LLM(model="openai/m", base_url=f"http://{host}")), "hello"))
            raised.value.attempts = attempt
            breaker.failed(Permit(attempt=sent), raised.value)
    finally:
        await transport.aclose()
    assert breaker.is_silent


@pytest.mark.parametrize("at_once", [1, 32])
def test_probes_go_one_by_one_at_doubling_intervals(at_once: int) -> None:
    """About 1, 2, 4, 8, 16 and then 30 seconds apart, give or take a fifth."""
    provider = Provider(lambda row: refused() if trio.current_time() < 150 else None)
    done = run(at_once, at_once, provider)
    probes = provider.sent_at[-done.probes - at_once + 1 :][: done.probes]
    waits = [b - a for a, b in pairwise(probes)]
    assert (len(done.ok), done.failed, done.outages, done.probes) == (at_once, [], 1, 9)
    for wait_s, expected_s in zip(waits, [2, 4, 8, 16, 30, 30, 30, 30], strict=True):
        assert 0.8 * expected_s <= wait_s <= 1.2 * expected_s + 0.03


def test_what_fails_of_before_does_not_put_off_the_first_probe() -> None:
    """The backoff is that of probes."""

    async def main() -> float:
        breaker = CircuitBreaker("m", rng=random.Random(3))
        for attempt in (1, 2):
            sent = [await breaker.ready() for _ in range(20)]
            for number in sent:
                error = status(503)
                error.attempts = attempt
                breaker.failed(Permit(attempt=number), error)
        await breaker.ready()
        return trio.current_time()

    assert on_a_virtual_clock(main) == pytest.approx(1, abs=0.2)


def test_those_that_waited_do_not_return_at_one_instant() -> None:
    """They spread over a second, so that a server which has just come back is not run over."""
    provider = Provider(down_for_a_minute(refused))
    run(1200, 100, provider)
    answered = min(at for at in provider.sent_at if at >= DOWN_S[1]) + 0.5
    back = [at for at in provider.sent_at if at > answered]
    most_in_a_tenth = max(sum(at <= other < at + 0.1 for other in back[:100]) for at in back[:100])
    assert most_in_a_tenth <= 30


def test_too_long_an_outage_stops_the_run_and_fails_no_row() -> None:
    """Those in flight give up together; the message says for how long and with which error."""
    done = run(100, 8, Provider(lambda row: status(503)), patience_s=120)
    assert (done.ok, done.failed, sorted(done.pending)) == ([], [], list(range(8)))
    assert done.took_s == pytest.approx(120, abs=0.5)
    assert done.stopped == (
        "openai/m has not answered for 120 s (--outage-patience), last error: HTTP 503: no; "
        "the same command goes on when it is back"
    )
    assert (OutageTooLong.exit_code, OutageTooLong.category) == (4, "server")


def test_without_patience_an_outage_stops_the_run_at_once() -> None:
    """0 seconds: as soon as it is known."""
    done = run(100, 8, Provider(lambda row: refused()), patience_s=0)
    assert (done.ok, done.failed, len(done.pending), done.probes) == ([], [], 8, 0)
    assert done.took_s < 5


@pytest.mark.parametrize(("asked_s", "waited_s"), [(20.0, 20), (86_400.0, 30)], ids=["20 s", "a day"])
def test_a_provider_that_asks_to_wait_is_not_probed_before(asked_s: float, waited_s: float) -> None:
    """A Retry-After is a floor under the next probe, up to half a minute."""

    async def main() -> float:
        breaker = CircuitBreaker("m", rng=random.Random(3))
        for attempt in (1, 2):
            error = refused()
            error.attempts, error.retry_after_s = attempt, asked_s
            breaker.failed(Permit(attempt=await breaker.ready()), error)
        await breaker.ready()
        return trio.current_time()

    assert on_a_virtual_clock(main) == pytest.approx(waited_s)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_patience_is_a_time(seconds: float) -> None:
    """Nonsense is refused where it is given."""
    with pytest.raises(ValueError, match="outage patience"):
        CircuitBreaker("m", seconds)


# --- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latency_s", [(0.001, 0.02), (0.5, 2.0), (20.0, 40.0)], ids=["instant", "seconds", "slow"])
@pytest.mark.parametrize("at_once", [8, 32])
def test_a_fifth_of_500s_is_no_outage(at_once: int, latency_s: tuple[float, float]) -> None:
    """Also where failures come at once and answers take half a minute."""
    for seed in range(2):
        dice = random.Random(seed)

        def fault(row: int, dice: random.Random = dice) -> CallError | None:
            return status(500) if dice.random() < 0.2 else None

        done = run(800, at_once, Provider(fault, latency_s), seed=seed)
        assert (done.outages, done.stopped, len(done.ok) + len(done.failed)) == (0, None, 800)


@pytest.mark.parametrize("error", [lambda: status(500), lambda: status(503), broken], ids=["500", "503", "broken"])
@pytest.mark.parametrize("poisoned", [{0}, {59}, {30}], ids=["first", "last", "middle"])
def test_a_poisoned_row_alone_is_no_outage(poisoned: set[int], error: Callable[[], CallError]) -> None:
    """One row at a time, and a prompt that always fails: it fails after its own six attempts, in its own time."""
    provider = Provider(lambda row: error() if row in poisoned else None)
    done = run(60, 1, provider)
    assert (set(done.failed), len(done.ok), done.outages, len(provider.sent_at)) == (poisoned, 59, 0, 65)
    assert done.took_s < 60 * 2 + 16


def test_a_poisoned_row_may_fail_as_often_as_it_is_told_to() -> None:
    """Many retries of one call are still one call."""
    done = run(3, 1, Provider(lambda row: status(500) if row == 1 else None), retries=20)
    assert (done.ok, done.failed, done.outages) == ([0, 2], [1], 0)


def test_slow_answers_that_are_still_out_speak_against_an_outage() -> None:
    """A third of the connections is refused at once, the others are answered after a minute."""
    dice = random.Random(5)
    provider = Provider(lambda row: refused() if dice.random() < 0.33 else None, latency_s=(50, 70))
    done = run(300, 32, provider)
    assert (len(done.ok), done.failed, done.outages) == (300, [], 0)


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 8, 32])
def test_a_few_poisoned_rows_never_stop_a_run(at_once: int) -> None:
    """Side by side, at the front, in the middle and at the end: they fail, all others are answered, and it ends."""
    poisoned = {0, 1, 100, 101, 102, 197, 198, 199}
    done = run(200, at_once, Provider(lambda row: status(500) if row in poisoned else None))
    assert (set(done.failed), len(done.ok), done.stopped) == (poisoned, 192, None)
    assert done.took_s < 1500


def test_poisoned_rows_left_over_at_the_end_of_a_fast_run_fail_in_their_own_time() -> None:
    """Ten in a thousand, alone when all others have ended: they had failed while others were answered."""
    poisoned = set(range(5, 1000, 100))
    provider = Provider(lambda row: status(500) if row in poisoned else None, latency_s=(0.01, 0.03))
    done = run(1000, 32, provider)
    assert (set(done.failed), len(done.ok), done.outages) == (poisoned, 990, 0)
    assert done.took_s < 20


@pytest.mark.parametrize(
    "error",
    [
        lambda: BadRequest("HTTP 400: no", http_status=400),
        lambda: AuthRefused("HTTP 401: no", http_status=401),
        lambda: RateLimited("HTTP 429: slow down", http_status=429),
        lambda: CallTimedOut("HTTP 408: slow", http_status=408),
        lambda: ServerError("the reply is not a chat completion: 'hi'", http_status=200),
        lambda: CallTimedOut("no reply from openai/m within 5 s (--call-timeout)"),
    ],
    ids=["400", "401", "429", "408", "garbage", "timeout"],
)
def test_refusals_and_slow_answers_are_no_outage(error: Callable[[], CallError]) -> None:
    """Who refuses is there, and who is slow may be."""
    done = run(40, 8, Provider(lambda row: error()), retries=1)
    assert (len(done.failed), done.outages, done.stopped) == (40, 0, None)


# --- the end of an outage ---------------------------------------------------------------------------------------------


def test_a_refusal_ends_an_outage() -> None:
    """The provider lives, whatever it says: the next calls go out at once."""

    async def main() -> tuple[bool, bool]:
        breaker = CircuitBreaker("m")
        sent = await begun(breaker)
        before = breaker.is_silent
        breaker.failed(Permit(attempt=sent), BadRequest("HTTP 400: no", http_status=400))
        return before, breaker.is_silent

    assert on_a_virtual_clock(main) == (True, False)


def test_an_answer_to_what_was_sent_before_does_not_end_an_outage() -> None:
    """A server that goes down still ends what it is at."""

    async def main() -> tuple[bool, bool]:
        breaker = CircuitBreaker("m")
        early = await breaker.ready()
        late = await begun(breaker)
        breaker.answered(Permit(attempt=early))
        still = breaker.is_silent
        breaker.answered(Permit(attempt=late))
        return still, breaker.is_silent

    assert on_a_virtual_clock(main) == (True, False)


async def begun(breaker: CircuitBreaker) -> int:
    """Let an outage begin, and wait for the first probe's number."""
    for attempt in (1, 2, 3, 4):
        error = refused()
        error.attempts = attempt
        breaker.failed(Permit(attempt=await breaker.ready()), error)
    return await breaker.ready()


def test_a_server_that_drains_while_it_goes_down_is_an_outage() -> None:
    """Long answers still arrive while every new call fails: no row fails for it."""
    provider = Provider(down_for_a_minute(lambda: status(503)), latency_s=(0.5, 25.0))
    done = run(200, 8, provider)
    assert (len(done.ok), done.failed) == (200, [])


def test_a_probe_that_hangs_does_not_hold_up_the_next() -> None:
    """Half a minute later another call probes."""

    async def main() -> float:
        breaker = CircuitBreaker("m", rng=random.Random(3))
        await begun(breaker)
        hung_at = trio.current_time()
        await breaker.ready()
        return trio.current_time() - hung_at

    assert on_a_virtual_clock(main) == pytest.approx(30)


def test_who_waits_can_be_cancelled() -> None:
    """The next in line probes in its place, and the one behind it goes when that is answered."""

    async def main() -> tuple[list[str], bool]:
        breaker = CircuitBreaker("m", rng=random.Random(3))
        went: list[str] = []
        for attempt in (1, 2):
            error = refused()
            error.attempts = attempt
            breaker.failed(Permit(attempt=await breaker.ready()), error)

        async def wait(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                sent = await breaker.ready()
                went.append(name)
                await anyio.sleep(1)
                breaker.answered(Permit(attempt=sent))

        async with anyio.create_task_group() as group:
            first = anyio.CancelScope()
            group.start_soon(wait, "first", first)
            await anyio.sleep(0.1)
            for name in ("second", "third"):
                group.start_soon(wait, name, anyio.CancelScope())
                await anyio.sleep(0.1)
            first.cancel()
        return went, breaker.is_silent

    assert on_a_virtual_clock(main) == (["second", "third"], False)


def test_calls_given_up_are_not_waited_for() -> None:
    """Cancelled attempts are not in flight, so that two refused ones are again all there are."""

    async def main() -> bool:
        breaker = CircuitBreaker("m")
        for _ in range(20):
            await breaker.ready()
            breaker.withdraw()
        for attempt in (1, 2):
            error = refused()
            error.attempts = attempt
            breaker.failed(Permit(attempt=await breaker.ready()), error)
        return breaker.is_silent

    assert on_a_virtual_clock(main) is True


def test_what_holds_calls_up_is_said() -> None:
    """For the progress line: the endpoint, for how long, the time left and the cause; nothing before and after."""

    async def main() -> list[str | None]:
        breaker = CircuitBreaker("openai/m", rng=random.Random(3))
        said = [text_of(breaker.wait)]
        sent = await begun(breaker)
        await anyio.sleep(60 - trio.current_time())
        said.append(text_of(breaker.wait))
        breaker.answered(Permit(attempt=sent))
        said.append(text_of(breaker.wait))
        return said

    assert on_a_virtual_clock(main) == [
        None,
        "an outage: openai/m has not answered for 60 s, 240 s left: 127.0.0.1:8000: cannot connect: Connection refused",
        None,
    ]


def test_an_answer_ends_an_outage_that_only_timeouts_showed() -> None:
    """A timeout is no evidence by itself, so a probe that timed out declared the outage: the next answer ends it."""

    async def main() -> list[BreakerState]:
        breaker = CircuitBreaker("m", 120, rng=random.Random(3))
        timed_out = CallTimedOut("no reply from m within 120 s (--call-timeout)")
        timed_out.attempts = 1
        breaker.failed(Permit(attempt=await breaker.ready()), timed_out)
        suspicion = await breaker.join(timed_out)
        assert isinstance(suspicion, Suspicion)
        breaker.failed(Permit(attempt=await breaker.ready(), is_probe=True, suspicion=suspicion), timed_out)
        states = [breaker.state]
        probe = Permit(attempt=await breaker.ready(), is_probe=True)
        states.append(breaker.state)
        breaker.answered(probe)
        return [*states, breaker.state]

    assert on_a_virtual_clock(main) == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]
