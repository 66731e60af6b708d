"""`gather` runs several coroutines together, all or none; `call` runs a function of the user's, sync or async."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from threading import Lock
from typing import Any, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


async def gather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Await all `calls` at once; their results in order.

    When one raises, the others are cancelled and that exception is raised, without the group that anyio wraps it in.
    """
    if len(calls) == 1:
        return [await calls[0]()]
    results: dict[int, T] = {}
    failures: list[Exception] = []

    async def run(position: int, call: Callable[[], Awaitable[T]]) -> None:
        try:
            results[position] = await call()
        except Exception as failure:
            failures.append(failure)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for position, call in enumerate(calls):
            group.start_soon(run, position, call)
    if failures:
        raise failures[0]
    return [results[i] for i in range(len(calls))]


async def call(function: Callable[..., Any], *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
    """What the user's `function` returns: a coroutine function is awaited here, any other runs in a worker thread.

    Raises what it raises, and TimeoutError after `timeout_s` seconds. A thread cannot be stopped: one that is given up,
    by the time limit or by cancellation, goes on until its function returns. `MAX_ABANDONED` such threads are the end:
    then RuntimeError is raised instead of starting another.
    """
    try:
        with anyio.fail_after(timeout_s):
            if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
                return await function(*args, **kwargs)
            result = await _in_thread(partial(function, *args, **kwargs))
            return await result if isawaitable(result) else result
    except SystemExit as left:  # would end the process, and every other row with it
        raise RuntimeError(f"it called sys.exit({left.code!r})") from None


MAX_ABANDONED = 256


class _Abandoned:
    """How many threads run a function that nobody waits for any more."""

    def __init__(self) -> None:
        # Protects `count`, which threads write as well as the loop.
        self.lock = Lock()
        self.count = 0


_abandoned = _Abandoned()


async def _in_thread(function: Callable[[], Any]) -> Any:
    if _abandoned.count >= MAX_ABANDONED:
        raise RuntimeError(
            f"{_abandoned.count} calls of sync functions hang in their threads, and no further thread is started"
        )
    ended = given_up = False

    def work() -> Any:
        nonlocal ended
        try:
            return function()
        finally:
            with _abandoned.lock:
                ended = True
                _abandoned.count -= given_up

    try:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    finally:
        with _abandoned.lock:
            if not ended:
                given_up = True
                _abandoned.count += 1
