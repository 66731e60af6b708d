"""Whether what one call met is its own or everybody's: callers of one endpoint's limiter on a virtual clock."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
    EndpointRefused,
    ModelNotFound,
    OutageTooLong,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Unreachable,
    WaitTooLong,
)
from crewrun.limits.budget import Budget
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.options import LimiterOptions
from crewrun.limits.permit import CallResult, FailureScope
from crewrun.limits.retry import RetryPolicy
from crewrun.limits.unknown_bills import Owed
from crewrun.llm.call import Bill, Caller
from crewrun.llm.endpoint_state import EndpointState
from crewrun.llm.endpoints import resolve
from crewrun.llm.model import LLM
from crewrun.llm.options import GatewayOptions
from crewrun.llm.prices.price import flat_price
from crewrun.llm.sender import Sender
from crewrun.llm.transports.registry import Transports
from crewrun.messages import ChatRequest, Completion, Endpoint, Usage
from crewrun.recorder import Spent
from crewrun.row_context import RowContext

T = TypeVar("T")
NAME = "openai/m"
PROBE = "a probe"
Fault = Callable[[], CallError] | None


def revoked() -> CallError:
    return AuthRefused("HTTP 401: Incorrect API key provided", http_status=401)


def forbidden() -> CallError:
    return AuthRefused("HTTP 403: not for you", http_status=403)


def empty() -> CallError:
    return QuotaExhausted("HTTP 402: no credit", http_status=402)


def gone() -> CallError:
    return ModelNotFound("HTTP 404: no such model", http_status=404)


def untrusted() -> CallError:
    return Unreachable("its TLS certificate is not trusted")


def busy_until_tomorrow() -> CallError:
    return RateLimited("HTTP 429: tokens per day", http_status=429, retry_after_s=7260)


def down() -> CallError:
    return ServerError("HTTP 503: down", http_status=503)


REFUSALS = [revoked, forbidden, empty, gone, untrusted, busy_until_tomorrow]
# How often a row's call is sent when the probe was answered: refusals that may pass are tried once more.
SENT = {revoked: 2, forbidden: 2, gone: 2, empty: 1, untrusted: 1, busy_until_tomorrow: 1}


@dataclass
class Provider:
    """Takes a tenth of a second for each request, then fails it when `fault` says so of the row's name."""

    fault: Callable[[str], Fault]
    asked: list[str] = field(default_factory=list)
    takes_s: float = 0.1

    async def send(self, request: ChatRequest) -> Completion:
        text = request.messages[-1].content
        name = text if text.startswith("row") else PROBE
        self.asked.append(name)
        await anyio.sleep(self.takes_s)
        fault = self.fault(name)
        if fault is not None:
            raise fault()
        return Completion("an answer", Usage(100, 0, 10))

    async def aclose(self) -> None:
        """Nothing to close."""

    @property
    def probes(self) -> int:
        return self.asked.count(PROBE)


@dataclass
class Run:
    """What became of each row."""

    ok: list[str] = field(default_factory=list)
    failed: dict[str, CallError] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    spent: list[Spent] = field(default_factory=list)
    took_s: float = 0.0


def run(
    provider: Provider,
    rows: int = 20,
    at_once: int = 1,
    *,
    budget: Budget | None = None,
    patience_s: float = 300.0,
    deadline_s: float | None = None,
    retries: int = 2,
) -> Run:
    """Rows of one call each, sent as the gateway sends them."""
    result = Run()

    async def main() -> Run:
        limiters = LocalLimiters(LimiterOptions(outage_patience_s=patience_s), deadline_s)
        limiters.budget = budget
        endpoint = resolve(LLM(model=NAME, base_url="http://127.0.0.1:9", api_key="k", max_tokens=10))

        def way(endpoint: Endpoint) -> EndpointState:
            return EndpointState(endpoint, limiters.of(endpoint), flat_price(0.01, 0.1))

        options = GatewayOptions(retry=RetryPolicy(retries=retries))
        sender = Sender(options, limiters, Transports(provider), way)
        left = iter([f"row {i}" for i in range(rows)])

        async def work() -> None:
            for name in left:
                try:
                    _, spent = await sender.send_with_fallbacks(
                        request(endpoint, name), (), Caller(RowContext()), Bill()
                    )
                except (EndpointRefused, OutageTooLong, WaitTooLong) as stopped:
                    result.pending[name] = str(stopped)
                    return
                except CallError as error:
                    result.failed[name] = error
                else:
                    result.ok.append(name)
                    result.spent.append(spent)

        async with anyio.create_task_group() as workers:
            for _ in range(at_once):
                workers.start_soon(work)
        result.took_s = trio.current_time()
        return result

    return on_a_virtual_clock(main)


