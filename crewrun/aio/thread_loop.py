"""`ThreadLoop`: what `asyncio.get_event_loop()` finds in a worker thread.

asyncio has a loop for the main thread only, and older code of tools asks for one wherever it runs. A loop costs three
file descriptors, and most threads never need one: what is found stands for a loop that is made when it is first used.
"""

import asyncio
from typing import Any


class ThreadLoop:
    """The loop of one thread, for all that runs there one after another. `close` is called by that thread."""

    __slots__ = ("_loop", "_offered")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offered = _lazy(self)

    def offer(self) -> None:
        """Have `asyncio.get_event_loop()` find it from here on, whatever was set or closed before."""
        if self._loop is not None and self._loop.is_closed():
            self._loop, self._offered = None, _lazy(self)
        asyncio.set_event_loop(self._loop or self._offered)

    def made(self) -> asyncio.AbstractEventLoop:
        """The loop itself."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def close(self) -> None:
        """End what still runs in it, and close it."""
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
    """Stands for the loop of a thread until something is asked of it."""

    def __init__(self, loop: ThreadLoop) -> None:
        object.__setattr__(self, "_of", loop)

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_of").made(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(object.__getattribute__(self, "_of").made(), name, value)


def _lazy(loop: ThreadLoop) -> asyncio.AbstractEventLoop:
    return _Lazy(loop)  # type: ignore[abstract]  # what it lacks is the loop's
