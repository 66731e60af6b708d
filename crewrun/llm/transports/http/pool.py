"""`ConnectionPool`: connections by origin, those used last first; made by happy eyeballs, with TLS sessions resumed."""

import asyncio
import socket
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from aiohappyeyeballs import AddrInfoType, start_connection

from crewrun.llm.transports.http.connection import HttpConnection
from crewrun.llm.transports.http.exchange import Origin
from crewrun.llm.transports.http.tls import remember_session, tls_context

# A model may need minutes until the first byte, but a connection never does: an address that drops packets is down.
# 30 s allow for four retransmissions of a lost SYN (after 1, 3, 7 and 15 s).
CONNECT_S = 30.0
# Less than any usual server keeps a connection that has nothing to do, so few requests meet one that it just closes.
_IDLE_S = 15.0
_ADDRESSES_S = 300.0
# https://www.rfc-editor.org/rfc/rfc8305#section-5: how long before the next address is tried next to the first.
_NEXT_ADDRESS_S = 0.25


class UnknownHost(Exception):
    """No address was found for a name."""


class ConnectionPool:
    """The connections of one event loop. Any number may be open: the caller decides how many requests are in flight."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: defaultdict[Origin, deque[HttpConnection]] = defaultdict(deque)
        self._open: set[HttpConnection] = set()
        self._lookups: dict[tuple[str, int], tuple[float, asyncio.Task[Sequence[AddrInfoType]]]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def take_idle(self, origin: Origin) -> HttpConnection | None:
        """The connection that was given back last, None if none is left."""
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if connection.is_open and self._loop.time() - connection.idle_since < _IDLE_S:
                return connection
            self.drop(connection)
        return None

    def give_back(self, origin: Origin, connection: HttpConnection) -> None:
        """Keep a connection whose reply was read, if it can be used again."""
        if not connection.is_open:
            self.drop(connection)
            return
        if origin.is_tls and not connection.idle_since:
            remember_session(origin.host, connection.transport)
        connection.idle_since = self._loop.time()
        self._idle[origin].append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(_IDLE_S, self._close_idle)

    def drop(self, connection: HttpConnection) -> None:
        """Close a connection at once."""
        self._open.discard(connection)
        connection.close()

    async def connect(self, origin: Origin) -> HttpConnection:
        """A new connection.

        Raises UnknownHost, TimeoutError after 30 seconds, and OSError, of which ssl.SSLError is one.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await self._addresses(origin)
                began = self._loop.time()
                made = await start_connection(
                    addresses,
                    happy_eyeballs_delay=_NEXT_ADDRESS_S,
                    interleave=1,
                    loop=self._loop,
                )
                round_trip_s = self._loop.time() - began
                connection = await self._opened(origin, made)
                connection.round_trip_s = round_trip_s
                return connection
        except OSError:
            self._forget_addresses(origin)  # the name may lead elsewhere by now
            raise

    async def aclose(self) -> None:
        """Close all connections."""
        if self._sweep is not None:
            self._sweep.cancel()
        for _, lookup in self._lookups.values():
            lookup.cancel()
        for connection in [*self._open]:
            self.drop(connection)
        await asyncio.sleep(0)  # for the transports, which close in the loop's next turn

    async def _opened(self, origin: Origin, made: socket.socket) -> HttpConnection:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        tls: dict[str, Any] = {"ssl": tls_context(), "server_hostname": origin.host} if origin.is_tls else {}
        try:
            _, connection = await self._loop.create_connection(lambda: HttpConnection(self._loop), sock=made, **tls)
        except BaseException:
            made.close()
            raise
        self._open.add(connection)
        return connection

    async def _addresses(self, origin: Origin) -> Sequence[AddrInfoType]:
        """The origin's addresses. Requests that ask at the same time share one lookup."""
        key = origin.host, origin.port
        made_at, lookup = self._lookups.get(key, (0.0, None))
        if lookup is None or self._loop.time() - made_at > _ADDRESSES_S:
            lookup = self._loop.create_task(self._look_up(origin))
            lookup.add_done_callback(lambda ended: self._drop_failed(origin, ended))
            self._lookups[key] = self._loop.time(), lookup
        try:
            return await asyncio.shield(lookup)
        except socket.gaierror as unknown:
            raise UnknownHost(str(unknown)) from unknown

    async def _look_up(self, origin: Origin) -> Sequence[AddrInfoType]:
        return await self._loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)

    def _drop_failed(self, origin: Origin, lookup: asyncio.Task[Sequence[AddrInfoType]]) -> None:
        """Keep no failure: the name server may be back for the next connection."""
        if lookup.cancelled() or lookup.exception() is not None:
            self._forget_addresses(origin)

    def _forget_addresses(self, origin: Origin) -> None:
        """Have the next connection look up its address again, unless somebody does so just now."""
        _, lookup = self._lookups.get((origin.host, origin.port), (0.0, None))
        if lookup is not None and lookup.done():
            del self._lookups[origin.host, origin.port]

    def _close_idle(self) -> None:
        """Close connections that have had nothing to do for long."""
        self._sweep = None
        before = self._loop.time() - _IDLE_S
        for idle in self._idle.values():
            while idle and (idle[0].idle_since <= before or not idle[0].is_open):
                self.drop(idle.popleft())
        if any(self._idle.values()):
            self._sweep = self._loop.call_later(_IDLE_S, self._close_idle)
