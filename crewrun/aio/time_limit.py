"""`time_limit`: a limit on how long a block takes, in which waiting for a batch job does not count."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from math import inf
from threading import get_ident

import anyio


class _Limit:
    """A cancel scope whose time can be stopped, from other threads too."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._thread = get_ident()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # another library's
            self._loop = None
        self._pauses = 0  # calls of a row that are side by side may all wait
        self._left_s = 0.0

    def pause(self) -> None:
        """Let no time pass until `go_on` was called as often."""
        self._in_its_loop(self._pause)

    def go_on(self) -> None:
        """Let time pass again."""
        self._in_its_loop(self._go_on)

    def _pause(self) -> None:
        self._pauses += 1
        if self._pauses == 1:
            self._left_s = self._scope.deadline - self._now()
            self._scope.deadline = inf

    def _go_on(self) -> None:
        self._pauses -= 1
        if not self._pauses:
            self._scope.deadline = self._now() + self._left_s

    def _now(self) -> float:
        # A call from another thread comes without what anyio needs to know its loop.
        return anyio.current_time() if self._loop is None else self._loop.time()

    def _in_its_loop(self, change: Callable[[], None]) -> None:
        if get_ident() == self._thread:
            change()
        elif self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and the block with it
                self._loop.call_soon_threadsafe(change)


_limits: ContextVar[tuple[_Limit, ...]] = ContextVar("crewrun_time_limits", default=())


@contextmanager
def time_limit(seconds: float) -> Iterator[anyio.CancelScope]:
    """As `anyio.move_on_after`, without the time that `uncounted` blocks inside take."""
    with anyio.move_on_after(seconds) as scope:
        token = _limits.set((*_limits.get(), _Limit(scope)))
        try:
            yield scope
        finally:
            with suppress(ValueError):  # a lost loop leaves this to be closed in another context
                _limits.reset(token)


@contextmanager
def uncounted() -> Iterator[None]:
    """The time that this block takes counts for no `time_limit` around it."""
    limits = _limits.get()
    for limit in limits:
        limit.pause()
    try:
        yield
    finally:
        for limit in limits:
            limit.go_on()
