"""Which context variables code sees: `in_own_context` for a row, `let_threads_inherit` for threads that it starts."""

from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Thread
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# Threads started by these modules serve many callers: each piece of work brings its context, the thread has none.
_SERVING = ("crewrun", "concurrent.futures", "anyio", "asyncio")


@coroutine
def in_own_context(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `work` in a copy of the current context.

    A task would do that too, but one task per row costs several times as much.
    """
    run = copy_context().run
    step, value = work.send, None
    while True:
        try:
            waits_for = run(step, value)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            value = None  # an exception would hold this frame, and this frame the exception
        try:
            step, value = work.send, (yield waits_for)
        except GeneratorExit:
            run(work.close)
            raise
        except BaseException as thrown:
            step, value = work.throw, thrown


def let_threads_inherit(when: Callable[[], bool]) -> None:
    """Patch threading so that threads, and work submitted to a ThreadPoolExecutor, inherit the caller's context.

    Kickoffs in threads that a row starts then count as that row's. `when` says whether the running code has a context
    to pass on. Python 3.14 can do this for threads itself (sys.flags.thread_inherit_context).
    """
    start, submit = Thread.start, ThreadPoolExecutor.submit
    if getattr(start, "__module__", None) == __name__:
        return

    def start_with_context(thread: Thread) -> None:
        target = getattr(thread, "_target", None)
        if when() and not (getattr(target, "__module__", None) or "").startswith(_SERVING):
            setattr(thread, "run", partial(copy_context().run, thread.run))  # noqa: B010  (mypy rejects the assignment)
        start(thread)

    def submit_with_context(pool: ThreadPoolExecutor, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Any:
        if when():
            return submit(pool, copy_context().run, work, *args, **kwargs)
        return submit(pool, work, *args, **kwargs)

    setattr(Thread, "start", start_with_context)  # noqa: B010
    setattr(ThreadPoolExecutor, "submit", submit_with_context)  # noqa: B010
