"""`run_in_thread`: runs a coroutine for sync code that blocks the event loop of its own thread while it waits."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Event, Thread
from typing import Any, TypeVar

import anyio
import sniffio

from crewrun.aio.signals import watch_signals
from crewrun.aio.threads import take_over
from crewrun.errors import Interrupted, TaskTimedOut

T = TypeVar("T")


def run_in_thread(call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
    """Run `call(*args)` in an event loop in a new thread, within the time that the caller's deadline leaves.

    Raises TaskTimedOut when that time is used up, and Interrupted when a signal came that the blocked loop should
    handle. The coroutine is cancelled before Interrupted or a KeyboardInterrupt is raised.
    """
    deadline = anyio.current_effective_deadline()
    context = copy_context()
    ended: Future[T] = Future()
    interrupts: list[Callable[[], object]] = []
    is_over = Event()

    async def run() -> T:
        with anyio.CancelScope(deadline=deadline) as scope:
            interrupts.append(partial(asyncio.get_running_loop().call_soon_threadsafe, scope.cancel))
            if is_over.is_set():  # before the coroutine could start
                scope.cancel()
            return await call(*args)
        raise TaskTimedOut("a call that blocks the event loop took all of the time that was left for it")

    def work() -> None:
        context.run(sniffio.current_async_library_cvar.set, None)
        try:
            ended.set_result(context.run(anyio.run, run))
        except BaseException as error:  # raised in the waiting thread
            ended.set_exception(error)

    thread = Thread(target=work, name="crewrun-sync", daemon=True)
    with watch_signals() as wait_for:
        thread.start()
        try:
            if (number := wait_for(ended)) is not None:
                raise Interrupted(number)
            result = ended.result()
        except BaseException:
            is_over.set()
            for interrupt in interrupts:
                with suppress(RuntimeError):  # the coroutine has ended and its loop is closed
                    interrupt()
            raise
        finally:
            thread.join()
    take_over(context)
    return result
