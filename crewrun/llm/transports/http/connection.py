"""`HttpConnection`: one connection, which carries one request and its reply at a time, parsed by httptools."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, cast

import httptools

from crewrun.llm.transports.bodies import limit_of, read_body, too_large
from crewrun.llm.transports.http.exchange import HttpReply

# Larger ones are not copied to be sent in one piece with the head.
_SMALL_BODY_BYTES = 64 * 1024
# Providers send one or two KiB; Node and nginx refuse more than 16 in a request.
_MOST_HEAD_BYTES = 256 * 1024


class ConnectionBroke(Exception):
    """The connection ended, or sent what is not HTTP, before the reply was whole. The message says what was wrong with
    the reply, empty if it just ended. `is_untouched` says that not a byte of it had come.
    """

    def __init__(self, problem: str = "", *, is_untouched: bool = False) -> None:
        super().__init__(problem)
        self.is_untouched = is_untouched


class _RawReply(NamedTuple):
    """A reply as it was sent."""

    status: int
    headers: Mapping[str, str]
    pieces: list[bytes]


class HttpConnection(asyncio.Protocol):
    """A connection, from the moment in which asyncio has made it. `status` is that of the latest reply, 0 before its
    head has come; `idle_since` says since when it has nothing to do, in the event loop's time.
    """

    __slots__ = (
        "_body_bytes",
        "_has_head",
        "_head_bytes",
        "_headers",
        "_is_sized",
        "_loop",
        "_parser",
        "_pieces",
        "_reply",
        "idle_since",
        "round_trip_s",
        "status",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._reply: asyncio.Future[_RawReply] | None = None
        self.idle_since = self.round_trip_s = 0.0
        self._begin()

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent."""
        return not self.transport.is_closing()

    def close(self) -> None:
        """End it at once, whatever is under way."""
        self.transport.abort()

    async def post(self, head: bytes, body: bytes) -> HttpReply:
        """Send a request and wait for its reply. `head` lacks the length of the body and its own end.

        Raises ConnectionBroke, and BodyRefused for a body that was not read to its end; then, and if it is cancelled,
        the connection is closed.
        """
        self._begin()
        self._reply = reply = self._loop.create_future()
        start = b"%b%d\r\n\r\n" % (head, len(body))
        if len(body) <= _SMALL_BODY_BYTES:
            self.transport.write(start + body)
        else:
            self.transport.writelines((start, body))
        try:
            raw = await reply
            encoding = raw.headers.get("content-encoding")
            if encoding is None:
                pieces = raw.pieces
                return HttpReply(raw.status, raw.headers, pieces[0] if len(pieces) == 1 else b"".join(pieces))
            return HttpReply(raw.status, raw.headers, await read_body(_each(raw.pieces), encoding, raw.status))
        except BaseException:
            self.close()
            raise
        finally:
            self._reply = None

    def _begin(self) -> None:
        """Expect a reply."""
        self.status = 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._head_bytes = self._body_bytes = 0
        self._has_head = self._is_sized = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._reply is None:
            self.close()  # nothing was asked: whatever it says, it would be taken for the next reply
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ConnectionBroke("it switches to another protocol"))
        except httptools.HttpParserError as wrong:
            self._fail(ConnectionBroke(str(wrong) or type(wrong).__name__))
        else:
            if not self._has_head and self._head_bytes > _MOST_HEAD_BYTES:
                self._fail(ConnectionBroke(f"its headers are larger than {_MOST_HEAD_BYTES >> 10} KiB"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._reply is None or self._reply.done():
            return
        if self._has_head and not self._is_sized and error is None:
            self._finish()  # such a body ends with its connection
        else:
            self._fail(ConnectionBroke(is_untouched=not self._head_bytes))

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._reply is None or self._reply.done():
            self.transport.close()  # a second reply to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return  # a trailer
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        first = self._headers.get(key)
        self._headers[key] = text if first is None else f"{first}, {text}"

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self._has_head = True
        length = self._headers.get("content-length")
        self._is_sized = length is not None or "transfer-encoding" in self._headers
        if length is not None and int(length) > limit_of(self.status):
            self._fail(too_large(self.status))

    def on_body(self, piece: bytes) -> None:
        self._body_bytes += len(piece)
        if self._body_bytes > limit_of(self.status):
            self._fail(too_large(self.status))
        else:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.status < 200:
            self._headers = {}  # "100 Continue" or a hint: the reply is yet to come
            return
        self._finish()
        if not self._parser.should_keep_alive():
            self.transport.close()

    def _finish(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(_RawReply(self.status, self._headers, self._pieces))
            self._headers, self._pieces = {}, []

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
        self.close()


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
