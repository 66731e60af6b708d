"""`ScrapeWebsiteTool`: a web page as text. Here are the address checks, the fetch and the way from HTML to text.

The address comes from a model that reads what strangers write, so nothing on a private network is read with it:
https://owasp.org/www-community/attacks/Server_Side_Request_Forgery
"""

import codecs
import re
import socket
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Self

import aiohttp
import anyio
import anyio.to_thread
import sniffio
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import BaseModel, Field, model_validator
from yarl import URL

from crewrun._version import __version__
from crewrun.llm.endpoints import proxy_for
from crewrun.tools.base import BaseTool

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 65_536
_REQUEST_HEADERS = {
    "User-Agent": f"Mozilla/5.0 (compatible; crewrun/{__version__})",
    "Accept": "text/html, application/xhtml+xml, text/*;q=0.9, */*;q=0.1",
    "Accept-Encoding": "gzip",
}
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_TEXT_TYPES = re.compile(r"text/.+|application/(?:.+\+)?(?:json|xml)|application/(?:x-)?(?:javascript|ndjson|yaml)")


class _Website(BaseModel, extra="forbid"):
    website_url: str = Field(description="The page to read, an http:// or https:// address.")


class _Nothing(BaseModel, extra="forbid"):
    pass


class ScrapeWebsiteTool(BaseTool):
    """Reads one page; with `website_url` always that one.

    Addresses that are not public, such as those of this machine and its network, are refused unless `allow_private`.
    With a proxy from the environment this is asked of the addresses found here, and the proxy looks the name up again.
    What is beyond `max_bytes`, counted after decompression, is left out.
    """

    name: str = "Read website content"
    description: str = "Fetches a page from the web and returns its text."
    args_schema: type[BaseModel] | None = _Website
    website_url: str | None = None
    allow_private: bool = False
    max_bytes: int = Field(default=2 * 1024 * 1024, ge=1)
    fetch_timeout_s: float = Field(default=20.0, gt=0)

    @model_validator(mode="after")
    def _know_the_page(self) -> Self:
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
        wanted = website_url or self.website_url
        if not wanted:
            raise ValueError("website_url is missing")
        try:
            with anyio.fail_after(self.fetch_timeout_s):
                page = await self._follow(_url(wanted.strip()))
                # In a thread, since a page of two megabytes takes a second; when it is given up, it still ends.
                text = await anyio.to_thread.run_sync(_readable, page, abandon_on_cancel=True)
        except TimeoutError:
            raise TimeoutError(f"{wanted} was not read within {self.fetch_timeout_s:g} seconds") from None
        if not text:
            raise ValueError(f"{page.url} has no text; its content may be drawn by scripts")
        return f"{text}\n[… the page goes on; cut after {self.max_bytes:,} bytes]" if page.is_cut else text

    async def _follow(self, url: URL) -> "_Page":
        for _ in range(_MAX_REDIRECTS + 1):
            found = await self._get(url)
            if isinstance(found, _Page):
                return found
            url = found
        raise ValueError(f"more than {_MAX_REDIRECTS} redirects, the last one to {url}")

    async def _get(self, url: URL) -> "_Page | URL":
        """The page at `url`, or where it redirects to."""
        addresses = await _addresses(url)
        if not self.allow_private:
            _refuse_private(url, addresses)
        proxy = proxy_for(str(url))
        connector = aiohttp.TCPConnector(resolver=None if proxy else _Pinned(addresses), use_dns_cache=False)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers=_REQUEST_HEADERS,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                    auto_decompress=False,  # `_unpacked` knows a bound
                ) as session,
                session.get(url, proxy=proxy, allow_redirects=False) as response,
            ):
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    return _url(response.headers["Location"], url)
                return await self._page(response)
        except aiohttp.ClientError as broken:
            raise ConnectionError(f"{url} cannot be read: {str(broken) or type(broken).__name__}") from broken

    async def _page(self, response: aiohttp.ClientResponse) -> "_Page":
        if response.status != 200:
            raise OSError(f"{response.url} answered {response.status} {response.reason or ''}".rstrip())
        content_type = response.content_type if "Content-Type" in response.headers else "text/html"
        if not _TEXT_TYPES.fullmatch(content_type) and content_type not in _HTML_TYPES:
            raise ValueError(f"{response.url} is {content_type}, not a text that can be read")
        sent = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            sent += chunk
            if len(sent) > self.max_bytes:
                break
        body = _unpacked(bytes(sent), response.headers.get("Content-Encoding", ""), self.max_bytes + 1)
        is_cut = max(len(sent), len(body)) > self.max_bytes
        return _Page(response.url, content_type, response.charset, body[: self.max_bytes], is_cut)


@dataclass(frozen=True, slots=True)
class _Page:
    url: URL
    content_type: str
    charset: str | None
    body: bytes
    is_cut: bool


def _url(text: str, base: URL | None = None) -> URL:
    """`text`, where a page at `base` says it, as an absolute address. Raises ValueError for what is not to be read."""
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


async def _addresses(url: URL) -> list[str]:
    """The addresses of `url`'s host. The system reads `127.1`, `0x7f000001` and `0177.0.0.1` here as it would later."""
    try:
        found = await anyio.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ConnectionError(f"{url.host}: no address found for this name") from None
    return list(dict.fromkeys(address for *_, (address, _) in found))


def _refuse_private(url: URL, addresses: list[str]) -> None:
    """Raises PermissionError when one of `addresses` is not public; one is enough, since any may be connected to."""
    for address in addresses:
        if not _is_public(ip_address(address)):
            raise PermissionError(f"{url} is refused: {url.host} is at {address}, which is not a public address")


