"""The text of a fetched page: decodes its bytes and converts HTML to lines."""

import codecs
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser

from yarl import URL

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class Page:
    """A server's reply, decompressed; `is_cut` says that the rest was left out."""

    url: URL
    content_type: str
    charset: str | None
    body: bytes
    is_cut: bool


_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
# The HTML standard wants the charset within the first 1,024 bytes (https://html.spec.whatwg.org/#charset); not all
# pages keep to that.
_META_BYTES = 4096
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# Codecs of Python that are not charsets of pages, and are slow or cannot replace invalid bytes.
_NOT_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
# The encodings that browsers use for these labels: https://encoding.spec.whatwg.org/#names-and-labels
_BROWSER_ENCODINGS = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030"}


def readable(page: Page) -> str:
    """The page's text; empty if it has none."""
    is_html = page.content_type in HTML_TYPES
    text = _decoded(page, is_html)
    return _text_of(text) if is_html else text.strip()


def _decoded(page: Page, is_html: bool) -> str:
    """The body, decoded by its byte order mark, the header's charset, the page's own, or UTF-8."""
    for mark, charset in _BYTE_ORDER_MARKS:
        if page.body.startswith(mark):
            return page.body.decode(charset, "replace")
    own = _META_CHARSET.search(page.body, 0, _META_BYTES) if is_html else None
    for name in (page.charset, own[1].decode("ascii", "replace") if own else None):
        with suppress(LookupError, ValueError):  # an unknown name, one with a null byte
            charset = codecs.lookup(name or "").name
            if charset not in _NOT_CHARSETS:
                return page.body.decode(_BROWSER_ENCODINGS.get(charset, charset), "replace")
    return page.body.decode("utf-8", "replace")


# Elements whose content is not part of the page's text.
_DROPPED = frozenset({
    *("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas", "audio", "video"),
    *("nav", "footer", "button", "select", "textarea", "datalist", "dialog"),
})  # fmt: skip
# How many line breaks separate an element from the text before and after it.
_BREAKS: Mapping[str, int] = {
    **dict.fromkeys(("p", "blockquote", "pre", "table", "ul", "ol", "dl", "figure", "section", "article", "title"), 2),
    **dict.fromkeys(("div", "li", "tr", "dt", "dd", "hr", "header", "main", "aside", "option", "address"), 1),
    **{f"h{level}": 2 for level in range(1, 7)},
}
_MARKS: Mapping[str, str] = {"li": "- ", **{f"h{level}": "#" * level + " " for level in range(1, 7)}}
# int() refuses longer ones, and html.unescape() does not expect that: https://github.com/python/cpython/issues/95778
_LONG_NUMBER = re.compile(r"&#[0-9]{9,};?")


def _text_of(html: str) -> str:
    """The text of a page: headings with `#`, list items with `-`, `|` between cells, a blank line between blocks."""
    parser = _Text()
    # close() is not called: it parses an unfinished tag or comment as text, in quadratic time, and browsers drop it
    # anyway. The line break ends an unfinished `&`.
    parser.feed(_LONG_NUMBER.sub("\ufffd", html) + "\n")
    return "\n".join(line.rstrip() for line in "".join(parser.pieces).split("\n")).strip()


class _Text(HTMLParser):
    """Collects text. Breaks and marks are added only with the text after them, so empty elements leave nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._breaks = 0
        self._mark = ""
        self._dropped = ""  # the outermost dropped element that is open
        self._depth = 0  # how many elements of that name are open
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
        elif not self._mark:  # a bullet stays on the line of the paragraph that follows it
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
        """The base class raises AssertionError for unknown sections, and pages may contain any."""
        return self.parse_bogus_comment(i, report)