def on_a_virtual_clock(main: Callable[[], Awaitable[T]]) -> T:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("bad", [0, 10, 19], ids=["first", "middle", "last"])
def test_one_refused_row_fails_alone(refusal: Callable[[], CallError], at_once: int, bad: int) -> None:
    """Wherever it stands: the others are answered and sent once each, and one probe is all that is spent on it."""
    provider = Provider(lambda name: refusal if name == f"row {bad}" else None)
    done = run(provider, 20, at_once)
    assert (sorted(done.failed), len(done.ok), done.pending) == ([f"row {bad}"], 19, {})
    error = done.failed[f"row {bad}"]
    assert provider.asked.count(f"row {bad}") == SENT[refusal] == error.attempts
    assert (error.probes, error.billed[0].total_tokens) == (provider.probes, 110 * provider.probes)
    assert provider.probes <= 1
    assert len(provider.asked) == 19 + SENT[refusal] + provider.probes


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("answered", [0, 10])
def test_what_refuses_a_probe_too_stops_the_run(refusal: Callable[[], CallError], at_once: int, answered: int) -> None:
    """From the start or after some rows: no row sends more than one call, none fails, and one probe is all."""
    provider = Provider(lambda name: refusal if len(provider.asked) > answered else None)
    done = run(provider, 40, at_once)
    assert (done.failed, len(done.pending)) == ({}, at_once)
    assert (len(done.ok) <= answered, provider.probes) == (True, 1)
    assert len(provider.asked) <= answered + at_once + 1
    (why,) = set(done.pending.values())
    assert str(refusal()) in why
    assert ("asks to wait for 2 h 1 min" if refusal is busy_until_tomorrow else "refuses every call") in why


def test_a_passing_refusal_fails_nothing() -> None:
    """Refused once, answered when it is sent again."""
    provider = Provider(lambda name: forbidden if name == "row 3" and provider.asked.count(name) == 1 else None)
    done = run(provider, 6)
    assert (len(done.ok), done.failed) == (6, {})
    assert [spent.attempts for spent in done.spent] == [1, 1, 1, 3, 1, 1]
    assert done.spent[3].usage == Usage(200, 0, 20)


def test_bad_rows_one_after_another_cost_a_probe_each_at_most() -> None:
    """Every other row is answered."""
    bad = {f"row {i}" for i in (4, 5, 6)}
    provider = Provider(lambda name: empty if name in bad else None)
    done = run(provider, 10)
    assert (set(done.failed), len(done.ok), provider.probes <= 3) == (bad, 7, True)


def test_bad_rows_apart_from_each_other_cost_one_probe_in_a_minute() -> None:
    """What a probe found holds as long as answers come."""
    bad = {f"row {i}" for i in range(0, 100, 10)}
    provider = Provider(lambda name: empty if name in bad else None)
    done = run(provider, 100)
    assert (set(done.failed), len(done.ok), provider.probes) == (bad, 90, 1)


@pytest.mark.parametrize("fault", [lambda: BadRequest("HTTP 400: no", http_status=400)], ids=["400"])
def test_a_probe_that_is_answered_with_another_fault_clears_the_endpoint(fault: Callable[[], CallError]) -> None:
    """Whoever says so takes the key."""
    provider = Provider(lambda name: fault if name == PROBE else revoked if name == "row 0" else None)
    done = run(provider, 5)
    assert (sorted(done.failed), len(done.ok), done.pending) == (["row 0"], 4, {})


def test_a_probe_without_an_answer_is_followed_by_another() -> None:
    """A 503 says nothing: a second later the next one does."""
    provider = Provider(
        lambda name: (down if provider.probes == 1 else None) if name == PROBE else revoked if name == "row 0" else None
    )
    done = run(provider, 5, 4)
    assert (sorted(done.failed), len(done.ok), provider.probes) == (["row 0"], 4, 2)
    assert done.took_s == pytest.approx(1.4, abs=0.3)


