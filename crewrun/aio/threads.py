"""Worker threads for the user's sync functions: few while these are quick, as many as allowed when they wait.

anyio starts a thread for every call that finds none idle. When the event loop is busy, many threads that each do a
little spend their time on handing the interpreter over; one thread that finds several calls waiting does all in one go.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, Thread, local
from typing import Any, Literal, TypeVar

import anyio
import sniffio

from crewrun.aio.thread_loop import ThreadLoop

T = TypeVar("T")
# How long a call waits for a thread before another one is started for it.
PATIENCE_S = 0.01
# How long a thread waits for a call before it ends.
IDLE_S = 10.0
# How long a loop that something is to run in may take until it begins with it: longer, it waits for just that.
BLOCKED_S = 60.0
# How many times as long where a call is known to hold it, which ends by itself.
HELD_TIMES = 10
# How long a call that can be stopped has for its cleanup before it is abandoned.
GRACE_S = 1.0


class LoopBlocked(RuntimeError):
    """The event loop that is to do something does not get to it."""


@dataclass(slots=True, eq=False)
class _Job:
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    stop: Callable[[], None] | None = None
    context: Context = field(default_factory=copy_context)
    state: Literal["waiting", "running", "ended", "dropped"] = "waiting"
    is_unwanted: bool = False
    is_abandoned: bool = False
    awaited: Future[Any] | None = None

    def settle(self, result: Any, error: Exception | None) -> None:
        """Hand over what came of it, in the loop."""
        if self.future.done():  # cancelled meanwhile
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class ThreadPool:
    """Threads of the process, for the loops of all its threads. `max_threads` may be raised at any time.

    `max_abandoned` is how many more may be busy with functions that nobody waits for any more.
    """

    def __init__(self, max_threads: int, max_abandoned: int = 256) -> None:
        self.max_threads = max_threads
        self.max_abandoned = max_abandoned
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        # Protects the counters and the states of jobs, which threads write as well as loops.
        self._lock = Lock()
        self._threads = 0  # those with abandoned functions left out
        self._abandoned = 0
        self._worker = local()

    async def run(self, function: Callable[[], Any], *, stop: Callable[[], None] | None = None) -> Any:
        """What `function` returns or raises, called in a thread. Needs asyncio.

        A thread cannot be stopped: when this is cancelled, the function goes on and nobody waits for it, but where
        `stop` makes an end of it it has a moment for that. RuntimeError when `max_abandoned` go on already, and for
        what is raised that is no Exception.
        """
        if self._abandoned >= self.max_abandoned:
            raise RuntimeError(f"{self._abandoned} sync functions hang in their threads; no further thread is started")
        if getattr(self._worker, "depth", None) is None:
            return await self._run(function, stop)
        with self.waiting():
            return await self._run(function, stop)

    def wait(self, submit: Callable[[], Future[T]], began: Future[None], is_held: Callable[[], bool]) -> T:
        """What comes of the future that `submit` gives; this thread waits for it here.

        Raises LoopBlocked when the future `began` is not done in time, and cancels it; `is_held` says whether a call
        is known to hold the loop. In a thread of the pool whose
        function nobody waits for any more the first one is cancelled, or not begun at all, and that is a RuntimeError:
        what a cancelled row still asked for would be paid for in vain.
        """
        job: _Job | None = getattr(self._worker, "job", None)
        with self.waiting():
            if job is None:
                return _result(submit(), began, is_held)
            try:
                if not job.is_unwanted:
                    awaited = job.awaited = submit()
                    if job.is_unwanted:  # meanwhile
                        awaited.cancel()
                    return _result(awaited, began, is_held)
            except CancelledError:
                if not job.is_unwanted:
                    raise
            finally:
                job.awaited = None
            raise RuntimeError("nobody waits for this any more: what it is a part of was cancelled or ran out of time")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a thread of the pool waits for something that may need the pool, it does not count as one."""
        depth = getattr(self._worker, "depth", None)
        if depth is None:  # no thread of the pool
            yield
            return
        self._worker.depth = depth + 1
        if depth == 0:
            with self._lock:
                self._threads -= 1
            if not self._jobs.empty():
                self._start()
        try:
            yield
        finally:
            self._worker.depth = depth
            if depth == 0:
                with self._lock:
                    self._threads += 1

    async def _run(self, function: Callable[[], Any], stop: Callable[[], None] | None) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(function, loop, loop.create_future(), stop)
        if stop is not None:
            job.future.add_done_callback(_retrieve)
        self._jobs.put(job)
        if self._threads <= 0:
            self._start()
        timer = loop.call_later(PATIENCE_S, self._relieve, job)
        try:
            # Shielded, a call that can be stopped is waited for once more.
            result = await (job.future if stop is None else asyncio.shield(job.future))
            take_over(job.context)
            return result
        except asyncio.CancelledError:
            if stop is not None and job.state == "running":
                await self._stop(job, stop)
            self._give_up(job)
            raise
        finally:
            timer.cancel()

    async def _stop(self, job: _Job, stop: Callable[[], None]) -> None:
        """Have the function end, and wait a moment until it has."""
        self._unwant(job)
        stop()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([job.future], timeout=GRACE_S)

    def _unwant(self, job: _Job) -> None:
        job.is_unwanted = True
        if (awaited := job.awaited) is not None:
            awaited.cancel()

    def _relieve(self, job: _Job) -> None:
        if job.state == "waiting":
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._threads >= self.max_threads:
                return
            self._threads += 1
        try:
            Thread(target=self._work, name="crewrun-worker", daemon=True).start()
        except RuntimeError:  # the machine has none left
            with self._lock:
                self._threads -= 1
            raise

    def _give_up(self, job: _Job) -> None:
        with self._lock:
            if job.state == "waiting":
                job.state = "dropped"
            if job.state != "running":
                return
            job.is_abandoned = True
            self._abandoned += 1
            self._threads -= 1
        self._unwant(job)
        if not self._jobs.empty():
            self._start()

    def _work(self) -> None:
        loop = ThreadLoop()
        try:
            self._work_in(loop)
        finally:
            loop.close()

    def _work_in(self, loop: ThreadLoop) -> None:
        self._worker.depth = 0
        while (job := self._next()) is not None:
            self._worker.job = job
            loop.offer()
            result, error = _outcome(job)
            with self._lock:
                job.state = "ended"
                if job.is_abandoned:
                    self._abandoned -= 1
                    # Another thread may have taken this one's place.
                    if self._threads >= self.max_threads:
                        return
                    self._threads += 1
                    continue
            try:
                job.loop.call_soon_threadsafe(job.settle, result, error)
            except RuntimeError:  # the loop has been closed
                continue

    def _next(self) -> _Job | None:
        """The next job that is still wanted, None when this thread may end."""
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    # Who puts a job in looks for threads afterwards, so none is left without one.
                    if self._jobs.empty():
                        self._threads -= 1
                        return None
                continue
            with self._lock:
                if job.state == "waiting":
                    job.state = "running"
                    return job


