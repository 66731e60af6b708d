"""The synchronous doors: `kickoff()` over `akickoff()`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from inspect import isawaitable
from typing import Any, TypeVar

import anyio
import sniffio

from crewrun.llm import ambient
from crewrun.references import check_loaded

T = TypeVar("T")


def run_sync(name: str, instead: str, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
    """Run `call(*args)` in an event loop: in a sync tool's thread that of the run, else one of its own.

    Raises RuntimeError inside a running loop, where `name` would block everything else: await `instead` there.
    """
    check_loaded()
    if _is_in_loop():
        raise RuntimeError(
            f"{name}() would block the running event loop; inside async code write `await ….{instead}(…)`"
        )
    outer = ambient.elsewhere()
    return outer.run_outside(call, *args) if outer else anyio.run(call, *args)


def _is_in_loop() -> bool:
    """Whether an event loop runs in this very thread: its context says so in the threads of `to_thread` as well."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return getattr(sniffio.thread_local, "name", None) is not None
    return True


def settled(value: Any) -> Any:
    """`value`, awaited if it is awaitable: in a loop of its own in a thread, for one may be running here."""
    if not isawaitable(value):
        return value
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(anyio.run, _awaited, value).result()


async def _awaited(value: Awaitable[T]) -> T:
    return await value