def test_a_probe_that_is_never_answered_concludes_nothing() -> None:
    """The row has its refusal for its own, and the run goes on."""
    busy = lambda: RateLimited("HTTP 429: slow down", http_status=429, retry_after_s=0)  # noqa: E731
    provider = Provider(lambda name: busy if name == PROBE else revoked if name == "row 0" else None)
    done = run(provider, 3)
    assert (sorted(done.failed), len(done.ok), provider.probes) == (["row 0"], 2, 6)


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_long_wait_that_only_small_requests_are_spared_stops_the_run(at_once: int) -> None:
    """A day's tokens are nearly used up: the probe is answered, and the second row that is asked to wait tells."""
    provider = Provider(lambda name: busy_until_tomorrow if name != PROBE and len(provider.asked) > 10 else None)
    done = run(provider, 40, at_once)
    assert (len(done.ok) <= 10, len(done.failed) <= 1, provider.probes <= 1) == (True, True, True)
    assert all("asks to wait for 2 h 1 min" in why for why in done.pending.values())
    assert len(provider.asked) <= 10 + at_once + 2


@pytest.mark.parametrize("refusal", [revoked, empty, gone], ids=lambda f: f.__name__)
def test_a_budget_full_of_calls_in_flight_has_room_for_the_probe(refusal: Callable[[], CallError]) -> None:
    """It goes before the calls that wait: no row fails of what everybody is refused."""
    provider = Provider(lambda name: refusal if len(provider.asked) > 2 else None)
    done = run(provider, 40, 8, budget=Budget(7.0))
    assert (done.failed, provider.probes) == ({}, 1)
    assert all("refuses every call" in why for why in done.pending.values())


def test_kinds_of_refusals_do_not_speak_for_each_other() -> None:
    """A probe found that a 403 was its row's own; that everybody's account is empty then is another matter."""
    provider = Provider(lambda name: forbidden if name == "row 3" else empty if len(provider.asked) > 12 else None)
    done = run(provider, 30)
    assert (sorted(done.failed), provider.probes, len(done.pending)) == (["row 3"], 2, 1)


def test_a_budget_without_room_for_a_probe_concludes_nothing() -> None:
    """The row fails alone; the budget is not exhausted by what was not sent."""
    provider = Provider(lambda name: revoked if name == "row 1" else None)
    done = run(provider, 2, budget=Budget(4.01))
    assert (sorted(done.failed), done.ok, provider.probes) == (["row 1"], ["row 0"], 0)


def test_who_gives_the_probe_up_leaves_it_to_the_next() -> None:
    """A row that is cancelled while its probe is out holds nobody up."""

    async def main() -> tuple[bool, bool]:
        limiters = LocalLimiters(LimiterOptions(outage_patience_s=300.0))
        limiter = limiters.of(resolve(LLM(model=NAME, base_url="http://127.0.0.1:9", api_key="k")))
        first = await limiter.enter(10, None)
        assert await limiter.failed(first, revoked(), CallResult()) is FailureScope.ALL
        permit = await limiter.enter_probe(revoked(), 10, None)
        assert not isinstance(permit, bool)
        limiter.given_up(permit)
        with anyio.fail_after(1):
            second = await limiter.enter(10, None)
        return permit.is_probe, second.is_probe

    assert on_a_virtual_clock(main) == (True, False)


def test_a_long_wait_that_the_deadline_allows_is_waited_for() -> None:
    """Two hours, then all rows are answered."""
    provider = Provider(lambda name: busy_until_tomorrow if trio.current_time() < 7000 else None)
    done = run(provider, 10, 2, deadline_s=10_000)
    assert (len(done.ok), done.failed, done.pending) == (10, {}, {})
    assert 7260 <= done.took_s < 7270


@pytest.mark.parametrize("at_once", [1, 2, 8])
@pytest.mark.parametrize("retries", [0, 2])
def test_no_row_fails_for_an_outage(at_once: int, retries: int) -> None:
    """A minute of 503s, however few calls are in flight and however few attempts they have."""
    provider = Provider(lambda name: down if 1 <= trio.current_time() < 60 else None)
    done = run(provider, 40, at_once, retries=retries)
    assert (len(done.ok), done.failed, done.pending) == (40, {}, {})


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_an_outage_longer_than_the_patience_fails_no_row_either(at_once: int) -> None:
    """They stay pending, and the message says why."""
    provider = Provider(lambda name: down if len(provider.asked) > 5 else None)
    done = run(provider, 40, at_once, patience_s=120)
    assert (done.failed, len(done.pending)) == ({}, at_once)
    assert {why.partition(", last error")[0] for why in done.pending.values()} == {
        "openai/m has not answered for 120 s (--outage-patience)"
    }


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 8])
def test_the_patience_in_an_outage_is_what_was_given(at_once: int) -> None:
    """However few calls there are to tell by."""
    provider = Provider(lambda name: down if len(provider.asked) > 5 else None)
    done = run(provider, 60, at_once, patience_s=5.0)
    assert (len(done.ok) <= 5, done.failed, len(done.pending)) == (True, {}, at_once)
    assert done.took_s <= 12


