"""`BatchThread`: a batch in a thread with an event loop of its own, for sync code and for loops other than asyncio's.

Its caller waits, and can ask it to end. `wait_heeding_signals` does both, as a command does.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from contextvars import copy_context
from threading import RLock, Thread, current_thread, main_thread
from types import FrameType
from typing import Any, Final, Generic, TypeVar

import sniffio

from crewrun.batch.interruption import Interruption
from crewrun.batch.stop import SIGNALS, StopReason
from crewrun.cli.setup import run_loop

T = TypeVar("T")
# The system may deliver a signal to another thread, which does not wake this one, and Python runs handlers only here.
_WAKE_UP_S: Final = 0.2
_STOPS_AT_ONCE: Final = 2  # this signal and later ones


class BatchThread(Generic[T]):
    """Runs `batch` in a thread, which begins now. `result` is what it returned; None if it was cancelled."""

    def __init__(self, batch: Callable[[Interruption], Awaitable[T]]) -> None:
        self.result: Future[T | None] = Future()
        self._batch = batch
        # Protects what the batch's thread sets and others read to reach its loop. Reentrant: a signal's handler may
        # interrupt another's.
        self._lock = RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interruption: Interruption | None = None
        self._is_unwanted = False
        context = copy_context()
        context.run(sniffio.current_async_library_cvar.set, None)
        # A daemon, since a program that has given up waiting must be able to end; the journal survives that.
        Thread(target=context.run, args=(self._work,), name="crewrun-batch", daemon=True).start()

    def interrupt(self, reason: StopReason, *, at_once: bool) -> None:
        """Ask the batch to end, from any thread; `at_once` gives up its rows in flight."""
        with self._lock:
            if self._loop is None or self._interruption is None:
                self._is_unwanted = True
                return
            act = self._interruption.now if at_once else self._interruption.request
            if not self.result.done():
                self._loop.call_soon_threadsafe(act, reason)

    def _work(self) -> None:
        try:
            self.result.set_result(run_loop(self._run))
        except BaseException as failed:  # raised where the result is awaited
            self.result.set_exception(failed)

    async def _run(self) -> T | None:
        interruption = Interruption()
        try:
            with interruption.scope:
                with self._lock:
                    self._loop, self._interruption = asyncio.get_running_loop(), interruption
                if self._is_unwanted:
                    return None
                return await self._batch(interruption)
            return None
        finally:
            with self._lock:
                self._loop = None
                self._is_unwanted = True


def wait_heeding_signals(thread: BatchThread[T]) -> T | None:
    """The result of the batch. Raises what it raised.

    In the main thread, signals that nobody handles ask it to end, as in a command: the first lets rows in flight end,
    the second gives them up, the third is not waited for. Then they have their own effect, such as KeyboardInterrupt.
    """
    with _heeding(thread) as received:
        try:
            _wait(thread)
        except BaseException:  # what a handler of the program raises, or the third signal
            thread.interrupt(SIGNALS[signal.SIGINT], at_once=True)
            if len(received) <= _STOPS_AT_ONCE:
                _wait(thread)
            raise
    result = thread.result.result()
    if received:
        signal.raise_signal(received[0])  # with the handlers of before
    return result


def _wait(thread: BatchThread[Any]) -> None:
    while not wait_for([thread.result], _WAKE_UP_S).done:
        pass


@contextmanager
def _heeding(thread: BatchThread[Any]) -> Iterator[list[signal.Signals]]:
    received: list[signal.Signals] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if len(received) > _STOPS_AT_ONCE:
            raise KeyboardInterrupt
        thread.interrupt(SIGNALS[signal.Signals(number)], at_once=len(received) == _STOPS_AT_ONCE)

    before = {number: signal.getsignal(number) for number in SIGNALS} if current_thread() is main_thread() else {}
    unhandled = [
        number for number, handler in before.items() if handler in (signal.default_int_handler, signal.SIG_DFL)
    ]
    try:
        for number in unhandled:
            signal.signal(number, handle)
        yield received
    finally:
        for number in unhandled:
            signal.signal(number, before[number])
