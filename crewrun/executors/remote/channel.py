"""One end of the channel between a run and a worker: messages gather until a bundle leaves, replies find their callers.

A round trip takes a millisecond or two, and half of one of CPU at either end, whatever it carries: messages gather
until there are many, or the first ones have waited for long enough.
"""

import asyncio
from asyncio import Future
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from math import inf
from time import monotonic
from typing import Any, TypeVar

import anyio

from crewrun.executors.remote.messages import Reply, WireMessage, pack, unpack

T = TypeVar("T")
# Of a larger bundle each message costs as much.
_FULL = 32


class Outbox:
    """Letters for the other side, in their order. Any thread may put some in; the rest is for one event loop."""

    def __init__(self) -> None:
        self._messages: list[WireMessage] = []
        self._numbers = count()
        self._news = anyio.Event()
        self._full = anyio.Event()
        self._left_at = -inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self.gap_s = 0.0  # between bundles that are not full

    def __bool__(self) -> bool:
        return bool(self._messages)

    def put(self, message: WireMessage) -> None:
        """Have a message go with the next bundle."""
        if self._loop is None or self._loop is _running_loop():
            self._put(message)
        else:
            self._loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: WireMessage) -> None:
        self._messages.append(message)
        self._news.set()
        if len(self._messages) == _FULL:
            self._full.set()

    @property
    def is_due(self) -> bool:
        """Whether the next bundle may leave."""
        return len(self._messages) >= _FULL or monotonic() - self._left_at >= self.gap_s

    async def wait_due(self) -> None:
        """Return when the next bundle may leave, or somewhat earlier."""
        with anyio.move_on_after(self._left_at + self.gap_s - monotonic()):
            await self._full.wait()

    def bundle(self) -> bytes:
        """All that has gathered, ready to go."""
        self._left_at = monotonic()
        if len(self._messages) >= _FULL:
            self._full = anyio.Event()
        messages, self._messages = self._messages, []
        return pack(next(self._numbers), messages)

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._news.set()

    async def wait_news(self) -> None:
        """Return at the next message or `wake`; at once if there was one since the last time."""
        self._loop = _running_loop()
        await self._news.wait()
        self._news = anyio.Event()


class Inbox:
    """Bundles of the other side, put back into their order: two may be under way at once."""

    def __init__(self) -> None:
        self._next = 0
        self._early: dict[int, list[WireMessage]] = {}

    def open(self, bundle: bytes) -> Iterator[WireMessage]:
        """The messages whose turn it is now that `bundle` has come."""
        number, messages = unpack(bundle)
        self._early[number] = messages
        while self._next in self._early:
            self._next += 1
            yield from self._early.pop(self._next - 1)


class PendingReplies:
    """Letters that wait for their replies, in whatever event loop they are asked."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._numbers = count(1)
        self._pending: dict[int, Future[Any]] = {}

    def number(self) -> int:
        """A number for the next message."""
        return next(self._numbers)

    async def ask(self, message: Any) -> Any:
        """Send `message`, which has a `number`, and wait for what comes back. Raises it if it is a fault."""
        pending = self._pending[message.number] = asyncio.get_running_loop().create_future()
        self._outbox.put(message)
        try:
            return await pending
        finally:
            del self._pending[message.number]

    def come(self, reply: Reply) -> None:
        """A reply is there. Nobody may wait for it any more."""
        pending = self._pending.get(reply.number)
        if pending is None:
            return
        if pending.get_loop() is _running_loop():
            _settle(pending, reply)
        else:
            with suppress(RuntimeError):  # whoever asked has gone, and its loop is closed
                pending.get_loop().call_soon_threadsafe(_settle, pending, reply)


def _settle(pending: Future[Any], reply: Reply) -> None:
    if pending.done():
        return
    if reply.fault is not None:
        pending.set_exception(reply.fault.error())
    else:
        pending.set_result(reply.value)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread; None where none runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
