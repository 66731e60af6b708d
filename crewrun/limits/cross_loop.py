"""The gates of a run for kickoffs in another event loop of the process, as a sync tool may start them."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from crewrun.errors import CallError
from crewrun.limits.learned_bounds import NOTHING_LEARNED
from crewrun.limits.limiter import AllGates
from crewrun.limits.permit import FailureScope, Pass, Price, Settlement
from crewrun.messages import Endpoint

T = TypeVar("T")


class FarGates:
    """The gates of a run whose event loop runs in another thread."""

    def __init__(self, gates: AllGates, loop: asyncio.AbstractEventLoop) -> None:
        self._gates = gates
        self._loop = loop

    @property
    def is_budgeted(self) -> bool:
        """Whether calls have to say what they may cost."""
        return self._gates.is_budgeted

    @property
    def is_of_a_run(self) -> bool:
        """Whether these gates are a run's: what every call would meet then ends the run."""
        return self._gates.is_of_a_run

    def of(self, endpoint: Endpoint) -> "FarGate":
        """The gate of an endpoint."""
        return FarGate(endpoint, self._gates, self._loop)


class FarGate:
    """A gate that another event loop has."""

    def __init__(self, endpoint: Endpoint, gates: AllGates, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._gates = gates
        self._loop = loop

    bounds = NOTHING_LEARNED  # those of the run are its own loop's

    async def enter(self, tokens: int, price: Price | None, *, is_patient: bool = True) -> Pass:
        """See `Gate.enter`."""

        async def enter() -> Pass:
            return await self._gates.of(self._endpoint).enter(tokens, price, is_patient=is_patient)

        return await self._entered(enter())

    async def enter_probe(self, error: CallError | None, tokens: int, price: Price | None) -> Pass | bool:
        """See `Gate.enter_probe`."""

        async def enter() -> Pass | bool:
            return await self._gates.of(self._endpoint).enter_probe(error, tokens, price)

        return await self._entered(enter())

    async def _entered(self, entering: Coroutine[Any, Any, T]) -> T:
        tasks: list[asyncio.Task[Any] | None] = []

        async def enter() -> T:
            tasks.append(asyncio.current_task())
            return await entering

        future = asyncio.run_coroutine_threadsafe(enter(), self._loop)
        try:
            # Shielded: a cancelled future would lose the permit of a call that has been let in by then.
            return await asyncio.shield(asyncio.wrap_future(future))
        except BaseException:
            future.add_done_callback(self._give_back)
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks if task is not None])
            raise

    def _give_back(self, done: "Future[Any]") -> None:
        permit = None if done.cancelled() or done.exception() else done.result()
        if isinstance(permit, Pass):
            self.given_up(permit)

    def answered(self, permit: Pass, end: Settlement) -> None:
        """See `Gate.answered`."""
        self._loop.call_soon_threadsafe(lambda: self._gates.of(self._endpoint).answered(permit, end))

    async def failed(self, permit: Pass, error: CallError, end: Settlement) -> FailureScope:
        """See `Gate.failed`."""

        async def failed() -> FailureScope:
            return await self._gates.of(self._endpoint).failed(permit, error, end)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(failed(), self._loop))

    def given_up(self, permit: Pass, end: Settlement | None = None) -> None:
        """See `Gate.given_up`."""
        self._loop.call_soon_threadsafe(lambda: self._gates.of(self._endpoint).given_up(permit, end))
