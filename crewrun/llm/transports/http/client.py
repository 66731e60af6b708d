"""`DirectClient`: posts over pooled connections; an `HttpClient`."""

import asyncio
import os
import ssl

from crewrun.errors import CallError, NetworkError, ServerError, Unreachable
from crewrun.llm.transports.bodies import BodyRefused
from crewrun.llm.transports.http.connection import ConnectionBroke, HttpConnection
from crewrun.llm.transports.http.exchange import HttpReply, HttpRoute
from crewrun.llm.transports.http.pool import CONNECT_S, ConnectionPool, UnknownHost

# A server may close a kept connection in the moment in which a request is sent over it. It does so after a time without
# requests, two seconds or more with every usual server, and says so within a round trip. All other ends of a connection
# may be those of a server that was at work on the request: whether it is sent again, and perhaps paid twice, is for the
# caller to decide.
KEPT_S = 1.0
# For the ways of a packet that take longer than when the connection was made; no model has answered by then.
_DELAY_S = 0.1
_LONGEST_ROUND_TRIP_S = 1.0


class DirectClient:
    """Posts without a proxy. Must be constructed inside a running asyncio loop.

    A connection that was kept for `kept_s` may have been closed by the server: then the request is sent again.
    """

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._loop = asyncio.get_running_loop()
        self._pool = ConnectionPool()

    async def post(self, route: HttpRoute, body: bytes) -> HttpReply:
        """See `HttpClient`."""
        origin = route.origin
        while (connection := self._pool.take_idle(origin)) is not None:
            sent_at, kept_s = self._loop.time(), self._loop.time() - connection.idle_since
            try:
                return await self._post(connection, route, body)
            except ConnectionBroke as broke:
                ended_s = self._loop.time() - sent_at
                was_stale = kept_s >= self._kept_s and ended_s <= _round_trip_s(connection)
                if not (broke.is_untouched and was_stale):
                    raise _broken(broke, connection, route) from broke
        connection = await self._connect(route)
        try:
            return await self._post(connection, route, body)
        except ConnectionBroke as broke:
            raise _broken(broke, connection, route) from broke

    async def aclose(self) -> None:
        """See `HttpClient`."""
        await self._pool.aclose()

    async def _post(self, connection: HttpConnection, route: HttpRoute, body: bytes) -> HttpReply:
        try:
            return await connection.post(route.head, body)
        except BodyRefused as refused:
            raise ServerError(str(refused), http_status=connection.status) from None
        finally:
            self._pool.give_back(route.origin, connection)

    async def _connect(self, route: HttpRoute) -> HttpConnection:
        try:
            return await self._pool.connect(route.origin)
        except (UnknownHost, OSError) as failed:
            raise _not_connected(failed, route.name) from failed


def _round_trip_s(connection: HttpConnection) -> float:
    """How long after a request the end of a stale connection may come to light."""
    return min(2 * connection.round_trip_s + _DELAY_S, _LONGEST_ROUND_TRIP_S)


def _broken(broke: ConnectionBroke, connection: HttpConnection, route: HttpRoute) -> CallError:
    what = f"the reply is not HTTP: {broke}" if str(broke) else "the connection broke before the reply was whole"
    # A status shows that the server which sent the reply's beginning is up.
    return NetworkError(f"{route.name}: {what}", http_status=connection.status or None)


def _not_connected(failed: UnknownHost | OSError, name: str) -> CallError:
    match failed:
        case UnknownHost():
            return NetworkError(f"{name}: no address found for this name", address=name, reason="no address found")
        case ssl.SSLCertVerificationError():
            return Unreachable(f"{name}: its TLS certificate is not trusted: {failed.verify_message}")
        case ssl.SSLError():
            return Unreachable(f"{name}: no TLS there; is it http:// and not https://? {failed}")
        case TimeoutError() if failed.errno is None:
            reason = f"no connection within {CONNECT_S:g} s"
            return NetworkError(f"{name}: {reason}", address=name, reason=reason)
    reason = os.strerror(failed.errno) if failed.errno else str(failed)
    return NetworkError(f"{name}: cannot connect: {reason}", address=name, reason=reason)
