"""The direct transport, for any endpoint that speaks OpenAI's chat completions, over one aiohttp session.

It does not use litellm because aiohttp makes about thirty times as many calls per second on one core, and the client
would otherwise limit a batch of small calls. https://platform.openai.com/docs/api-reference/chat/create
"""

import json
import os
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

import aiohttp
from multidict import CIMultiDict
from pydantic_core import PydanticSerializationError, to_json
from yarl import URL

from crewrun._version import __version__
from crewrun.errors import CallError, NetworkError, ServerError, Unreachable
from crewrun.library_warnings import tolerant
from crewrun.limits import rate_headers
from crewrun.llm.endpoints import proxy_for
from crewrun.llm.parameters import fields_of
from crewrun.llm.transports.bodies import ENCODINGS, BodyRefused, limit_of, read_body, too_large
from crewrun.llm.transports.cache_hints import add_hints
from crewrun.llm.transports.chat_json import message_on_wire, read_completion, schema_on_wire, tool_on_wire
from crewrun.llm.transports.http_errors import failure
from crewrun.messages import ChatRequest, Completion, Endpoint

# A model may need minutes until the first byte, but a connection never does: an address that drops packets is down.
# 30 s allow for four retransmissions of a lost SYN (after 1, 3, 7 and 15 s).
_CONNECT_S = 30.0


class _Route(NamedTuple):
    """What all requests to one endpoint have in common."""

    url: URL
    headers: CIMultiDict[str]
    proxy: str | None


class Reply(NamedTuple):
    """A successful reply."""

    body: bytes
    headers: Mapping[str, str]


class OpenAITransport:
    """Posts to `base_url` + /chat/completions. Must be constructed inside a running asyncio loop.

    The connection pool is unbounded: the caller decides how many requests are in flight.
    """

    # Overridden, like `_body` and `_read`, by transports for other paths of the same protocol.
    _path = "/chat/completions"

    def __init__(self) -> None:
        self._routes: WeakKeyDictionary[Endpoint, _Route] = WeakKeyDictionary()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # `read_body` does it, up to a limit
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            headers={
                "User-Agent": f"crewrun/{__version__}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Accept-Encoding": ENCODINGS,
            },
        )

    @tolerant
    async def send(self, request: ChatRequest) -> Completion:
        """Send `request` once; see `Transport.send`."""
        route = self._routes.get(request.endpoint) or self._route(request.endpoint)
        status: int | None = None
        try:
            response = await self._session.post(
                route.url,
                data=aiohttp.BytesPayload(self._body(request)),  # spares aiohttp's search for a payload type
                headers=route.headers,
                proxy=route.proxy,
                allow_redirects=False,  # a redirect would turn the POST into a GET, or carry the key elsewhere
            )
            status = response.status
            payload = await _whole(response)
        except BodyRefused as refused:
            raise ServerError(str(refused), http_status=status) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as broken:
            error = _network_error(broken, route)
            error.http_status = status  # set if the reply broke off: the server that sent its beginning is up
            raise error from broken
        if 200 <= status < 300:
            return self._read(Reply(payload, response.headers), request)
        if 300 <= status < 400:
            where = response.headers.get("location", "elsewhere")
            payload = f"{route.url} redirects to {where}: set base_url to the address it should be".encode()
        raise failure(status, payload, response.headers)

    def _body(self, request: ChatRequest) -> bytes:
        return body_of(request)

    def _read(self, reply: Reply, request: ChatRequest) -> Completion:
        return read_completion(reply.body, rate_headers.glance(reply.headers), reply.headers)

    async def aclose(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    def _route(self, endpoint: Endpoint) -> _Route:
        parts = urlsplit(endpoint.base_url or "")
        query = "&".join(filter(None, [parts.query, urlencode(endpoint.query)]))
        url = urlunsplit(parts._replace(path=parts.path + self._path, query=query))
        headers = CIMultiDict(endpoint.headers)
        if endpoint.api_key and "@" not in parts.netloc:  # a URL with name and password brings its own authorization
            headers.setdefault("Authorization", f"Bearer {endpoint.api_key}")
        route = self._routes[endpoint] = _Route(URL(url, encoded=True), headers, proxy_for(url))
        return route


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Read the body, then release the connection, or close it if not all was read. Raises BodyRefused."""
    headers, status = response.headers, response.status
    length, encoding = response.content_length, headers.get("Content-Encoding")
    try:
        if length is not None and length > limit_of(status):
            raise too_large(status)
        if length is not None and encoding is None:
            return await response.read()  # at most `length` bytes
        return await read_body(response.content.iter_any(), encoding or "", status)
    except BaseException:
        response.close()
        raise


def body_of(request: ChatRequest) -> bytes:
    """The JSON that a request is sent as."""
    messages = [message_on_wire(m) for m in request.messages]
    fields = {"model": request.endpoint.model, **fields_of(request), "messages": messages}
    if request.tools:
        fields["tools"] = [tool_on_wire(spec) for spec in request.tools]
    if request.schema:
        fields["response_format"] = schema_on_wire(request.schema)
    if request.cache_hints is not None:
        add_hints(fields, request.cache_hints)
    try:
        return to_json(fields)
    except PydanticSerializationError:
        return json.dumps(fields).encode()  # a lone surrogate cannot be UTF-8, but it can be escaped


def _network_error(broken: Exception, route: _Route) -> CallError:
    """Our error for aiohttp's and the system's errors about a failed connection."""
    host = route.url.authority.rpartition("@")[2]
    if route.proxy:
        host = f"{host} (through the proxy {urlsplit(route.proxy).netloc.rpartition('@')[2]})"
    if isinstance(broken, aiohttp.ClientConnectorCertificateError):
        return Unreachable(f"{host}: its TLS certificate is not trusted: {broken.certificate_error}")
    if isinstance(broken, aiohttp.ClientSSLError | ssl.SSLError):
        return Unreachable(f"{host}: no TLS there; is it http:// and not https://? {broken}")
    if isinstance(broken, aiohttp.ClientConnectorDNSError):
        return NetworkError(f"{host}: no address found for this name", address=host, reason="no address found")
    if isinstance(broken, aiohttp.ClientConnectorError):
        number = broken.os_error.errno
        reason = os.strerror(number) if number else str(broken.os_error)
        return NetworkError(f"{host}: cannot connect: {reason}", address=host, reason=reason)
    if isinstance(broken, aiohttp.ConnectionTimeoutError):
        reason = f"no connection within {_CONNECT_S:g} s"
        return NetworkError(f"{host}: {reason}", address=host, reason=reason)
    if isinstance(broken, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return NetworkError(f"{host}: the connection broke before the reply was whole")
    if isinstance(broken, ValueError):  # a header or address that cannot be sent
        return Unreachable(f"{host}: the request cannot be sent: {type(broken).__name__}: {broken}")
    return NetworkError(f"{host}: {type(broken).__name__}: {broken}")
