"""The direct lane: any endpoint that speaks OpenAI's chat completions, over one aiohttp session.

Why not litellm for these: on one core aiohttp makes about thirty times as many calls a second, and a batch of small
calls would otherwise be bound by its client. https://platform.openai.com/docs/api-reference/chat/create
"""

import json
import os
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp
from multidict import CIMultiDict
from pydantic_core import PydanticSerializationError, to_json
from yarl import URL

from crewrun._version import __version__
from crewrun.errors import CallError, NetworkError, UsageError
from crewrun.llm.transport import failure, read_completion
from crewrun.messages import ChatRequest, Completion, Endpoint, Message


class _Route(NamedTuple):
    """What is the same for every request to one endpoint."""

    url: URL
    headers: CIMultiDict[str]
    proxy: str | None


class OpenAITransport:
    """Posts to `base_url` + /chat/completions. Must be made inside a running asyncio loop.

    The pool is unbounded: how many requests are in flight is decided by who sends them.
    """

    def __init__(self) -> None:
        self._routes: WeakKeyDictionary[Endpoint, _Route] = WeakKeyDictionary()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": f"crewrun/{__version__}"},
        )

    async def send(self, request: ChatRequest) -> Completion:
        """Send `request` once; see `Transport.send`."""
        route = self._routes.get(request.endpoint) or self._route(request.endpoint)
        try:
            async with self._session.post(
                route.url,
                data=_body(request),
                headers=route.headers,
                proxy=route.proxy,
                allow_redirects=False,  # a redirect would turn the POST into a GET, or carry the key elsewhere
            ) as response:
                payload = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as broken:
            raise _network_error(broken, route) from broken
        if response.status == 200:
            return read_completion(payload)
        if 300 <= response.status < 400:
            where = response.headers.get("location", "elsewhere")
            payload = f"{route.url} redirects to {where}: set base_url to the address it should be".encode()
        raise _without_key(failure(response.status, payload, response.headers), request.endpoint)

    async def aclose(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    def _route(self, endpoint: Endpoint) -> _Route:
        parts = urlsplit(endpoint.base_url or "")
        url = urlunsplit(parts._replace(path=parts.path + "/chat/completions"))
        headers = CIMultiDict({"Content-Type": "application/json", "Accept": "application/json"})
        headers.update(endpoint.headers)
        if endpoint.api_key and "@" not in parts.netloc:  # name and password in the address are its authorization
            headers.setdefault("Authorization", f"Bearer {endpoint.api_key}")
        route = self._routes[endpoint] = _Route(URL(url, encoded=True), headers, proxy_for(url))
        return route


def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY give for `url`.

    Looked up once per endpoint: aiohttp's own `trust_env` does it again for every request.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if not proxy.startswith(("http://", "https://")):
        if "://" in proxy:
            raise UsageError(f"the proxy {proxy!r} from the environment is not an http proxy; unset it or use one")
        proxy = "http://" + proxy
    return proxy


def _body(request: ChatRequest) -> bytes:
    endpoint = request.endpoint
    fields = {"model": endpoint.model, **endpoint.params, "messages": [_on_wire(m) for m in request.messages]}
    try:
        return to_json(fields)
    except PydanticSerializationError:
        return json.dumps(fields).encode()  # a lone surrogate has no UTF-8, but it has an escape


def _on_wire(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _network_error(broken: Exception, route: _Route) -> CallError:
    """aiohttp's and the system's words for a connection that did not work, in ours."""
    host = route.url.authority.rpartition("@")[2]
    if isinstance(broken, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return NetworkError(f"{host}: its TLS certificate is not trusted: {broken}")
    if isinstance(broken, aiohttp.ClientConnectorDNSError):
        return NetworkError(f"{host}: no address found for this name")
    if isinstance(broken, aiohttp.ClientConnectorError):
        number = broken.os_error.errno
        return NetworkError(f"{host}: cannot connect: {os.strerror(number) if number else broken.os_error}")
    if isinstance(broken, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return NetworkError(f"{host}: the connection broke before the reply was whole")
    return NetworkError(f"{host}: {type(broken).__name__}: {broken}")


def _without_key(error: CallError, endpoint: Endpoint) -> CallError:
    """Some providers quote the key in their refusal, in a shape that `redact` cannot know."""
    if endpoint.api_key and endpoint.api_key in str(error):
        error.args = (str(error).replace(endpoint.api_key, "[redacted]"),)
    return error