@pytest.mark.parametrize("at_once", [1, 2, 8])
@pytest.mark.parametrize("bad", [0, 10, 19], ids=["first", "middle", "last"])
def test_a_prompt_that_always_fails_is_no_outage(at_once: int, bad: int) -> None:
    """It fails alone after its attempts and a probe."""
    provider = Provider(lambda name: down if name == f"row {bad}" else None)
    done = run(provider, 20, at_once)
    assert (sorted(done.failed), len(done.ok), done.pending) == ([f"row {bad}"], 19, {})
    assert (provider.asked.count(f"row {bad}"), provider.probes <= 1) == (3, True)


def test_too_many_at_once_are_fewer_from_then_on() -> None:
    """Sixty rows where two at once are taken: as fast as two at a time can be, and each is answered."""
    out = 0

    async def send(request: ChatRequest) -> Completion:
        nonlocal out
        if out >= 2:
            await anyio.sleep(0.005)
            error = RateLimited("HTTP 429: max organization concurrency reached", http_status=429)
            error.is_concurrency = True
            raise error
        out += 1
        await anyio.sleep(0.2)
        out -= 1
        return Completion("an answer", Usage(1, 0, 1))

    provider = Provider(lambda name: None)
    provider.send = send  # type: ignore[method-assign]
    done = run(provider, 60, 60)
    assert (len(done.ok), done.failed) == (60, {})
    assert done.took_s <= 1.5 * 60 / 2 * 0.2


def test_long_waits_of_rows_apart_from_each_other_stop_nothing() -> None:
    """A call that was answered between them says that they are their rows' own."""
    bad = {"row 3", "row 5", "row 9"}
    provider = Provider(lambda name: busy_until_tomorrow if name in bad else None)
    done = run(provider, 12)
    assert (set(done.failed), len(done.ok), done.pending) == (bad, 9, {})


@pytest.mark.parametrize(("others", "scope"), [(0, FailureScope.OWN), (1, FailureScope.NONE)], ids=["alone", "two"])
def test_too_many_at_once_is_a_calls_own_when_it_was_alone(others: int, scope: FailureScope) -> None:
    """It is sent again when another call has ended, and uses up its attempts when there is none."""

    async def main() -> FailureScope:
        limiter = LocalLimiters(LimiterOptions(outage_patience_s=300.0)).of(
            resolve(LLM(model=NAME, base_url="http://127.0.0.1:9", api_key="k"))
        )
        permits = [await limiter.enter(10, None) for _ in range(1 + others)]
        crowded = RateLimited("HTTP 429: too many at once", http_status=429)
        crowded.is_concurrency = True
        return await limiter.failed(permits[0], crowded, CallResult())

    assert on_a_virtual_clock(main) is scope


def test_an_unknown_bill_is_owed_and_a_known_one_is_not() -> None:
    """Whether the attempt was answered, failed or was given up."""

    async def main() -> Owed:
        limiters = LocalLimiters(LimiterOptions(outage_patience_s=300.0))
        limiter = limiters.of(resolve(LLM(model=NAME, base_url="http://127.0.0.1:9", api_key="k")))
        limiter.answered(await limiter.enter(10, None), CallResult(10, 1.0))
        limiter.answered(await limiter.enter(10, None), CallResult(10, None, owed_usd=2.0, is_unknown=True))
        await limiter.failed(await limiter.enter(10, None), down(), CallResult(owed_usd=4.0, is_unknown=True))
        limiter.given_up(await limiter.enter(10, None), CallResult(is_unknown=True))
        limiter.given_up(await limiter.enter(10, None))
        return limiters.unknown_bills.owed

    assert on_a_virtual_clock(main) == Owed(3, 6.0, 1)
