"""Calls from sync code: `kickoff()` over `akickoff()`."""

import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from inspect import isawaitable
from threading import Event
from typing import Any, TypeVar
from warnings import warn

import anyio
import sniffio

from crewrun.aio.notebook import is_in_notebook
from crewrun.aio.running_loop import is_in_loop
from crewrun.aio.sync_thread import run_in_thread
from crewrun.aio.threads import LoopBlocked
from crewrun.errors import CrewrunWarning
from crewrun.llm import current_gateway
from crewrun.loading.blocking_calls import awaited_here, place_in_users_code, remember_blocking
from crewrun.loading.user_code import levels_to_users_frame
from crewrun.references import check_loaded
from crewrun.tracebacks import shorten

T = TypeVar("T")
# Whether this process has had the warning for notebooks.
_has_warned = Event()


def run_sync(name: str, instead: str, call: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
    """Run `call(*args)` in an event loop: in the run's for a sync tool's thread, else in a new one.

    Inside a running loop, which is blocked until it returns, it warns and names `instead`, which can be awaited; if
    that loop is the run's own, or there is no run, the new loop is in a thread. RuntimeError in a loop of trio's.

    A cell of a notebook is inside a running loop too, and waiting there is what its author wants: one warning per
    process. The thread has the cell's context variables; interrupting the kernel cancels the call.
    """
    check_loaded()
    in_loop = is_in_loop()
    if in_loop and is_in_notebook() and awaited_here.get() is None:
        _warn_in_notebook(name, instead)
    elif in_loop:
        _warn(name, instead)
    try:
        return _run(call, args, is_in_loop=in_loop)
    except (Exception, KeyboardInterrupt) as error:
        shorten(error)
        raise


def _run(call: Callable[..., Coroutine[Any, Any, T]], args: tuple[object, ...], *, is_in_loop: bool) -> T:
    outer = current_gateway.elsewhere()
    if outer is not None:
        try:
            return outer.run_outside(call, *args)
        except LoopBlocked:
            remember_blocking()
            raise
    if not is_in_loop:
        return anyio.run(call, *args)
    remember_blocking()
    around = current_gateway.current()
    return around.run_for_another_loop(call, *args) if around and around.is_here else run_in_thread(call, *args)


def _warn(name: str, instead: str) -> None:
    blocks = f"{name}() blocks the running event loop"
    if sniffio.current_async_library() != "asyncio":
        raise RuntimeError(f"{blocks}; inside async code write `await ….{instead}(…)`")
    why = f"{blocks} until it has its answer; inside async code write `await ….{instead}(…)`"
    warn(f"{place_in_users_code()}{why}", CrewrunWarning, stacklevel=2)


def _warn_in_notebook(name: str, instead: str) -> None:
    if _has_warned.is_set():
        return
    _has_warned.set()
    text = (
        f"{name}() holds the notebook until it has its answer; `await ….{instead}(…)` leaves its event loop free "
        "(this is said once)"
    )
    warn(text, CrewrunWarning, stacklevel=levels_to_users_frame(sys._getframe()) or 2)


def settled(value: Any) -> Any:
    """`value`, awaited if it is awaitable: in a new loop in a thread, since a loop may be running here."""
    if not isawaitable(value):
        return value
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(anyio.run, _awaited, value).result()


async def _awaited(value: Awaitable[T]) -> T:
    return await value
