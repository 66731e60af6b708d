"""`ProxiedClient`: posts through proxies, with aiohttp; an `HttpClient`."""

import os
import ssl
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from crewrun.errors import CallError, NetworkError, ServerError, Unreachable
from crewrun.llm.transports.bodies import BodyRefused, limit_of, read_body, too_large
from crewrun.llm.transports.http.exchange import HttpReply, HttpRoute
from crewrun.llm.transports.http.pool import CONNECT_S


class ProxiedClient:
    """Posts through the proxy of each route. Must be constructed inside a running asyncio loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # `read_body` does it, up to a limit
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        )

    async def post(self, route: HttpRoute, body: bytes) -> HttpReply:
        """See `HttpClient`."""
        status: int | None = None
        try:
            response = await self._session.post(
                URL(route.url, encoded=True),
                data=body,
                headers=route.headers,
                proxy=route.proxy,
                allow_redirects=False,
            )
            status = response.status
            headers = {name.lower(): value for name, value in response.headers.items()}
            return HttpReply(status, headers, await _whole(response))
        except BodyRefused as refused:
            raise ServerError(str(refused), http_status=status) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as broken:
            error = _network_error(broken, route)
            error.http_status = status
            raise error from broken

    async def aclose(self) -> None:
        """See `HttpClient`."""
        await self._session.close()


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Read the body, then release the connection, or close it if not all was read. Raises BodyRefused."""
    length, status = response.content_length, response.status
    try:
        if length is not None and length > limit_of(status):
            raise too_large(status)
        return await read_body(response.content.iter_any(), response.headers.get("Content-Encoding", ""), status)
    except BaseException:
        response.close()
        raise


def _network_error(broken: Exception, route: HttpRoute) -> CallError:
    """Our error for aiohttp's and the system's errors about a failed connection."""
    name = f"{route.name} (through the proxy {urlsplit(route.proxy or '').netloc.rpartition('@')[2]})"
    if isinstance(broken, aiohttp.ClientConnectorCertificateError):
        return Unreachable(f"{name}: its TLS certificate is not trusted: {broken.certificate_error}")
    if isinstance(broken, aiohttp.ClientSSLError | ssl.SSLError):
        return Unreachable(f"{name}: no TLS there; is it http:// and not https://? {broken}")
    if isinstance(broken, aiohttp.ClientConnectorDNSError):
        return NetworkError(f"{name}: no address found for this name", address=name, reason="no address found")
    if isinstance(broken, aiohttp.ClientConnectorError):
        number = broken.os_error.errno
        reason = os.strerror(number) if number else str(broken.os_error)
        return NetworkError(f"{name}: cannot connect: {reason}", address=name, reason=reason)
    if isinstance(broken, aiohttp.ConnectionTimeoutError):
        reason = f"no connection within {CONNECT_S:g} s"
        return NetworkError(f"{name}: {reason}", address=name, reason=reason)
    if isinstance(broken, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return NetworkError(f"{name}: the connection broke before the reply was whole")
    if isinstance(broken, ValueError):  # an address of the proxy that is no URL
        return Unreachable(f"{name}: the request cannot be sent: {type(broken).__name__}")
    return NetworkError(f"{name}: {type(broken).__name__}: {broken}")
