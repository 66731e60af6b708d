"""`LoopBound`: what a gateway does for code outside its event loop, in other loops and threads of the process."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from threading import get_ident
from typing import Any, Self, TypeVar

from crewrun.aio.sync_thread import run_in_thread
from crewrun.aio.threads import pool
from crewrun.errors import Interrupted
from crewrun.limits.cross_loop import CrossLoopLimiters
from crewrun.limits.frozen import frozen
from crewrun.limits.limiter import Limiters
from crewrun.llm import current_gateway
from crewrun.row_context import current_row_context

T = TypeVar("T")


class LoopBound(ABC):
    """A gateway that belongs to one event loop; see `current_gateway.CurrentGateway`."""

    def __init__(self, limiters: Limiters) -> None:
        self.limiters = limiters
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stand_in: LoopBound | None = None

    @abstractmethod
    def _with_limiters(self, limiters: Limiters | None) -> Self:
        """A gateway like this one, with other limiters."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close every transport that was opened here."""

    def bind_to_loop(self) -> None:
        """Use the gateway in the running loop from now on."""
        self._thread = get_ident()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            self._loop = None

    @property
    def is_here(self) -> bool:
        """Whether this code runs in the event loop that the gateway was opened in, and not in a thread of it."""
        return self._thread == get_ident()

    @property
    def is_reachable(self) -> bool:
        """Whether another thread can have something run in the gateway's loop."""
        return self._loop is not None and self._loop.is_running()

    def for_another_loop(self) -> Self:
        """A gateway for another event loop of the process, with the same options and within the same limits."""
        return self._with_limiters(CrossLoopLimiters(self.limiters, self._loop) if self._loop is not None else None)

    def run_outside(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` in the gateway's loop and wait for it, for code in a worker thread.

        Raises LoopBlocked if that loop does not start it: the code that blocks the loop may be waiting for this. A loop
        that another call holds, by `run_for_another_loop`, is given longer.
        """
        loop = self._loop
        if loop is None:
            raise RuntimeError("the run's event loop is not asyncio's")
        began: Future[None] = Future()

        async def run() -> T:
            if not began.set_running_or_notify_cancel():
                raise asyncio.CancelledError
            began.set_result(None)
            return await call(*args)

        return pool.wait(lambda: asyncio.run_coroutine_threadsafe(run(), loop), began, lambda: self._is_held)

    def run_for_another_loop(self, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run `call(*args)` for code that holds the gateway's own loop: in a thread, by a stand-in for this gateway.

        The stand-in keeps to the same limits. Raises RuntimeError if the limiters cannot be used from there.
        """
        other = self._with_limiters(frozen(self.limiters))

        async def run() -> T:
            other.bind_to_loop()
            self._stand_in = other
            token = current_gateway.enter(other)
            try:
                return await call(*args)
            finally:
                current_gateway.restore(other, token)
                self._stand_in = None
                await other.aclose()

        try:
            return run_in_thread(run)
        except Interrupted as interrupted:
            if (row_context := current_row_context()) is not None:
                row_context.refuse(interrupted)  # whatever the code that held the loop does with it
            raise

    @property
    def acting(self) -> "LoopBound":
        """This gateway or, while its loop is held, its stand-in."""
        return self if self._stand_in is None else self._stand_in.acting

    @property
    def _is_held(self) -> bool:
        return self._stand_in is not None