def _result(awaited: Future[T], began: Future[None], is_held: Callable[[], bool]) -> T:
    futures: tuple[Future[Any], Future[Any]] = (awaited, began)
    times = 1
    while not wait(futures, BLOCKED_S, FIRST_COMPLETED).done:
        if is_held() and times < HELD_TIMES:
            times += 1
        elif began.cancel():
            awaited.cancel()
            raise LoopBlocked(
                f"the run's event loop has not moved for {times * BLOCKED_S:g} s: async code blocks it, perhaps to "
                "wait for this very call; let it await that, `await asyncio.to_thread(…)`"
            )
    return awaited.result()


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Take note of an error for which nobody waits any more, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()


def take_over(context: Context) -> None:
    """Set here what the function set in its copy of the context, as if it had been called and not sent away."""
    for variable, value in context.items():
        if variable is not sniffio.current_async_library_cvar and variable.get(None) is not value:
            variable.set(value)


def _outcome(job: _Job) -> tuple[Any, Exception | None]:
    # The function runs outside of the loop, whatever the context that it is given says.
    job.context.run(sniffio.current_async_library_cvar.set, None)
    try:
        return job.context.run(job.function), None
    except StopIteration as stop:  # no future may hold it
        return None, RuntimeError(f"it raised {stop!r}")
    except Exception as failed:
        return None, failed
    except SystemExit as left:
        return None, RuntimeError(f"it called sys.exit({left.code!r})").with_traceback(left.__traceback__)
    except BaseException as failed:  # CancelledError, KeyboardInterrupt: they mean the thread here, not the row
        return None, RuntimeError(f"it raised {failed!r}")


# Threads belong to the process, and so does their number.
pool = ThreadPool(max_threads=40)
