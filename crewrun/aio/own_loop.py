"""`in_own_loop`: runs an async function that may block its event loop, in a thread with a loop of its own."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import cache
from threading import Lock
from typing import Any

from crewrun.aio.threads import pool, take_over

# Enough for 20,000 loops. Some systems allow a billion, and programs that close every descriptor then take minutes.
_MOST_FILES = 65536
_current: ContextVar["_OwnLoop | None"] = ContextVar("crewrun_own_loop", default=None)


async def in_own_loop(function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
    """Await the coroutine function in another thread, so that this loop keeps running. Needs asyncio.

    Cancelling this cancels the function in its loop and gives it a moment to end; one that does not end is abandoned,
    as a sync function is.
    """
    _raise_file_limit()
    loop = _OwnLoop()

    def work() -> Any:
        context = copy_context()
        # Frees the thread's slot for sync functions that the function may wait for.
        with pool.waiting(), asyncio.Runner() as runner:
            result = runner.run(loop.run(function, *args, **kwargs), context=context)
        take_over(context)
        return result

    return await pool.run(work, stop=loop.stop)


@cache
def _raise_file_limit() -> None:
    """Raise the soft limit of open files: a loop needs three, so the usual 1,024 are few for hundreds of rows."""
    with suppress(ImportError):  # Windows has no such limit
        from crewrun.aio.open_files import raise_file_limit

        raise_file_limit(_MOST_FILES)


def at_end(close: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Await `close` when the function that this event loop was made for has ended. Returns False in any other loop."""
    own = _current.get()
    if own is None or not own.is_running_here():
        return False
    own.closes.append(close)
    return True


class _OwnLoop:
    """The loop of one call, which another thread may have to stop. `closes` are awaited when the call ends."""

    def __init__(self) -> None:
        self.closes: list[Callable[[], Coroutine[Any, Any, None]]] = []
        # Protects the task, which the loop's thread sets and clears and another thread cancels.
        self._lock = Lock()
        self._task: asyncio.Task[Any] | None = None
        self._is_stopped = False

    async def run(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            if self._is_stopped:
                raise asyncio.CancelledError
            self._task = asyncio.current_task()
        token = _current.set(self)
        try:
            return await function(*args, **kwargs)
        finally:
            _current.reset(token)
            with self._lock:
                self._task = None
            for close in self.closes:
                await close()

    def is_running_here(self) -> bool:
        """Whether the calling code runs in this very loop, not in another one started from it."""
        return self._task is not None and self._task.get_loop() is asyncio.get_running_loop()

    def stop(self) -> None:
        """Cancel the function, from any thread."""
        with self._lock:
            self._is_stopped = True
            if self._task is not None:
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
