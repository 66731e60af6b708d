"""`ScrapeWebsiteTool`: fetches a web page as text. `public_address` checks its host, `page_text` extracts the text."""

import re
import zlib
from contextlib import suppress
from typing import Any, ClassVar, Self

import aiohttp
import anyio
import anyio.to_thread
import sniffio
from pydantic import BaseModel, Field, model_validator
from yarl import URL

from crewrun._version import __version__
from crewrun.llm.endpoints import proxy_for
from crewrun.tools.base import BaseTool
from crewrun.tools.page_text import HTML_TYPES, Page, readable
from crewrun.tools.public_address import Pinned, addresses_of, refuse_private

# Enough for https, www and a moved page one after the other; each takes a share of `fetch_timeout_s`.
_MAX_REDIRECTS = 5
# How far a page is read past `max_bytes` at most.
_CHUNK_BYTES = 65_536
_REQUEST_HEADERS = {
    "User-Agent": f"Mozilla/5.0 (compatible; crewrun/{__version__})",
    "Accept": "text/html, application/xhtml+xml, text/*;q=0.9, */*;q=0.1",
    "Accept-Encoding": "gzip",
}
_TEXT_TYPES = re.compile(r"text/.+|application/(?:.+\+)?(?:json|xml)|application/(?:x-)?(?:javascript|ndjson|yaml)")


class _Website(BaseModel, extra="forbid"):
    website_url: str = Field(description="The page to read, an http:// or https:// address.")


class _Nothing(BaseModel, extra="forbid"):
    pass


class ScrapeWebsiteTool(BaseTool):
    """Reads one page; with `website_url` always that one.

    Addresses that are not public, such as those of this machine and its network, are refused unless `allow_private`.
    With a proxy from the environment, the check is on the addresses that this machine resolves; the proxy resolves the
    name again. Content after `max_bytes`, counted after decompression, is left out.
    """

    name: str = "Read website content"
    description: str = "Fetches a page from the web and returns its text."
    is_async: ClassVar[bool] = True
    args_schema: type[BaseModel] | None = _Website
    website_url: str | None = None
    allow_private: bool = False
    max_bytes: int = Field(default=2 * 1024 * 1024, ge=1)
    fetch_timeout_s: float = Field(default=20.0, gt=0)

    def __init__(self, website_url: str | None = None, **fields: Any) -> None:
        super().__init__(**{**fields, "website_url": website_url})

    @model_validator(mode="after")
    def _describe_page(self) -> Self:
        if self.website_url is not None:
            self.description = f"{self.description} The page is {self.website_url}."
            if self.args_schema is _Website:
                self.args_schema = _Nothing
        return self

    def _run(self, website_url: str | None = None) -> str:
        with suppress(sniffio.AsyncLibraryNotFoundError):
            raise RuntimeError(f"run() would block the running {sniffio.current_async_library()} loop; await arun()")
        return anyio.run(self._arun, website_url)

    async def _arun(self, website_url: str | None = None) -> str:
        address = website_url or self.website_url
        if not address:
            raise ValueError("website_url is missing")
        try:
            with anyio.fail_after(self.fetch_timeout_s):
                page = await self._follow(_url(address.strip()))
                # In a thread, since a page of two megabytes takes a second. After a timeout the thread still ends.
                text = await anyio.to_thread.run_sync(readable, page, abandon_on_cancel=True)
        except TimeoutError:
            raise TimeoutError(f"{address} was not read within {self.fetch_timeout_s:g} seconds") from None
        if not text:
            raise ValueError(f"{page.url} has no text; its content may be drawn by scripts")
        return f"{text}\n[… the page goes on; cut after {self.max_bytes:,} bytes]" if page.is_cut else text

    async def _follow(self, url: URL) -> Page:
        for _ in range(_MAX_REDIRECTS + 1):
            page_or_url = await self._get(url)
            if isinstance(page_or_url, Page):
                return page_or_url
            url = page_or_url
        raise ValueError(f"more than {_MAX_REDIRECTS} redirects, the last one to {url}")

    async def _get(self, url: URL) -> Page | URL:
        """The page at `url`, or the URL that it redirects to."""
        addresses = await addresses_of(url)
        if not self.allow_private:
            refuse_private(url, addresses)
        proxy = proxy_for(str(url))
        connector = aiohttp.TCPConnector(resolver=None if proxy else Pinned(addresses), use_dns_cache=False)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers=_REQUEST_HEADERS,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                    auto_decompress=False,  # `_unpacked` decompresses up to a bound
                ) as session,
                session.get(url, proxy=proxy, allow_redirects=False) as response,
            ):
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    return _url(response.headers["Location"], url)
                return await self._page(response)
        except aiohttp.ClientError as broken:
            raise ConnectionError(f"{url} cannot be read: {str(broken) or type(broken).__name__}") from broken

    async def _page(self, response: aiohttp.ClientResponse) -> Page:
        if response.status != 200:
            raise OSError(f"{response.url} answered {response.status} {response.reason or ''}".rstrip())
        content_type = response.content_type if "Content-Type" in response.headers else "text/html"
        if not _TEXT_TYPES.fullmatch(content_type) and content_type not in HTML_TYPES:
            raise ValueError(f"{response.url} is {content_type}, not a text that can be read")
        content = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            content += chunk
            if len(content) > self.max_bytes:
                break
        body = _unpacked(bytes(content), response.headers.get("Content-Encoding", ""), self.max_bytes + 1)
        is_cut = max(len(content), len(body)) > self.max_bytes
        return Page(response.url, content_type, response.charset, body[: self.max_bytes], is_cut)


def _url(text: str, base: URL | None = None) -> URL:
    """`text` as an absolute URL, relative to the page at `base`. Raises ValueError for a URL that is not to be read."""
    try:
        url = base.join(URL(text)) if base else URL(text)
        has_host = bool(url.host and url.port)
    except ValueError as wrong:
        raise ValueError(f"{text!r} is not a URL: {wrong}") from None
    if url.scheme not in ("http", "https") or not has_host:
        raise ValueError(f"{text!r} is not an http:// or https:// URL with a host")
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError(f"{url.with_user(None)} was given with a name or password in it; leave them out")
    return url


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """At most `max_bytes` of the decompressed `body`. Raises ValueError for an encoding other than gzip."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise ValueError(f"the page is compressed with {encoding!r}, which was not asked for")
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, max_bytes)
    except zlib.error as broken:
        raise ValueError(f"the page says it is compressed with gzip, but it is not: {broken}") from None
