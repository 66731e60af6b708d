"""`JobsHttp`: requests to a provider's endpoints for files and batch jobs, over one aiohttp session.

The direct transport is built for many small requests to one address; here there are few, to many addresses, and results
are read line by line.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from pydantic_core import from_json
from yarl import URL

from crewrun._version import __version__
from crewrun.errors import NetworkError, ServerError
from crewrun.library_warnings import tolerant
from crewrun.llm.endpoints import proxy_for
from crewrun.llm.transports.bodies import MOST_ERROR_BYTES
from crewrun.llm.transports.http_errors import failure
from crewrun.redaction.redactor import redact

# An upload of 200 MB over a slow line takes minutes; a connection that moves no byte for this long is dead.
_QUIET_S: Final = 120.0
_CONNECT_S: Final = 30.0
# A result with an answer of 100,000 tokens has under a megabyte; a line is not a stream without end.
_MOST_LINE_BYTES: Final = 64 * 1024 * 1024
_PIECE_BYTES: Final = 1 << 16
_QUOTED_CHARS: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class JobsHttp:
    """Sends requests below `base_url` with `headers`. Every method raises a CallError, and nothing else."""

    def __init__(self, base_url: str, headers: Mapping[str, str], query: Mapping[str, str] | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = dict(headers)
        self._query = dict(query or {})
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_QUIET_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"crewrun/{__version__}"},
        )

    @tolerant
    async def json(self, method: str, path: str, **parts: Any) -> Mapping[str, Any]:
        """The JSON object that a request is answered with. `parts` are aiohttp's `json`, `data` and `params`, and
        the `content_type` of `data`.
        """
        async with self._open(method, path, parts) as response:
            body = await response.read()
        return as_object(body)

    @tolerant
    async def page(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        """A page of a list. One that is a JSON array is the `data` of a page."""
        async with self._open("GET", path, {"params": params}) as response:
            body = await response.read()
        return as_object(b'{"data": %s}' % body if body.lstrip().startswith(b"[") else body)

    async def upload(self, path: str, name: str, content: bytes, **fields: str) -> Mapping[str, Any]:
        """The JSON object that an upload of a file of lines is answered with; `fields` are the form's others."""
        form = aiohttp.FormData()
        for field, value in fields.items():
            form.add_field(field, value)
        form.add_field("file", content, filename=name, content_type="application/jsonl")
        return await self.json("POST", path, data=form)

    @tolerant
    async def upload_resumable(self, path: str, name: str, content: bytes) -> Mapping[str, Any]:
        """As `upload`, by Google's protocol, in one piece: https://ai.google.dev/gemini-api/docs/files#rest.

        What it is sent to is an address that the reply to a first request names, and needs no key.
        """
        start = {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(len(content)),
            "X-Goog-Upload-Header-Content-Type": "application/jsonl",
        }
        parts = {"json": {"file": {"displayName": name}}, "more_headers": start}
        async with self._open("POST", path, parts) as response:
            url = response.headers.get("X-Goog-Upload-URL", "")
        if not url.startswith(("http://", "https://")):
            raise ServerError("the reply to an upload names no address", http_status=200)
        send = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
        async with _Request(self._session, "POST", url, {"data": content, "headers": send}) as response:
            body = await response.read()
        return as_object(body)

    async def lines(self, path: str) -> AsyncGenerator[bytes, None]:
        """The lines of a file, without blank ones, as they arrive."""
        async with self._open("GET", path, {}) as response:
            rest = b""
            async for piece in response.content.iter_chunked(_PIECE_BYTES):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
                if len(rest) > _MOST_LINE_BYTES:
                    raise ServerError(f"{path}: a line of the results is larger than {_MOST_LINE_BYTES >> 20} MiB")
            if rest.strip():
                yield rest

    async def aclose(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    def _open(self, method: str, path: str, parts: dict[str, Any]) -> "_Request":
        params = {**self._query, **(parts.pop("params", None) or {})}
        content_type = parts.pop("content_type", None)
        headers = {**self._headers, "Content-Type": content_type} if content_type else self._headers
        headers = {**headers, **parts.pop("more_headers", {})}
        parts = {**parts, "params": params, "headers": headers}
        return _Request(self._session, method, f"{self._base_url}{path}", parts)


class _Request:
    """One request, as an async context manager of its response. Failures of the connection become CallErrors, also
    while the body is read.
    """

    def __init__(self, session: aiohttp.ClientSession, method: str, url: str, parts: Mapping[str, Any]) -> None:
        self._session = session
        self._method = method
        self._url = url
        self._parts = parts
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            response = await self._send(self._url, self._parts)
            if self._method == "GET" and response.status in _REDIRECTS and "location" in response.headers:
                # A file may be in a store of another host, whose address is signed: our key is not for that.
                target = str(response.url.join(URL(response.headers["location"], encoded=True)))
                response.close()
                response = await self._send(target, {})
            if response.status < 300:
                return response
            body = await response.content.read(MOST_ERROR_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as broken:
            raise self._error(broken) from broken
        response.close()
        raise failure(response.status, body, response.headers)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._response is not None:
            self._response.close()
        if isinstance(error, aiohttp.ClientError | OSError | TimeoutError):
            raise self._error(error) from error

    async def _send(self, url: str, parts: Mapping[str, Any]) -> aiohttp.ClientResponse:
        self._response = await self._session.request(
            self._method, url, proxy=proxy_for(url), allow_redirects=False, **parts
        )
        return self._response

    def _error(self, broken: Exception) -> NetworkError:
        host = urlsplit(self._url).netloc.rpartition("@")[2]
        is_refused = isinstance(broken, aiohttp.ClientConnectorError)
        reason = (broken.strerror or "cannot connect") if isinstance(broken, OSError) and is_refused else None
        if isinstance(broken, aiohttp.ClientConnectorError):
            return NetworkError(f"{host}: cannot connect: {reason}", address=host, reason=reason)
        return NetworkError(f"{host}: {type(broken).__name__}: {broken}")


def as_object(body: bytes) -> Mapping[str, Any]:
    """A reply's body as a JSON object. Raises ServerError for anything else."""
    try:
        value = from_json(body)
    except ValueError:
        value = _leniently(body)
    if not isinstance(value, dict):
        start = " ".join(redact(body[:4_000].decode("utf-8", "replace"))[:_QUOTED_CHARS].split())
        raise ServerError(f"the reply is not a JSON object: {start!r}", http_status=200)
    return value


def _leniently(body: bytes) -> Any:
    """JSON with half a surrogate pair, which an answer that was cut off may end with; None for what is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
