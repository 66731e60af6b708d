"""`ThreadLoop`: what `asyncio.get_event_loop()` returns in a worker thread.

asyncio provides a loop in the main thread only, but older tools call `get_event_loop()` in any thread. A loop costs
three file descriptors and most threads never need one, so the thread gets a proxy that creates its loop on first use.
"""

import asyncio
from typing import Any


class ThreadLoop:
    """The loop of one thread, shared by the functions that run there one after another. That thread calls `close`."""

    __slots__ = ("_loop", "_offered")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offered = _lazy(self)

    def offer(self) -> None:
        """Make `asyncio.get_event_loop()` return it from now on, whatever was set or closed before."""
        if self._loop is not None and self._loop.is_closed():
            self._loop, self._offered = None, _lazy(self)
        asyncio.set_event_loop(self._loop or self._offered)

    def loop(self) -> asyncio.AbstractEventLoop:
        """The real loop, created on the first call."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def close(self) -> None:
        """Cancel what still runs in the loop, then close it."""
        loop, self._loop = self._loop, None
        asyncio.set_event_loop(None)
        if loop is None or loop.is_closed():
            return
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class _Lazy(asyncio.AbstractEventLoop):
    """A proxy that creates its thread's loop when any attribute is used."""

    def __init__(self, loop: ThreadLoop) -> None:
        object.__setattr__(self, "_of", loop)

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_of").loop(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(object.__getattribute__(self, "_of").loop(), name, value)


def _lazy(loop: ThreadLoop) -> asyncio.AbstractEventLoop:
    return _Lazy(loop)  # type: ignore[abstract]  # the real loop has the abstract methods
