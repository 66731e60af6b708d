"""`HttpRoute` and `HttpReply`: what is sent and what comes back; `HttpClient`, the protocol of what is in between."""

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from crewrun.errors import Unreachable

# Everything that may stand in a request's first line; the rest is percent-encoded.
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_NOT_IN_VALUES = re.compile(r"[\r\n\x00]")
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What a connection leads to."""

    host: str
    port: int
    is_tls: bool


class HttpRoute(NamedTuple):
    """What all requests to one address have in common. `url` is without a name and password; `head` is that of a
    request, up to the value of its `Content-Length`; `name` is the host, with its port, as error messages have it.
    """

    url: str
    headers: Mapping[str, str]
    origin: Origin
    head: bytes
    name: str
    proxy: str | None


class HttpReply(NamedTuple):
    """A whole reply, decompressed. The names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient(Protocol):
    """Posts to routes. One call is one attempt, without a time limit after the connection is made."""

    async def post(self, route: HttpRoute, body: bytes) -> HttpReply:
        """Send `body` and return the reply, whatever its status.

        Raises NetworkError, Unreachable, and ServerError for a body that `bodies` refuses. Their `http_status` is set
        if the reply's head had arrived.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def http_route(url: str, headers: Mapping[str, str], proxy: str | None = None) -> HttpRoute:
    """The route of POSTs to `url` with these headers; a name and password in it become its authorization.

    Raises Unreachable for what cannot be sent.
    """
    parts = urlsplit(url)
    name = parts.netloc.rpartition("@")[2]
    own = {key.lower(): value for key, value in headers.items()}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        own.setdefault("authorization", f"Basic {b64encode(login).decode()}")
    for key, value in own.items():
        if not _TOKEN.fullmatch(key) or _NOT_IN_VALUES.search(value):
            raise Unreachable(f"{name}: the request cannot be sent: HTTP does not allow the header {key!r} as it is")
    origin = Origin(
        _ascii_host(parts.hostname or "", name), parts.port or _PORTS[parts.scheme], parts.scheme == "https"
    )
    query = f"?{parts.query}" if parts.query else ""
    target = quote(f"{parts.path or '/'}{query}", safe=_PRINTABLE)
    lines = {"host": name if name.isascii() else f"{origin.host}:{origin.port}", **own}
    head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    return HttpRoute(
        urlunsplit(parts._replace(netloc=name)),
        own,
        origin,
        f"POST {target} HTTP/1.1\r\n{head}content-length: ".encode(),
        name,
        proxy,
    )


def _ascii_host(host: str, name: str) -> str:
    try:
        name_on_wire = host.encode("idna").decode()  # which also refuses empty and long parts
        return host if host.isascii() else name_on_wire
    except UnicodeError:
        raise Unreachable(f"{name}: the request cannot be sent: no host can have this name") from None
