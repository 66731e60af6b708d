"""The limiters of a run for kickoffs in another event loop of the process, such as a sync tool starts."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio

from crewrun.errors import CallError
from crewrun.limits.learned_bounds import NOTHING_LEARNED
from crewrun.limits.limiter import Limiters
from crewrun.limits.permit import CallPrice, CallResult, FailureScope, Permit
from crewrun.limits.waits import Wait
from crewrun.messages import Endpoint

T = TypeVar("T")


class CrossLoopLimiters:
    """The limiters of a run whose event loop runs in another thread."""

    def __init__(self, limiters: Limiters, loop: asyncio.AbstractEventLoop) -> None:
        self._limiters = limiters
        self._loop = loop

    @property
    def is_budgeted(self) -> bool:
        """Whether each call needs its highest price."""
        return self._limiters.is_budgeted

    @property
    def is_of_a_run(self) -> bool:
        """Whether these limiters belong to a run: then a failure that every call would meet ends the run."""
        return self._limiters.is_of_a_run

    def of(self, endpoint: Endpoint) -> "CrossLoopLimiter":
        """The limiter of an endpoint."""
        return CrossLoopLimiter(endpoint, self._limiters, self._loop)


class CrossLoopLimiter:
    """A limiter of another event loop."""

    def __init__(self, endpoint: Endpoint, limiters: Limiters, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._limiters = limiters
        self._loop = loop

    bounds = NOTHING_LEARNED  # the run's are not read from another loop

    async def enter(self, tokens: int, price: CallPrice | None, *, is_patient: bool = True) -> Permit:
        """See `Limiter.enter`."""

        async def enter() -> Permit:
            return await self._limiters.of(self._endpoint).enter(tokens, price, is_patient=is_patient)

        return await self._entered(enter())

    async def enter_probe(self, error: CallError | None, tokens: int, price: CallPrice | None) -> Permit | bool:
        """See `Limiter.enter_probe`."""

        async def enter() -> Permit | bool:
            return await self._limiters.of(self._endpoint).enter_probe(error, tokens, price)

        return await self._entered(enter())

    async def _entered(self, entering: Coroutine[Any, Any, T]) -> T:
        tasks: list[asyncio.Task[Any] | None] = []

        async def enter() -> T:
            tasks.append(asyncio.current_task())
            return await entering

        future = asyncio.run_coroutine_threadsafe(enter(), self._loop)
        try:
            # Shielded: cancelling the future would lose the permit of a call that was let in just before.
            return await asyncio.shield(asyncio.wrap_future(future))
        except BaseException:
            future.add_done_callback(self._give_back)
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks if task is not None])
            raise

    def _give_back(self, done: "Future[Any]") -> None:
        permit = None if done.cancelled() or done.exception() else done.result()
        if isinstance(permit, Permit):
            self.given_up(permit)

    def answered(self, permit: Permit, result: CallResult) -> None:
        """See `Limiter.answered`."""
        self._loop.call_soon_threadsafe(lambda: self._limiters.of(self._endpoint).answered(permit, result))

    async def failed(self, permit: Permit, error: CallError, result: CallResult) -> FailureScope:
        """See `Limiter.failed`."""

        async def failed() -> FailureScope:
            return await self._limiters.of(self._endpoint).failed(permit, error, result)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(failed(), self._loop))

    async def back_off(self, seconds: float, wait: Wait) -> None:
        """See `Limiter.back_off`."""
        await anyio.sleep(seconds)

    def given_up(self, permit: Permit, result: CallResult | None = None) -> None:
        """See `Limiter.given_up`."""
        self._loop.call_soon_threadsafe(lambda: self._limiters.of(self._endpoint).given_up(permit, result))
