"""Worker threads for the user's sync functions: few while the functions are quick, up to the limit when they block.

anyio starts a thread for every call that finds no idle one. When the event loop is busy, many threads with little work
each spend their time switching the GIL; a single thread that finds several calls in the queue does them in one go.
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
# How long a call waits for a thread before another one is started for it: twice Python's switch interval (5 ms), so
# that quick functions share a thread, and little next to a function that waits for a network or a disk.
PATIENCE_S = 0.01
# How long a thread waits for a call before it ends; the default idle time of anyio's worker threads.
IDLE_S = 10.0
# How long a loop may take to start work submitted to it before we assume a deadlock: that it waits for that very work.
# Nothing healthy blocks a loop for a minute.
BLOCKED_S = 60.0
# How many times longer to wait while a call is known to block the loop, since that call ends by itself.
HELD_TIMES = 10
# How long a call that can be stopped has for its cleanup before it is abandoned: closing connections takes less.
GRACE_S = 1.0


class LoopBlocked(RuntimeError):
    """An event loop did not start the work submitted to it: something blocks the loop."""


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
        """Set the result or the error on the future; called in the loop."""
        if self.future.done():  # cancelled in the meantime
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class ThreadPool:
    """The process's worker threads, shared by the event loops of all threads. `max_threads` may be raised at any time.

    `max_abandoned` is how many threads, on top of those, may be busy with functions whose callers no longer wait.
    """

    def __init__(self, max_threads: int, max_abandoned: int = 256) -> None:
        self.max_threads = max_threads
        self.max_abandoned = max_abandoned
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        # Protects the counters and the job states, which both threads and loops write.
        self._lock = Lock()
        self._threads = 0  # not counting those with abandoned functions
        self._abandoned = 0
        self._worker = local()

    async def run(self, function: Callable[[], Any], *, stop: Callable[[], None] | None = None) -> Any:
        """Call `function` in a thread. Needs asyncio.

        A thread cannot be stopped: when this is cancelled, the function is abandoned and goes on. If `stop` can end it,
        it gets a moment to do so first. Raises RuntimeError when `max_abandoned` functions are abandoned already, and
        in place of anything the function raises that is not an Exception.
        """
        if self._abandoned >= self.max_abandoned:
            raise RuntimeError(f"{self._abandoned} sync functions hang in their threads; no further thread is started")
        if getattr(self._worker, "depth", None) is None:
            return await self._run(function, stop)
        with self.waiting():
            return await self._run(function, stop)

    def wait(self, submit: Callable[[], Future[T]], began: Future[None], is_held: Callable[[], bool]) -> T:
        """Block this thread until the future that `submit` returns is done, and return its result.

        Raises LoopBlocked, and cancels `began`, when that future is not done in time; `is_held` says whether a call
        is known to block the loop. In a pool thread whose function has been abandoned, the submitted future is
        cancelled, or `submit` not called at all, and this raises RuntimeError: whatever a cancelled row still asks for
        would be paid for in vain.
        """
        job: _Job | None = getattr(self._worker, "job", None)
        with self.waiting():
            if job is None:
                return _result(submit(), began, is_held)
            try:
                if not job.is_unwanted:
                    awaited = job.awaited = submit()
                    if job.is_unwanted:  # became so while it was submitted
                        awaited.cancel()
                    return _result(awaited, began, is_held)
            except CancelledError:
                if not job.is_unwanted:
                    raise
            finally:
                job.awaited = None
            raise RuntimeError("the caller no longer waits for this: it was cancelled or ran out of time")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Do not count this pool thread while it waits for something that may itself need a pool thread."""
        depth = getattr(self._worker, "depth", None)
        if depth is None:  # not a pool thread
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
            # A call that can be stopped is shielded, since `_stop` waits for its future again.
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
        """Ask the function to end, and give it a moment."""
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
        except RuntimeError:  # the system allows no further thread
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
                    # Another thread may have replaced this one.
                    if self._threads >= self.max_threads:
                        return
                    self._threads += 1
                    continue
            try:
                job.loop.call_soon_threadsafe(job.settle, result, error)
            except RuntimeError:  # the loop has been closed
                continue

    def _next(self) -> _Job | None:
        """The next job that is still wanted, or None when this thread may end."""
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    # `_run` checks for threads after it has queued its job, so no job is left without a thread.
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
    """Retrieve an error that no caller waits for, so that asyncio does not complain about it."""
    if not future.cancelled():
        future.exception()


def take_over(context: Context) -> None:
    """Copy the variables that a function set in its own `context` to the current one, as a direct call would."""
    for variable, value in context.items():
        if variable is not sniffio.current_async_library_cvar and variable.get(None) is not value:
            variable.set(value)


def _outcome(job: _Job) -> tuple[Any, Exception | None]:
    # The function runs outside the loop, although its context was copied from code inside it.
    job.context.run(sniffio.current_async_library_cvar.set, None)
    try:
        return job.context.run(job.function), None
    except StopIteration as stop:  # a future cannot hold one
        return None, RuntimeError(f"it raised {stop!r}")
    except Exception as error:
        return None, error
    except SystemExit as error:
        return None, RuntimeError(f"it called sys.exit({error.code!r})").with_traceback(error.__traceback__)
    except BaseException as error:  # CancelledError, KeyboardInterrupt: here they concern the thread, not the row
        return None, RuntimeError(f"it raised {error!r}")


# One pool per process, since the system limits threads per process. 40 is anyio's default limit for worker threads.
pool = ThreadPool(max_threads=40)
