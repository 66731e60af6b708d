"""`in_own_loop`: an async function that may hold its event loop, in a thread with a loop of its own."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from threading import Lock
from typing import Any

from crewrun.threads import pool, take_over


async def in_own_loop(function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
    """What the coroutine function returns or raises; this loop goes on meanwhile. Needs asyncio.

    When this is cancelled, so is the function in its loop, which is given a moment to end; one that does not is
    abandoned as a sync function is.
    """
    loop = _OwnLoop()

    def work() -> Any:
        context = copy_context()
        # The thread's slot is free for the sync functions that the function may wait for.
        with pool.waiting(), asyncio.Runner() as runner:
            result = runner.run(loop.run(function, *args, **kwargs), context=context)
        take_over(context)
        return result

    return await pool.run(work, stop=loop.stop)


class _OwnLoop:
    """The loop of one call, for the thread that may have to end it."""

    def __init__(self) -> None:
        # Protects the task, which its own thread sets and removes, and another one cancels.
        self._lock = Lock()
        self._task: asyncio.Task[Any] | None = None
        self._is_stopped = False

    async def run(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            if self._is_stopped:
                raise asyncio.CancelledError
            self._task = asyncio.current_task()
        try:
            return await function(*args, **kwargs)
        finally:
            with self._lock:
                self._task = None

    def stop(self) -> None:
        """Cancel the function, from any thread."""
        with self._lock:
            self._is_stopped = True
            if self._task is not None:
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