# All of IPv6 that is handed out for public use: https://www.iana.org/assignments/ipv6-address-space
_PUBLIC_IPV6 = IPv6Network("2000::/3")
# The IPv4 address of a NAT64 address is its last 32 bits: https://www.rfc-editor.org/rfc/rfc6052#section-2.1
_NAT64 = IPv6Network("64:ff9b::/96")
# Public by its number, but answered by the host of an Azure machine:
# https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16
_AZURE_HOST = IPv4Address("168.63.129.16")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        nat64 = IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None
        if inner := address.ipv4_mapped or address.sixtofour or nat64:
            return _is_public(inner)
        return address.is_global and address in _PUBLIC_IPV6
    # `is_global` holds for multicast addresses.
    return address.is_global and not (address.is_multicast or address.is_reserved or address == _AZURE_HOST)


class _Pinned(AbstractResolver):
    """Answers with the addresses that were checked, whatever the name's server would say a second time."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """At most `max_bytes` of what `body` decompresses to. Raises ValueError for what is not gzip."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise ValueError(f"the page is compressed with {encoding!r}, which was not asked for")
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, max_bytes)
    except zlib.error as broken:
        raise ValueError(f"the page says it is compressed with gzip, but it is not: {broken}") from None


_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_META_BYTES = 4096
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# What Python has under such names besides: not charsets of pages, and slow or unable to replace what is wrong.
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
# What pages mean by these names: https://encoding.spec.whatwg.org/#names-and-labels
_MEANT = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030"}


def _readable(page: _Page) -> str:
    is_html = page.content_type in _HTML_TYPES
    text = _decoded(page, is_html)
    return _text_of(text) if is_html else text.strip()


def _decoded(page: _Page, is_html: bool) -> str:
    """The body by its byte order mark, the header's charset, the page's own, or UTF-8."""
    for mark, charset in _BYTE_ORDER_MARKS:
        if page.body.startswith(mark):
            return page.body.decode(charset, "replace")
    own = _META_CHARSET.search(page.body, 0, _META_BYTES) if is_html else None
    for name in (page.charset, own[1].decode("ascii", "replace") if own else None):
        with suppress(LookupError, ValueError):  # an unknown name, one with a null byte
            charset = codecs.lookup(name or "").name
            if charset not in _NO_CHARSETS:
                return page.body.decode(_MEANT.get(charset, charset), "replace")
    return page.body.decode("utf-8", "replace")


# Nothing in these is the page's text.
_DROPPED = frozenset({
    *("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas", "audio", "video"),
    *("nav", "footer", "button", "select", "textarea", "datalist", "dialog"),
})  # fmt: skip
# How many line breaks part an element from what is before and after it.
_BREAKS: Mapping[str, int] = {
    **dict.fromkeys(("p", "blockquote", "pre", "table", "ul", "ol", "dl", "figure", "section", "article", "title"), 2),
    **dict.fromkeys(("div", "li", "tr", "dt", "dd", "hr", "header", "main", "aside", "option", "address"), 1),
    **{f"h{level}": 2 for level in range(1, 7)},
}
_MARKS: Mapping[str, str] = {"li": "- ", **{f"h{level}": "#" * level + " " for level in range(1, 7)}}
# int() refuses longer ones, and html.unescape() does not expect that: https://github.com/python/cpython/issues/95778
_LONG_NUMBER = re.compile(r"&#[0-9]{9,};?")


def _text_of(html: str) -> str:
    """The text of a page: headings with `#`, list items with `-`, cells parted by `|`, a blank line between blocks."""
    parser = _Text()
    # close() is not called: it reads an unfinished tag or comment again and again as text, in quadratic time, where
    # browsers drop it. The line break ends what could be an unfinished `&`.
    parser.feed(_LONG_NUMBER.sub("\ufffd", html) + "\n")
    return "\n".join(line.rstrip() for line in "".join(parser.pieces).split("\n")).strip()


class _Text(HTMLParser):
    """Collects text. Breaks and marks wait for the text that they stand before, so empty elements leave nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._breaks = 0
        self._mark = ""
        self._dropped = ""  # the outermost dropped element that is open
        self._depth = 0  # how many of its name are
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED and not self._dropped:
            self._dropped = tag
        if self._dropped:
            self._depth += tag == self._dropped
            return
        self._preformatted += tag == "pre"
        if tag == "br":
            self._breaks = min(self._breaks + 1, 2)
        elif not self._mark:  # a bullet stays with the paragraph that opens behind it
            self._breaks = max(self._breaks, _BREAKS.get(tag, 0))
        if tag in ("td", "th") and self.pieces and not self._breaks:
            self.pieces.append(" | ")
        self._mark = _MARKS.get(tag, self._mark)

    def handle_endtag(self, tag: str) -> None:
        if self._dropped:
            self._depth -= tag == self._dropped
            if not self._depth:
                self._dropped = ""
            return
        self._preformatted = max(0, self._preformatted - (tag == "pre"))
        self._breaks = max(self._breaks, _BREAKS.get(tag, 0))
        if tag in _MARKS:
            self._mark = ""

    def handle_data(self, data: str) -> None:
        if self._dropped:
            return
        starts = bool(self._breaks or self._mark or not self.pieces)
        if self._preformatted:
            data = data.removeprefix("\n") if starts else data
        else:
            data = re.sub(r"\s+", " ", data)
            if starts or self.pieces[-1][-1].isspace():
                data = data.lstrip()
        if data:
            self.pieces.append("\n" * self._breaks + self._mark + data)
            self._breaks, self._mark = 0, ""

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """The standard library's raises AssertionError for sections it does not know; pages have anything."""
        return self.parse_bogus_comment(i, report)
