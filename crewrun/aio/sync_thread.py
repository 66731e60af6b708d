"""`run_in_thread`: a coroutine for code that holds the loop of its own thread, which waits for it."""

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

from crewrun.aio.signals import heard_signals
from crewrun.aio.threads import take_over
from crewrun.errors import Interrupted, TaskTimedOut

T = TypeVar("T")


def run_in_thread(call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
    """What `call(*args)` gives, in an event loop in a thread of its own and within the time that is left here.

    Raises TaskTimedOut when there is none left, and Interrupted where a signal came that the held loop is to hear of;
    the coroutine is cancelled before, and before KeyboardInterrupt.
    """
    deadline = anyio.current_effective_deadline()
    context = copy_context()
    ended: Future[T] = Future()
    interrupts: list[Callable[[], object]] = []
    is_over = Event()

    async def run() -> T:
        with anyio.CancelScope(deadline=deadline) as scope:
            interrupts.append(partial(asyncio.get_running_loop().call_soon_threadsafe, scope.cancel))
            if is_over.is_set():  # before it could begin
                scope.cancel()
            return await call(*args)
        raise TaskTimedOut("a call that blocks the event loop took all of the time that is left here")

    def work() -> None:
        context.run(sniffio.current_async_library_cvar.set, None)
        try:
            ended.set_result(context.run(anyio.run, run))
        except BaseException as failed:  # raised where it is waited for
            ended.set_exception(failed)

    thread = Thread(target=work, name="crewrun-beside", daemon=True)
    with heard_signals() as wait_for:
        thread.start()
        try:
            if (number := wait_for(ended)) is not None:
                raise Interrupted(number)
            result = ended.result()
        except BaseException:
            is_over.set()
            for interrupt in interrupts:
                with suppress(RuntimeError):  # it has ended, and its loop is closed
                    interrupt()
            raise
        finally:
            thread.join()
    take_over(context)
    return result
