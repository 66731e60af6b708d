"""Whether a refusal is one row's own or everybody's: callers and an endpoint on a virtual clock."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest
import trio
import trio.testing

from crewrun.errors import AuthRefused, BadRequest, CallError, ModelNotFound, QuotaExhausted, ServerError
from crewrun.llm.trust import RUN_WIDE, Trust

T = TypeVar("T")
REVOKED = AuthRefused("HTTP 401: Incorrect API key provided", http_status=401)
FORBIDDEN = AuthRefused("HTTP 403: not for you", http_status=403)
EMPTY = QuotaExhausted("HTTP 429: no credit", http_status=429)
GONE = ModelNotFound("HTTP 404: no such model", http_status=404)


def on_a_virtual_clock(main: Callable[[], Awaitable[T]]) -> T:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


class Caller:
    """Calls one endpoint as the gate does, and notes what each call comes to."""

    def __init__(self) -> None:
        self.trust = Trust()
        self.sent: list[str] = []
        self.ended: dict[str, str] = {}

    async def call(self, name: str, fault: CallError | None = None, takes_s: float = 0.1) -> None:
        """One call, which the endpoint answers, or fails with `fault`, after so long."""
        trust = self.trust
        decides = False if trust.is_clear else await trust.ready()
        if trust.refusal is not None:
            self.ended[name] = "not sent"
            return
        self.sent.append(name)
        await anyio.sleep(takes_s)
        if isinstance(fault, RUN_WIDE):
            self.ended[name] = "stops" if await trust.refused(fault, decides) else "fails"
        elif isinstance(fault, ServerError):
            trust.undecided(decides)
            self.ended[name] = "again"
        else:
            trust.answered(decides)
            self.ended[name] = "fails" if fault else "ok"


@pytest.mark.parametrize("refusal", [REVOKED, FORBIDDEN, EMPTY, GONE], ids=["401", "403", "quota", "404"])
def test_a_second_refusal_decides(refusal: CallError) -> None:
    """What was in flight is refused too, one call more decides, and no other is sent."""

    async def main() -> Caller:
        caller = Caller()
        await caller.call("before")
        async with anyio.create_task_group() as group:
            for i in range(4):
                group.start_soon(caller.call, f"in flight {i}", refusal)
                await anyio.sleep(0.01)
            await anyio.sleep(0.2)
            for i in range(4):
                group.start_soon(caller.call, f"later {i}", refusal)
                await anyio.sleep(0.01)
        return caller

    caller = on_a_virtual_clock(main)
    assert caller.sent == ["before", *(f"in flight {i}" for i in range(4)), "later 0"]
    assert caller.ended == {
        "before": "ok",
        **{f"in flight {i}": "stops" for i in range(4)},
        "later 0": "stops",
        **{f"later {i}": "not sent" for i in range(1, 4)},
    }
    assert caller.trust.refusal is refusal


@pytest.mark.parametrize("fault", [None, BadRequest("HTTP 400: no", http_status=400)], ids=["answer", "400"])
def test_any_other_answer_clears_the_endpoint(fault: CallError | None) -> None:
    """The refused call fails alone, and those that waited go on."""

    async def main() -> Caller:
        caller = Caller()
        async with anyio.create_task_group() as group:
            group.start_soon(caller.call, "bad", REVOKED)
            await anyio.sleep(0.2)
            group.start_soon(caller.call, "decides", fault)
            await anyio.sleep(0.01)
            for i in range(3):
                group.start_soon(caller.call, f"waits {i}")
        return caller

    caller = on_a_virtual_clock(main)
    assert caller.ended.pop("decides") == ("fails" if fault else "ok")
    assert caller.ended == {"bad": "fails", **{f"waits {i}": "ok" for i in range(3)}}
    assert (caller.trust.refusal, caller.trust.is_clear) == (None, True)


def test_a_call_that_says_nothing_leaves_it_to_the_next() -> None:
    """A 503 decides nothing: the call behind it does."""

    async def main() -> Caller:
        caller = Caller()
        async with anyio.create_task_group() as group:
            group.start_soon(caller.call, "bad", REVOKED)
            await anyio.sleep(0.2)
            group.start_soon(caller.call, "down", ServerError("HTTP 503: down", http_status=503))
            await anyio.sleep(0.01)
            group.start_soon(caller.call, "good")
        return caller

    caller = on_a_virtual_clock(main)
    assert caller.sent == ["bad", "down", "good"]
    assert caller.ended == {"bad": "fails", "down": "again", "good": "ok"}


@pytest.mark.parametrize(
    ("refusal", "answered", "end"),
    [
        (REVOKED, True, "stops"),
        (EMPTY, True, "stops"),
        (GONE, True, "stops"),
        (FORBIDDEN, True, "fails"),
        (FORBIDDEN, False, "stops"),
    ],
    ids=["401", "quota", "404", "403 after answers", "403 at once"],
)
def test_where_nobody_comes_the_refusal_itself_decides(refusal: CallError, answered: bool, end: str) -> None:
    """After a second alone: a 403 may be about one text, where others were answered; the rest is about everybody."""

    async def main() -> tuple[Caller, float]:
        caller = Caller()
        if answered:
            await caller.call("before", takes_s=0)
        await caller.call("bad", refusal, takes_s=0)
        return caller, trio.current_time()

    caller, took_s = on_a_virtual_clock(main)
    assert (caller.ended["bad"], took_s) == (end, 1.0)


def test_a_refusal_waits_for_the_call_that_decides_however_long_it_takes() -> None:
    """A slow answer is an answer."""

    async def main() -> Caller:
        caller = Caller()
        async with anyio.create_task_group() as group:
            group.start_soon(caller.call, "bad", REVOKED)
            await anyio.sleep(0.2)
            group.start_soon(caller.call, "slow", None, 90)
        return caller

    assert on_a_virtual_clock(main).ended == {"bad": "fails", "slow": "ok"}
