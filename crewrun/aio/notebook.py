"""Code in a cell of a notebook, whose event loop is the kernel's and always running: `is_in_notebook`, `stoppable`."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Final

# How long a press of the stop button may take to have its effect.
_WAKE_UP_S: Final = 0.2


def is_in_notebook() -> bool:
    """Whether this is the main thread of an IPython kernel, where it runs its cells. Imports nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or current_thread() is not main_thread():
        return False
    shell = ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None  # a shell on a terminal has none, and no loop around its cells


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the stop button of a notebook end what is awaited in the block, at once instead of at its next event.

    A kernel's handler of the signal cancels the cell's task, but does not wake the loop, which goes on waiting for its
    sockets and timers. So there is a timer.
    """
    if not (is_in_notebook() and _is_in_asyncio()):
        yield
        return
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def wake_up() -> None:
        nonlocal timer
        timer = loop.call_later(_WAKE_UP_S, wake_up)

    wake_up()
    try:
        yield
    finally:
        timer.cancel()


def _is_in_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
