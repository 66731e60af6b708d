"""`gather` runs several coroutines at once, all or none; `call` runs one of the user's functions, sync or async."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from types import CoroutineType
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import sniffio

from crewrun.aio import threads
from crewrun.aio.own_loop import in_own_loop
from crewrun.loading.blocking_calls import awaited_here, code_of, does_code_block, may_block

T = TypeVar("T")


async def gather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Await all `calls` concurrently and return their results in order.

    When one raises, the others are cancelled and that exception is raised, unwrapped from anyio's exception group.
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
    """Call the user's `function`: a coroutine function is awaited here, any other one runs in a worker thread.

    A coroutine function that `blocking_calls` expects to block its loop while a crew runs is awaited in a loop of its
    own, in a worker thread.

    Raises whatever the function raises, TimeoutError after `timeout_s` seconds, and RuntimeError in place of anything
    that is not an Exception, such as sys.exit(), which would end more than the row. A thread cannot be stopped: one
    abandoned by the time limit or by cancellation goes on until its function returns.
    """
    try:
        with nullcontext() if timeout_s is None else anyio.fail_after(timeout_s):
            if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
                return await _in_loop(function, *args, **kwargs)
            result = await _in_thread(partial(function, *args, **kwargs))
            if iscoroutine(result):
                return await _await_coroutine(result)
            return await result if isawaitable(result) else result
    except (Exception, GeneratorExit):
        raise
    except SystemExit as error:
        raise RuntimeError(f"it called sys.exit({error.code!r})").with_traceback(error.__traceback__) from None
    except anyio.get_cancelled_exc_class() as cancelled:
        if was_cancelled():
            raise
        raise RuntimeError(f"it raised {cancelled!r}") from cancelled
    except BaseException as failed:
        raise RuntimeError(f"it raised {failed!r}") from failed


async def _in_loop(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if may_block(function) and sniffio.current_async_library() == "asyncio":
        return await in_own_loop(function, *args, **kwargs)
    token = awaited_here.set(code_of(function))
    try:
        return await function(*args, **kwargs)
    finally:
        awaited_here.reset(token)


async def _await_coroutine(coroutine: "CoroutineType[Any, Any, Any]") -> Any:
    """Like `_in_loop`, for a coroutine that a sync function returned, as a wrapper around an async one does."""
    code, frame = coroutine.cr_code, coroutine.cr_frame
    if does_code_block(code, lambda: frame.f_globals if frame else {}) and sniffio.current_async_library() == "asyncio":
        return await in_own_loop(lambda: coroutine)
    token = awaited_here.set(code)
    try:
        return await coroutine
    finally:
        awaited_here.reset(token)


async def _in_thread(function: Callable[[], Any]) -> Any:
    if sniffio.current_async_library() == "asyncio":
        return await threads.pool.run(function)
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


def was_cancelled() -> bool:
    """Whether somebody cancelled this task; if not, the user's code raised the cancellation itself."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio, whose cancellation user code cannot raise
        return True
    return task is None or task.cancelling() > 0
