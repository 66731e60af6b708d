"""`watch_signals`: notices a signal while the main thread waits and so blocks the event loop that should handle it."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How long the awaited call may still take after a signal; a second signal ends the wait. Enough for a reply that is
# already on its way, and short for somebody who pressed Ctrl-C.
GRACE_S = 5.0
# The system may deliver a signal to another thread, which does not wake this one, and Python runs handlers only in the
# main thread: it wakes up this often to let them run. A fifth of a second is not felt and costs next to nothing.
_WAKE_UP_S = 0.2


@contextmanager
def watch_signals() -> Iterator[Callable[[Future[Any]], signal.Signals | None]]:
    """Watch for signals inside the block; the function that it yields waits there until a future is done.

    That function returns the first signal if the future is not done soon after it, else None. Handlers that are set
    for a signal are called as well. Signals without a handler, and handlers that raise, work as usual.
    """
    if current_thread() is not main_thread():
        yield lambda _: None
        return
    # A SimpleQueue is safe in a signal handler; a condition's lock might be held by the interrupted code itself.
    events: SimpleQueue[signal.Signals | None] = SimpleQueue()
    before = {number: signal.getsignal(number) for number in _NUMBERS}

    def handle(number: int, frame: FrameType | None) -> None:
        events.put(signal.Signals(number))
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    numbers = [number for number, handler in before.items() if callable(handler)]
    try:
        for number in numbers:
            signal.signal(number, handle)
        yield lambda future: _first_signal(future, events)
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def _first_signal(future: Future[Any], events: "SimpleQueue[signal.Signals | None]") -> signal.Signals | None:
    future.add_done_callback(lambda _: events.put(None))
    while True:
        with suppress(Empty):
            number = events.get(timeout=_WAKE_UP_S)
            break
    if number is None:
        return None
    try:
        return None if events.get(timeout=GRACE_S) is None else number
    except Empty:
        return number
