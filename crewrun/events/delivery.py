"""`Delivery`: calls the handlers of events in a thread, one after another, in the order in which the events happened.

One thread, so that handlers need no locks, whatever runs at once. Rows wait for it only before they begin, when
`MAX_WAITING` events have not been delivered yet; events are never dropped unless a handler hangs.
"""

import asyncio
import threading
from asyncio import Runner
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any

import anyio
import anyio.to_thread
import sniffio

# A few events of each of a hundred rows: more than are ever waiting for quick handlers, and little memory.
MAX_WAITING = 1000
# A handler that has not returned for this long hangs; CrewAI waits as long for all handlers at the end of a process.
PATIENCE_S = 30.0


class Delivery:
    """Runs jobs in a thread of its own, which begins with the first one and ends with the process.

    `lost` is how many jobs were not taken since a job before them hangs, which is one that takes `patience_s`.
    """

    def __init__(self, max_waiting: int = MAX_WAITING, patience_s: float = PATIENCE_S) -> None:
        self.lost = 0
        self._max_waiting = max_waiting
        self.patience_s = patience_s
        self._jobs: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...], Context]] = SimpleQueue()
        self._put = self._done = 0
        self._stuck_at: int | None = None  # the job that hangs
        self._lock = Lock()  # protects the counters that several threads write, and the start of the thread
        self._thread: Thread | None = None
        self._runner: Runner | None = None

    def put(self, job: Callable[..., None], *args: Any) -> bool:
        """Have `job` called with `args`, in the context variables of the caller. False if a job before it hangs."""
        with self._lock:
            if self.is_stuck:
                self.lost += 1
                return False
            self._put += 1
            if self._thread is None:
                self._thread = Thread(target=self._work, name="crewrun-events", daemon=True)
                self._thread.start()
            self._jobs.put((job, args, copy_context()))
        return True

    @property
    def waiting(self) -> int:
        """How many jobs have not ended."""
        return self._put - self._done

    @property
    def is_stuck(self) -> bool:
        """Whether a job has been found to hang, and still does."""
        return self._stuck_at is not None and self._stuck_at == self._done

    @property
    def is_here(self) -> bool:
        """Whether the caller is a job."""
        return current_thread() is self._thread

    async def wait_room(self) -> bool:
        """Wait if too many jobs are waiting. False if one hangs, which this is the first to notice."""
        return self.waiting <= self._max_waiting or await self.wait_done()

    async def wait_done(self) -> bool:
        """Wait until the jobs that there are now have ended. False if one hangs, which this is the first to notice."""
        if not self.waiting or self.is_stuck or self.is_here:
            return True
        end: Future[None] = Future()
        self.put(end.set_result, None)
        while not end.done():
            done = self._done
            with anyio.move_on_after(self.patience_s):
                await _end_of(end)
            if not end.done() and self._done == done:
                return not self._find_stuck(done)
        return True

    def wait_done_here(self, timeout_s: float | None) -> bool:
        """As `wait_done`, for sync code. False if `timeout_s` is over before."""
        if not self.waiting or self.is_stuck or self.is_here:
            return not self.is_stuck
        end: Future[None] = Future()
        self.put(end.set_result, None)
        try:
            end.result(timeout_s)
        except TimeoutError:
            return False
        return True

    def await_here(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine of a job, in the event loop that all of them share."""
        if self._runner is None:
            self._runner = Runner()
        self._runner.run(coroutine, context=copy_context())

    def _find_stuck(self, job: int) -> bool:
        """Note that `job` hangs. Returns whether that is new."""
        with self._lock:
            is_new = self._stuck_at != job
            self._stuck_at = job
            return is_new

    def _work(self) -> None:
        while True:
            job, args, context = self._jobs.get()
            try:
                context.run(job, *args)
            except BaseException as failed:  # such as a warning that is an error; the jobs after it need the thread
                threading.excepthook(threading.ExceptHookArgs((type(failed), failed, failed.__traceback__, None)))
            del job, args, context
            self._done += 1  # only here


async def _end_of(future: "Future[None]") -> None:
    """Wait for a future that the thread sets; when this is cancelled, it stays as it is."""
    if sniffio.current_async_library() == "asyncio":
        await asyncio.shield(asyncio.wrap_future(future))
    else:
        await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True)
