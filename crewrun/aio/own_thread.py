"""`OwnThread`: calls functions one after another, always in the same thread.

A generator that is read from several threads would break what belongs to one, such as a database's connection.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import anyio.to_thread

T = TypeVar("T")


class OwnThread:
    """A thread that starts with the first call and ends after `close`. Nothing waits for it at the end of the process.

    Functions see the context variables of the code that made this.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._context = copy_context()
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._has_begun = False

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        """Have `function` called after those before it."""
        future: Future[T] = Future()
        if not self._has_begun:
            self._has_begun = True
            Thread(target=self._context.run, args=(self._work,), name=self._name, daemon=True).start()
        self._jobs.put((function, future))
        return future

    def close(self) -> None:
        """End the thread once the function that it is in has returned."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future = job
            try:
                future.set_result(function())
            except BaseException as error:  # raised where the result is awaited
                future.set_exception(error)


async def result_of(future: "Future[T]") -> T:
    """The result of a future that another thread sets. When this is cancelled, the future stays as it is."""
    return future.result() if future.done() else await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True)
