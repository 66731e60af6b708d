"""`Channel`: one end of the calls and replies between a run and a worker.

Calls from this end wait for their replies; calls from the other end are answered by the methods of this end's service.
Messages are collected until the connection takes all of them as one bundle, because a bundle costs about the same
whatever its size.
"""

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import anyio

from crewrun.errors import CrewrunError
from crewrun.executors.remote.codec import pack, unpack
from crewrun.executors.remote.messages import RemoteCall, RemoteFault, RemoteReply, WireMessage


class Channel:
    """Belongs to one event loop; `request` and `notify` may also be called from other loops of the process."""

    def __init__(self, service: object, unexpected: Callable[[str], Exception] = RuntimeError) -> None:
        """The methods of `service` answer the other end's calls, with a value or an awaitable. What they raise is
        raised at the caller; an exception that is not a CrewrunError becomes an `unexpected`.
        """
        self._service = service
        self._unexpected = unexpected
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._outgoing: list[WireMessage] = []
        self._has_outgoing = anyio.Event()
        self._pending: dict[int, Future[Any]] = {}
        self._answering: set[Task[Any]] = set()
        self._failure: Exception | None = None

    def call(self, method: str, *arguments: object) -> Future[Any]:
        """Call a method of the other end. The reply arrives even if the caller no longer waits for the future."""
        reply: Future[Any] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            reply.set_exception(self._failure)
            return reply
        number = next(self._numbers)
        self._pending[number] = reply
        self._post(RemoteCall(number, method, arguments))
        return reply

    async def request(self, method: str, *arguments: object) -> Any:
        """Call a method of the other end and wait for what it returns. Raises what it raises."""
        return await self.call(method, *arguments)

    def notify(self, method: str, *arguments: object) -> None:
        """Call a method of the other end without a reply."""
        self._post(RemoteCall(0, method, arguments))

    async def next_bundle(self) -> bytes:
        """Wait until there are messages to send, and take all of them. Raises the error the channel was closed with."""
        while not self._outgoing:
            if self._failure is not None:
                raise self._failure
            await self._has_outgoing.wait()
            self._has_outgoing = anyio.Event()
        messages, self._outgoing = self._outgoing, []
        return pack(messages)

    def dispatch(self, bundle: bytes) -> None:
        """Process a bundle from the other end: answer calls, and pass replies to their callers."""
        for message in unpack(bundle):
            if isinstance(message, RemoteReply):
                self._settle(message)
            else:
                self._answer(message)

    def close(self, failure: Exception) -> None:
        """Raise `failure` in all callers that wait for replies. Calls being answered continue, without a reply."""
        self._failure = failure
        self._has_outgoing.set()
        for reply in list(self._pending.values()):
            self._finish(reply, partial(_set_exception, reply, failure))
        self._pending.clear()

    async def wait_answered(self) -> None:
        """Return when no call is being answered."""
        while self._answering:
            await asyncio.wait(self._answering)

    def _post(self, message: WireMessage) -> None:
        if self._loop is _running_loop():
            self._append(message)
        else:
            self._loop.call_soon_threadsafe(self._append, message)

    def _append(self, message: WireMessage) -> None:
        self._outgoing.append(message)
        if len(self._outgoing) == 1:
            self._has_outgoing.set()

    def _answer(self, call: RemoteCall) -> None:
        number = call.number
        try:
            value = getattr(self._service, call.method)(*call.arguments)
        except Exception as error:
            if not number:
                raise
            self._reply_fault(number, error)
            return
        if isinstance(value, Coroutine):
            value = asyncio.create_task(value)
            self._answering.add(value)
        if isinstance(value, Future):
            value.add_done_callback(partial(self._reply_when_done, number))
        elif number:
            self._append(RemoteReply(number, value))

    def _reply_when_done(self, number: int, answer: Future[Any]) -> None:
        self._answering.discard(answer)
        if answer.cancelled():
            return
        error = answer.exception()
        if not number:
            return
        if error is None:
            self._append(RemoteReply(number, answer.result()))
        else:
            self._reply_fault(number, error)

    def _reply_fault(self, number: int, error: BaseException) -> None:
        ours = error if isinstance(error, CrewrunError) else self._unexpected(f"{type(error).__name__}: {error}")
        self._append(RemoteReply(number, fault=RemoteFault.of(ours)))

    def _settle(self, message: RemoteReply) -> None:
        reply = self._pending.pop(message.number, None)
        if reply is None:
            return
        if message.fault is None:
            self._finish(reply, partial(_set_result, reply, message.value))
        else:
            self._finish(reply, partial(_set_exception, reply, message.fault.error()))

    def _finish(self, reply: Future[Any], finish: Callable[[], None]) -> None:
        loop = reply.get_loop()
        if loop is self._loop:
            finish()
        else:
            with suppress(RuntimeError):  # the caller's loop is closed
                loop.call_soon_threadsafe(finish)


def _set_result(reply: Future[Any], value: Any) -> None:
    if not reply.done():
        reply.set_result(value)


def _set_exception(reply: Future[Any], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread, None when none is running."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
