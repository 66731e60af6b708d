"""`run_in_mcp_loop`: runs coroutines in the one event loop of the process in which sessions with MCP servers live.

The loop has a thread of its own. A session must be opened and closed in one task, and the code that needs it is
anywhere: in the run's loop, in that of a flow's method, in a sync tool's thread, in a notebook's cell, or in a loop
that a blocking call holds. From all of them a session is reached the same way, and none of them can hold it up.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextvars import Context
from threading import Event, Lock, Thread
from typing import Any, TypeVar

import anyio.to_thread
import sniffio

T = TypeVar("T")


class _McpLoop:
    def __init__(self) -> None:
        self._lock = Lock()  # two threads may be the first at once
        self._loop: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running."""
        with self._lock:
            if self._loop is None:
                ready = Event()
                self._loop = asyncio.new_event_loop()
                self._loop.call_soon(ready.set)
                # In an empty context: what is current where the first session is needed must not stay current here.
                run = Context().run
                Thread(target=run, args=(self._loop.run_forever,), name="crewrun-mcp", daemon=True).start()
                ready.wait()
            return self._loop

    def forget(self) -> None:
        """In a forked process, which has no such thread."""
        self._lock, self._loop = Lock(), None


_the_loop = _McpLoop()
os.register_at_fork(after_in_child=_the_loop.forget)


def submit(call: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> "Future[T]":
    """Start `call(*args)` in the loop."""
    return asyncio.run_coroutine_threadsafe(call(*args), _the_loop.loop())


async def run_in_mcp_loop(call: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run `call(*args)` in the loop and await it, from any event loop. When this is cancelled, so is the call."""
    future = submit(call, *args)
    if sniffio.current_async_library() == "asyncio":
        return await asyncio.wrap_future(future)
    try:
        return await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True)
    except BaseException:
        future.cancel()
        raise


def run_in_mcp_loop_sync(call: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """As `run_in_mcp_loop`, for sync code, which waits."""
    future = submit(call, *args)
    try:
        return future.result()
    except (KeyboardInterrupt, CancelledError):
        future.cancel()
        raise
