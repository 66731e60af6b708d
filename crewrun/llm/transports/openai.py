"""The direct transport, for any endpoint that speaks OpenAI's chat completions.

It does not use litellm because this makes more than thirty times as many calls per second on one core, and the client
would otherwise limit a batch of small calls. https://platform.openai.com/docs/api-reference/chat/create
"""

import json
from urllib.parse import urlencode, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

from pydantic_core import PydanticSerializationError, to_json

from crewrun._version import __version__
from crewrun.library_warnings import tolerant
from crewrun.limits import rate_headers
from crewrun.llm.endpoints import proxy_for
from crewrun.llm.parameters import fields_of
from crewrun.llm.transports.bodies import ENCODINGS
from crewrun.llm.transports.cache_hints import add_hints
from crewrun.llm.transports.chat_json import message_on_wire, read_completion, schema_on_wire, tool_on_wire
from crewrun.llm.transports.http.client import DirectClient
from crewrun.llm.transports.http.exchange import HttpClient, HttpReply, HttpRoute, http_route
from crewrun.llm.transports.http_errors import failure
from crewrun.messages import ChatRequest, Completion, Endpoint

_HEADERS = {
    "user-agent": f"crewrun/{__version__}",
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": ENCODINGS,
}


class OpenAITransport:
    """Posts to `base_url` + /chat/completions. Must be constructed inside a running asyncio loop."""

    # Overridden, like `_body` and `_read`, by transports for other paths of the same protocol.
    _path = "/chat/completions"

    def __init__(self) -> None:
        self._routes: WeakKeyDictionary[Endpoint, HttpRoute] = WeakKeyDictionary()
        self._direct = DirectClient()
        self._proxied: HttpClient | None = None

    @tolerant
    async def send(self, request: ChatRequest) -> Completion:
        """Send `request` once; see `Transport.send`."""
        route = self._routes.get(request.endpoint) or self._route(request.endpoint)
        client = self._direct if route.proxy is None else self._through_proxies()
        reply = await client.post(route, self._body(request))
        if 200 <= reply.status < 300:
            return self._read(reply, request)
        if 300 <= reply.status < 400:  # following it would turn the POST into a GET, or carry the key elsewhere
            where = reply.headers.get("location", "elsewhere")
            text = f"{route.url} redirects to {where}: set base_url to the address it should be"
            raise failure(reply.status, text.encode(), reply.headers)
        raise failure(reply.status, reply.body, reply.headers)

    def _body(self, request: ChatRequest) -> bytes:
        return body_of(request)

    def _read(self, reply: HttpReply, request: ChatRequest) -> Completion:
        return read_completion(reply.body, rate_headers.glance(reply.headers), reply.headers)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._direct.aclose()
        if self._proxied is not None:
            await self._proxied.aclose()

    def _through_proxies(self) -> HttpClient:
        if self._proxied is None:
            from crewrun.llm.transports.http.proxied import ProxiedClient

            self._proxied = ProxiedClient()
        return self._proxied

    def _route(self, endpoint: Endpoint) -> HttpRoute:
        parts = urlsplit(endpoint.base_url or "")
        query = "&".join(filter(None, [parts.query, urlencode(endpoint.query)]))
        url = urlunsplit(parts._replace(path=parts.path + self._path, query=query))
        headers = _HEADERS | {name.lower(): value for name, value in endpoint.headers.items()}
        if endpoint.api_key and "@" not in parts.netloc:  # a URL with name and password brings its own authorization
            headers.setdefault("authorization", f"Bearer {endpoint.api_key}")
        route = self._routes[endpoint] = http_route(url, headers, proxy_for(url))
        return route


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
