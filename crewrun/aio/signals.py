"""`heard_signals`: a signal that comes while the main thread waits and holds the event loop that is to hear of it."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How long what the thread waits for may still take after a signal; a second signal ends that time.
GRACE_S = 5.0
# The system may give a signal to another thread, which does not wake this one: handlers run when it looks.
_AWAKE_S = 0.2


@contextmanager
def heard_signals() -> Iterator[Callable[[Future[Any]], signal.Signals | None]]:
    """A block in which signals are heard; call what it gives to wait there until a future is done.

    That returns the signal that came first, where the future is not done soon after one. Whoever has a handler for the
    signal gets it too. Signals without one, and those that raise, are what they are.
    """
    if current_thread() is not main_thread():
        yield lambda _: None
        return
    # A handler may put into this queue whatever the thread is doing: a condition's lock it might hold itself.
    news: SimpleQueue[signal.Signals | None] = SimpleQueue()
    before = {number: signal.getsignal(number) for number in _NUMBERS}

    def hear(number: int, frame: FrameType | None) -> None:
        news.put(signal.Signals(number))
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    heard = [number for number, handler in before.items() if callable(handler)]
    try:
        for number in heard:
            signal.signal(number, hear)
        yield lambda ended: _first_signal(ended, news)
    finally:
        for number in heard:
            signal.signal(number, before[number])


def _first_signal(ended: Future[Any], news: "SimpleQueue[signal.Signals | None]") -> signal.Signals | None:
    ended.add_done_callback(lambda _: news.put(None))
    while True:
        with suppress(Empty):
            number = news.get(timeout=_AWAKE_S)
            break
    if number is None:
        return None
    try:
        return None if news.get(timeout=GRACE_S) is None else number
    except Empty:
        return number
